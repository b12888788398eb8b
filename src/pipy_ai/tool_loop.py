"""The round of asking, calling tools and asking again, until there is an answer.

    run = run_tools("openai/gpt-5", "What is the weather in Rome?", [get_weather])
    for event in run:
        if event.type == "text_delta":
            print(event.delta, end="")
    print(run.usage.cost.total)

The events are those of a stream, turn after turn, with a `tool_result` for each call in between.
What is to be done next stands in `_Round`, which knows no I/O; the two runs around it do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack

from pydantic import BaseModel
from pydantic_core import to_json

from .abort import AbortSignal
from .api import Options, astream, stream
from .context import Prompt, as_context, tool_result
from .errors import ErrorKind, error_info
from .provider import loop as loops
from .stream import (
    AssistantMessageEvent,
    AssistantMessageEventStream,
    AsyncAssistantMessageEventStream,
    DoneEvent,
    ErrorEvent,
)
from .tools import ToolLike, ToolValidationError, arguments_for, as_tools, found_tool
from .types import (
    AssistantMessage,
    Context,
    Cost,
    ImageContent,
    Message,
    StopReason,
    TextContent,
    ToolCall,
    ToolResultMessage,
    Usage,
    Warning,
)
from .utils.channel import Channel

if TYPE_CHECKING:
    from typing import Self

    from .registry import Model

Approve: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str]]

REFUSED = "The user did not allow this call."
ABORTED = "The call was aborted."


@dataclass(slots=True, kw_only=True)
class ToolResultEvent:
    """A tool has answered `tool_call`; `message` is what the model will be told."""

    type: Literal["tool_result"] = "tool_result"
    tool_call: ToolCall
    message: ToolResultMessage


ToolEvent: TypeAlias = AssistantMessageEvent | ToolResultEvent


def run_tools(
    model: str | Model,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    max_turns: int = 8,
    approve: Approve | None = None,
    concurrency: int = 8,
    **options: Unpack[Options],
) -> ToolRun:
    """Ask; call the tools that the model wants; tell it what they said; until it answers.

    Nothing happens before the run is iterated or its `result()` is asked for.

    Args:
        model: As for `stream`.
        context: As for `stream`. It is not changed: `context.extend(run.messages)` goes on from
            there.
        tools: Functions or tools made of functions; None: those of the context.
        max_turns: How often the model is asked at most. Calls of the last answer are not carried
            out, which a warning of the message says.
        approve: Asked before each call, in order: True lets it run; False, or a string that says
            why, goes back to the model as the call's error.
        concurrency: How many calls of a turn run side by side. A single call, and any with 1, runs
            in the caller's own thread.
        **options: As for `stream`. A `tool_choice` that forces a call holds for the first turn.

    Raises:
        TypeError, ValueError: as `stream`; a tool has no function, or the name of another.

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
    """
    return ToolRun(_Round(model, context, tools, max_turns, approve, concurrency, options))


def arun_tools(
    model: str | Model,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    max_turns: int = 8,
    approve: Approve | None = None,
    concurrency: int = 8,
    **options: Unpack[Options],
) -> AsyncToolRun:
    """The asynchronous twin of `run_tools`: an object to `async for` over.

    Synchronous functions run in threads, so that they do not hold the event loop up.
    """
    return AsyncToolRun(_Round(model, context, tools, max_turns, approve, concurrency, options))


class _Round:
    """Where a run stands, and what comes next."""

    def __init__(
        self,
        model: str | Model,
        context: Prompt,
        tools: Iterable[ToolLike] | None,
        max_turns: int,
        approve: Approve | None,
        concurrency: int,
        options: Options,
    ) -> None:
        if max_turns < 1 or concurrency < 1:
            raise ValueError("max_turns and concurrency are at least 1")
        given = as_context(context)
        self.tools = as_tools(tools if tools is not None else given.tools or ())
        for one in self.tools:
            if one._code is None or one._code.function is None:
                raise ValueError(f"the tool {one.name!r} has no function that could be run")
        self.model, self.given, self.max_turns = model, given, max_turns
        self.approve, self.concurrency = approve, concurrency
        self.options = options
        self.messages: list[Message] = []
        self.final: AssistantMessage | None = None
        self.turns = 0

    def ask(self) -> tuple[str | Model, Context, Options]:
        """The arguments of the next `stream`."""
        messages = [*self.given.messages, *self.messages]
        context = Context(
            system_prompt=self.given.system_prompt, messages=messages, tools=self.tools or None
        )
        options = self.options.copy()
        if self.turns and options.get("tool_choice") not in (None, "auto", "none"):
            del options["tool_choice"]  # forced again and again, it would never answer
        self.turns += 1
        return self.model, context, options

    def hear(self, last: AssistantMessageEvent) -> list[ToolCall]:
        """Take an answer in; the calls that are to be carried out. None: it is the last one."""
        message = last.partial
        self.messages.append(message)
        calls = message.tool_calls if isinstance(last, DoneEvent) else []
        if calls and self.turns >= self.max_turns:
            text = f"max_turns={self.max_turns} is reached: the calls were not carried out"
            message.warnings.append(Warning(code="max_turns", message=text))
            calls = []
        if not calls:
            self.final = message
        return calls

    def abort(self, reason: str | None) -> ErrorEvent:
        """End while tools run."""
        said = "The run was aborted" + (f": {reason}" if reason else ".")
        last = next((m for m in reversed(self.messages) if isinstance(m, AssistantMessage)), None)
        self.final = AssistantMessage(
            provider=last.provider if last else "",
            model=last.model if last else "",
            stop_reason=StopReason.ABORTED,
            error=error_info(ErrorKind.ABORTED, said),
            error_message=said,
        )
        return ErrorEvent(reason=StopReason.ABORTED, error=self.final)

    def prepare(self, call: ToolCall) -> Callable[[], Any] | ToolResultMessage:
        """The function to call, or what is wrong with the call."""
        try:
            tool = found_tool(self.tools, call)
            arguments = arguments_for(tool, call)
        except ToolValidationError as error:
            return tool_result(call, str(error), is_error=True)
        return lambda: tool._code.call(arguments)

    def is_async(self, call: ToolCall) -> bool:
        """Whether a call gives something to await."""
        return any(one.name == call.name and one._code.is_async for one in self.tools)


def _allowed(call: ToolCall, said: bool | str) -> ToolResultMessage | None:
    if said is True:
        return None
    text = said if isinstance(said, str) and said else REFUSED
    return tool_result(call, text, is_error=True)


def _told(call: ToolCall, value: Any) -> ToolResultMessage:
    """What a function returned, as the model is told."""
    if isinstance(value, ToolResultMessage):
        return value.model_copy(update={"tool_call_id": call.id, "tool_name": call.name})
    parts = value if isinstance(value, list | tuple) and value else [value]
    if all(isinstance(part, TextContent | ImageContent) for part in parts):
        return tool_result(call, *parts)
    if isinstance(value, str):
        return tool_result(call, value)
    details = value if isinstance(value, BaseModel) else None
    text = to_json(value, serialize_unknown=True, fallback=str).decode()
    return tool_result(call, text, details=details)


def _failed(call: ToolCall, error: Exception) -> ToolResultMessage:
    said = str(error)
    name = type(error).__name__
    return tool_result(call, f"{name}: {said}" if said else name, is_error=True)


async def _carry_out(round: _Round, call: ToolCall) -> ToolResultMessage:
    """One call, in the running loop; a function that does not await gets a thread."""
    ready = round.prepare(call)
    if isinstance(ready, ToolResultMessage):
        return ready
    try:
        if round.is_async(call):
            return _told(call, await ready())
        here = contextvars.copy_context()
        value = await loops.in_thread("pipy-ai tool", lambda: here.run(ready))
        return _told(call, await value if inspect.isawaitable(value) else value)
    except Exception as error:
        return _failed(call, error)


async def _side_by_side(
    round: _Round, calls: Sequence[ToolCall], told: Callable[[ToolCall, ToolResultMessage], None]
) -> None:
    """Carry out calls, `concurrency` at a time; each is told as it ends."""
    places = asyncio.Semaphore(round.concurrency)

    async def one(call: ToolCall) -> None:
        async with places:
            told(call, await _carry_out(round, call))

    async with asyncio.TaskGroup() as group:
        for call in calls:
            group.create_task(one(call))


class _Run:
    """What both runs share."""

    def __init__(self, round: _Round) -> None:
        self._round = round
        self._signal: AbortSignal | None = round.options.get("signal")
        self._reason: str | None = None
        self._aborted = False
        self._answer: AssistantMessageEventStream | AsyncAssistantMessageEventStream | None = None
        self._stop_tools: Callable[[], None] | None = None

    @property
    def messages(self) -> list[Message]:
        """All new messages so far: answers and tool results, in the order of a conversation."""
        return self._round.messages

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all answers so far. A cost that one of them lacks is not known."""
        return summed(m.usage for m in self._round.messages if isinstance(m, AssistantMessage))

    def abort(self, reason: str | None = None) -> None:
        """Stop: the answer under way, or the tools. Asynchronous ones are cancelled, threads are
        not waited for. From any thread; the run ends with an `error` event of reason `aborted`."""
        self._aborted, self._reason = True, reason
        if self._answer is not None:
            self._answer.abort()
        if self._stop_tools is not None:
            self._stop_tools()

    @property
    def _stopped(self) -> bool:
        return self._aborted or (self._signal is not None and self._signal.aborted)

    def _listen(self) -> Callable[[], None]:
        signal = self._signal
        if signal is None:
            return lambda: None
        return signal.add_listener(lambda: self.abort(signal.reason))

    def _settle(self, calls: Sequence[ToolCall], results: dict[int, ToolResultMessage]) -> None:
        """Each call's result, in the order of the calls."""
        for place, call in enumerate(calls):
            known = results.get(place) or tool_result(call, ABORTED, is_error=True)
            self._round.messages.append(known)


class ToolRun(_Run):
    """A run of `run_tools`: iterate it, or call `result()`. Leaving the loop stops it."""

    _events: Generator[ToolEvent, None, None] | None = None

    def __iter__(self) -> Generator[ToolEvent, None, None]:
        if self._events is None:
            self._events = self._run()
        try:
            yield from self._events
        finally:
            self._events.close()

    def result(self) -> AssistantMessage:
        """The last answer; runs to the end if need be."""
        if self._round.final is None:
            for _ in self:
                pass
        if self._round.final is None:  # it was left early
            self._round.abort(self._reason)
        assert self._round.final is not None
        return self._round.final

    def _run(self) -> Generator[ToolEvent, None, None]:
        round = self._round
        forget = self._listen()
        try:
            while round.final is None:
                calls: list[ToolCall] = []
                model, context, options = round.ask()
                with stream(model, context, **options) as answer:
                    self._answer = answer
                    if self._stopped:
                        answer.abort()
                    for event in answer:
                        if isinstance(event, DoneEvent | ErrorEvent):
                            calls = round.hear(event)
                        yield event
                self._answer = None
                if calls:
                    yield from self._call(calls)
                    if self._stopped:
                        yield round.abort(self._reason)
        finally:
            forget()

    def _call(self, calls: list[ToolCall]) -> Generator[ToolEvent, None, None]:
        results: dict[int, ToolResultMessage] = {}
        try:
            for place, call in enumerate(calls):
                if round_refusal := self._refusal(call):
                    results[place] = round_refusal
                    yield ToolResultEvent(tool_call=call, message=round_refusal)
            rest = [place for place in range(len(calls)) if place not in results]
            alone = len(rest) == 1 or self._round.concurrency == 1
            if alone and not any(self._round.is_async(calls[place]) for place in rest):
                for place in rest:
                    if self._stopped:
                        break
                    results[place] = self._here(calls[place])
                    yield ToolResultEvent(tool_call=calls[place], message=results[place])
            elif rest:
                for place, result in self._beside(calls, rest):
                    results[place] = result
                    yield ToolResultEvent(tool_call=calls[place], message=result)
        finally:
            self._settle(calls, results)

    def _refusal(self, call: ToolCall) -> ToolResultMessage | None:
        if self._round.approve is None:
            return None
        said = self._round.approve(call)
        if inspect.isawaitable(said):
            said = _blocking(said)
        return _allowed(call, said)

    def _here(self, call: ToolCall) -> ToolResultMessage:
        ready = self._round.prepare(call)
        if isinstance(ready, ToolResultMessage):
            return ready
        try:
            value = ready()
            return _told(call, _blocking(value) if inspect.isawaitable(value) else value)
        except Exception as error:
            return _failed(call, error)

    def _beside(
        self, calls: list[ToolCall], rest: list[int]
    ) -> Generator[tuple[int, ToolResultMessage], None, None]:
        """Carry out calls in the background loop; hand over each result as it comes."""
        done: Channel[tuple[int, ToolResultMessage]] = Channel()
        places = {id(calls[place]): place for place in rest}

        async def carry() -> None:
            failure: BaseException | None = None
            try:
                await _side_by_side(
                    self._round,
                    [calls[place] for place in rest],
                    lambda call, result: done.put([(places[id(call)], result)]),
                )
            except asyncio.CancelledError:
                raise
            except BaseExceptionGroup as group:  # a tool wants to end the program
                failure = group.exceptions[0]
            finally:
                done.close(failure)

        here = contextvars.copy_context()
        task = loops.ensure().spawn(carry(), here)
        self._stop_tools = task.cancel
        try:
            if self._stopped:
                task.cancel()
            while batch := done.get():
                yield from batch
        finally:
            self._stop_tools = None
            task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._round.final is None:
            self.abort()
        if self._events is not None:
            self._events.close()


def _blocking(awaitable: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(wait(), loops.ensure().loop).result()


class AsyncToolRun(_Run):
    """A run of `arun_tools`: the twin of `ToolRun`."""

    _events: AsyncGenerator[ToolEvent, None] | None = None

    async def __aiter__(self) -> AsyncGenerator[ToolEvent, None]:
        if self._events is None:
            self._events = self._run()
        try:
            async for event in self._events:
                yield event
        finally:
            await self._events.aclose()

    async def result(self) -> AssistantMessage:
        """The last answer; runs to the end if need be."""
        if self._round.final is None:
            async with contextlib.aclosing(self.__aiter__()) as events:
                async for _ in events:
                    pass
        if self._round.final is None:  # it was left early
            self._round.abort(self._reason)
        assert self._round.final is not None
        return self._round.final

    async def _run(self) -> AsyncGenerator[ToolEvent, None]:
        round = self._round
        forget = self._listen()
        try:
            while round.final is None:
                calls: list[ToolCall] = []
                model, context, options = round.ask()
                async with astream(model, context, **options) as answer:
                    self._answer = answer
                    if self._stopped:
                        answer.abort()
                    async for event in answer:
                        if isinstance(event, DoneEvent | ErrorEvent):
                            calls = round.hear(event)
                        yield event
                self._answer = None
                if calls:
                    async with contextlib.aclosing(self._call(calls)) as results:
                        async for result in results:
                            yield result
                    if self._stopped:
                        yield round.abort(self._reason)
        finally:
            forget()

    async def _call(self, calls: list[ToolCall]) -> AsyncGenerator[ToolEvent, None]:
        results: dict[int, ToolResultMessage] = {}
        done: Channel[tuple[int, ToolResultMessage]] = Channel()
        task: asyncio.Future[None] | None = None
        try:
            for place, call in enumerate(calls):
                if self._round.approve is not None:
                    said = self._round.approve(call)
                    refusal = _allowed(call, await said if inspect.isawaitable(said) else said)
                    if refusal is not None:
                        results[place] = refusal
                        yield ToolResultEvent(tool_call=call, message=refusal)
            rest = [place for place in range(len(calls)) if place not in results]
            places = {id(calls[place]): place for place in rest}
            task = asyncio.ensure_future(
                _side_by_side(
                    self._round,
                    [calls[place] for place in rest],
                    lambda call, result: done.put([(places[id(call)], result)]),
                )
            )
            task.add_done_callback(lambda _: done.close())
            loop = asyncio.get_running_loop()
            cancel = task.cancel
            self._stop_tools = lambda: _soon(loop, cancel)
            if self._stopped:
                task.cancel()
            while batch := await done.aget():
                for place, result in batch:
                    results[place] = result
                    yield ToolResultEvent(tool_call=calls[place], message=result)
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
        finally:
            self._stop_tools = None
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
            self._settle(calls, results)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._round.final is None:
            self.abort()
        if self._events is not None:
            await self._events.aclose()


def _soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and all that ran in it
        loop.call_soon_threadsafe(function)


def summed(usages: Iterable[Usage]) -> Usage:
    """The usage of several answers together. What one of them does not know is not known."""
    usages = list(usages)
    total = Usage()
    for name in ("input", "output", "cache_read", "cache_write", "total_tokens"):
        setattr(total, name, sum(getattr(one, name) for one in usages))
    for name in ("reasoning", "cache_write_1h", "input_audio", "output_audio"):
        known = [value for one in usages if (value := getattr(one, name)) is not None]
        setattr(total, name, sum(known) if known else None)
    total.estimated = any(one.estimated for one in usages)
    costs = [one.cost for one in usages]
    if costs and all(cost.total is not None for cost in costs):
        cost = Cost(source="provider" if all(c.source == "provider" for c in costs) else "catalog")
        for name in ("input", "output", "cache_read", "cache_write", "total"):
            parts = [getattr(one, name) for one in costs]
            setattr(cost, name, None if None in parts else sum(parts))
        total.cost = cost
    return total
