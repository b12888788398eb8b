"""Run a conversation with tools: send requests and call tools until the model answers.

    run = run_tools("openai/gpt-5", "What is the weather in Rome?", [get_weather])
    for event in run:
        if event.type == "text_delta":
            print(event.delta, end="")
    print(run.usage.cost.total)

A run yields the events of each turn's stream, and a `tool_result` event for each call in between.
`_ToolLoopState` decides what happens next and does no I/O. `ToolRun` and `AsyncToolRun` send the
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
    AsyncIterable,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    TypeAlias,
    TypeVar,
    Unpack,
    assert_never,
    cast,
    get_args,
    overload,
)

from pydantic import BaseModel
from pydantic_core import to_json

from ._requests import ModelSpec, merge_options, request_factories, takes_options
from .abort import AbortSignal
from .api import astream, stream
from .context import Prompt, as_context, tool_result
from .errors import ErrorKind, error_info
from .events import DoneEvent, ErrorEvent, ToolEvent, ToolResultEvent
from .function_schema import ToolImplementation
from .options import Options, SimpleStreamOptions, StreamOptions
from .provider.tool_observer import ToolCallObserver, ToolLoopObserver, tool_loop_factories
from .stream import M
from .tools import ToolLike, ToolValidationError, as_tools, find_tool, validate_arguments
from .types import (
    AssistantMessage,
    Context,
    Message,
    ServerTool,
    StopReason,
    Tool,
    ToolCall,
    ToolResultContent,
    ToolResultMessage,
    ToolSet,
    Usage,
    Warning,
    function_tools,
)
from .usage import sum_usage
from .utils import event_loop as loops
from .utils.channel import Channel
from .utils.surrogates import clean_json_surrogates, clean_surrogates

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import TypeForm

    from .output.request import OutputRetries
    from .output.schema import Output, OutputMode, ParsedMessage

T = TypeVar("T")
CoroutineFactory: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
ApproveCallback: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str]]
"""Decides about a tool call: True allows it, False or a reason refuses it. May be async."""

REFUSED_TEXT = "The user did not allow this call."
ABORTED_TEXT = "The call was aborted."
TIMEOUT_TEXT = "The call was abandoned: no result within"
ANSWERED_TEXT = "The call was not executed, because the final answer was given."
CANCEL_GRACE_S = 1.0  # how long to wait for cancelled tools to end

_timed_tasks: set[asyncio.Task[Any]] = set()  # the loop keeps no reference to abandoned ones

_RESULT_CONTENT: Any = get_args(ToolResultContent)[0]  # the union, for isinstance


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
    typed_output = _TypedOutput.of(output, output_mode, output_retries)
    return ToolRun(
        _ToolLoopState(
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
    typed_output = _TypedOutput.of(output, output_mode, output_retries)
    return AsyncToolRun(
        _ToolLoopState(
            model, context, tools, max_turns, approve, concurrency, merged_options, typed_output
        )
    )


@dataclass(frozen=True, slots=True)
class _TypedOutput:
    """The type of the final answer."""

    output: Output
    mode: OutputMode | None
    retries: int

    @classmethod
    def of(cls, output: Any, mode: OutputMode | None, retries: int) -> _TypedOutput | None:
        if output is None:
            return None
        from .output.schema import Output

        if retries < 0:
            raise ValueError(f"output_retries must be 0 or more, not {retries}")
        return cls(Output.of(output), mode, retries)


class _ToolLoopState:
    """The state of a tool loop, without I/O.

    A turn has two phases, which repeat until `final_message` is set:

    1. The request: `next_request` returns its arguments, `on_answer` takes its final event.
    2. The calls: `calls` holds those to execute. `prepare` validates each one, `on_result` takes
       its result in any order, and `end_turn` adds the results to the conversation.

    The rules:

    - An answer without calls ends the run, as does a failed one.
    - The answer to request number `max_turns` ends the run, even if it has calls.
    - Only the first request may force a call: a model that is forced every time never answers.
    - With `output`, an answer with a value ends the run, even if it has other calls: their results
      say so. An invalid one is sent back to the model, as in `complete`.
    - Every call gets a result, in the order of the calls, because providers reject a conversation
      with an unanswered call. A call that has none when the turn ends is reported as aborted.
    - A run that is aborted between requests ends with `abort`; within a request, the request's own
      error is the final event.
    """

    def __init__(
        self,
        model: ModelSpec,
        context: Prompt,
        tools: Iterable[ToolLike] | None,
        max_turns: int,
        approve: ApproveCallback | None,
        concurrency: int,
        options: SimpleStreamOptions,
        output: _TypedOutput | None = None,
    ) -> None:
        if max_turns < 1 or concurrency < 1:
            raise ValueError("max_turns and concurrency must be at least 1")
        original = as_context(context)
        self._tool_source = _tool_source(tools if tools is not None else original.tools or ())
        all_tools = as_tools(self._tool_source)
        self.tools: list[Tool] = _runnable_tools(all_tools)
        # Later changes to the caller's lists do not affect the run.
        snapshot = {"messages": list(original.messages), "tools": all_tools or None}
        self.context: Context = original.model_copy(update=snapshot)
        self.model: ModelSpec = model
        # The run raises at its end; its requests do not.
        self.raise_on_error: bool = options.raise_on_error
        if options.raise_on_error:
            options = options.model_copy(update={"raise_on_error": False})
        self.options: SimpleStreamOptions = options
        self.max_turns: int = max_turns
        self.approve: ApproveCallback | None = approve
        self.concurrency: int = concurrency
        self.messages: list[Message] = []
        self.final_message: AssistantMessage | None = None
        self.turns: int = 0
        # The calls and results of the current turn by id, which is unique within an answer.
        self.calls: dict[str, ToolCall] = {}
        self.results: dict[str, ToolResultMessage] = {}
        self.stream_options: dict[str, Any] = {}
        if output is not None:
            self.stream_options = {"output": output.output, "output_mode": output.mode}
        self._output = output
        self._attempts: OutputRetries | None = None  # of the current turn
        self._retrying = False
        # Raises for invalid arguments.
        for factory in request_factories(model, self.context, options, {}, **self.stream_options):
            if output is not None:
                factory()

    def next_request(self) -> tuple[ModelSpec, Context, SimpleStreamOptions]:
        """Begin a turn, and return the arguments of `stream` for its request."""
        messages = [*self.context.messages, *self.messages]
        options = self.options
        if self.turns and options.tool_choice not in (None, "auto", "none"):
            options = options.model_copy(update={"tool_choice": None})
        self.turns += 1
        if any(isinstance(item, ToolSet) for item in self._tool_source):
            all_tools = as_tools(self._tool_source)
            self.tools = _runnable_tools(all_tools)
            self.context = self.context.model_copy(update={"tools": all_tools or None})
        context = self.context.model_copy(update={"messages": messages})
        if self._output is not None:
            if self._retrying and self._attempts is not None:
                return self.model, self._attempts.context, options
            from .output.request import OutputRetries

            self._attempts = OutputRetries(context, self._output.output, self._output.retries)
        return self.model, context, options

    def on_answer(self, event: DoneEvent | ErrorEvent) -> None:
        """Take the final event of a request. Sets `calls`, or `final_message` if there are none."""
        message = event.partial
        self.calls, self.results = {}, {}
        if self._attempts is not None:
            self._retrying = self._attempts.should_retry(message) and self.turns < self.max_turns
            if self._retrying:
                return
        self.messages.append(message)
        match event:
            case DoneEvent() if self._attempts is not None and self._attempts.has_value:
                calls = []  # the other calls are not needed
            case DoneEvent():
                calls = message.tool_calls
            case ErrorEvent():
                calls = []  # they may be incomplete
            case _:
                assert_never(event)
        if calls and self.turns >= self.max_turns:
            text = f"max_turns={self.max_turns} was reached: the calls were not executed"
            message.warnings.append(Warning(code="max_turns", message=text))
            calls = []
        self.calls = {call.id: call for call in calls}
        if not calls:
            self.final_message = message._hand_over()

    def settle_answer(self) -> None:
        """Give a typed answer its final form, once its events are consumed."""
        if self._attempts is not None and not self._retrying:
            self.messages[-1] = message = self._attempts.result()._hand_over()
            if self.final_message is not None:
                self.final_message = message
            if self._attempts.has_value:
                for call in message.tool_calls:
                    self.messages.append(tool_result(call, ANSWERED_TEXT, is_error=True))

    def on_result(self, result: ToolResultMessage) -> ToolResultEvent:
        """Take the result of a call, and return its event."""
        self.results[result.tool_call_id] = result
        return ToolResultEvent(tool_call=self.calls[result.tool_call_id], message=result)

    def end_turn(self) -> None:
        """Add the results of the turn's calls to the conversation, in the order of the calls."""
        for call_id, call in self.calls.items():
            result = self.results.get(call_id) or tool_result(call, ABORTED_TEXT, is_error=True)
            self.messages.append(result)

    def abort(self, reason: str | None) -> ErrorEvent:
        """End the run while no request is in flight, and return its final event."""
        text = "The run was aborted" + (f": {reason}" if reason else ".")
        last_answer = next(
            (m for m in reversed(self.messages) if isinstance(m, AssistantMessage)), None
        )
        message_class = (
            AssistantMessage if self._output is None else self._output.output.message_class
        )
        self.final_message = message_class(
            provider=last_answer.provider if last_answer else "",
            model=last_answer.model if last_answer else "",
            stop_reason=StopReason.ABORTED,
            error=error_info(ErrorKind.ABORTED, text),
            error_message=text,
        )
        return ErrorEvent(reason=StopReason.ABORTED, error=self.final_message._hand_over())

    def prepare(self, call: ToolCall) -> _ToolJob | ToolResultMessage:
        """Return a job for a call, or the error result of an invalid call."""
        try:
            tool = find_tool(self.tools, call)
            return _ToolJob(call, tool._implementation, validate_arguments(tool, call))
        except ToolValidationError as error:
            return tool_result(call, str(error), is_error=True)
        except Exception as error:  # raised by a validator of the caller's
            return _error_result(call, error)


def _tool_source(tools: Iterable[ToolLike]) -> Iterable[ToolLike]:
    """Return tools that can be read before each request, with the tool sets among them."""
    if isinstance(tools, ToolSet):
        return [tools]
    return tools if callable(tools) or isinstance(tools, str | Mapping) else list(tools)


def _runnable_tools(all_tools: Iterable[Tool | ServerTool]) -> list[Tool]:
    """Return the tools that the run calls itself.

    Raises:
        ValueError: A tool has no function.
    """
    tools = function_tools(all_tools)
    for tool in tools:
        if tool._implementation is None or tool._implementation.function is None:
            raise ValueError(f"the tool {tool.name!r} has no function to call: pass one with run=")
    return tools


@dataclass(slots=True)
class _ToolJob:
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
            return _error_result(self.call, error)
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
            return _error_result(self.call, error)  # raised by the tool: the run is not cancelled
        except Exception as error:
            return _error_result(self.call, error)

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
            return _error_result(call, error)
        details = value if isinstance(value, BaseModel) else None
        return tool_result(call, text.decode(), details=details)


@dataclass(slots=True)
class _ObservedToolJob(_ToolJob):
    """A valid call of a tool that an observer watches."""

    observer: ToolCallObserver

    def run(self) -> Any:
        with self.observer.running():
            return _ToolJob.run(self)

    async def execute(self) -> ToolResultMessage:
        try:
            result = await _ToolJob.execute(self)
        except BaseException:
            self.observer.ended(None)
            raise
        self.observer.ended(result)
        return result

    async def finish(self, value: Any) -> ToolResultMessage:
        with self.observer.running():
            result = await _ToolJob.finish(self, value)
        self.observer.ended(result)
        return result

    def to_tool_result(self, value: Any) -> ToolResultMessage:
        result = _ToolJob.to_tool_result(self, value)
        self.observer.ended(result)
        return result


async def _collect(values: AsyncIterable[Any]) -> list[Any]:
    return [value async for value in values]


def _error_result(call: ToolCall, error: BaseException) -> ToolResultMessage:
    text = str(error)
    name = type(error).__name__
    return tool_result(call, f"{name}: {text}" if text else name, is_error=True)


def _refusal_result(call: ToolCall, approval: bool | str) -> ToolResultMessage | None:
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


async def _await(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _run_with_limit(
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


class _BaseToolRun(Generic[M]):
    """The common part of `ToolRun` and `AsyncToolRun`."""

    def __init__(self, state: _ToolLoopState) -> None:
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

    def _observed_job(self, job: _ToolJob) -> _ToolJob:
        if self._observer is None:
            return job
        tool = next((tool for tool in self._state.tools if tool.name == job.call.name), None)
        observer = self._observer.tool_call(job.call, tool)
        return _ObservedToolJob(job.call, job.implementation, job.arguments, observer)

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
        jobs: list[_ToolJob] = []
        for call in self._state.calls.values():
            if self._should_stop:
                return
            prepared = self._prepare_and_approve(call)
            if isinstance(prepared, _ToolJob):
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

    def _prepare_and_approve(self, call: ToolCall) -> _ToolJob | ToolResultMessage:
        prepared, approve = self._state.prepare(call), self._state.approve
        if approve is None or isinstance(prepared, ToolResultMessage):
            return prepared
        approval = approve(call)
        if inspect.isawaitable(approval):
            with contextlib.closing(
                self._run_concurrently([partial(_await, approval)])
            ) as approvals:
                approval = next(approvals, ABORTED_TEXT)
        return _refusal_result(call, approval) or prepared

    def _run_inline(self, job: _ToolJob) -> Iterator[ToolResultMessage]:
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
        coroutine = _run_with_limit(factories, self._state.concurrency, outcomes)
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
            if isinstance(prepared, _ToolJob):
                factories.append(self._observed_job(prepared).execute)
            else:
                yield prepared
        async with contextlib.aclosing(self._run_concurrently(factories)) as results:
            async for result in results:
                yield result

    async def _prepare_and_approve(self, call: ToolCall) -> _ToolJob | ToolResultMessage:
        prepared, approve = self._state.prepare(call), self._state.approve
        if approve is None or isinstance(prepared, ToolResultMessage):
            return prepared
        approval = approve(call)
        if inspect.isawaitable(approval):
            async with contextlib.aclosing(
                self._run_concurrently([partial(_await, approval)])
            ) as approvals:
                approval = await anext(approvals, ABORTED_TEXT)
        return _refusal_result(call, approval) or prepared

    async def _run_concurrently(
        self, factories: Sequence[CoroutineFactory[T]]
    ) -> AsyncGenerator[T, None]:
        """Yield the outcomes of coroutines that run in the current event loop."""
        outcomes: Channel[T] = Channel()
        loop = asyncio.get_running_loop()
        task = loop.create_task(_run_with_limit(factories, self._state.concurrency, outcomes))
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
