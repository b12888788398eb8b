"""Run one tool call: in the caller's thread, an event loop or another thread, with its timeout."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, get_args

from pydantic import BaseModel
from pydantic_core import to_json

from .context import tool_result
from .function_schema import ToolImplementation
from .provider.tool_observer import ToolCallObserver
from .types import ToolCall, ToolResultContent, ToolResultMessage
from .utils import event_loop as loops
from .utils.channel import Channel
from .utils.surrogates import clean_json_surrogates, clean_surrogates

T = TypeVar("T")
CoroutineFactory: TypeAlias = Callable[[], Coroutine[Any, Any, T]]

REFUSED_TEXT = "The user did not allow this call."
TIMEOUT_TEXT = "The call was abandoned: no result within"
CANCEL_GRACE_S = 1.0  # how long to wait for cancelled tools to end

_timed_tasks: set[asyncio.Task[Any]] = set()  # the loop keeps no reference to abandoned ones

_RESULT_CONTENT: Any = get_args(ToolResultContent)[0]  # the union, for isinstance


@dataclass(slots=True)
class ToolJob:
    """A valid call of a tool."""

    call: ToolCall
    implementation: ToolImplementation
    arguments: dict[str, Any]

    def run(self) -> Any:
        """Call the function, and return its value or an error result.

        The value of an async function is awaitable. Catching `CancelledError` here keeps one that
        the function raises itself from looking like a cancellation of the run.
        """
        try:
            value = self.implementation.call(self.arguments)
        except (Exception, asyncio.CancelledError) as error:
            return error_result(self.call, error)
        return _collect(value) if inspect.isasyncgen(value) else value

    @property
    def needs_loop(self) -> bool:
        """Whether the call cannot run in the caller's thread."""
        return self.implementation.is_async or self.implementation.timeout is not None

    async def execute(self) -> ToolResultMessage:
        """Call the function from an event loop, and abandon it after its timeout, if any."""
        timeout = self.implementation.timeout
        if timeout is None:
            return await self._execute()
        task = asyncio.get_running_loop().create_task(_catch(self._execute()))
        _timed_tasks.add(task)
        task.add_done_callback(_timed_tasks.discard)
        try:
            await asyncio.wait({task}, timeout=timeout)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})  # it may clean up
            raise
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_GRACE_S)
            return tool_result(self.call, f"{TIMEOUT_TEXT} {timeout:g} seconds.", is_error=True)
        outcome = task.result()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def _execute(self) -> ToolResultMessage:
        """Call the function from an event loop: a synchronous function runs in a thread."""
        if self.implementation.is_async:
            return await self.finish(self.run())
        context = contextvars.copy_context()
        return await self.finish(
            await loops.run_in_thread("pipy-ai tool", lambda: context.run(self.run))
        )

    async def finish(self, value: Any) -> ToolResultMessage:
        """Convert a return value to a tool result, and await it first if necessary."""
        try:
            return self.to_tool_result(await value if inspect.isawaitable(value) else value)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return error_result(self.call, error)  # raised by the tool: the run is not cancelled
        except Exception as error:
            return error_result(self.call, error)

    def to_tool_result(self, value: Any) -> ToolResultMessage:
        """Convert a return value to a tool result. Content parts and text are kept, others JSON."""
        call = self.call
        if isinstance(value, ToolResultMessage):
            return value.model_copy(update={"tool_call_id": call.id, "tool_name": call.name})
        parts: Sequence[Any] = value if isinstance(value, list | tuple) and value else [value]
        if all(isinstance(part, _RESULT_CONTENT) for part in parts):
            return tool_result(call, *parts)
        if isinstance(value, bytes):
            with contextlib.suppress(UnicodeDecodeError):
                value = value.decode()
        if isinstance(value, str):
            return tool_result(call, clean_surrogates(value))
        try:
            json_value = clean_json_surrogates(value)  # file names need not be valid Unicode
            text = to_json(json_value, serialize_unknown=True, fallback=str, bytes_mode="base64")
        except Exception as error:  # the value cannot be serialized
            return error_result(call, error)
        details = value if isinstance(value, BaseModel) else None
        return tool_result(call, text.decode(), details=details)


@dataclass(slots=True)
class ObservedToolJob(ToolJob):
    """A valid call of a tool that an observer watches."""

    observer: ToolCallObserver

    def run(self) -> Any:
        with self.observer.running():
            return ToolJob.run(self)

    async def execute(self) -> ToolResultMessage:
        try:
            result = await ToolJob.execute(self)
        except BaseException:
            self.observer.ended(None)
            raise
        self.observer.ended(result)
        return result

    async def finish(self, value: Any) -> ToolResultMessage:
        with self.observer.running():
            result = await ToolJob.finish(self, value)
        self.observer.ended(result)
        return result

    def to_tool_result(self, value: Any) -> ToolResultMessage:
        result = ToolJob.to_tool_result(self, value)
        self.observer.ended(result)
        return result


async def _collect(values: AsyncIterable[Any]) -> list[Any]:
    return [value async for value in values]


def error_result(call: ToolCall, error: BaseException) -> ToolResultMessage:
    text = str(error)
    name = type(error).__name__
    return tool_result(call, f"{name}: {text}" if text else name, is_error=True)


def refusal_result(call: ToolCall, approval: bool | str) -> ToolResultMessage | None:
    """Return the result of a call that `approve` refused, or None if it was allowed."""
    if approval is True:
        return None
    text = approval if isinstance(approval, str) and approval else REFUSED_TEXT
    return tool_result(call, text, is_error=True)


async def _catch(coroutine: Coroutine[Any, Any, T]) -> T | BaseException:
    """Return the result or the error, so that a task's `SystemExit` does not stop its loop."""
    try:
        return await coroutine
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error


async def run_with_limit(
    factories: Sequence[CoroutineFactory[T]], concurrency: int, outcomes: Channel[T]
) -> None:
    """Await all coroutines, `concurrency` at a time, and put each outcome into the channel."""
    slots = asyncio.Semaphore(concurrency)

    async def run_one(factory: CoroutineFactory[T]) -> None:
        async with slots:
            try:
                outcomes.put([await factory()])
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # e.g. SystemExit: raise it in the consumer instead
                outcomes.close(error)

    async with asyncio.TaskGroup() as group:
        for factory in factories:
            group.create_task(run_one(factory))
