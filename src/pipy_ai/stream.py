"""The streams of events, sync and async, and their queue. Re-exports the events."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import AsyncGenerator, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol

from typing_extensions import TypeVar

from .errors import ErrorKind, PipyError, error_info
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

_FORKED_MESSAGE = (
    "The process was forked while the response was arriving. Read it in the parent, or send"
    " the request in the child."
)

_FINAL_EVENTS = (DoneEvent, ErrorEvent)

M = TypeVar("M", bound=AssistantMessage, default=AssistantMessage)  # the type of the result


class EventSource(Protocol):
    """The producer behind a stream: a request in flight."""

    def begin(self) -> None:
        """Start the request if it has not been started. Called in the consumer's context."""

    def abort(self) -> None:
        """Abort the request. May be called from any thread, more than once."""

    async def closed(self) -> None:
        """Wait until all resources of the request are closed."""


class EventQueue:
    """The events between a producer and its consumer; may outlive its stream."""

    def __init__(self) -> None:
        self.result_only = False  # only the final message is needed, so fewer events are enough
        self.channel: Channel[AssistantMessageEvent] = Channel()
        self._result_future: concurrent.futures.Future[Any] | None = None  # 1 kB if it is needed
        self._last_event: AssistantMessageEvent | None = None
        self._final_message: AssistantMessage | None = None  # after the first `done` or `error`
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether there is a final message."""
        return self._final_message is not None

    @property
    def result_future(self) -> concurrent.futures.Future[Any]:
        """The final message, once there is one."""
        with self._lock:
            if self._result_future is None:
                self._result_future = concurrent.futures.Future()
                if self._final_message is not None:
                    self._result_future.set_result(self._final_message)
            return self._result_future

    def push(self, events: list[AssistantMessageEvent]) -> None:
        """Add events. Those after the first `done` or `error` are dropped."""
        if not events or self._final_message is not None:
            return
        last_event = events[-1]
        if not isinstance(last_event, _FINAL_EVENTS):  # nearly always, so without the lock
            self._last_event = last_event
            if not self.result_only:
                self.channel.put(events)
            return
        with self._lock:
            if self._final_message is not None:
                return
            self._last_event = last_event
            self._final_message = last_event.partial._hand_over()
            self.channel.put(() if self.result_only else events, last=True)
            if self._result_future is not None:
                self._result_future.set_result(self._final_message)

    def fail_after_fork(self) -> None:
        """End in a forked child, where the thread that reads the response does not exist."""
        self._lock = threading.Lock()
        self.channel = self.channel.after_fork()
        self._result_future = None
        if self._final_message is not None:
            self.channel.close()
        else:
            self.fail(ErrorKind.CONNECTION, _FORKED_MESSAGE)

    def fail(self, kind: ErrorKind, text: str) -> None:
        """End with an error event that keeps the message as of the last event."""
        last_event = self._last_event
        try:
            message = (
                construct_unchecked(AssistantMessage)
                if last_event is None
                else last_event.partial.model_copy()
            )
        except Exception:  # the stream must end even if its message cannot be built
            message = construct_unchecked(AssistantMessage)
        message.error = error_info(kind, text)
        message.error_message = text
        aborted = kind is ErrorKind.ABORTED
        message.stop_reason = StopReason.ABORTED if aborted else StopReason.ERROR
        self.push([ErrorEvent(reason=message.stop_reason, error=message)])


class _BaseStream:
    """The methods that both streams share."""

    def __init__(
        self,
        source: EventSource | None = None,
        queue: EventQueue | None = None,
        *,
        raise_on_error: bool = False,
    ) -> None:
        self._source = source
        self._queue = queue or EventQueue()
        self._raise_on_error = raise_on_error

    def __repr__(self) -> str:
        from .reprs import stream_repr

        return stream_repr(self, self._queue)

    def push(self, event: AssistantMessageEvent) -> None:
        """Add an event, for agents and proxies that re-emit another stream.

        Events after `done` or `error` are dropped. May be called from any thread.
        """
        self._queue.push([event])

    def end(self, result: AssistantMessage | None = None) -> None:
        """End the stream. May be called from any thread.

        If no last event was pushed, `result` becomes the last event; without a `result` the
        response counts as incomplete.
        """
        if result is None:
            self._queue.fail(ErrorKind.INCOMPLETE, "The stream ended without a final event.")
            return
        reason = result.stop_reason or StopReason.STOP
        if reason in (StopReason.ERROR, StopReason.ABORTED):
            self.push(ErrorEvent(reason=reason, error=result))
        else:
            self.push(DoneEvent(reason=reason, message=result))

    def abort(self) -> None:
        """Abort the request and close its connection. Never blocks; safe from any thread.

        The stream then ends with an `error` event of reason `aborted` that keeps all content so
        far. Has no effect after the last event.
        """
        if self._queue.ended:
            return
        if self._source is not None:
            self._source.abort()
        else:
            self._queue.fail(ErrorKind.ABORTED, "The request was aborted.")

    def _without_events(self) -> Self:
        """Make few events, because only the result is wanted. Return the stream."""
        self._queue.result_only = True
        return self

    def _begin(self) -> None:
        if self._source is not None:
            self._source.begin()

    def __del__(self) -> None:
        if hasattr(self, "_queue"):  # false if `__init__` failed
            self.abort()


class AssistantMessageEventStream(_BaseStream, Generic[M]):
    """The events of a response, as a blocking iterable.

    Iterate over it, or call `result()`. Leaving the loop, the `with` block or the scope closes the
    connection immediately. Only one consumer may iterate; `abort`, `push` and `end` may be called
    from any thread. Events are kept in memory until they are consumed.

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
            self.abort()  # no effect after the last event
        if self._raise_on_error:
            self.result()

    def result(self) -> M:
        """Wait for the final message and return it. Works before, during and after iteration.

        Raises:
            PipyError: The request failed, and `raise_on_error=True` was given.
        """
        self._begin()
        message: M | None = None
        try:
            while message is None:
                with contextlib.suppress(TimeoutError):
                    message = self._queue.result_future.result(WAIT_SLICE_S)
        except BaseException:
            self.abort()  # Ctrl-C
            raise
        return message.raise_for_error() if self._raise_on_error else message

    def display(self) -> None:
        """Show the answer as it arrives: rendered in Jupyter, elsewhere as text on stdout.

        Returns when the answer is complete; `result()` then returns it. In Jupyter, a stream that
        is the last expression of a cell is shown the same way.
        """
        from .notebook import EventPrinter

        event = None
        with EventPrinter() as printer:
            for event in self:
                printer.show(event)
        if event is None:
            printer.show_final(self.result())

    def _ipython_display_(self) -> None:
        with contextlib.suppress(PipyError):  # it is shown, and Jupyter would only print it
            self.display()

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
    """The events of a response, as an asynchronous iterable.

    The async version of `AssistantMessageEventStream`.

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
            self.abort()  # no effect after the last event
        if self._raise_on_error:
            await self.result()

    async def result(self) -> M:
        """Wait for the final message and return it. Works before, during and after iteration.

        Raises:
            PipyError: The request failed, and `raise_on_error=True` was given.
        """
        self._begin()
        try:
            message: M = await await_future(self._queue.result_future)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        return message.raise_for_error() if self._raise_on_error else message

    async def display(self) -> None:
        """Show the answer as it arrives: rendered in Jupyter, elsewhere as text on stdout.

        Use `await astream(…).display()`. Returns when the answer is complete.
        """
        from .notebook import EventPrinter

        event = None
        with EventPrinter() as printer:
            async with contextlib.aclosing(self.__aiter__()) as events:
                async for event in events:
                    printer.show(event)
        if event is None:
            printer.show_final(await self.result())

    async def aclose(self) -> None:
        """Abort the request if it is in flight, and wait until it has ended.

        A backend that is slow to close its connection finishes doing so in the background.
        """
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
