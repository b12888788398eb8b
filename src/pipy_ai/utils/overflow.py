"""Was the prompt too long? In every vendor's words, and by the numbers when nobody says so."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..types import AssistantMessage

_OVERFLOW = re.compile(
    "|".join(
        (
            r"context[_ ]length[_ ]exceeded",
            r"model_context_window_exceeded",
            r"exceed_context_size",
            r"request_too_large",
            r"prompt is too long",
            r"prompt too long",
            r"prompt exceeds max length",
            r"input is too long",
            r"exceeds? the context window",
            r"maximum context length",
            r"exceeds (the )?model'?s maximum context length",
            r"context window (is )?exceed",
            r"input token count\b.*\bexceeds",
            r"maximum prompt length is",
            r"reduce the length of the messages",
            r"maximum allowed input length",
            r"is longer than the model'?s context length",
            r"exceeds the limit of \d",
            r"exceeds the available context size",
            r"greater than the context length",
            r"exceeded model token limit",
            r"too large for model with \d+",
            r"configured context size is",
            r"range of input length should be",
            r"too many tokens",
            r"token limit exceeded",
            r"input length and `?max_tokens`? exceed context limit",
        )
    ),
    re.IGNORECASE,
)

# "Too many tokens, please wait": a limit per minute, not the window.
_THROTTLED = re.compile(
    r"rate.?limit|too many requests|throttl|please wait|per minute|\btpm\b|quota", re.IGNORECASE
)


def says_overflow(text: str) -> bool:
    """Whether an error text means that the prompt is longer than the window.

    Example:
        >>> says_overflow("prompt is too long: 213462 tokens > 200000 maximum")
        True
        >>> says_overflow("Too many tokens, please wait before trying again.")
        False
    """
    return _OVERFLOW.search(text) is not None and _THROTTLED.search(text) is None


def is_context_overflow(message: AssistantMessage, context_window: int | None = None) -> bool:
    """Whether `message` failed, or came out short, because the prompt does not fit.

    Args:
        message: An answer.
        context_window: The model's window in tokens. With it, providers that cut the prompt
            silently are found out, too: more input than fits, or no room left to answer.

    Example:
        >>> from pipy_ai import assistant
        >>> is_context_overflow(assistant("Fine."))
        False
    """
    if message.error is not None:
        if message.error.kind == "context_overflow":
            return True
        return message.error.kind != "rate_limit" and says_overflow(message.error.message)
    if message.error_message and says_overflow(message.error_message):
        return True
    if not context_window or message.usage.estimated:
        return False
    prompt = message.usage.input + message.usage.cache_read + message.usage.cache_write
    if message.stop_reason == "stop":
        return prompt > context_window
    full = prompt >= 0.99 * context_window
    return message.stop_reason == "length" and message.usage.output == 0 and full
