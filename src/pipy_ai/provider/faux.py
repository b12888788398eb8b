"""A provider with scripted answers, for tests, demos and docs. No network, no model.

    from pipy_ai import complete, faux

    with faux.script("Hello!", faux.reply(faux.tool("add", a=1, b=2))) as provider:
        complete("faux/any", "Hi").text              # "Hello!"
        complete("faux/any", "Add 1 and 2").tool_calls[0].arguments   # {"a": 1, "b": 2}
        assert provider.calls == 2

Each request takes the next reply of the script. `faux/echo` repeats the prompt instead.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, assert_never
from uuid import uuid4

from ..errors import ErrorKind, ProviderError, error_info
from ..tokens import estimate_input_tokens, estimate_tokens
from ..types import TextContent, UserMessage
from .deltas import (
    AudioData,
    CitationReport,
    Delta,
    Finish,
    ImageData,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    ServerToolOutput,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from .request import Request

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from ..utils.dataclass import dataclass, field

__all__ = [
    "FauxProvider",
    "audio",
    "citation",
    "cut",
    "error",
    "image",
    "redacted",
    "reply",
    "script",
    "server_tool",
    "stall",
    "text",
    "thinking",
    "tool",
    "usage",
]


StepKind: TypeAlias = Literal[
    "text", "thinking", "redacted", "deltas", "tool", "usage", "error", "stall", "cut"
]


@dataclass(slots=True)
class _Step:
    """One step of a reply; `text` is split into chunks."""

    kind: StepKind
    text: str = ""
    name: str = ""
    id: str = ""
    data: Any = None


def text(content: str) -> _Step:
    """Answer with a text block of this `content`."""
    return _Step("text", content)


def thinking(content: str, signature: str | None = None) -> _Step:
    """Answer with a thinking block of this `content`, with a `signature` if given."""
    return _Step("thinking", content, data=signature)


def redacted(data: str = "b3BhcXVl") -> _Step:
    """Answer with a redacted thinking block that has this opaque `data`."""
    return _Step("redacted", data)


def citation(content: str, source: str, title: str | None = None) -> _Step:
    """Name the source of a part of the latest text.

    Args:
        content: The part of the text.
        source: The address of the source, or the id of a document.
        title: The title of the source.
    """
    return _Step("deltas", data=[CitationReport(content, source=source, title=title)])


def server_tool(
    name: str,
    /,
    *,
    result: str = "",
    sources: Sequence[tuple[str, str]] = (),
    is_error: bool = False,
    **kwargs: Any,
) -> _Step:
    """Use a tool of the provider, such as `web_search`.

    Args:
        name: The name of the tool.
        result: The text of its result.
        sources: The address and the title of each source that it found.
        is_error: Whether it failed.
        **kwargs: The arguments by name.
    """
    call_id = f"srv_{uuid4().hex[:12]}"
    raw = {"type": "call", "id": call_id, "name": name, "input": kwargs}
    call = ServerToolFragment(id=call_id, name=name, arguments=json.dumps(kwargs), raw=raw)
    reports = [CitationReport(source=address, title=title) for address, title in sources]
    raw = {"type": "result", "call_id": call_id}
    output = ServerToolOutput(call_id, name, result, is_error, reports, raw)
    return _Step("deltas", data=[call, output])


def image(data: bytes, mime_type: str = "image/png") -> _Step:
    """Answer with an image of these bytes.

    Args:
        data: The bytes.
        mime_type: The media type.
    """
    return _Step("deltas", data=[ImageData(base64.b64encode(data).decode(), mime_type)])


def audio(data: bytes, transcript: str = "", mime_type: str = "audio/wav") -> _Step:
    """Answer with audio.

    Args:
        data: The bytes.
        transcript: The spoken words.
        mime_type: The media type.
    """
    return _Step("deltas", data=[AudioData(base64.b64encode(data).decode(), transcript, mime_type)])


def tool(
    name: str, arguments: str | None = None, /, *, id: str | None = None, **kwargs: Any
) -> _Step:
    """Call a tool.

    Args:
        name: The name of the tool.
        arguments: The arguments as raw JSON, which may be invalid. None: from `kwargs`.
        id: The id of the call. None: a random one.
        **kwargs: The arguments by name.
    """
    raw = json.dumps(kwargs) if arguments is None else arguments
    return _Step("tool", raw, name=name, id=id or f"call_{uuid4().hex[:12]}")


def usage(
    input: int = 0, output: int = 0, cache_read: int = 0, cache_write: int = 0, reasoning: int = 0
) -> _Step:
    """Report these token counts instead of estimated ones.

    Args:
        input: Tokens of the prompt, without cached ones.
        output: Tokens of the answer, including `reasoning`.
        cache_read: Tokens read from the cache.
        cache_write: Tokens written to the cache.
        reasoning: Tokens of thinking.
    """
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
    """Fail: before the request is accepted if it is the first step, else in mid-stream.

    Args:
        kind: The kind of the error, as in `ErrorKind`.
        message: The text of the error.
        status_code: The HTTP status.
        retryable: Whether a retry may help. None: depends on the kind.
        retry_after: Seconds to wait before a retry.
    """
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
    """Send nothing more and never finish."""
    return _Step("stall")


def cut() -> _Step:
    """End the connection before the answer is complete."""
    return _Step("cut")


@dataclass(slots=True)
class Reply:
    """One scripted answer."""

    steps: list[_Step] = field(default_factory=list)
    """Text, thinking, calls and faults, in order."""
    stop: str | None = None
    """The raw finish reason. None: the usual one."""


Scripted: TypeAlias = "str | _Step | Reply | Callable[[Request], str | _Step | Reply]"
"""A scripted answer: text, a step, a `Reply`, or a function of the request that returns one."""


def reply(*steps: str | _Step, stop: str | None = None) -> Reply:
    """Return a reply of several steps.

    `stop` is the raw finish reason. Default: `tool_calls` if there are any, else `stop`.
    """
    return Reply([text(step) if isinstance(step, str) else step for step in steps], stop)


class FauxProvider:
    """Answers with scripted replies, and records the `requests`."""

    api = "faux"

    def __init__(self, *replies: Scripted, chunk_size: int = 4, delay: float = 0.0) -> None:
        self.chunk_size = chunk_size
        self.delay = delay
        self.requests: list[Request] = []
        self._replies = list(replies)
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """The number of requests."""
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
                        ' each request, or use "faux/echo".',
                        provider="faux",
                    )
                )
            scripted = self._replies.pop(0)
        if callable(scripted):
            scripted = scripted(request)
        return scripted if isinstance(scripted, Reply) else reply(scripted)  # ty: ignore[invalid-argument-type]

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer with the next reply."""
        answer = self._next_reply(request)
        if answer.steps and answer.steps[0].kind == "error":
            raise ProviderError(answer.steps[0].data)
        yield [ResponseInfo(f"faux-{self.calls}", request.model_id)]
        usage_report = UsageReport(input=estimate_input_tokens(request.context), output=0)
        call_count = 0
        for step in answer.steps:
            match step.kind:
                case "stall":
                    await asyncio.Event().wait()
                case "cut":
                    return
                case "error":
                    raise ProviderError(step.data)
                case "usage":
                    usage_report = step.data
                case "redacted":
                    yield [RedactedThinking(step.text)]
                case "deltas":
                    yield step.data
                case "text" | "thinking" | "tool":
                    for delta in _content_deltas(step, call_count, self.chunk_size):
                        if self.delay:
                            await asyncio.sleep(self.delay)
                        yield [delta]
                    if step.kind == "thinking" and step.data:
                        yield [ThinkingSignature(step.data)]
                    call_count += step.kind == "tool"
                case _:
                    assert_never(step.kind)
        if not any(step.kind == "usage" for step in answer.steps):
            usage_report.output = sum(estimate_tokens(step.text) for step in answer.steps)
        yield [usage_report, Finish(answer.stop or ("tool_calls" if call_count else "stop"))]


def _content_deltas(step: _Step, call_index: int, chunk_size: int) -> Iterator[Delta]:
    for index, chunk in enumerate(_split_chunks(step.text, chunk_size)):
        match step.kind:
            case "text":
                yield Text(chunk)
            case "thinking":
                yield Thinking(chunk)
            case "tool" if index == 0:
                yield ToolFragment(call_index, step.id, step.name, chunk)
            case "tool":
                yield ToolFragment(call_index, arguments=chunk)
            case _:
                raise AssertionError(f"a step of kind {step.kind!r} has no content")


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
    """Answer every model `name/…` with these replies within the block, one per request.

    Args:
        replies: Strings, steps, `reply(…)`, or functions from the `Request` to one of these.
        name: The provider's name. Scripts with different names can be active together.
        chunk_size: Characters per delta.
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
