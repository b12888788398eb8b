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
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, Unpack

from pydantic import BaseModel
from pydantic_core import to_json

from .abort import AbortSignal
from .api import Models, Options, _options, astream, build_requests, stream, takes_options
from .context import Prompt, as_context, tool_result
from .errors import ErrorKind, error_info
from .provider import loop as loops
from .stream import AssistantMessageEvent, DoneEvent, ErrorEvent, _Event
from .tools import Code, ToolLike, ToolValidationError, arguments_for, as_tools, found_tool
from .types import (
    AssistantMessage,
    Context,
    Cost,
    DocumentContent,
    ImageContent,
    Message,
    SimpleStreamOptions,
    StopReason,
    StreamOptions,
    TextContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    Usage,
    Warning,
)
from .utils.channel import Channel
from .utils.unicode import clean_json, clean_surrogates

if TYPE_CHECKING:
    from typing import Self

T = TypeVar("T")
Work: TypeAlias = Callable[[], Coroutine[Any, Any, T]]
Approve: TypeAlias = Callable[[ToolCall], bool | str | Awaitable[bool | str]]

REFUSED = "The user did not allow this call."
ABORTED = "The call was aborted."
GRACE = 1.0  # seconds that cancelled tools are waited for


@dataclass(slots=True, kw_only=True)
class ToolResultEvent(_Event):
    """A tool has answered `tool_call`; `message` is what the model will be told."""

    type: Literal["tool_result"] = "tool_result"
    tool_call: ToolCall
    message: ToolResultMessage


ToolEvent: TypeAlias = AssistantMessageEvent | ToolResultEvent


@takes_options
def run_tools(
    model: Models,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    max_turns: int = 8,
    approve: Approve | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> ToolRun:
    """Ask; call the tools that the model wants; tell it what they said; until it answers.

    Nothing is sent before the run is iterated or its `result()` is asked for.

    Args:
        model: As for `stream`.
        context: As for `stream`. It is not changed: `context.extend(run.messages)` goes on from
            there.
        tools: Functions or tools made of functions; None: those of the context.
        max_turns: How often the model is asked at most. Calls of the last answer are not carried
            out, which a warning of the message says.
        approve: Asked before each call that fits its tool, in order: True lets it run; False, or
            a string that says why, goes back to the model as the call's error. May be async.
        concurrency: How many calls of a turn run side by side. A single call, and any with 1, runs
            in the caller's own thread, unless it is asynchronous.
        options: As for `stream`. A `tool_choice` that forces a call holds for the first turn.
        **keywords: As for `stream`.

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
    given = _options(options, keywords)
    return ToolRun(_Round(model, context, tools, max_turns, approve, concurrency, given))


@takes_options
def arun_tools(
    model: Models,
    context: Prompt,
    tools: Iterable[ToolLike] | None = None,
    *,
    max_turns: int = 8,
    approve: Approve | None = None,
    concurrency: int = 8,
    options: StreamOptions | None = None,
    **keywords: Unpack[Options],
) -> AsyncToolRun:
    """The asynchronous twin of `run_tools`: an object to `async for` over.

    Synchronous functions run in threads, so that they do not hold the event loop up.

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
    given = _options(options, keywords)
    return AsyncToolRun(_Round(model, context, tools, max_turns, approve, concurrency, given))


class _Round:
    """Where a run stands, and what comes next."""

    def __init__(
        self,
        model: Models,
        context: Prompt,
        tools: Iterable[ToolLike] | None,
        max_turns: int,
        approve: Approve | None,
        concurrency: int,
        options: SimpleStreamOptions,
    ) -> None:
        if max_turns < 1 or concurrency < 1:
            raise ValueError("max_turns and concurrency are at least 1")
        given = as_context(context)
        self.tools: list[Tool] = as_tools(tools if tools is not None else given.tools or ())
        for one in self.tools:
            if one._code is None or one._code.function is None:
                raise ValueError(f"the tool {one.name!r} has no function that could be run")
        # What the caller does to theirs afterwards is not in this run.
        own = {"messages": list(given.messages), "tools": self.tools or None}
        self.given: Context = given.model_copy(update=own)
        self.model: Models = model
        self.options: SimpleStreamOptions = options
        self.max_turns: int = max_turns
        self.approve: Approve | None = approve
        self.concurrency: int = concurrency
        self.messages: list[Message] = []
        self.final: AssistantMessage | None = None
        self.turns: int = 0
        self.calls: dict[str, ToolCall] = {}  # of the turn, by id: an answer has no id twice
        self.results: dict[str, ToolResultMessage] = {}
        build_requests(model, self.given, options, {})  # wrong use is told at once

    def ask(self) -> tuple[Models, Context, SimpleStreamOptions]:
        """The arguments of the next `stream`."""
        messages = [*self.given.messages, *self.messages]
        options = self.options
        if self.turns and options.tool_choice not in (None, "auto", "none"):
            # Forced again and again, it would never answer.
            options = options.model_copy(update={"tool_choice": None})
        self.turns += 1
        return self.model, self.given.model_copy(update={"messages": messages}), options

    def hear(self, last: DoneEvent | ErrorEvent) -> None:
        """Take an answer in; `calls` are then to be carried out. None: it is the last one."""
        message = last.partial
        self.messages.append(message)
        calls = message.tool_calls if isinstance(last, DoneEvent) else []
        if calls and self.turns >= self.max_turns:
            text = f"max_turns={self.max_turns} is reached: the calls were not carried out"
            message.warnings.append(Warning(code="max_turns", message=text))
            calls = []
        self.calls, self.results = {call.id: call for call in calls}, {}
        if not calls:
            self.final = message

    def tell(self, result: ToolResultMessage) -> ToolResultEvent:
        """Take a call's result in."""
        self.results[result.tool_call_id] = result
        return ToolResultEvent(tool_call=self.calls[result.tool_call_id], message=result)

    def settle(self) -> None:
        """The turn is over: each call's result, in the order of the calls."""
        for identity, call in self.calls.items():
            known = self.results.get(identity) or tool_result(call, ABORTED, is_error=True)
            self.messages.append(known)

    def abort(self, reason: str | None) -> ErrorEvent:
        """End while no answer is under way."""
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

    def prepare(self, call: ToolCall) -> _Job | ToolResultMessage:
        """The call ready to be carried out, or what is wrong with it."""
        try:
            tool = found_tool(self.tools, call)
            return _Job(call, tool._code, arguments_for(tool, call))
        except ToolValidationError as error:
            return tool_result(call, str(error), is_error=True)
        except Exception as error:  # out of a validator of the caller's
            return _failed(call, error)


# === One call ===============================================================================


@dataclass(slots=True)
class _Job:
    """A call that fits its tool."""

    call: ToolCall
    code: Code
    arguments: dict[str, Any]

    def run(self) -> Any:
        """What the function gives; a failure as the model is told."""
        try:
            value = self.code.call(self.arguments)
        except (Exception, asyncio.CancelledError) as error:  # not all of them pass through futures
            return _failed(self.call, error)
        return _listed(value) if inspect.isasyncgen(value) else value

    async def carry_out(self) -> ToolResultMessage:
        """Run in the event loop; a function that does not await gets a thread."""
        if self.code.is_async:
            return await self.finish(self.run())
        here = contextvars.copy_context()
        return await self.finish(await loops.in_thread("pipy-ai tool", lambda: here.run(self.run)))

    async def finish(self, value: Any) -> ToolResultMessage:
        """What the model is told of a value, which may have to be awaited first."""
        try:
            return self.told(await value if inspect.isawaitable(value) else value)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failed(self.call, error)  # the tool cancelled something of its own
        except Exception as error:
            return _failed(self.call, error)

    def told(self, value: Any) -> ToolResultMessage:
        """What the model is told of a value."""
        call = self.call
        if isinstance(value, ToolResultMessage):
            return value.model_copy(update={"tool_call_id": call.id, "tool_name": call.name})
        parts: Sequence[Any] = value if isinstance(value, list | tuple) and value else [value]
        if all(isinstance(part, TextContent | ImageContent | DocumentContent) for part in parts):
            return tool_result(call, *parts)
        if isinstance(value, bytes):
            with contextlib.suppress(UnicodeDecodeError):
                value = value.decode()
        if isinstance(value, str):
            return tool_result(call, clean_surrogates(value))
        try:
            clean = clean_json(value)  # names of files need not be UTF-8
            text = to_json(clean, serialize_unknown=True, fallback=str, bytes_mode="base64")
        except Exception as error:  # what it is made of cannot be told
            return _failed(call, error)
        details = value if isinstance(value, BaseModel) else None
        return tool_result(call, text.decode(), details=details)


async def _listed(values: AsyncIterable[Any]) -> list[Any]:
    return [value async for value in values]


def _failed(call: ToolCall, error: BaseException) -> ToolResultMessage:
    said = str(error)
    name = type(error).__name__
    return tool_result(call, f"{name}: {said}" if said else name, is_error=True)


def _refusal(call: ToolCall, said: bool | str) -> ToolResultMessage | None:
    if said is True:
        return None
    text = said if isinstance(said, str) and said else REFUSED
    return tool_result(call, text, is_error=True)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _side_by_side(work: Sequence[Work[T]], concurrency: int, done: Channel[T]) -> None:
    """Do all of it, `concurrency` at a time; each outcome is handed over as it comes."""
    places = asyncio.Semaphore(concurrency)

    async def one(start: Work[T]) -> None:
        async with places:
            try:
                done.put([await start()])
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # SystemExit: the consumer's affair, not this loop's
                done.close(error)

    async with asyncio.TaskGroup() as group:
        for start in work:
            group.create_task(one(start))


# === The runs ===============================================================================


class _Run:
    """What both runs share."""

    def __init__(self, round: _Round) -> None:
        self._round = round
        self._signal: AbortSignal | None = round.options.signal
        self._aborted = False
        self._stop: Callable[[], None] | None = None

    @property
    def messages(self) -> list[Message]:
        """All new messages so far: answers and tool results, in the order of a conversation."""
        return self._round.messages

    @property
    def usage(self) -> Usage:
        """Tokens and cost of all answers so far. A cost that one of them lacks is not known."""
        return summed(m.usage for m in self._round.messages if isinstance(m, AssistantMessage))

    def abort(self) -> None:
        """Stop: the answer under way, or the tools. Asynchronous ones are cancelled; those in
        threads are not waited for, but the one in the caller's own is. From any thread; the run
        ends with an `error` event of reason `aborted`."""
        self._aborted = True
        stop = self._stop
        if stop is not None:
            stop()

    @property
    def _stopped(self) -> bool:
        return self._aborted or (self._signal is not None and self._signal.aborted)

    @contextlib.contextmanager
    def _stoppable(self, stop: Callable[[], None], *, signal: bool) -> Generator[None, None, None]:
        """An abort within the block calls `stop`; the signal's, too, if `signal` says so."""
        self._stop = stop
        forget = None
        if signal and self._signal is not None:
            forget = self._signal.add_listener(stop)
        try:
            if self._aborted:
                stop()
            yield
        finally:
            self._stop = None
            if forget is not None:
                forget()

    def _abort_event(self) -> ErrorEvent:
        return self._round.abort(self._signal.reason if self._signal is not None else None)

    def _final(self) -> AssistantMessage:
        if self._round.final is None:  # it was left early
            self._abort_event()
        assert self._round.final is not None
        return self._round.final


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
        """The last answer; runs to the end if need be, without the events that are left."""
        for _ in self:
            pass
        return self._final()

    def _run(self) -> Generator[ToolEvent, None, None]:
        round = self._round
        while round.final is None:
            if self._stopped:
                yield self._abort_event()
                return
            with (
                stream(*round.ask()) as answer,
                self._stoppable(answer.abort, signal=False),  # which the request listens to itself
            ):
                for event in answer:
                    if isinstance(event, DoneEvent | ErrorEvent):
                        round.hear(event)
                    yield event
            try:
                with contextlib.closing(self._results()) as results:
                    for result in results:
                        yield round.tell(result)
            finally:
                round.settle()

    def _results(self) -> Generator[ToolResultMessage, None, None]:
        jobs: list[_Job] = []
        for call in self._round.calls.values():
            if self._stopped:
                return
            ready = self._ready(call)
            if isinstance(ready, _Job):
                jobs.append(ready)
            else:
                yield ready
        side_by_side = len(jobs) > 1 and self._round.concurrency > 1
        if side_by_side or any(job.code.is_async for job in jobs):
            yield from self._beside([job.carry_out for job in jobs])
            return
        for job in jobs:
            if not self._stopped:
                yield from self._here(job)

    def _ready(self, call: ToolCall) -> _Job | ToolResultMessage:
        ready, approve = self._round.prepare(call), self._round.approve
        if approve is None or isinstance(ready, ToolResultMessage):
            return ready
        said = approve(call)
        if inspect.isawaitable(said):
            said = next(iter([*self._beside([partial(_awaited, said)]), ABORTED]))
        return _refusal(call, said) or ready

    def _here(self, job: _Job) -> Iterator[ToolResultMessage]:
        value = job.run()
        if inspect.isawaitable(value):
            yield from self._beside([partial(job.finish, value)])
        else:
            yield job.told(value)

    def _beside(self, work: Sequence[Work[T]]) -> Generator[T, None, None]:
        """What it comes to, in the background loop."""
        done: Channel[T] = Channel()
        doing = _side_by_side(work, self._round.concurrency, done)
        task = loops.ensure().spawn(doing, contextvars.copy_context())
        task.ended.add_done_callback(lambda _: done.close())

        def stop() -> None:
            task.cancel()
            done.close()

        try:
            with self._stoppable(stop, signal=True):
                while batch := done.get():
                    yield from batch
        finally:
            task.cancel()
            concurrent.futures.wait([task.ended], GRACE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._round.final is None:
            self.abort()
        if self._events is not None:
            self._events.close()


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
        """The last answer; runs to the end if need be, without the events that are left."""
        async with contextlib.aclosing(self.__aiter__()) as events:
            async for _ in events:
                pass
        return self._final()

    async def _run(self) -> AsyncGenerator[ToolEvent, None]:
        round = self._round
        while round.final is None:
            if self._stopped:
                yield self._abort_event()
                return
            async with astream(*round.ask()) as answer:
                with self._stoppable(answer.abort, signal=False):
                    async for event in answer:
                        if isinstance(event, DoneEvent | ErrorEvent):
                            round.hear(event)
                        yield event
            try:
                async with contextlib.aclosing(self._results()) as results:
                    async for result in results:
                        yield round.tell(result)
            finally:
                round.settle()

    async def _results(self) -> AsyncGenerator[ToolResultMessage, None]:
        work: list[Work[ToolResultMessage]] = []
        for call in self._round.calls.values():
            if self._stopped:
                return
            ready = await self._ready(call)
            if isinstance(ready, _Job):
                work.append(ready.carry_out)
            else:
                yield ready
        async with contextlib.aclosing(self._beside(work)) as results:
            async for result in results:
                yield result

    async def _ready(self, call: ToolCall) -> _Job | ToolResultMessage:
        ready, approve = self._round.prepare(call), self._round.approve
        if approve is None or isinstance(ready, ToolResultMessage):
            return ready
        said = approve(call)
        if inspect.isawaitable(said):
            async with contextlib.aclosing(self._beside([partial(_awaited, said)])) as outcome:
                said = await anext(outcome, ABORTED)
        return _refusal(call, said) or ready

    async def _beside(self, work: Sequence[Work[T]]) -> AsyncGenerator[T, None]:
        """What it comes to, in the running loop."""
        done: Channel[T] = Channel()
        loop = asyncio.get_running_loop()
        task = loop.create_task(_side_by_side(work, self._round.concurrency, done))
        task.add_done_callback(lambda _: done.close())

        def stop() -> None:
            done.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed, and all that ran in it
                loop.call_soon_threadsafe(task.cancel)

        try:
            with self._stoppable(stop, signal=True):
                while batch := await done.aget():
                    for outcome in batch:
                        yield outcome
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._round.final is None:
            self.abort()
        if self._events is not None:
            await self._events.aclose()


def summed(usages: Iterable[Usage]) -> Usage:
    """The usage of several answers together. A cost that one of them lacks is not known; of the
    parts that not every provider tells, those that were told count."""
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
