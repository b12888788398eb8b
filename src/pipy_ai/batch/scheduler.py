"""Schedule the rows of a batch: concurrency, backoff, outages, order."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import random
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Mapping,
)
from typing import TYPE_CHECKING, Any

from .._requests import ModelSpec, Options, request_factories
from ..api import acomplete
from ..context import Prompt
from ..errors import ErrorInfo, ErrorKind, error_info
from ..provider.retry import BACKOFF_BASE_S, MAX_BACKOFF_S
from ..types import AssistantMessage, Context, StopReason
from ..utils import event_loop as loops
from ..utils.channel import Channel

if TYPE_CHECKING:
    from ..output.schema import OutputMode
from .row import IndexedMessage, Row, SendRow

# What would befall every other row, too.
DEFAULT_STOP_ON = (
    ErrorKind.AUTH,
    ErrorKind.MISSING_KEY,
    ErrorKind.QUOTA,
    ErrorKind.BUDGET,
    ErrorKind.NOT_FOUND,
)


BUSY_KINDS = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED})


UNAVAILABLE_KINDS = BUSY_KINDS | {ErrorKind.CONNECTION}  # nobody answers, if all rows end so


MAX_REFUSALS_PER_ROW = 30  # refusals that a row endures while others are answered


RESERVED_FDS = 64  # files that may be open beside the connections of a batch


PREFETCH = 2  # rows that are read and not yet taken, for each that may be under way


OUTAGE_TIMEOUT_S = (
    120.0  # seconds for which a server may refuse all, or be gone after it has answered
)


def stream_rows(
    scheduler: BatchScheduler, rows: Iterable[tuple[int, Prompt]]
) -> Generator[IndexedMessage, None, None]:
    """The caller's thread reads and takes; the background thread's loop asks."""
    background = loops.background_loop()
    if background.is_current:
        raise RuntimeError(
            "a blocking call inside pipy-ai's own event loop would never return: "
            "use the asynchronous twin (astream_many, acomplete_many) here"
        )
    call_in_loop = background.loop.call_soon_threadsafe
    rows = iter(rows)
    scheduler.attach_loop(background.loop)
    yielded, exhausted = 0, False
    try:
        while True:
            while (
                not exhausted
                and scheduler.rows_fed - yielded < scheduler.window
                and not scheduler.results.ready
            ):
                row, failure = None, None
                try:
                    row = None if scheduler.stop_error else next(rows, None)
                except Exception as error:  # of the caller's iterable
                    failure = error
                if row is None:
                    exhausted = True
                    call_in_loop(scheduler.close, failure)
                else:
                    scheduler.rows_fed += 1
                    call_in_loop(scheduler.add, *row)
            results = scheduler.results.get()
            if not results:
                return
            for result in results:
                yielded += 1
                yield result
    finally:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs any more
            call_in_loop(scheduler.cancel)


async def astream_rows(
    scheduler: BatchScheduler, rows: AsyncIterator[tuple[int, Prompt]], read_all: bool = False
) -> AsyncGenerator[IndexedMessage, None]:
    """One task reads; whoever iterates takes; both in the running loop. `to_the_end`: rows are
    read, and counted, even after the batch was stopped."""
    loop = asyncio.get_running_loop()
    slots = asyncio.Semaphore(scheduler.window)

    async def feed() -> None:
        try:
            await slots.acquire()
            async for index, context in rows:
                scheduler.rows_fed += 1
                scheduler.add(index, context)
                if scheduler.stop_error is None:
                    await slots.acquire()
                if scheduler.stop_error is not None and not read_all:
                    break
            scheduler.close()
        except BaseException as error:  # of the caller's iterable, whatever it is
            scheduler.close(error)

    scheduler.attach_loop(loop)
    scheduler.on_stop = slots.release
    feed_task = loop.create_task(feed())
    try:
        while results := await scheduler.results.aget():
            for result in results:
                slots.release()
                yield result
        if read_all:
            await feed_task
    finally:
        feed_task.cancel()
        scheduler.cancel()
        await asyncio.wait([feed_task])
        await scheduler.wait_until_done()


class AdaptiveConcurrency:
    """How many requests may be under way, and from when on: shared by all rows.

    Every answer adds a little to `limit`, each refusal takes a half off, so that a round in which
    all are refused halves it and a stray refusal does no harm. Each round without one doubles the
    step of growth: it starts fast, goes carefully near what the provider bears, and recovers fast.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit: float = float(max(1, maximum // 4))
        self._increment = self.limit
        self.paused_until: float = 0.0  # the loop's time before which nothing is sent
        self._successes = 0  # answers since the last refusal or doubling

    def on_answer(self) -> None:
        """A request was answered."""
        self.limit = min(self.maximum, self.limit + self._increment / self.limit)
        self._successes += 1
        if self._successes >= self.limit:
            self._successes, self._increment = 0, min(self.maximum, self._increment * 2)

    def on_refusal(self, resume_at: float) -> None:
        """The provider was busy; it asks to wait until then (0: it does not say)."""
        self.limit = max(1.0, self.limit - 0.5)
        self._successes, self._increment = 0, 1.0
        self.paused_until = max(self.paused_until, resume_at)


class BatchScheduler:
    """Rows on their way from `add` to `landed`. All of it runs in one loop."""

    def __init__(
        self,
        send: SendRow,
        concurrency: int,
        stop_on: frozenset[ErrorKind] = frozenset(DEFAULT_STOP_ON),
        max_retries: int = 2,
        max_delay: float = 60.0,
        message_class: type[AssistantMessage] = AssistantMessage,
    ) -> None:
        self.results: Channel[IndexedMessage] = Channel()
        self.window: int = PREFETCH * concurrency
        self.rows_fed = 0  # counted by whoever feeds
        self.stop_error: ErrorInfo | None = None  # why nothing new is asked
        self.on_stop: Callable[[], object] = lambda: None
        self.limiter: AdaptiveConcurrency = AdaptiveConcurrency(concurrency)
        self._send = send
        self._stop_on = stop_on | {ErrorKind.ABORTED}
        self._max_retries, self._max_delay = max_retries, max_delay
        self._message_class = message_class
        self._waiting: deque[Row] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._contextvars = contextvars.copy_context()  # what is set around the batch holds within
        self._answer_count = 0
        self._requests_in_flight = 0
        self._outage_started_at = 0.0  # since when nobody is answered; 0: somebody was
        self._outage_rounds = 0  # pauses since then
        self._closed = False
        self._failure: BaseException | None = None

    def attach_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say where it runs."""
        self._loop = loop
        self._stop_event = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many requests are under way, or wait to be sent again."""
        return len(self._tasks)

    def add(self, index: int, context: Prompt) -> None:
        """Take a row."""
        if self.stop_error is None:
            self._waiting.append(Row(index, context, answers_at_last_failure=self._answer_count))
            self._start_rows()

    def close(self, failure: BaseException | None = None) -> None:
        """No more rows: `landed` ends with the last answer, or then raises `failure`."""
        self._closed, self._failure = True, failure
        self._close_if_done()

    def stop(self, error: ErrorInfo) -> None:
        """Ask nothing new. What is under way lands; of what waits, what has failed before."""
        if self.stop_error is None:
            self.stop_error = error
            for row in self._waiting:
                if row.last_failure is not None:
                    self._deliver(row, row.last_failure)
            self._waiting.clear()
            self._stop_event.set()
            self._closed = True
            self.on_stop()
            self._close_if_done()

    def cancel(self) -> None:
        """Stop all at once."""
        self.stop(error_info(ErrorKind.ABORTED, "The batch was left."))
        for task in self._tasks:
            task.cancel()

    async def wait_until_done(self) -> None:
        """Wait until nothing is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def skipped_message(self) -> AssistantMessage:
        """The message of a row that was not asked."""
        error = self.stop_error
        suffix = (
            f", after an error of kind {error.kind}: {error.message}" if error is not None else "."
        )
        text = f"Not asked: the batch was stopped{suffix}"
        return self.failure_message(ErrorKind.ABORTED, text)

    def failure_message(self, kind: ErrorKind, text: str) -> AssistantMessage:
        """The message of a row that never reached a provider."""
        reason = StopReason.ABORTED if kind is ErrorKind.ABORTED else StopReason.ERROR
        return self._message_class(
            error=error_info(kind, text), error_message=text, stop_reason=reason
        )

    # --- In the loop ------------------------------------------------------------------------

    def _start_rows(self) -> None:
        """Start what may be started now."""
        if not self._waiting:
            return
        pause = self.limiter.paused_until - self._loop.time()
        if pause > 0:
            if self._timer is None:
                self._timer = self._loop.call_later(pause, self._resume)
            return
        while self._waiting and len(self._tasks) < int(self.limiter.limit):
            row = self._waiting.popleft()
            task = self._loop.create_task(self._send_row(row), context=self._contextvars.copy())
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)

    def _resume(self) -> None:
        self._timer = None
        self._start_rows()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = error if isinstance(error, Exception) else RuntimeError(str(error))
            self.cancel()
        self._start_rows()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._closed and not self._tasks and not self._waiting:
            if self._timer is not None:
                self._timer.cancel()
            self.results.close(self._failure)

    async def _send_row(self, row: Row) -> None:
        """Send a row once; it lands, or takes its place behind those that wait."""
        row.send_count += 1
        if row.last_failure is not None:
            attempt_usages = [attempt.usage for attempt in row.last_failure.attempts] or [
                row.last_failure.usage
            ]
            row.failed_usage += [usage for usage in attempt_usages if usage.total_tokens]
        self._requests_in_flight += 1
        try:
            message = await self._send(row)
        except (TypeError, ValueError) as error:  # one bad row spoils no other
            message = self.failure_message(ErrorKind.BAD_REQUEST, str(error))
        finally:
            self._requests_in_flight -= 1
        delay = self._retry_delay(row, message)
        if delay is None:
            self._deliver(row, message)
            return
        if delay > 0:  # in its place: a request that backs off leaves room for none
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_event.wait(), delay)
        if self.stop_error is not None:
            self._deliver(row, message)
            return
        row.last_failure = message
        self._waiting.append(row)  # the others' turn first

    def _deliver(self, row: Row, message: AssistantMessage) -> None:
        if row.failed_usage:
            from ..tool_loop import sum_usage

            message.usage = sum_usage([*row.failed_usage, message.usage])
        self.results.put([(row.index, message)])

    def _retry_delay(self, row: Row, message: AssistantMessage) -> float | None:
        """Seconds until a row is to be asked again; None when it shall not."""
        error = message.error
        if error is None or error.kind not in UNAVAILABLE_KINDS:
            self._outage_started_at, self._outage_rounds = 0.0, 0
        if error is None or not error.retryable:
            self._answer_count += 1
            self.limiter.on_answer()
            if error is not None and error.kind in self._stop_on:
                self.stop(error)
            return None
        busy, retry_after = error.kind in BUSY_KINDS, error.retry_after or 0.0
        outage = (
            bool(self._max_retries) and error.kind in UNAVAILABLE_KINDS and self._is_outage(row)
        )
        if retry_after > self._max_delay:
            error.message += (
                f" The provider asks to wait {retry_after:g} s, longer than"
                f" max_retry_delay_ms={self._max_delay * 1000:g} allows."
            )
            message.error_message = error.message
        elif busy and not outage:
            self.limiter.on_refusal(self._loop.time() + retry_after if retry_after else 0.0)
        if error.kind in self._stop_on or (busy and retry_after > self._max_delay):
            self.stop(error)
        if self.stop_error is not None or retry_after > self._max_delay:
            return None
        if outage:
            return self._pause_all_rows(message, busy, retry_after)
        if self._max_retries and busy and self._answer_count > row.answers_at_last_failure:
            row.refusals += 1  # that is no fault of this row
            if row.refusals > MAX_REFUSALS_PER_ROW:
                return None
        elif row.retries >= self._max_retries:
            return None
        else:
            row.retries += 1
        row.answers_at_last_failure = self._answer_count
        if retry_after:
            return 0.0 if busy else retry_after  # the pace holds all back
        return random.uniform(
            0.0, min(MAX_BACKOFF_S, BACKOFF_BASE_S * 2 ** min(row.retries + row.refusals - 1, 10))
        )

    def _is_outage(self, row: Row) -> bool:
        """Whether it is no fault of a row that it was refused, or reached nobody: nobody was
        answered since it failed last, and others wait, too."""
        return (
            self._answer_count == row.answers_at_last_failure
            and len(self._tasks) + len(self._waiting) > 1
        )

    def _pause_all_rows(
        self, message: AssistantMessage, busy: bool, retry_after: float
    ) -> float | None:
        """Let all rows wait for a server that is gone or refuses all, longer each time, at least
        as long as it asks; in the end, stop.

        One that is busy or has answered before is given `SILENCE`, another as many rounds as a row
        has tries.
        """
        now, resume_at = self._loop.time(), 0.0
        if now >= self.limiter.paused_until:  # the first of its round
            self._outage_started_at = self._outage_started_at or now
            self._outage_rounds += 1
            backoff = min(MAX_BACKOFF_S, BACKOFF_BASE_S * 2 ** min(self._outage_rounds - 1, 10))
            jittered = (
                0.0
                if retry_after and self._outage_rounds == 1
                else random.uniform(backoff / 2, backoff)
            )
            resume_at = now + max(jittered, retry_after)
        outage_s = now - self._outage_started_at
        was_reachable = busy or self._answer_count
        timed_out = (
            outage_s >= OUTAGE_TIMEOUT_S
            if was_reachable
            else self._outage_rounds > self._max_retries
        )
        if (
            timed_out and not self._requests_in_flight
        ):  # nobody is under way who may yet be answered
            assert message.error is not None
            message.error.message += f" Nobody was answered for {outage_s:.0f} s."
            message.error_message = message.error.message
            self.stop(message.error)
            return None
        self.limiter.on_refusal(resume_at)
        return 0.0


def create_scheduler(
    model: ModelSpec,
    contexts: object,
    concurrency: int,
    stop_on: Iterable[ErrorKind | str],
    executor: Any,
    output: Any,
    output_mode: OutputMode | None,
    options: Options,
) -> BatchScheduler:
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
        stop_kinds = frozenset(map(ErrorKind, stop_on))
    except ValueError as error:
        known = ", ".join(ErrorKind)
        raise ValueError(f"stop_on: {error}; the kinds are {known}") from None
    request = request_factories(model, "?", None, options, output, output_mode)[0]()
    request_options, message_class = request.options, AssistantMessage
    if request.output is not None:
        message_class = request.output.message_class
    if executor is not None:
        from .dask import create_sender

        send = create_sender(executor, model, request.output, output_mode, options, message_class)
    else:
        send = _local_sender(model, output, output_mode, options)
        concurrency = min(concurrency, _max_connections())
    return BatchScheduler(
        send,
        concurrency,
        stop_kinds,
        request_options.max_retries,
        request_options.max_retry_delay_ms / 1000,
        message_class,
    )


def _max_connections() -> int:
    """How many the system lets this process have."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 500
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1_000_000 if limit == resource.RLIM_INFINITY else max(1, limit - RESERVED_FDS)


def _local_sender(
    model: ModelSpec, output: Any, output_mode: OutputMode | None, options: Options
) -> SendRow:
    """What asks a row once, in this process."""
    call_options: dict[str, Any] = {**options, "max_retries": 0}
    if output is not None:
        from ..output.schema import Output

        call_options |= {"output": Output.of(output), "output_mode": output_mode}

    async def send(row: Row) -> AssistantMessage:
        message: AssistantMessage = await acomplete(model, row.context, **call_options)
        return message

    return send
