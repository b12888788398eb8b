"""A provider that says what you script: for tests, demos and docs. No network, no model.

    from pipy_ai import complete, faux

    with faux.script("Hello!", faux.reply(faux.tool("add", a=1, b=2))) as provider:
        complete("faux/any", "Hi").text              # "Hello!"
        complete("faux/any", "Add 1 and 2").tool_calls[0].arguments   # {"a": 1, "b": 2}
        assert provider.calls == 2

Every request takes the next reply of the script; `faux/echo` says the prompt again instead.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

from ..errors import ErrorKind, ProviderError, error_info
from ..tokens import estimate_input_tokens, estimate_tokens
from ..types import TextContent, UserMessage
from .deltas import (
    Delta,
    Finish,
    RedactedThinking,
    ResponseInfo,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from .request import Request

__all__ = [
    "FauxProvider",
    "cut",
    "error",
    "redacted",
    "reply",
    "script",
    "stall",
    "text",
    "thinking",
    "tool",
    "usage",
]


@dataclass(slots=True)
class _Step:
    """One thing that a reply does; `text` is what is cut into chunks."""

    kind: str
    text: str = ""
    name: str = ""
    id: str = ""
    data: Any = None


def text(content: str) -> _Step:
    """Say `content`."""
    return _Step("text", content)


def thinking(content: str, signature: str | None = None) -> _Step:
    """Think `content`, with a signature if one is given."""
    return _Step("thinking", content, data=signature)


def redacted(data: str = "b3BhcXVl") -> _Step:
    """Think something that only the provider can read."""
    return _Step("redacted", data)


def tool(
    name: str, arguments: str | None = None, /, *, id: str | None = None, **kwargs: Any
) -> _Step:
    """Call a tool with keyword arguments, or with `arguments` as raw JSON text, right or wrong."""
    raw = json.dumps(kwargs) if arguments is None else arguments
    return _Step("tool", raw, name=name, id=id or f"call_{uuid4().hex[:12]}")


def usage(
    input: int = 0, output: int = 0, cache_read: int = 0, cache_write: int = 0, reasoning: int = 0
) -> _Step:
    """Report these token counts instead of estimated ones."""
    report = UsageReport(input, output, cache_read, cache_write, reasoning=reasoning)
    return _Step("usage", data=report)


def error(
    kind: str = "server",
    message: str = "scripted failure",
    *,
    status_code: int | None = None,
    retryable: bool | None = None,
    retry_after: float | None = None,
) -> _Step:
    """Fail: as the only step, before the request is accepted; after others, in mid-stream."""
    info = error_info(
        ErrorKind(kind),
        message,
        status_code=status_code,
        retryable=retryable,
        retry_after=retry_after,
        provider="faux",
    )
    return _Step("error", data=info)


def stall() -> _Step:
    """Send nothing more, for ever."""
    return _Step("stall")


def cut() -> _Step:
    """End the connection without the sign that the answer is complete."""
    return _Step("cut")


@dataclass(slots=True)
class Reply:
    """One scripted answer."""

    steps: list[_Step] = field(default_factory=list)
    stop: str | None = None


Scripted: TypeAlias = "str | _Step | Reply | Callable[[Request], str | _Step | Reply]"


def reply(*steps: str | _Step, stop: str | None = None) -> Reply:
    """An answer of several steps. `stop` is the raw finish reason; by default it fits."""
    return Reply([text(step) if isinstance(step, str) else step for step in steps], stop)


class FauxProvider:
    """Plays replies. `requests` are those it was sent, `calls` their number."""

    api = "faux"

    def __init__(self, *replies: Scripted, chunk_size: int = 4, delay: float = 0.0) -> None:
        self.chunk_size = chunk_size
        self.delay = delay
        self.requests: list[Request] = []
        self._replies = list(replies)
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """How many requests came."""
        return len(self.requests)

    def add(self, *replies: Scripted) -> None:
        """Add replies to the script."""
        with self._lock:
            self._replies.extend(replies)

    def _next_reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            if request.model_id == "echo":
                return reply(_last_user_text(request))
            if not self._replies:
                raise ProviderError(
                    error_info(
                        ErrorKind.BAD_REQUEST,
                        "The faux provider's script is empty: give faux.script() one reply for"
                        ' each request, or ask "faux/echo".',
                        provider="faux",
                    )
                )
            scripted = self._replies.pop(0)
        if callable(scripted):
            scripted = scripted(request)
        return scripted if isinstance(scripted, Reply) else reply(scripted)  # ty: ignore[invalid-argument-type]

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Play the next reply."""
        answer = self._next_reply(request)
        if answer.steps and answer.steps[0].kind == "error":
            raise ProviderError(answer.steps[0].data)
        yield [ResponseInfo(f"faux-{self.calls}", request.model_id)]
        usage_report = UsageReport(input=estimate_input_tokens(request.context), output=0)
        call_count = 0
        for step in answer.steps:
            if step.kind == "stall":
                await asyncio.Event().wait()
            elif step.kind == "cut":
                return
            elif step.kind == "error":
                raise ProviderError(step.data)
            elif step.kind == "usage":
                usage_report = step.data
            elif step.kind == "redacted":
                yield [RedactedThinking(step.text)]
            else:
                for index, chunk in enumerate(_split_chunks(step.text, self.chunk_size)):
                    if self.delay:
                        await asyncio.sleep(self.delay)
                    yield [_delta(step, chunk, call_count, index == 0)]
                if step.kind == "thinking" and step.data:
                    yield [ThinkingSignature(step.data)]
                call_count += step.kind == "tool"
        if not any(step.kind == "usage" for step in answer.steps):
            usage_report.output = sum(estimate_tokens(step.text) for step in answer.steps)
        yield [usage_report, Finish(answer.stop or ("tool_calls" if call_count else "stop"))]


def _delta(step: _Step, chunk: str, index: int, is_first: bool) -> Delta:
    if step.kind == "text":
        return Text(chunk)
    if step.kind == "thinking":
        return Thinking(chunk)
    if is_first:
        return ToolFragment(index, step.id, step.name, chunk)
    return ToolFragment(index, arguments=chunk)


def _split_chunks(content: str, size: int) -> Iterator[str]:
    for start in range(0, max(1, len(content)), max(1, size)):
        yield content[start : start + size]


def _last_user_text(request: Request) -> str:
    for message in reversed(request.context.messages):
        if isinstance(message, UserMessage):
            if isinstance(message.content, str):
                return message.content
            return "".join(part.text for part in message.content if isinstance(part, TextContent))
    return ""


@contextmanager
def script(
    *replies: Scripted, name: str = "faux", chunk_size: int = 4, delay: float = 0.0
) -> Generator[FauxProvider, None, None]:
    """Answer every model `name/…` with these replies, one a request, within the block.

    Args:
        replies: Strings, steps, `reply(…)`, or functions of the `Request` that return one.
        name: The provider's name; another one lets scripts run side by side.
        chunk_size: Characters of a delta.
        delay: Seconds before each delta.
    """
    from .registered import register_provider, registered_provider, unregister_provider

    provider = FauxProvider(*replies, chunk_size=chunk_size, delay=delay)
    previous = registered_provider(name)
    register_provider(name, provider)
    try:
        yield provider
    finally:
        if previous is None:
            unregister_provider(name)
        else:
            register_provider(name, previous)
