"""Runs a request: opens the provider, feeds the assembler, watches the clock, tries again, or the
next model.

A `Run` lives in one task of one event loop: the caller's own for `astream`, the background
thread's for `stream`. Whatever happens, it ends with exactly one terminal event, and with the
provider's connection closed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..accounting.budget import active_budgets
from ..errors import (
    FALLBACK_KINDS,
    MAX_MESSAGE_CHARS,
    ErrorInfo,
    ErrorKind,
    ProviderError,
    error_info,
)
from ..events import AssistantMessageEvent, DoneEvent, ErrorEvent
from ..failures import classify_exception
from ..stream import EventQueue
from ..tokens import estimate_input_tokens, estimate_output_tokens
from ..types import AssistantMessage, Attempt
from ..utils import event_loop as loops
from ..utils.construct import construct_unchecked
from .assembler import INTERRUPTED_MESSAGE, Assembler
from .base import Provider
from .request import Request
from .retry import BACKOFF_BASE_S, MAX_BACKOFF_S

if TYPE_CHECKING:
    from ..accounting.meter import Meter


YIELD_EVERY_BATCHES = (
    64  # batches after which others get a turn: a provider may have nothing to wait for
)
USAGE_GRACE_S = 2.0  # seconds to wait for usage once the answer is complete

_CANCELLED_MESSAGE = "The request's task was cancelled."
_LOOP_CLOSED_MESSAGE = "The event loop that the request ran in was closed."


def _is_connection_loss(error: ErrorInfo) -> bool:
    return error.kind in (ErrorKind.CONNECTION, ErrorKind.INCOMPLETE)


def _create_meter(stop_request: Callable[[ErrorInfo], None]) -> Meter | None:
    """What counts a request's cost on the way; None: nobody wants to know."""
    budgets = active_budgets.get()
    if not budgets and "PIPY_LEDGER" not in os.environ:
        return None
    from ..accounting.meter import Meter, ledger_path

    return Meter(budgets, ledger_path(), stop_request)


_running_tasks: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly


class Run:
    """One request under way; a stream's source. `begin`, `abort`, `closed` from any thread.

    `others` make the requests to the models that are asked one after the other when this one fails
    before its first content in a way that another model may not.
    """

    def __init__(
        self,
        provider: Provider,
        request: Request,
        queue: EventQueue,
        fallbacks: Sequence[Callable[[], tuple[Provider, Request]]] = (),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._provider = provider
        self._request = request
        self._queue = queue
        self._fallbacks = list(fallbacks)
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._attempts: list[Attempt] = []  # those that failed and were followed by another
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._stop_error: ErrorInfo | None = None  # why we cancelled the task, if we did
        self._attempt_error: ErrorInfo | None = (
            None  # why we cancelled this try, and not the request
        )
        self._start_event_pushed = False  # whether `start` was told
        self._started_at = 0.0
        self._last_content_at = 0.0  # when the newest content came
        self._first_content_at: float | None = None
        self._meter = _create_meter(self._cancel)
        self._reset_attempt()

    def _reset_attempt(self) -> None:
        """What belongs to one try."""
        self._attempt_started_at = time.perf_counter()
        self._accepted = False  # by the provider
        self._assembler = Assembler(
            api=self._provider.api,
            provider=self._request.provider,
            model=self._request.model_id,
            output=self._request.output,
        )

    # --- Starting and stopping --------------------------------------------------------------

    def begin_in_background(self) -> None:
        """Start in the background thread's loop."""
        loop_thread = loops.background_loop()
        if loop_thread.is_current:
            raise RuntimeError(
                "a blocking call inside pipy-ai's own event loop would never return: "
                "use the asynchronous twin (astream, acomplete) here"
            )
        self._begun = True
        loop_thread.spawn(self.drive())

    def begin(self) -> None:
        """Start in the running loop, unless it has been started."""
        with self._lock:
            already_begun, self._begun = self._begun, True
            loop_closed = self._loop is not None and self._loop.is_closed()
        if loop_closed:
            self._cancel(
                error_info(ErrorKind.ABORTED, _LOOP_CLOSED_MESSAGE, provider=self._request.provider)
            )
        if already_begun:
            return
        task = asyncio.get_running_loop().create_task(self.drive())
        _running_tasks.add(task)
        task.add_done_callback(_running_tasks.discard)

    def begin_if_running(self) -> None:
        """Start if the caller has a running loop."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self.begin()

    def abort(self, reason: str | None = None) -> None:
        """Stop the request at once."""
        text = "The request was aborted" + (f": {reason}" if reason else ".")
        self._cancel(error_info(ErrorKind.ABORTED, text, provider=self._request.provider))

    def _cancel(self, error: ErrorInfo) -> None:
        with self._lock:
            if self._ended.done():
                return
            self._stop_error = self._stop_error or error
            never_begun, self._begun = not self._begun, True
            task, loop = self._task, self._loop
        if never_begun:
            self._fail_without_task(error)
        elif task is not None and loop is not None:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # the loop is closed: the task will never go on
                self._fail_without_task(error)

    def _fail_without_task(self, error: ErrorInfo) -> None:
        with self._lock:
            if self._ended.done():
                return
            self._ended.set_result(None)
        self._finish(self._assembler.fail(error))

    async def closed(self) -> None:
        """Wait until the task has ended."""
        await asyncio.shield(asyncio.wrap_future(self._ended))

    # --- The task ---------------------------------------------------------------------------

    async def drive(self) -> None:
        """Carry the request to its terminal event."""
        self._started_at = self._last_content_at = time.perf_counter()
        remove_listener: Callable[[], None] | None = None
        try:
            with self._lock:
                self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
                early_stop = self._stop_error
            signal = self._request.options.signal
            if signal is not None and early_stop is None:
                remove_listener = signal.add_listener(lambda: self.abort(signal.reason))
                early_stop = self._stop_error
            if early_stop is not None:
                self._finish(self._assembler.fail(early_stop))
                return
            self._arm_timeouts()
            await self._run_attempts()
        except asyncio.CancelledError:
            stop_error = self._stop_error
            self._finish(
                self._events_after_stop(
                    stop_error or error_info(ErrorKind.ABORTED, _CANCELLED_MESSAGE)
                )
            )
            if stop_error is None:  # not by us: whoever closes the loop wants to see it cancelled
                raise
        except (KeyboardInterrupt, SystemExit) as exc:
            text = f"The provider raised {type(exc).__name__}."
            self._finish(self._assembler.fail(error_info(ErrorKind.UNKNOWN, text)))
            loop_thread = loops.existing_loop()
            if loop_thread is None or not loop_thread.is_current:  # that thread is everybody's
                raise
        finally:
            try:
                if remove_listener is not None:
                    remove_listener()
                if self._timer is not None:
                    self._timer.cancel()
                if self._meter is not None:
                    self._meter.abandon()
                if not self._queue.result_future.done():  # a bug of ours; nobody must wait for ever
                    self._queue.fail(ErrorKind.UNKNOWN, "pipy-ai failed; please report it.")
            finally:
                with self._lock:
                    self._task = self._loop = None
                    if not self._ended.done():
                        self._ended.set_result(None)

    def _events_after_stop(self, error: ErrorInfo) -> list[AssistantMessageEvent]:
        """The last events of a request that was stopped. One that had said all is done."""
        if self._assembler.finished and error.kind in (ErrorKind.TIMEOUT, ErrorKind.BUDGET):
            return self._assembler.finish()
        return self._assembler.fail(error)

    async def _run_attempts(self) -> None:
        retries, delay = 0, 0.0
        while True:
            events = await self._attempt_or_error(delay)
            last_event = events[-1] if events else None
            retry_delay = self._retry_delay(last_event, retries)
            if retry_delay is not None:
                retries, delay = retries + 1, retry_delay
            elif not self._should_fall_back(last_event):
                self._finish(events)
                return
            assert isinstance(last_event, ErrorEvent)
            self._complete_usage(last_event.error)
            self._attempts.append(self._attempt_record(last_event.error))
            if self._meter is not None:
                self._meter.finish_attempt(last_event.error, self._attempts[-1])
            if retry_delay is None:
                self._provider, self._request = self._fallbacks.pop(0)()
                retries, delay = 0, 0.0
            self._attempt_error = None
            self._reset_attempt()  # before the wait, which may be aborted
            self._last_content_at = time.perf_counter() + delay
            self._arm_timeouts()

    async def _attempt_or_error(self, delay: float) -> list[AssistantMessageEvent]:
        """One try: its events, without those that were told already."""
        try:
            if delay:
                await self._sleep(delay)
            return await self._stream_once()
        except (Exception, asyncio.CancelledError) as exc:
            if self._stop_error:
                return self._events_after_stop(self._stop_error)
            if events := self._events_after_attempt_error():
                return events
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # not the provider's own doing
            error = self._classify(exc)
            answer_complete = self._assembler.finished and _is_connection_loss(error)
            return self._assembler.finish() if answer_complete else self._assembler.fail(error)

    def _events_after_attempt_error(self) -> list[AssistantMessageEvent] | None:
        """The end of this try if it alone was cancelled, by us: takes the cancellation back."""
        task = asyncio.current_task()
        if self._attempt_error is None or task is None or task.uncancel():
            return None
        return self._assembler.fail(self._attempt_error)

    async def _stream_once(self) -> list[AssistantMessageEvent]:
        """Ask once: tells all events but the last batch, which it returns."""
        assembler, meter = self._assembler, self._meter
        answer_complete, budget_error, batches = False, None, 0
        if meter is not None:
            meter.start_attempt(self._request)
        stream = self._provider.stream(self._request)
        try:
            async for deltas in stream:
                if (
                    self._stop_error or self._attempt_error
                ):  # what is said after that is no part of the answer
                    break
                if not self._accepted:
                    self._accepted = True
                    if not self._start_event_pushed:
                        self._start_event_pushed = True
                        self._queue.push([assembler.start()])
                events: list[AssistantMessageEvent] = []
                if meter is not None:
                    deltas, budget_error = meter.count_deltas(deltas)
                try:
                    assembler.feed(deltas, events)
                finally:  # what came before a delta that is none is told all the same
                    if events:
                        self._last_content_at = time.perf_counter()
                        if self._first_content_at is None:
                            self._first_content_at = self._last_content_at
                        self._queue.push(events)
                if budget_error is not None:
                    return self._events_after_stop(budget_error)
                if assembler.finished and not answer_complete:
                    answer_complete = True
                    self._last_content_at = time.perf_counter()
                    self._arm_timeouts()
                batches += 1
                if batches % YIELD_EVERY_BATCHES == 0:
                    await asyncio.sleep(0)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        if self._stop_error:  # a provider that takes being cancelled for an end
            return self._events_after_stop(self._stop_error)
        return self._events_after_attempt_error() or assembler.finish()

    def _classify(self, exc: BaseException) -> ErrorInfo:
        error = (
            exc.error.model_copy()
            if isinstance(exc, ProviderError)
            else classify_exception(exc, self._request.provider)
        )
        if error.kind is ErrorKind.CONNECTION and self._assembler.has_content:
            error.kind = ErrorKind.INCOMPLETE
            error.message = f"{INTERRUPTED_MESSAGE} {error.message}"
        return error

    def _should_fall_back(self, last_event: AssistantMessageEvent | None) -> bool:
        """Whether the next model shall be asked, after a try that ended with `last`."""
        if (
            not isinstance(last_event, ErrorEvent)
            or self._assembler.has_content
            or self._stop_error
        ):
            return False
        error = last_event.error.error
        assert error is not None
        return bool(self._fallbacks) and (error.retryable or error.kind in FALLBACK_KINDS)

    def _retry_delay(self, last_event: AssistantMessageEvent | None, retries: int) -> float | None:
        """Seconds to wait before another try; None when there shall be none."""
        error = last_event.error.error if isinstance(last_event, ErrorEvent) else None
        options = self._request.options
        if error is None or not error.retryable or self._assembler.has_content or self._stop_error:
            return None
        if retries >= options.max_retries or (
            self._attempt_error and self._fallbacks
        ):  # silence was long enough
            return None
        if error.retry_after is None:
            return self._jitter(0.0, min(MAX_BACKOFF_S, BACKOFF_BASE_S * 2**retries))
        if error.retry_after * 1000 > options.max_retry_delay_ms:
            error.message += (
                f" The provider asks to wait {error.retry_after:g} s, longer than"
                f" max_retry_delay_ms={options.max_retry_delay_ms} allows."
            )
            assert isinstance(last_event, ErrorEvent)
            last_event.error.error_message = error.message
            return None
        return error.retry_after

    def _arm_timeouts(self) -> None:
        """Stop the request when its time is over, else look again when it may be."""
        options = self._request.options
        total_timeout = math.inf if options.timeout is None else options.timeout
        idle_timeout = math.inf if options.idle_timeout is None else options.idle_timeout
        if self._assembler.finished:  # only late usage can still come
            idle_timeout = min(idle_timeout, USAGE_GRACE_S)
        if self._timer is not None:
            self._timer.cancel()
        now = time.perf_counter()
        if now >= self._started_at + total_timeout:
            self._time_out(f"The answer took longer than timeout={total_timeout:g} s.")
        elif now >= self._last_content_at + idle_timeout:
            self._time_out(f"Nothing came for idle_timeout={idle_timeout:g} s.", self._task)
        else:
            deadline = min(self._started_at + total_timeout, self._last_content_at + idle_timeout)
            if deadline < math.inf:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(deadline - now, self._arm_timeouts)

    def _time_out(self, text: str, task: asyncio.Task[Any] | None = None) -> None:
        """Stop the request; with a `task`, only this try of it as long as it has said nothing."""
        hint = " Raise it, or ask for less."
        error = error_info(ErrorKind.TIMEOUT, text + hint, provider=self._request.provider)
        nothing_received = not (self._assembler.has_content or self._assembler.finished)
        if task is not None and nothing_received and self._stop_error is None:
            self._attempt_error = error
            task.cancel()
        else:
            self._cancel(error)

    # --- The end ----------------------------------------------------------------------------

    def _finish(self, events: list[AssistantMessageEvent]) -> None:
        last_event = events[-1] if events else None
        if isinstance(last_event, DoneEvent | ErrorEvent):
            self._finalize_message(last_event.partial)
        self._queue.push(events)  # the queue ends the stream by itself when there is no last event

    def _finalize_message(self, message: AssistantMessage) -> None:
        """Fill in what only the whole request tells: times, warnings, tries, usage nobody
        reported."""
        if self._started_at:
            now = time.perf_counter()
            message.duration_ms = round((now - self._started_at) * 1000, 3)
            if self._first_content_at is not None:
                message.ttft_ms = round((self._first_content_at - self._started_at) * 1000, 3)
        message.warnings = list(self._request.warnings)
        self._complete_usage(message)
        attempt = self._attempt_record(message)
        if self._attempts:
            message.attempts = [*self._attempts, attempt]
        if self._meter is not None and self._started_at:
            self._meter.finish_attempt(message, attempt, is_last=True)
        if message.error is not None:
            earlier_failures = self._describe_earlier_attempts()
            message.error.message = (
                message.error.message[: MAX_MESSAGE_CHARS - len(earlier_failures)]
                + earlier_failures
            )
            message.error_message = message.error.message

    def _attempt_record(self, message: AssistantMessage) -> Attempt:
        """The newest try."""
        return construct_unchecked(
            Attempt,
            provider=message.provider,
            model=message.model,
            error=message.error.model_copy() if message.error is not None else None,
            usage=message.usage,
            duration_ms=round((time.perf_counter() - self._attempt_started_at) * 1000, 3),
        )

    def _describe_earlier_attempts(self) -> str:
        """Which other models failed, in words; each with its newest error."""
        failures = {
            f"{attempt.provider}/{attempt.model}": (
                attempt.error.kind,
                attempt.error.message[:200].rstrip("."),
            )
            for attempt in self._attempts
            if attempt.error is not None
        }
        failures.pop(self._request.model, None)
        description = "; ".join(
            f"{name} ({kind}: {text})" for name, (kind, text) in failures.items()
        )
        return f" Tried before: {description}."[:MAX_MESSAGE_CHARS] if description else ""

    def _complete_usage(self, message: AssistantMessage) -> None:
        """Tokens that nobody reported, and what they cost."""
        usage = message.usage
        output_reported, input_reported = (
            self._assembler.output_reported,
            self._assembler.input_reported,
        )
        if self._accepted:
            self._estimate_missing_usage(message, output_reported, input_reported)
        has_price = self._request.record is not None or self._request.provider == "local"
        if usage.cost.source == "unknown" and has_price and self._accepted:
            from ..accounting.cost import request_cost

            with contextlib.suppress(ValueError, ProviderError):  # of a Router file, by now broken
                usage.cost = request_cost(self._request, usage, message.response_model)

    def _estimate_missing_usage(
        self, message: AssistantMessage, output_reported: bool, input_reported: bool
    ) -> None:
        """Work out what was not reported. A count told before the answer was over is too low."""
        usage = message.usage
        estimated_output = (
            0 if output_reported and self._assembler.finished else estimate_output_tokens(message)
        )
        if not output_reported or estimated_output > usage.output:
            usage.output, usage.estimated = estimated_output, True
        if not input_reported:
            usage.input, usage.estimated = estimate_input_tokens(self._request.context), True
        usage.total_tokens = usage.input + usage.output + usage.cache_read + usage.cache_write
