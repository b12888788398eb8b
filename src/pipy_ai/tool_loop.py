"""Run a conversation with tools: send requests and call tools until the model answers.

    run = run_tools("openai/gpt-5", "What is the weather in Rome?", [get_weather])
    for event in run:
        if event.type == "text_delta":
            print(event.delta, end="")
    print(run.usage.cost.total)

A run yields the events of each turn's stream, and a `tool_result` event for each call in between.
`ToolLoopState` decides what happens next and does no I/O. `ToolRun` and `AsyncToolRun` send the
requests and call the tools.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Unpack, cast, overload

from ._requests import ModelSpec, merge_options, takes_options
from .abort import AbortSignal
from .api import astream, stream
from .context import Prompt
from .events import DoneEvent, ErrorEvent, ToolEvent
from .options import Options, StreamOptions
from .provider.tool_observer import ToolLoopObserver, tool_loop_factories
from .stream import M
from .tool_jobs import (
    CANCEL_GRACE_S,
    CoroutineFactory,
    ObservedToolJob,
    ToolJob,
    refusal_result,
    run_with_limit,
)
from .tool_loop_state import ABORTED_TEXT, ToolLoopState, TypedOutput
from .tool_loop_state import ApproveCallback as ApproveCallback
from .tools import ToolLike
from .types import AssistantMessage, Message, ToolCall, ToolResultMessage, Usage
from .usage import sum_usage
from .utils import event_loop as loops
from .utils.channel import Channel

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import TypeForm

    from .output.schema import Output, OutputMode, ParsedMessage

T = TypeVar("T")


@overload
def run_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: None = None,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> ToolRun: ...
@overload
def run_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> ToolRun[ParsedMessage[Any]]: ...
@overload
def run_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> ToolRun[ParsedMessage[T]]: ...
@overload
def run_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: TypeForm[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> ToolRun[ParsedMessage[T]]: ...
@takes_options
def run_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> ToolRun[Any]:
    """Send a request, call the tools that the model requests, and repeat until it answers.

    Nothing is sent before the run is iterated or `result()` is called.

    Args:
        model: As for `stream`.
        context: As for `stream`. It is not modified: `context.extend(run.messages)` continues the
            conversation.
        tools: Functions, or tools with a function. None: the tools of the context. A `ToolSet`
            among them is read again before each request.
        output: The type of the final answer, as for `complete`. Its value is in
            `run.result().parsed`.
        output_mode: As for `stream`.
        output_retries: As for `complete`. Each retry is a request and counts for `max_turns`; the
            rejected answer ends with an `error` event, and is not in `run.messages`.
        max_turns: The maximum number of requests. Tool calls of the last answer are not executed,
            and the message has a warning.
        approve: Called before each valid tool call, in order. True allows the call. False, or a
            string with the reason, is sent to the model as the error of the call. May be async.
        concurrency: The maximum number of tools that run at the same time. A synchronous function
            runs in the caller's thread if it is the turn's only call or if this is 1.
        options: As for `stream`. A `tool_choice` that forces a call applies to the first request.
        **keywords: As for `stream`. With `raise_on_error=True` the run raises after its last event,
            and in `result()`.

    Raises:
        TypeError: As `stream`.
        ValueError: As `stream`; a tool has no function, or two have the same name; `max_turns` or
            `concurrency` is less than 1.

    Example:
        >>> from pipy_ai import faux, run_tools
        >>> def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> with faux.script(faux.reply(faux.tool("add", a=2, b="3")), "It is 5."):
        ...     run = run_tools("faux/any", "What is 2 + 3?", [add])
        ...     for event in run:
        ...         if event.type == "tool_result":
        ...             print(event.message.content[0].text)
        ...     print(run.result().text)
        5
        It is 5.

        >>> with faux.script(faux.reply(faux.tool("add", a=2, b=3)), '{"value": 5}'):
        ...     run_tools("faux/any", "What is 2 + 3?", [add], output=int).result().parsed
        5
    """
    merged_options = merge_options(options, keywords)
    typed_output = TypedOutput.of(output, output_mode, output_retries)
    return ToolRun(
        ToolLoopState(
            model, context, tools, max_turns, approve, concurrency, merged_options, typed_output
        )
    )


@overload
def arun_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: None = None,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncToolRun: ...
@overload
def arun_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: dict[str, Any] | Output,
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncToolRun[ParsedMessage[Any]]: ...
@overload
def arun_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: type[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncToolRun[ParsedMessage[T]]: ...
@overload
def arun_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: TypeForm[T],
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncToolRun[ParsedMessage[T]]: ...
@takes_options
def arun_tools(
    model: ModelSpec,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    output: Any = None,
    output_mode: OutputMode | None = None,
    output_retries: int = 1,
    max_turns: int = 8,
    approve: ApproveCallback | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncToolRun[Any]:
    """Send a request, call tools, and repeat. The async version of `run_tools`.

    Not a coroutine: use `async for event in arun_tools(…)`. Synchronous functions run in threads,
    so that they do not block the event loop.

    Example:
        >>> import asyncio
        >>> from pipy_ai import arun_tools, faux
        >>> async def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> async def main():
        ...     with faux.script(faux.reply(faux.tool("add", a=2, b=3)), "It is 5."):
        ...         return await arun_tools("faux/any", "What is 2 + 3?", [add]).result()
        >>> asyncio.run(main()).text
        'It is 5.'
    """
    merged_options = merge_options(options, keywords)
    typed_output = TypedOutput.of(output, output_mode, output_retries)
    return AsyncToolRun(
        ToolLoopState(
            model, context, tools, max_turns, approve, concurrency, merged_options, typed_output
        )
    )


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


class _BaseToolRun(Generic[M]):
    """The common part of `ToolRun` and `AsyncToolRun`."""

    def __init__(self, state: ToolLoopState) -> None:
        self._state = state
        self._signal: AbortSignal | None = state.options.signal
        self._aborted = False
        self._stop_callback: Callable[[], None] | None = None
        self._observer: ToolLoopObserver | None = None
        if tool_loop_factories:
            self._observer = tool_loop_factories[-1]()

    @property
    def messages(self) -> list[Message]:
        """The new messages so far: answers and tool results, in conversation order."""
        return self._state.messages

    @property
    def usage(self) -> Usage:
        """The tokens and cost of all answers so far. The cost is unknown if one answer's is."""
        return sum_usage(m.usage for m in self._state.messages if isinstance(m, AssistantMessage))

    def abort(self) -> None:
        """Abort the run. May be called from any thread.

        The request in flight is aborted. Async tools are cancelled; tools in threads are not waited
        for, except one that runs in the caller's own thread. The run ends with an `error` event of
        reason `aborted`.
        """
        self._aborted = True
        stop = self._stop_callback
        if stop is not None:
            stop()

    @property
    def _should_stop(self) -> bool:
        return self._aborted or (self._signal is not None and self._signal.aborted)

    @contextlib.contextmanager
    def _on_abort(
        self, stop: Callable[[], None], *, watch_signal: bool
    ) -> Generator[None, None, None]:
        """Call `stop` on an abort within the block, and if `watch_signal`, also on the signal's."""
        self._stop_callback = stop
        remove_listener = None
        if watch_signal and self._signal is not None:
            remove_listener = self._signal.add_listener(stop)
        try:
            if self._aborted:
                stop()
            yield
        finally:
            self._stop_callback = None
            if remove_listener is not None:
                remove_listener()

    def _open_stream(self, function: Callable[..., T]) -> T:
        """Send the next request with `stream` or `astream`."""
        arguments, options = self._state.next_request(), self._state.stream_options
        if self._observer is None:
            return function(*arguments, **options)
        with self._observer.requesting():
            return function(*arguments, **options)

    def _observed_job(self, job: ToolJob) -> ToolJob:
        if self._observer is None:
            return job
        tool = next((tool for tool in self._state.tools if tool.name == job.call.name), None)
        observer = self._observer.tool_call(job.call, tool)
        return ObservedToolJob(job.call, job.implementation, job.arguments, observer)

    def _abort_event(self) -> ErrorEvent:
        return self._state.abort(self._signal.reason if self._signal is not None else None)

    def _final_message(self) -> M:
        if self._state.final_message is None:  # the iteration was left early
            self._abort_event()
        message: Any = self._state.final_message
        if self._state.raise_on_error:
            message.raise_for_error()
        return cast("M", message)

    def __repr__(self) -> str:
        from .reprs import run_repr

        return run_repr(self, self._state.final_message)

    def _repr_markdown_(self) -> str:
        from .notebook import run_markdown

        return run_markdown(self)

    def _repr_html_(self) -> str:
        from .notebook import run_html

        return run_html(self)


class ToolRun(_BaseToolRun[M]):
    """A run of `run_tools`: iterate it, or call `result()`. Leaving the loop aborts it."""

    _events: Generator[ToolEvent, None, None] | None = None

    def __iter__(self) -> Generator[ToolEvent, None, None]:
        if self._events is None:
            self._events = self._run() if self._observer is None else self._observe(self._observer)
        try:
            yield from self._events
        finally:
            self._events.close()
        if self._state.raise_on_error:
            self._final_message()

    def display(self) -> None:
        """Run to the end and show it: live in Jupyter, elsewhere as text on stdout."""
        from .notebook import EventPrinter

        with EventPrinter() as printer:
            for event in self:
                printer.show(event)

    def result(self) -> M:
        """Return the final answer. Runs to the end first, and discards the remaining events."""
        for _ in self:
            pass
        return self._final_message()

    def _observe(self, observer: ToolLoopObserver) -> Generator[ToolEvent, None, None]:
        observer.begun()
        try:
            with contextlib.closing(self._run()) as events:
                yield from events
        finally:
            observer.ended(self._state.final_message)
            observer.wait()

    def _run(self) -> Generator[ToolEvent, None, None]:
        state = self._state
        while state.final_message is None:
            if self._should_stop:
                yield self._abort_event()
                return
            with (
                self._open_stream(stream) as answer,
                self._on_abort(answer.abort, watch_signal=False),  # the request watches it itself
            ):
                for event in answer:
                    if isinstance(event, DoneEvent | ErrorEvent):
                        state.on_answer(event)
                    yield event
            state.settle_answer()
            try:
                with contextlib.closing(self._tool_results()) as results:
                    for result in results:
                        yield state.on_result(result)
            finally:
                state.end_turn()

    def _tool_results(self) -> Generator[ToolResultMessage, None, None]:
        jobs: list[ToolJob] = []
        for call in self._state.calls.values():
            if self._should_stop:
                return
            prepared = self._prepare_and_approve(call)
            if isinstance(prepared, ToolJob):
                jobs.append(self._observed_job(prepared))
            else:
                yield prepared
        in_parallel = len(jobs) > 1 and self._state.concurrency > 1
        if in_parallel or any(job.needs_loop for job in jobs):
            yield from self._run_concurrently([job.execute for job in jobs])
            return
        for job in jobs:
            if not self._should_stop:
                yield from self._run_inline(job)

    def _prepare_and_approve(self, call: ToolCall) -> ToolJob | ToolResultMessage:
        prepared, approve = self._state.prepare(call), self._state.approve
        if approve is None or isinstance(prepared, ToolResultMessage):
            return prepared
        approval = approve(call)
        if inspect.isawaitable(approval):
            with contextlib.closing(
                self._run_concurrently([partial(_await, approval)])
            ) as approvals:
                approval = next(approvals, ABORTED_TEXT)
        return refusal_result(call, approval) or prepared

    def _run_inline(self, job: ToolJob) -> Iterator[ToolResultMessage]:
        value = job.run()
        if inspect.isawaitable(value):
            yield from self._run_concurrently([partial(job.finish, value)])
        else:
            yield job.to_tool_result(value)

    def _run_concurrently(
        self, factories: Sequence[CoroutineFactory[T]]
    ) -> Generator[T, None, None]:
        """Yield the outcomes of coroutines that run in the background thread's event loop."""
        outcomes: Channel[T] = Channel()
        coroutine = run_with_limit(factories, self._state.concurrency, outcomes)
        task = loops.background_loop().spawn(coroutine, contextvars.copy_context())
        task.ended.add_done_callback(lambda _: outcomes.close())

        def stop() -> None:
            task.cancel()
            outcomes.close()

        try:
            with self._on_abort(stop, watch_signal=True):
                while batch := outcomes.get():
                    yield from batch
        finally:
            task.cancel()
            concurrent.futures.wait([task.ended], CANCEL_GRACE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._state.final_message is None:
            self.abort()
        if self._events is not None:
            self._events.close()


class AsyncToolRun(_BaseToolRun[M]):
    """A run of `arun_tools`. The async version of `ToolRun`."""

    _events: AsyncGenerator[ToolEvent, None] | None = None

    async def __aiter__(self) -> AsyncGenerator[ToolEvent, None]:
        if self._events is None:
            self._events = self._run() if self._observer is None else self._observe(self._observer)
        try:
            async for event in self._events:
                yield event
        finally:
            await self._events.aclose()
        if self._state.raise_on_error:
            self._final_message()

    async def display(self) -> None:
        """Run to the end and show it. The async version of `ToolRun.display`."""
        from .notebook import EventPrinter

        with EventPrinter() as printer:
            async with contextlib.aclosing(self.__aiter__()) as events:
                async for event in events:
                    printer.show(event)

    async def result(self) -> M:
        """Return the final answer. Runs to the end first, and discards the remaining events."""
        async with contextlib.aclosing(self.__aiter__()) as events:
            async for _ in events:
                pass
        return self._final_message()

    async def _observe(self, observer: ToolLoopObserver) -> AsyncGenerator[ToolEvent, None]:
        observer.begun()
        try:
            async with contextlib.aclosing(self._run()) as events:
                async for event in events:
                    yield event
        finally:
            observer.ended(self._state.final_message)
            await observer.settle()

    async def _run(self) -> AsyncGenerator[ToolEvent, None]:
        state = self._state
        while state.final_message is None:
            if self._should_stop:
                yield self._abort_event()
                return
            async with self._open_stream(astream) as answer:
                with self._on_abort(answer.abort, watch_signal=False):
                    async for event in answer:
                        if isinstance(event, DoneEvent | ErrorEvent):
                            state.on_answer(event)
                        yield event
            state.settle_answer()
            try:
                async with contextlib.aclosing(self._tool_results()) as results:
                    async for result in results:
                        yield state.on_result(result)
            finally:
                state.end_turn()

    async def _tool_results(self) -> AsyncGenerator[ToolResultMessage, None]:
        factories: list[CoroutineFactory[ToolResultMessage]] = []
        for call in self._state.calls.values():
            if self._should_stop:
                return
            prepared = await self._prepare_and_approve(call)
            if isinstance(prepared, ToolJob):
                factories.append(self._observed_job(prepared).execute)
            else:
                yield prepared
        async with contextlib.aclosing(self._run_concurrently(factories)) as results:
            async for result in results:
                yield result

    async def _prepare_and_approve(self, call: ToolCall) -> ToolJob | ToolResultMessage:
        prepared, approve = self._state.prepare(call), self._state.approve
        if approve is None or isinstance(prepared, ToolResultMessage):
            return prepared
        approval = approve(call)
        if inspect.isawaitable(approval):
            async with contextlib.aclosing(
                self._run_concurrently([partial(_await, approval)])
            ) as approvals:
                approval = await anext(approvals, ABORTED_TEXT)
        return refusal_result(call, approval) or prepared

    async def _run_concurrently(
        self, factories: Sequence[CoroutineFactory[T]]
    ) -> AsyncGenerator[T, None]:
        """Yield the outcomes of coroutines that run in the current event loop."""
        outcomes: Channel[T] = Channel()
        loop = asyncio.get_running_loop()
        task = loop.create_task(run_with_limit(factories, self._state.concurrency, outcomes))
        task.add_done_callback(lambda _: outcomes.close())

        def stop() -> None:
            outcomes.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing runs in it
                loop.call_soon_threadsafe(task.cancel)

        try:
            with self._on_abort(stop, watch_signal=True):
                while batch := await outcomes.aget():
                    for outcome in batch:
                        yield outcome
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_GRACE_S)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._state.final_message is None:
            self.abort()
        if self._events is not None:
            await self._events.aclose()
