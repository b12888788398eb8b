"""The events of an answer, and the two streams that carry them.

    stream := error | start block-events* ( done | error )

Every block is announced (`text_start`), grows (`text_delta`) and ends (`text_end`), likewise
`thinking_*` and `toolcall_*`. `content_index` is the block's place in the message, for ever.

    for event in stream("anthropic/claude-sonnet-4-5", "Write a haiku."):
        match event.type:
            case "text_delta":
                print(event.delta, end="", flush=True)
            case "error":
                print(event.error.error_message)
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, get_args

from pydantic import ValidationError
from typing_extensions import TypeVar

from .errors import ErrorKind, error_info
from .types import AssistantMessage, StopReason, ToolCall, ToolResultMessage
from .utils.channel import WAIT, Channel, settled
from .utils.made import made

if TYPE_CHECKING:
    from typing import Self

    from .tool_loop import ToolEvent

# === Events ===


class _Log(Protocol):
    """A growing message that can tell what it was at any of its positions."""

    def message_at(self, position: int) -> AssistantMessage: ...


E = TypeVar("E", bound="_Event")
M = TypeVar("M", bound=AssistantMessage, default=AssistantMessage)  # what a stream ends with


class _Event:
    """What all events share: a `partial` that is worked out when somebody looks."""

    __slots__ = ("_log", "_position")

    _type: ClassVar[str]
    _own: ClassVar[tuple[str, ...]]  # the fields that `_at` is given
    _log: _Log
    _position: int

    @classmethod
    def _at(cls: type[E], log: _Log, position: int, *values: Any) -> E:
        """The event at a position of a log; its `partial` is read when somebody asks."""
        event: Any = cls.__new__(cls)
        event.type = cls._type
        for name, value in zip(cls._own, values, strict=True):
            setattr(event, name, value)
        event._log = log
        event._position = position
        return event  # type: ignore[no-any-return]

    if not TYPE_CHECKING:  # a checker would take any attribute for granted

        def __getattr__(self, name):
            if name == "partial":  # not read before: its slot is still empty
                message = self._log.message_at(self._position)
                self.partial = message
                return message
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def parsed_partial(self) -> Any:
        """What has come of a typed answer (`output=`), as plain JSON data; None: nothing yet.

        It is worked out when somebody looks, and not checked against the type.
        """
        event: Any = self
        return getattr(event.partial, "parsed_partial", None)

    def to_dict(self, *, partial: bool = False) -> dict[str, Any]:
        """The event as JSON-ready data, without the message so far unless `partial` is true."""
        data: dict[str, Any] = {}
        for name in _field_names(self):
            if name != "partial" or partial:
                value = getattr(self, name)
                dump = getattr(value, "model_dump", None)
                data[name] = dump(mode="json") if dump is not None else value
        return data

    # Pickles and copies hold the message itself, not the log that it came from.
    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _field_names(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _field_names(event: Any) -> list[str]:
    return [field.name for field in fields(event)]


class _Delta(_Event):
    """An event that comes by the thousand, made without detours."""

    __slots__ = ()

    @classmethod
    def _at(cls: type[E], log: _Log, position: int, *values: Any) -> E:
        event: Any = cls.__new__(cls)
        event.type = cls._type
        event.content_index, event.delta = values
        event._log = log
        event._position = position
        return event  # type: ignore[no-any-return]


@dataclass(slots=True, kw_only=True)
class StartEvent(_Event):
    """The provider has accepted the request."""

    type: Literal["start"] = "start"
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class TextStartEvent(_Event):
    """A text block begins."""

    type: Literal["text_start"] = "text_start"
    content_index: int
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class TextDeltaEvent(_Delta):
    """More text."""

    type: Literal["text_delta"] = "text_delta"
    content_index: int
    delta: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class TextEndEvent(_Event):
    """A text block is complete; `content` is all of it."""

    type: Literal["text_end"] = "text_end"
    content_index: int
    content: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ThinkingStartEvent(_Event):
    """A thinking block begins. A redacted one is whole at once and has no deltas."""

    type: Literal["thinking_start"] = "thinking_start"
    content_index: int
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ThinkingDeltaEvent(_Delta):
    """More thinking."""

    type: Literal["thinking_delta"] = "thinking_delta"
    content_index: int
    delta: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ThinkingEndEvent(_Event):
    """A thinking block is complete; `content` is all of it."""

    type: Literal["thinking_end"] = "thinking_end"
    content_index: int
    content: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ToolCallStartEvent(_Event):
    """A tool call begins; its id and name stand in `partial.content[content_index]`."""

    type: Literal["toolcall_start"] = "toolcall_start"
    content_index: int
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ToolCallDeltaEvent(_Delta):
    """More of the call's arguments, as raw JSON text."""

    type: Literal["toolcall_delta"] = "toolcall_delta"
    content_index: int
    delta: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ToolCallEndEvent(_Event):
    """A tool call is complete."""

    type: Literal["toolcall_end"] = "toolcall_end"
    content_index: int
    tool_call: ToolCall
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class DoneEvent(_Event):
    """The answer is complete. Always the last event."""

    type: Literal["done"] = "done"
    reason: StopReason
    message: AssistantMessage

    @property
    def partial(self) -> AssistantMessage:
        """The whole message: the same as `message`."""
        return self.message


@dataclass(slots=True, kw_only=True)
class ErrorEvent(_Event):
    """The answer failed or was stopped; `error` is the message with all that came before, and
    `error.error` says why. Always the last event."""

    type: Literal["error"] = "error"
    reason: StopReason
    error: AssistantMessage

    @property
    def partial(self) -> AssistantMessage:
        """What had arrived: the same as `error`."""
        return self.error


AssistantMessageEvent: TypeAlias = (
    StartEvent
    | TextStartEvent
    | TextDeltaEvent
    | TextEndEvent
    | ThinkingStartEvent
    | ThinkingDeltaEvent
    | ThinkingEndEvent
    | ToolCallStartEvent
    | ToolCallDeltaEvent
    | ToolCallEndEvent
    | DoneEvent
    | ErrorEvent
)

for _cls in get_args(AssistantMessageEvent):
    _cls._type = _cls.__dataclass_fields__["type"].default
    _cls._own = tuple(n for n in _cls.__dataclass_fields__ if n not in ("type", "partial"))


def event_from_dict(data: Mapping[str, Any]) -> ToolEvent:
    """The event that `to_dict` has made such data of; fields that are not known are passed over.

    `partial` is exact where it was written (`to_dict(partial=True)`), else an empty message.

    Raises:
        ValueError: it is no event; the text says why.

    Example:
        >>> from pipy_ai import event_from_dict
        >>> event_from_dict({"type": "text_delta", "content_index": 0, "delta": "Hi"}).delta
        'Hi'
    """
    from .tool_loop import ToolResultEvent

    kinds = {cls._type: cls for cls in get_args(AssistantMessageEvent)}
    kinds["tool_result"] = ToolResultEvent
    kind = data.get("type") if isinstance(data, Mapping) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"there is no event of type {kind!r}")
    event: ToolEvent = kinds[kind](**_read(kinds[kind], kind, data))
    return event


def _read(cls: type[Any], kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event, read from JSON."""
    message = ToolResultMessage if kind == "tool_result" else AssistantMessage
    models = {"tool_call": ToolCall, "message": message, "error": message, "partial": message}
    plain = {"content_index": int, "delta": str, "content": str}
    found: dict[str, Any] = {}
    for name in cls.__dataclass_fields__:
        value = data.get(name, {} if name == "partial" else None)
        if name in models:
            try:
                found[name] = models[name].model_validate(value)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in (name, *first["loc"]))
                raise ValueError(f"{kind}: {where}: {first['msg']}") from None
        elif name == "reason":
            found[name] = StopReason(value)
        elif name != "type":
            if type(value) is not plain[name]:
                raise ValueError(f"{kind}: {name} is missing or of a wrong type")
            found[name] = value
    return found


# === Streams ===


class Source(Protocol):
    """What feeds a stream: a request under way."""

    def begin(self) -> None:
        """Start the request if it has not been started. Called in the consumer's context."""

    def abort(self) -> None:
        """Stop the request. From any thread, any number of times."""

    async def closed(self) -> None:
        """Wait until everything that the request opened is closed."""


class EventQueue:
    """Where a producer's events meet their consumer; may outlive the stream that it belongs to."""

    def __init__(self) -> None:
        self.channel: Channel[AssistantMessageEvent] = Channel()
        self.final: concurrent.futures.Future[Any] = concurrent.futures.Future()  # the message
        self._last: AssistantMessageEvent | None = None
        self._lock = threading.Lock()

    def push(self, events: list[AssistantMessageEvent]) -> None:
        """Add events. The first `done` or `error` is the last event; what follows is dropped."""
        if not events:
            return
        with self._lock:
            if self.final.done():
                return
            last = self._last = events[-1]
            self.channel.put(events)
            if isinstance(last, DoneEvent | ErrorEvent):
                self.channel.close()
                self.final.set_result(last.partial)

    def fail(self, kind: ErrorKind, text: str) -> None:
        """End with an error that keeps the message as of the last event."""
        last = self._last
        try:
            message = made(AssistantMessage) if last is None else last.partial.model_copy()
        except Exception:  # a message that cannot be built; the end must come all the same
            message = made(AssistantMessage)
        message.error = error_info(kind, text)
        message.error_message = text
        aborted = kind is ErrorKind.ABORTED
        message.stop_reason = StopReason.ABORTED if aborted else StopReason.ERROR
        self.push([ErrorEvent(reason=message.stop_reason, error=message)])


class _Stream:
    """What both streams share: the way in for producers, and the way out."""

    def __init__(self, source: Source | None = None, queue: EventQueue | None = None) -> None:
        self._source = source
        self._queue = queue or EventQueue()

    def push(self, event: AssistantMessageEvent) -> None:
        """Add an event, from any thread: for agents and proxies that re-emit a stream of theirs.

        After `done` or `error` further events are dropped.
        """
        self._queue.push([event])

    def end(self, result: AssistantMessage | None = None) -> None:
        """No more events will be pushed. `result` makes the last event if none was pushed;
        without either, the answer counts as cut off. From any thread."""
        if result is None:
            self._queue.fail(ErrorKind.INCOMPLETE, "The stream was ended without a last event.")
            return
        reason = result.stop_reason or StopReason.STOP
        if reason in (StopReason.ERROR, StopReason.ABORTED):
            self.push(ErrorEvent(reason=reason, error=result))
        else:
            self.push(DoneEvent(reason=reason, message=result))

    def abort(self) -> None:
        """Stop the request and close its connection, from any thread. Never blocks.

        The stream then ends with an `error` event of reason `aborted` that keeps all so far.
        After the last event it does nothing.
        """
        if self._queue.final.done():
            return
        if self._source is not None:
            self._source.abort()
        else:
            self._queue.fail(ErrorKind.ABORTED, "The request was aborted.")

    def _begin(self) -> None:
        if self._source is not None:
            self._source.begin()

    def __del__(self) -> None:
        if hasattr(self, "_queue"):  # dropping the stream is leaving it
            self.abort()


class AssistantMessageEventStream(_Stream, Generic[M]):
    """The events of an answer, as a blocking iterable.

    Iterate it, or call `result()`. Leaving the loop, the `with` block or the scope closes the
    connection at once. One consumer iterates; `abort`, `push` and `end` may be called from any
    thread. Events wait in memory until they are taken.

    Example:
        >>> from pipy_ai import stream
        >>> with stream("faux/echo", "Hi there") as s:
        ...     print("".join(e.delta for e in s if e.type == "text_delta"))
        Hi there
        >>> s.result().stop_reason
        <StopReason.STOP: 'stop'>
    """

    def __iter__(self) -> Generator[AssistantMessageEvent, None, None]:
        try:
            self._begin()
            while batch := self._queue.channel.get():
                yield from batch
        finally:
            self.abort()  # does nothing after the last event

    def result(self) -> M:
        """The final message; blocks until it is there. Works before, during, after iteration."""
        self._begin()
        try:
            while True:
                try:
                    return self._queue.final.result(WAIT)  # type: ignore[no-any-return]
                except TimeoutError:
                    continue
        except BaseException:
            self.abort()  # Ctrl-C
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()


class AsyncAssistantMessageEventStream(_Stream, Generic[M]):
    """The events of an answer, as an asynchronous iterable: the twin of
    `AssistantMessageEventStream`.

    Example:
        >>> import asyncio
        >>> from pipy_ai import astream
        >>> async def main():
        ...     async with astream("faux/echo", "Hi there") as s:
        ...         async for event in s:
        ...             if event.type == "text_delta":
        ...                 print(event.delta, end="")
        ...     return (await s.result()).stop_reason
        >>> asyncio.run(main())
        Hi there<StopReason.STOP: 'stop'>
    """

    async def __aiter__(self) -> AsyncGenerator[AssistantMessageEvent, None]:
        try:
            self._begin()
            while batch := await self._queue.channel.aget():
                for event in batch:
                    yield event
        finally:
            self.abort()  # does nothing after the last event

    async def result(self) -> M:
        """The final message. Works before, during, after iteration."""
        self._begin()
        try:
            return await settled(self._queue.final)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Stop the request if it still runs, and wait until it has ended. A backend that takes
        longer than a moment to close its connection goes on closing it in the background."""
        self.abort()
        if self._source is not None:
            await self._source.closed()

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
