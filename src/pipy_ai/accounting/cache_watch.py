"""Notice that a provider never reads a long prompt, sent again and again, from its cache."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

from ..provider.request import Request
from ..types import Context, Usage

MIN_PROMPT_CHARS = 16_000  # about 4,500 tokens: every model caches a prompt of that length
MIN_MISSES = 3  # requests after the first, which writes to the cache
CACHE_LIFETIME_S = 300.0
MAX_PROMPTS = 256


@dataclass(slots=True)
class _Prompt:
    """A prompt that was sent: when the last answer to it ended, and how often it was not cached."""

    answered_at: float
    misses: int = 0


recent_prompts: OrderedDict[tuple[str, int], _Prompt] = OrderedDict()
_lock = threading.Lock()


def missed_cache_text(request: Request, usage: Usage, started_at: float) -> str | None:
    """Record a request; return the text of a warning if the cache should have had its beginning.

    Only requests that begin after the answer to an earlier one, and within five minutes, count.
    `started_at` is a time of `time.perf_counter`. The warning comes once for each prompt.
    """
    now, key = time.perf_counter(), (request.model, hash(_beginning(request.context)))
    with _lock:
        prompt = recent_prompts.get(key)
        if usage.cache_read or prompt is None or now - prompt.answered_at > CACHE_LIFETIME_S:
            prompt = recent_prompts[key] = _Prompt(now)
        elif started_at >= prompt.answered_at:
            prompt.answered_at, prompt.misses = now, prompt.misses + 1
        else:  # sent while the cache was still being written
            return None
        recent_prompts.move_to_end(key)
        if len(recent_prompts) > MAX_PROMPTS:
            recent_prompts.popitem(last=False)
    if prompt.misses != MIN_MISSES:
        return None
    return (
        f"{request.provider} read nothing from its prompt cache in {prompt.misses + 1} requests"
        " with the same long beginning. Check that tools and other options do not change between"
        " requests, and see docs/caching.md."
    )


def is_long(context: Context) -> bool:
    """Return whether the system prompt or the first message is long enough to be cached."""
    if len(context.system_prompt or "") >= MIN_PROMPT_CHARS:
        return True
    return any(len(message.content) >= MIN_PROMPT_CHARS for message in context.messages[:1])


def _beginning(context: Context) -> tuple[str, str]:
    """Return a long system prompt, or else the first message with the system prompt."""
    system_prompt = context.system_prompt or ""
    if len(system_prompt) >= MIN_PROMPT_CHARS or not context.messages:
        return system_prompt, ""
    content = context.messages[0].content
    return system_prompt, content if isinstance(content, str) else ""
