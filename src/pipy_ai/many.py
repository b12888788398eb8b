"""Many questions at once: `complete_many`, `stream_many` and their twins.

    for index, message in stream_many("openai/gpt-5-mini", prompts, concurrency=64):
        print(index, message.text)

All of them are one `Batch`, which lives in an event loop: it is fed with rows, starts as many
requests as its `Pace` allows, asks again what failed, and hands over answers as they land. The
engine's own retries are off here, so that every refusal is seen by the pace that all rows share.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import random
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, Unpack, overload

from .api import Models, Options, acomplete, build_requests, takes_options
from .context import Prompt
from .errors import ErrorInfo, ErrorKind, error_info
from .provider import loop as loops
from .provider.engine import BACKOFF, MAX_BACKOFF
from .types import AssistantMessage, Context, StopReason, Usage
from .utils.channel import Channel

if TYPE_CHECKING:
    from .output import Mode, ParsedMessage

T = TypeVar("T")
Ask: TypeAlias = "Callable[[Row], Awaitable[AssistantMessage]]"
Landed: TypeAlias = tuple[int, AssistantMessage]

__all__ = ["acomplete_many", "astream_many", "complete_many", "stream_many"]

# What would befall every other row, too.
STOP_ON = (
    ErrorKind.AUTH,
    ErrorKind.MISSING_KEY,
    ErrorKind.QUOTA,
    ErrorKind.BUDGET,
    ErrorKind.NOT_FOUND,
)
BUSY = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED})
SILENT = BUSY | {ErrorKind.CONNECTION}  # nobody answers, if all rows end so
PATIENCE = 30  # refusals that a row endures while others are answered
SPARE = 64  # files that may be open beside the connections of a batch
AHEAD = 2  # rows that are read and not yet taken, for each that may be under way
SILENCE = 120.0  # seconds for which a server may refuse all, or be gone after it has answered


# === The verbs ===


@overload
def complete_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    on_result: Callable[[int, AssistantMessage], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[AssistantMessage]: ...
@overload
def complete_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: type[T],
    output_mode: Mode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[T]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[T]]: ...
@overload
def complete_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: Any,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[Any]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[Any]]: ...
@takes_options
def complete_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, Any], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[Any]:
    """Ask many questions side by side, and wait for all answers, in the order of the questions.

    A row that fails is a message with `error`; the others go on. Ctrl-C stops all at once.

    Args:
        model: As for `complete`, or a list of them, tried one after the other.
        contexts: Prompts as `complete` takes them, from any iterable; read a little ahead.
        output: As for `complete`: the type that each answer shall have.
        output_mode: As for `complete`.
        concurrency: The most requests under way, as far as the system lets so many files be open
            (`ulimit -n`, less 64). It starts with a quarter, grows while all is well, and shrinks
            when the provider is busy: a round of refusals halves it.
        on_result: Called with the index and the message of each answer as it lands, in the
            caller's thread.
        stop_on: Kinds of error that would befall all other rows, too: after one, or after a rate
            limit that is longer than `max_retry_delay_ms`, nothing new is asked, and the rest have
            an error of kind `aborted` that says why.
        executor: A Dask `Client`: its workers ask, each with the keys of its own environment.
        **options: As for `complete`. `max_retries` counts tries of a row, also after its first
            words. While a provider refuses all rows they wait together, for two minutes at most.

    Raises:
        TypeError: as `complete`; `contexts` is one prompt instead of many.
        ValueError: as `complete`; a `concurrency` below 1, an unknown kind in `stop_on`; with an
            executor, an option that must not travel, like `api_key`.

    Example:
        >>> from pipy_ai import complete_many
        >>> [message.text for message in complete_many("faux/echo", ["One", "Two"])]
        ['One', 'Two']
    """
    batch = make_batch(
        model, contexts, concurrency, stop_on, _blocking(executor), output, output_mode, options
    )
    _check_callback(on_result)
    rows = enumerate(contexts)
    answers: dict[int, AssistantMessage] = {}
    with contextlib.closing(stream_rows(batch, rows)) as landed:
        for index, message in landed:
            answers[index] = message
            if on_result is not None:
                on_result(index, message)
    count = batch.fed + sum(1 for _ in rows)
    return [answers.get(index) or batch.unasked() for index in range(count)]


@overload
async def acomplete_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    on_result: Callable[[int, AssistantMessage], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[AssistantMessage]: ...
@overload
async def acomplete_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: type[T],
    output_mode: Mode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[T]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[T]]: ...
@overload
async def acomplete_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, ParsedMessage[Any]], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[ParsedMessage[Any]]: ...
@takes_options
async def acomplete_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    on_result: Callable[[int, Any], object] | None = None,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> list[Any]:
    """The asynchronous twin of `complete_many`; `contexts` may be an asynchronous iterable.

    Example:
        >>> import asyncio
        >>> from pipy_ai import acomplete_many
        >>> [m.text for m in asyncio.run(acomplete_many("faux/echo", ["One", "Two"]))]
        ['One', 'Two']
    """
    batch = make_batch(
        model, contexts, concurrency, stop_on, executor, output, output_mode, options
    )
    _check_callback(on_result)
    answers: dict[int, AssistantMessage] = {}
    async with contextlib.aclosing(
        astream_rows(batch, _aiter(contexts), to_the_end=True)
    ) as landed:
        async for index, message in landed:
            answers[index] = message
            if on_result is not None:
                on_result(index, message)
    return [answers.get(index) or batch.unasked() for index in range(batch.fed)]


@overload
def stream_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, AssistantMessage], None, None]: ...
@overload
def stream_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: type[T],
    output_mode: Mode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, ParsedMessage[T]], None, None]: ...
@overload
def stream_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: Any,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, ParsedMessage[Any]], None, None]: ...
@takes_options
def stream_many(
    model: Models,
    contexts: Iterable[Prompt],
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> Generator[tuple[int, Any], None, None]:
    """Ask many questions side by side; yields `(index, message)` as the answers land.

    Arguments and errors as for `complete_many`. `contexts` may be endless: it is read in the
    caller's thread, a few rows ahead, and memory stays bounded. Leaving the loop stops what is
    under way. After an error of `stop_on` it ends early, without the rows that were not asked.

    Example:
        >>> from pipy_ai import stream_many
        >>> for index, message in stream_many("faux/echo", ["One"]):
        ...     print(index, message.text)
        0 One
    """
    batch = make_batch(
        model, contexts, concurrency, stop_on, _blocking(executor), output, output_mode, options
    )
    return stream_rows(batch, enumerate(contexts))


@overload
def astream_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, AssistantMessage], None]: ...
@overload
def astream_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: type[T],
    output_mode: Mode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, ParsedMessage[T]], None]: ...
@overload
def astream_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, ParsedMessage[Any]], None]: ...
@takes_options
def astream_many(
    model: Models,
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
    *,
    output: Any = None,
    output_mode: Mode | None = None,
    concurrency: int = 16,
    stop_on: Iterable[ErrorKind | str] = STOP_ON,
    executor: Any = None,
    **options: Unpack[Options],
) -> AsyncGenerator[tuple[int, Any], None]:
    """The asynchronous twin of `stream_many`; `contexts` may be an asynchronous iterable.

    Example:
        >>> import asyncio
        >>> from pipy_ai import astream_many
        >>> async def main():
        ...     async for index, message in astream_many("faux/echo", ["One"]):
        ...         print(index, message.text)
        >>> asyncio.run(main())
        0 One
    """
    batch = make_batch(
        model, contexts, concurrency, stop_on, executor, output, output_mode, options
    )
    return astream_rows(batch, _aiter(contexts))


# === Feeding and taking ===


def stream_rows(batch: Batch, rows: Iterable[tuple[int, Prompt]]) -> Generator[Landed, None, None]:
    """The caller's thread reads and takes; the background thread's loop asks."""
    thread = loops.ensure()
    if thread.is_current:
        raise RuntimeError(
            "a blocking call inside pipy-ai's own event loop would never return: "
            "use the asynchronous twin (astream_many, acomplete_many) here"
        )
    call = thread.loop.call_soon_threadsafe
    rows = iter(rows)
    batch.begin(thread.loop)
    taken, closed = 0, False
    try:
        while True:
            while not closed and batch.fed - taken < batch.window and not batch.landed.ready:
                row, failure = None, None
                try:
                    row = None if batch.stopped else next(rows, None)
                except Exception as error:  # of the caller's iterable
                    failure = error
                if row is None:
                    closed = True
                    call(batch.close, failure)
                else:
                    batch.fed += 1
                    call(batch.add, *row)
            landed = batch.landed.get()
            if not landed:
                return
            for one in landed:
                taken += 1
                yield one
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs any more
            call(batch.cancel)


async def astream_rows(
    batch: Batch, rows: AsyncIterator[tuple[int, Prompt]], to_the_end: bool = False
) -> AsyncGenerator[Landed, None]:
    """One task reads; whoever iterates takes; both in the running loop. `to_the_end`: rows are
    read, and counted, even after the batch was stopped."""
    loop = asyncio.get_running_loop()
    room = asyncio.Semaphore(batch.window)

    async def feed() -> None:
        try:
            await room.acquire()
            async for index, context in rows:
                batch.fed += 1
                batch.add(index, context)
                if batch.stopped is None:
                    await room.acquire()
                if batch.stopped is not None and not to_the_end:
                    break
            batch.close()
        except BaseException as error:  # of the caller's iterable, whatever it is
            batch.close(error)

    batch.begin(loop)
    batch.on_stop = room.release
    feeder = loop.create_task(feed())
    try:
        while landed := await batch.landed.aget():
            for one in landed:
                room.release()
                yield one
        if to_the_end:
            await feeder
    finally:
        feeder.cancel()
        batch.cancel()
        await asyncio.wait([feeder])
        await batch.ended()


async def _aiter(
    contexts: Iterable[Prompt] | AsyncIterable[Prompt],
) -> AsyncIterator[tuple[int, Prompt]]:
    if isinstance(contexts, AsyncIterable):
        index = 0
        async for context in contexts:
            yield index, context
            index += 1
    else:
        for row in enumerate(contexts):
            yield row


# === The engine ===


class Pace:
    """How many requests may be under way, and from when on: shared by all rows.

    Every answer adds a little to `limit`, each refusal takes a half off, so that a round in which
    all are refused halves it and a stray refusal does no harm. Each round without one doubles the
    step of growth: it starts fast, goes carefully near what the provider bears, and recovers fast.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit: float = float(max(1, most // 4))
        self._step = self.limit
        self.until: float = 0.0  # the loop's time before which nothing is sent
        self._well = 0  # answers since the last refusal or doubling

    def answered(self) -> None:
        """A request was answered."""
        self.limit = min(self.most, self.limit + self._step / self.limit)
        self._well += 1
        if self._well >= self.limit:
            self._well, self._step = 0, min(self.most, self._step * 2)

    def refused(self, until: float) -> None:
        """The provider was busy; it asks to wait until then (0: it does not say)."""
        self.limit = max(1.0, self.limit - 0.5)
        self._well, self._step = 0, 1.0
        self.until = max(self.until, until)


@dataclass(slots=True)
class Row:
    """A question under way."""

    index: int
    context: Prompt
    tries: int = 0
    refusals: int = 0
    sends: int = 0
    answered: int = 0  # answers that the batch had when this failed last, or was added
    failed: AssistantMessage | None = None  # what came of the last try
    spent: list[Usage] = field(default_factory=list)  # by tries that broke off


class Batch:
    """Rows on their way from `add` to `landed`. All of it runs in one loop."""

    def __init__(
        self,
        ask: Ask,
        concurrency: int,
        stop_on: frozenset[ErrorKind] = frozenset(STOP_ON),
        max_retries: int = 2,
        max_delay: float = 60.0,
        message: type[AssistantMessage] = AssistantMessage,
    ) -> None:
        self.landed: Channel[Landed] = Channel()
        self.window: int = AHEAD * concurrency
        self.fed = 0  # counted by whoever feeds
        self.stopped: ErrorInfo | None = None  # why nothing new is asked
        self.on_stop: Callable[[], object] = lambda: None
        self.pace: Pace = Pace(concurrency)
        self._ask = ask
        self._stop_on = stop_on | {ErrorKind.ABORTED}
        self._max_retries, self._max_delay = max_retries, max_delay
        self._message = message
        self._waiting: deque[Row] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._context = contextvars.copy_context()  # what is set around the batch holds within
        self._answered = 0
        self._asking = 0
        self._gone_at = 0.0  # since when nobody is answered; 0: somebody was
        self._rounds = 0  # pauses since then
        self._closed = False
        self._failure: BaseException | None = None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say where it runs."""
        self._loop = loop
        self._halt = asyncio.Event()

    @property
    def under_way(self) -> int:
        """How many requests are under way, or wait to be sent again."""
        return len(self._tasks)

    def add(self, index: int, context: Prompt) -> None:
        """Take a row."""
        if self.stopped is None:
            self._waiting.append(Row(index, context, answered=self._answered))
            self._fill()

    def close(self, failure: BaseException | None = None) -> None:
        """No more rows: `landed` ends with the last answer, or then raises `failure`."""
        self._closed, self._failure = True, failure
        self._end_if_done()

    def stop(self, why: ErrorInfo) -> None:
        """Ask nothing new. What is under way lands; of what waits, what has failed before."""
        if self.stopped is None:
            self.stopped = why
            for row in self._waiting:
                if row.failed is not None:
                    self._land(row, row.failed)
            self._waiting.clear()
            self._halt.set()
            self._closed = True
            self.on_stop()
            self._end_if_done()

    def cancel(self) -> None:
        """Stop all at once."""
        self.stop(error_info(ErrorKind.ABORTED, "The batch was left."))
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def unasked(self) -> AssistantMessage:
        """The message of a row that was not asked."""
        why = self.stopped
        said = f", after an error of kind {why.kind}: {why.message}" if why is not None else "."
        text = f"Not asked: the batch was stopped{said}"
        return self.failed(ErrorKind.ABORTED, text)

    def failed(self, kind: ErrorKind, text: str) -> AssistantMessage:
        """The message of a row that never reached a provider."""
        reason = StopReason.ABORTED if kind is ErrorKind.ABORTED else StopReason.ERROR
        return self._message(error=error_info(kind, text), error_message=text, stop_reason=reason)

    # --- In the loop ------------------------------------------------------------------------

    def _fill(self) -> None:
        """Start what may be started now."""
        if not self._waiting:
            return
        pause = self.pace.until - self._loop.time()
        if pause > 0:
            if self._timer is None:
                self._timer = self._loop.call_later(pause, self._go_on)
            return
        while self._waiting and len(self._tasks) < int(self.pace.limit):
            row = self._waiting.popleft()
            task = self._loop.create_task(self._carry(row), context=self._context.copy())
            self._tasks.add(task)
            task.add_done_callback(self._over)

    def _go_on(self) -> None:
        self._timer = None
        self._fill()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._failure = bug if isinstance(bug, Exception) else RuntimeError(str(bug))
            self.cancel()
        self._fill()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._closed and not self._tasks and not self._waiting:
            if self._timer is not None:
                self._timer.cancel()
            self.landed.close(self._failure)

    async def _carry(self, row: Row) -> None:
        """Send a row once; it lands, or takes its place behind those that wait."""
        row.sends += 1
        if row.failed is not None:
            tries = [one.usage for one in row.failed.attempts] or [row.failed.usage]
            row.spent += [usage for usage in tries if usage.total_tokens]
        self._asking += 1
        try:
            message = await self._ask(row)
        except (TypeError, ValueError) as wrong:  # one bad row spoils no other
            message = self.failed(ErrorKind.BAD_REQUEST, str(wrong))
        finally:
            self._asking -= 1
        wait = self._wait_before_retry(row, message)
        if wait is None:
            self._land(row, message)
            return
        if wait > 0:  # in its place: a request that backs off leaves room for none
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._halt.wait(), wait)
        if self.stopped is not None:
            self._land(row, message)
            return
        row.failed = message
        self._waiting.append(row)  # the others' turn first

    def _land(self, row: Row, message: AssistantMessage) -> None:
        if row.spent:
            from .tool_loop import summed

            message.usage = summed([*row.spent, message.usage])
        self.landed.put([(row.index, message)])

    def _wait_before_retry(self, row: Row, message: AssistantMessage) -> float | None:
        """Seconds until a row is to be asked again; None when it shall not."""
        error = message.error
        if error is None or error.kind not in SILENT:
            self._gone_at, self._rounds = 0.0, 0
        if error is None or not error.retryable:
            self._answered += 1
            self.pace.answered()
            if error is not None and error.kind in self._stop_on:
                self.stop(error)
            return None
        busy, asked = error.kind in BUSY, error.retry_after or 0.0
        gone = bool(self._max_retries) and error.kind in SILENT and self._is_gone(row)
        if asked > self._max_delay:
            error.message += (
                f" The provider asks to wait {asked:g} s, longer than"
                f" max_retry_delay_ms={self._max_delay * 1000:g} allows."
            )
            message.error_message = error.message
        elif busy and not gone:
            self.pace.refused(self._loop.time() + asked if asked else 0.0)
        if error.kind in self._stop_on or (busy and asked > self._max_delay):
            self.stop(error)
        if self.stopped is not None or asked > self._max_delay:
            return None
        if gone:
            return self._hold_back(message, busy, asked)
        if self._max_retries and busy and self._answered > row.answered:
            row.refusals += 1  # that is no fault of this row
            if row.refusals > PATIENCE:
                return None
        elif row.tries >= self._max_retries:
            return None
        else:
            row.tries += 1
        row.answered = self._answered
        if asked:
            return 0.0 if busy else asked  # the pace holds all back
        return random.uniform(
            0.0, min(MAX_BACKOFF, BACKOFF * 2 ** min(row.tries + row.refusals - 1, 10))
        )

    def _is_gone(self, row: Row) -> bool:
        """Whether it is no fault of a row that it was refused, or reached nobody: nobody was
        answered since it failed last, and others wait, too."""
        return self._answered == row.answered and len(self._tasks) + len(self._waiting) > 1

    def _hold_back(self, message: AssistantMessage, busy: bool, asked: float) -> float | None:
        """Let all rows wait for a server that is gone or refuses all, longer each time, at least
        as long as it asks; in the end, stop.

        One that is busy or has answered before is given `SILENCE`, another as many rounds as a row
        has tries.
        """
        now, pause = self._loop.time(), 0.0
        if now >= self.pace.until:  # the first of its round
            self._gone_at = self._gone_at or now
            self._rounds += 1
            wait = min(MAX_BACKOFF, BACKOFF * 2 ** min(self._rounds - 1, 10))
            own = 0.0 if asked and self._rounds == 1 else random.uniform(wait / 2, wait)
            pause = now + max(own, asked)
        gone = now - self._gone_at
        known = busy or self._answered
        lost = gone >= SILENCE if known else self._rounds > self._max_retries
        if lost and not self._asking:  # nobody is under way who may yet be answered
            assert message.error is not None
            message.error.message += f" Nobody was answered for {gone:.0f} s."
            message.error_message = message.error.message
            self.stop(message.error)
            return None
        self.pace.refused(pause)
        return 0.0


# === Setting up ===


def make_batch(
    model: Models,
    contexts: object,
    concurrency: int,
    stop_on: Iterable[ErrorKind | str],
    executor: Any,
    output: Any,
    output_mode: Mode | None,
    options: Options,
) -> Batch:
    """A batch for these arguments, which are checked before anything is sent."""
    if isinstance(contexts, str | Context | Mapping) or not isinstance(
        contexts, Iterable | AsyncIterable
    ):
        raise TypeError(
            f"contexts are many prompts, like a list of strings, not {type(contexts).__name__};"
            " for one prompt there is complete"
        )
    if not isinstance(concurrency, int):
        raise TypeError(f"concurrency is a whole number, not {concurrency!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency is 1 or more, not {concurrency}")
    try:
        kinds = frozenset(map(ErrorKind, stop_on))
    except ValueError as error:
        known = ", ".join(ErrorKind)
        raise ValueError(f"stop_on: {error}; the kinds are {known}") from None
    request = build_requests(model, "?", None, options, output, output_mode)[0]()
    how, message = request.options, AssistantMessage
    if request.output is not None:
        message = request.output.message
    if executor is not None:
        from .cluster import asker

        ask = asker(executor, model, request.output, output_mode, options, message)
    else:
        ask = _asker(model, output, output_mode, options)
        concurrency = min(concurrency, _connections())
    return Batch(ask, concurrency, kinds, how.max_retries, how.max_retry_delay_ms / 1000, message)


def _connections() -> int:
    """How many the system lets this process have."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 500
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1_000_000 if limit == resource.RLIM_INFINITY else max(1, limit - SPARE)


def _check_callback(on_result: object) -> None:
    if inspect.iscoroutinefunction(on_result):
        raise TypeError("on_result is a plain function; to await something, use astream_many")


def _blocking(executor: Any) -> Any:
    if getattr(executor, "asynchronous", False):
        raise ValueError(
            "an asynchronous Client waits for the thread that would wait for it:"
            " use acomplete_many or astream_many with it"
        )
    return executor


def _asker(model: Models, output: Any, mode: Mode | None, options: Options) -> Ask:
    """What asks a row once, in this process."""
    asked: dict[str, Any] = {**options, "max_retries": 0}
    if output is not None:
        from .output import Output

        asked |= {"output": Output.of(output), "output_mode": mode}

    async def ask(row: Row) -> AssistantMessage:
        message: AssistantMessage = await acomplete(model, row.context, **asked)
        return message

    return ask
