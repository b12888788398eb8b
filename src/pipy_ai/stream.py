"""The event queue and the two streams, sync and async. Re-exports the events."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol

from typing_extensions import TypeVar

from .errors import ErrorKind, error_info
from .events import (
    AssistantMessageEvent,
    DoneEvent,
    ErrorEvent,
    StartEvent,
    TextDeltaEvent,
    TextEndEvent,
    TextStartEvent,
    ThinkingDeltaEvent,
    ThinkingEndEvent,
    ThinkingStartEvent,
    ToolCallDeltaEvent,
    ToolCallEndEvent,
    ToolCallStartEvent,
    ToolEvent,
    ToolResultEvent,
    event_from_dict,
)
from .types import AssistantMessage, StopReason
from .utils.channel import WAIT_SLICE_S, Channel, await_future
from .utils.construct import construct_unchecked

if TYPE_CHECKING:
    from typing import Self


__all__ = [
    "AssistantMessageEvent",
    "AssistantMessageEventStream",
    "AsyncAssistantMessageEventStream",
    "DoneEvent",
    "ErrorEvent",
    "EventQueue",
    "EventSource",
    "StartEvent",
    "TextDeltaEvent",
    "TextEndEvent",
    "TextStartEvent",
    "ThinkingDeltaEvent",
    "ThinkingEndEvent",
    "ThinkingStartEvent",
    "ToolCallDeltaEvent",
    "ToolCallEndEvent",
    "ToolCallStartEvent",
    "ToolEvent",
    "ToolResultEvent",
    "event_from_dict",
]

M = TypeVar("M", bound=AssistantMessage, default=AssistantMessage)  # what a stream ends with


class EventSource(Protocol):
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
        self.result_future: concurrent.futures.Future[Any] = (
            concurrent.futures.Future()
        )  # the message
        self._last_event: AssistantMessageEvent | None = None
        self._lock = threading.Lock()

    def push(self, events: list[AssistantMessageEvent]) -> None:
        """Add events. The first `done` or `error` is the last event; what follows is dropped."""
        if not events:
            return
        with self._lock:
            if self.result_future.done():
                return
            last_event = self._last_event = events[-1]
            self.channel.put(events)
            if isinstance(last_event, DoneEvent | ErrorEvent):
                self.channel.close()
                self.result_future.set_result(last_event.partial)

    def fail(self, kind: ErrorKind, text: str) -> None:
        """End with an error that keeps the message as of the last event."""
        last_event = self._last_event
        try:
            message = (
                construct_unchecked(AssistantMessage)
                if last_event is None
                else last_event.partial.model_copy()
            )
        except Exception:  # a message that cannot be built; the end must come all the same
            message = construct_unchecked(AssistantMessage)
        message.error = error_info(kind, text)
        message.error_message = text
        aborted = kind is ErrorKind.ABORTED
        message.stop_reason = StopReason.ABORTED if aborted else StopReason.ERROR
        self.push([ErrorEvent(reason=message.stop_reason, error=message)])


class _BaseStream:
    """What both streams share: the way in for producers, and the way out."""

    def __init__(self, source: EventSource | None = None, queue: EventQueue | None = None) -> None:
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
        if self._queue.result_future.done():
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


class AssistantMessageEventStream(_BaseStream, Generic[M]):
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
                    return self._queue.result_future.result(WAIT_SLICE_S)  # type: ignore[no-any-return]
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


class AsyncAssistantMessageEventStream(_BaseStream, Generic[M]):
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
            return await await_future(self._queue.result_future)
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
