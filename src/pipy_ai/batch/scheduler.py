"""Send the rows of a batch concurrently.

`BatchScheduler` runs in one event loop. Rows are added as they are read, as many requests are in
flight as `AdaptiveConcurrency` allows, failed rows are sent again, and finished messages go to the
channel `results`. The engine's retries are turned off, so that the limit which all rows share
counts every refusal.
"""

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

from .._requests import BatchModel, ModelSpec, request_factories
from ..api import acomplete
from ..context import Prompt
from ..errors import ErrorInfo, ErrorKind, error_info
from ..options import Options
from ..provider.retry import backoff_limit, report_retry, retry_after_too_long, retry_delay
from ..types import AssistantMessage, Context, StopReason
from ..usage import sum_usage
from ..utils.channel import Channel
from ..utils.event_loop import background_loop
from .row import IndexedMessage, Row, RowRequest, SendRow

if TYPE_CHECKING:
    from ..output.schema import OutputMode

# Errors that would affect every other row as well.
DEFAULT_STOP_ON = (
    ErrorKind.AUTH,
    ErrorKind.MISSING_KEY,
    ErrorKind.QUOTA,
    ErrorKind.BUDGET,
    ErrorKind.NOT_FOUND,
)
BUSY_KINDS = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED})
# If all rows end with one of these, the server is unavailable.
UNAVAILABLE_KINDS = BUSY_KINDS | {ErrorKind.CONNECTION}

MAX_REFUSALS_PER_ROW = 30  # while other rows are answered
RESERVED_FDS = 64  # files that the process may need besides the batch's connections
PREFETCH = 2  # rows read and not yet returned, per request that may be in flight
OUTAGE_TIMEOUT_S = (
    120.0  # how long a server that has answered may refuse all rows or be unreachable
)


def stream_rows(
    scheduler: BatchScheduler, rows: Iterable[tuple[int, Prompt]]
) -> Generator[IndexedMessage, None, None]:
    """Run a batch in the background thread's event loop.

    The rows are read in the caller's thread, while no result is ready.
    """
    background = background_loop()
    if background.is_current:
        raise RuntimeError(
            "a blocking call inside pipy-ai's own event loop would never return: "
            "use the async version (astream_many, acomplete_many) here"
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
                except Exception as error:  # raised by the caller's iterable
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
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing runs in it
            call_in_loop(scheduler.cancel)


async def astream_rows(
    scheduler: BatchScheduler,
    rows: AsyncIterator[tuple[int, Prompt | RowRequest]],
    read_all: bool = False,
) -> AsyncGenerator[IndexedMessage, None]:
    """Run a batch in the running event loop.

    With `read_all`, the rows are read and counted even after the batch was stopped.
    """
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
        except BaseException as error:  # raised by the caller's iterable
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
    """The number of requests that all rows together may have in flight.

    Every answer raises `limit` slightly, and every refusal lowers it by one half, so that a round
    in which all requests are refused halves the limit while a single refusal hardly changes it.
    Each round without a refusal doubles the step: the limit grows quickly at first and after a
    refusal is over, and slowly near the provider's limit.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit: float = float(max(1, maximum // 4))
        self.paused_until: float = 0.0  # the loop's time before which nothing is sent
        self._increment = self.limit  # for a round of `limit` answers
        self._successes = 0  # since the last refusal or doubling

    def on_answer(self) -> None:
        """Count a request that was answered."""
        self.limit = min(self.maximum, self.limit + self._increment / self.limit)
        self._successes += 1
        if self._successes >= self.limit:
            self._successes, self._increment = 0, min(self.maximum, self._increment * 2)

    def on_refusal(self, resume_at: float) -> None:
        """Count a request that was refused; send nothing before `resume_at` (0: no pause)."""
        self.limit = max(1.0, self.limit - 0.5)
        self._successes, self._increment = 0, 1.0
        self.paused_until = max(self.paused_until, resume_at)


class BatchScheduler:
    """Sends the rows that are added and puts their messages into `results`.

    All methods are called in one event loop.
    """

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
        self.rows_fed = 0  # counted by the function that reads the rows
        self.stop_error: ErrorInfo | None = None  # why no more rows are sent
        self.on_stop: Callable[[], object] = lambda: None
        self.limiter: AdaptiveConcurrency = AdaptiveConcurrency(concurrency)
        self._send = send
        self._stop_on = stop_on | {ErrorKind.ABORTED}
        self._max_retries, self._max_delay = max_retries, max_delay
        self._message_class = message_class
        self._waiting: deque[Row] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        # The budgets that are active around the batch also apply to its rows.
        self._contextvars = contextvars.copy_context()
        self._answer_count = 0
        self._requests_in_flight = 0
        self._outage_started_at = 0.0  # 0: there is no outage
        self._outage_rounds = 0  # pauses since the outage started
        self._closed = False
        self._failure: BaseException | None = None

    def attach_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop in which the batch runs. Must be called before anything else."""
        self._loop = loop
        self._stop_event = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """The number of rows whose request is in flight, or that wait for their own retry."""
        return len(self._tasks)

    def add(self, index: int, prompt: Prompt | RowRequest) -> None:
        """Add a row."""
        if self.stop_error is None:
            request = prompt if isinstance(prompt, RowRequest) else RowRequest(prompt)
            self._waiting.append(Row(index, request, answers_at_last_failure=self._answer_count))
            self._start_rows()

    def close(self, failure: BaseException | None = None) -> None:
        """Accept no more rows: `results` ends after the last answer, and then raises `failure`."""
        self._closed, self._failure = True, failure
        self._close_if_done()

    def stop(self, error: ErrorInfo) -> None:
        """Send no more rows. Requests in flight are finished.

        A waiting row that has failed before ends with its last failure; the others get no message.
        """
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
        """Stop, and cancel the requests in flight."""
        self.stop(error_info(ErrorKind.ABORTED, "The batch was abandoned."))
        for task in self._tasks:
            task.cancel()

    async def wait_until_done(self) -> None:
        """Wait until no request is in flight."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def skipped_message(self) -> AssistantMessage:
        """Return the message of a row that was not sent."""
        error = self.stop_error
        suffix = (
            f", after an error of kind {error.kind}: {error.message}" if error is not None else "."
        )
        text = f"Not sent: the batch was stopped{suffix}"
        return self.failure_message(ErrorKind.ABORTED, text)

    def failure_message(self, kind: ErrorKind, text: str) -> AssistantMessage:
        """Return the message of a row that never reached a provider."""
        reason = StopReason.ABORTED if kind is ErrorKind.ABORTED else StopReason.ERROR
        return self._message_class(
            error=error_info(kind, text), error_message=text, stop_reason=reason
        )

    def _start_rows(self) -> None:
        """Send waiting rows up to the limit, or set a timer if all rows are paused."""
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
        """Send a row once, then deliver its message or put it back into the queue."""
        row.send_count += 1
        if row.last_failure is not None:
            attempt_usages = [attempt.usage for attempt in row.last_failure.attempts] or [
                row.last_failure.usage
            ]
            row.failed_usage += [usage for usage in attempt_usages if usage.total_tokens]
        self._requests_in_flight += 1
        try:
            message = await self._send(row)
        except (TypeError, ValueError) as error:  # an invalid prompt must not end the batch
            message = self.failure_message(ErrorKind.BAD_REQUEST, str(error))
        finally:
            self._requests_in_flight -= 1
        delay = self._retry_delay(row, message)
        if delay is None:
            self._deliver(row, message)
            return
        report_retry(message, max(delay, self.limiter.paused_until - self._loop.time()))
        if delay > 0:  # the row keeps its slot while it waits, so the provider gets fewer requests
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop_event.wait(), delay)
        if self.stop_error is not None:
            self._deliver(row, message)
            return
        row.last_failure = message
        self._waiting.append(row)  # behind the rows that were not sent yet

    def _deliver(self, row: Row, message: AssistantMessage) -> None:
        if row.failed_usage:
            message.usage = sum_usage([*row.failed_usage, message.usage])
        self.results.put([(row.index, message)])

    def _retry_delay(self, row: Row, message: AssistantMessage) -> float | None:
        """Return the seconds until a row is sent again, or None if its message is final.

        Counts the message: it may change the concurrency limit, or pause or stop the batch.
        """
        error = message.error
        if error is None or error.kind not in UNAVAILABLE_KINDS:
            self._outage_started_at, self._outage_rounds = 0.0, 0
        if error is None or not error.retryable:
            self._count_answer(error)
            return None
        busy, retry_after = error.kind in BUSY_KINDS, error.retry_after or 0.0
        if retry_after_too_long(message, self._max_delay * 1000):
            if busy or error.kind in self._stop_on:  # a long rate limit applies to all rows
                self.stop(error)
            return None
        outage = self._is_outage(row, error)
        if busy and not outage:
            self.limiter.on_refusal(self._loop.time() + retry_after if retry_after else 0.0)
        if error.kind in self._stop_on:
            self.stop(error)
        if self.stop_error is not None:
            return None
        if outage:
            return self._pause_all_rows(message, error, busy, retry_after)
        if not self._count_retry(row, busy):
            return None
        if busy and retry_after:
            return 0.0  # the limiter pauses all rows of a busy provider
        return retry_delay(retry_after or None, row.retries + row.refusals - 1)

    def _count_answer(self, error: ErrorInfo | None) -> None:
        """Count a message that is not retried: the provider did its work, or refused for good."""
        self._answer_count += 1
        self.limiter.on_answer()
        if error is not None and error.kind in self._stop_on:
            self.stop(error)

    def _count_retry(self, row: Row, busy: bool) -> bool:
        """Count a retry of a row, and return whether the row has one left.

        A refusal while other rows are answered does not use up the row's `max_retries`.
        """
        if self._max_retries and busy and self._answer_count > row.answers_at_last_failure:
            row.refusals += 1
            if row.refusals > MAX_REFUSALS_PER_ROW:
                return False
        elif row.retries >= self._max_retries:
            return False
        else:
            row.retries += 1
        row.answers_at_last_failure = self._answer_count
        return True

    def _is_outage(self, row: Row, error: ErrorInfo) -> bool:
        """Return whether the server, not the row, is the reason for a failure.

        That is the case if no row was answered since this one last failed, and others wait.
        """
        return (
            self._max_retries > 0
            and error.kind in UNAVAILABLE_KINDS
            and self._answer_count == row.answers_at_last_failure
            and len(self._tasks) + len(self._waiting) > 1
        )

    def _pause_all_rows(
        self, message: AssistantMessage, error: ErrorInfo, busy: bool, retry_after: float
    ) -> float | None:
        """Pause all rows during an outage, or stop the batch once it has lasted too long.

        Each round of failures pauses longer than the one before, and at least for `retry_after`
        seconds. A server that is busy or has answered before gets `OUTAGE_TIMEOUT_S`, any other
        as many rounds as a row has retries.
        """
        now, resume_at = self._loop.time(), 0.0
        if now >= self.limiter.paused_until:  # the first failure of its round
            self._outage_started_at = self._outage_started_at or now
            self._outage_rounds += 1
            resume_at = now + max(self._outage_pause(retry_after), retry_after)
        outage_s = now - self._outage_started_at
        if busy or self._answer_count:
            timed_out = outage_s >= OUTAGE_TIMEOUT_S
        else:
            timed_out = self._outage_rounds > self._max_retries
        if timed_out and not self._requests_in_flight:  # a request in flight may yet be answered
            error.message += f" No request succeeded for {outage_s:.0f} s."
            message.error_message = error.message
            self.stop(error)
            return None
        self.limiter.on_refusal(resume_at)
        return 0.0

    def _outage_pause(self, retry_after: float) -> float:
        """Return the seconds of the outage's current pause, with jitter."""
        if retry_after and self._outage_rounds == 1:
            return 0.0
        backoff = backoff_limit(self._outage_rounds - 1)
        return random.uniform(backoff / 2, backoff)


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
    """Check the arguments of `complete_many` and return a scheduler for them.

    Raises:
        TypeError: As `complete_many`.
        ValueError: As `complete_many`.
    """
    if isinstance(contexts, str | Context | Mapping) or not isinstance(
        contexts, Iterable | AsyncIterable
    ):
        raise TypeError(
            "contexts must be several prompts, such as a list of strings, not "
            f"{type(contexts).__name__}; for one prompt use complete"
        )
    if not isinstance(concurrency, int):
        raise TypeError(f"concurrency must be a whole number, not {concurrency!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
    try:
        stop_kinds = frozenset(map(ErrorKind, stop_on))
    except ValueError as error:
        known = ", ".join(ErrorKind)
        raise ValueError(f"stop_on: {error}; the kinds are {known}") from None
    request = request_factories(model, "?", None, options, output, output_mode)[0]()
    request_options, message_class = request.options, AssistantMessage
    options = {**options, "raise_on_error": False}  # for the whole batch, not for its requests
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
    """Return how many connections this process may open."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows
        return 500
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1_000_000 if limit == resource.RLIM_INFINITY else max(1, limit - RESERVED_FDS)


def _local_sender(
    model: ModelSpec, output: Any, output_mode: OutputMode | None, options: Options
) -> SendRow:
    """Return a function that sends a row once from this process."""
    call_options: dict[str, Any] = {**options, "max_retries": 0}
    if output is not None:
        from ..output.schema import Output

        call_options |= {"output": Output.of(output), "output_mode": output_mode}
    batch_model: Any = BatchModel(model)

    async def send(row: Row) -> AssistantMessage:
        message: AssistantMessage
        request = row.request
        if request.model or request.options:
            row_options = {**call_options, **request.options}
            message = await acomplete(request.model or model, request.prompt, **row_options)
        else:
            message = await acomplete(batch_model, request.prompt, **call_options)
        return message

    return send
