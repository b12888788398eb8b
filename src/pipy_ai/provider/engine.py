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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import (
    FALLBACK,
    MAX_MESSAGE,
    ErrorInfo,
    ErrorKind,
    ProviderError,
    classify,
    error_info,
)
from ..stream import AssistantMessageEvent, DoneEvent, ErrorEvent, EventQueue
from ..types import AssistantMessage, Attempt
from ..utils.made import made
from ..utils.tokens import estimate_input, estimate_output
from . import loop as loops
from .assembler import CUT_OFF, Assembler
from .deltas import Delta
from .request import Request

if TYPE_CHECKING:
    from ..budget import Budget
    from .meter import Meter

BACKOFF, MAX_BACKOFF = 0.5, 8.0  # seconds, before full jitter

BUDGETS: ContextVar[tuple[Budget, ...]] = ContextVar("pipy_ai_budgets", default=())


class Provider(Protocol):
    """What answers requests. `api` names the wire that it speaks (`message.api`).

    `stream` yields batches of deltas: all that one read from the wire gave. Its first batch, even
    an empty one, says that the request was accepted. It raises `ProviderError` for a failure that
    it understands; any other exception is classified. When it is cancelled or closed it must
    release its connection without waiting.
    """

    @property
    def api(self) -> str:
        """The name of the wire."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer `request`."""
        ...


FAIR = 64  # batches after which others get a turn: a provider may have nothing to wait for
AFTERWORD = 2.0  # seconds to wait for usage once the answer is complete

_CANCELLED = "The request's task was cancelled."
_STRANDED = "The event loop that the request ran in was closed."


def _is_broken(error: ErrorInfo) -> bool:
    return error.kind in (ErrorKind.CONNECTION, ErrorKind.INCOMPLETE)


def _new_meter(halt: Callable[[ErrorInfo], None]) -> Meter | None:
    """What counts a request's cost on the way; None: nobody wants to know."""
    budgets = BUDGETS.get()
    if not budgets and "PIPY_LEDGER" not in os.environ:
        return None
    from .meter import Meter, ledger_path

    return Meter(budgets, ledger_path(), halt)


_running: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly


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
        others: Sequence[Callable[[], tuple[Provider, Request]]] = (),
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._provider = provider
        self._request = request
        self._queue = queue
        self._others = list(others)
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._attempts: list[Attempt] = []  # those that failed and were followed by another
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._stop: ErrorInfo | None = None  # why we cancelled the task, if we did
        self._skip: ErrorInfo | None = None  # why we cancelled this try, and not the request
        self._started = False  # whether `start` was told
        self._began_at = 0.0
        self._heard_at = 0.0  # when the newest content came
        self._first_at: float | None = None
        self._meter = _new_meter(self._cancel)
        self._renew()

    def _renew(self) -> None:
        """What belongs to one try."""
        self._tried_at = time.perf_counter()
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
        thread = loops.ensure()
        if thread.is_current:
            raise RuntimeError(
                "a blocking call inside pipy-ai's own event loop would never return: "
                "use the asynchronous twin (astream, acomplete) here"
            )
        self._begun = True
        thread.spawn(self.drive())

    def begin(self) -> None:
        """Start in the running loop, unless it has been started."""
        with self._lock:
            begun, self._begun = self._begun, True
            stranded = self._loop is not None and self._loop.is_closed()
        if stranded:
            self._cancel(error_info(ErrorKind.ABORTED, _STRANDED, provider=self._request.provider))
        if begun:
            return
        task = asyncio.get_running_loop().create_task(self.drive())
        _running.add(task)
        task.add_done_callback(_running.discard)

    def begin_if_running(self) -> None:
        """Start if the caller has a running loop."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self.begin()

    def abort(self, reason: str | None = None) -> None:
        """Stop the request at once."""
        text = "The request was aborted" + (f": {reason}" if reason else ".")
        self._cancel(error_info(ErrorKind.ABORTED, text, provider=self._request.provider))

    def _cancel(self, why: ErrorInfo) -> None:
        with self._lock:
            if self._ended.done():
                return
            self._stop = self._stop or why
            never_begun, self._begun = not self._begun, True
            task, loop = self._task, self._loop
        if never_begun:
            self._give_up(why)
        elif task is not None and loop is not None:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # the loop is closed: the task will never go on
                self._give_up(why)

    def _give_up(self, why: ErrorInfo) -> None:
        with self._lock:
            if self._ended.done():
                return
            self._ended.set_result(None)
        self._finish(self._assembler.fail(why))

    async def closed(self) -> None:
        """Wait until the task has ended."""
        await asyncio.shield(asyncio.wrap_future(self._ended))

    # --- The task ---------------------------------------------------------------------------

    async def drive(self) -> None:
        """Carry the request to its terminal event."""
        self._began_at = self._heard_at = time.perf_counter()
        forget: Callable[[], None] | None = None
        try:
            with self._lock:
                self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
                stopped = self._stop
            signal = self._request.options.signal
            if signal is not None and stopped is None:
                forget = signal.add_listener(lambda: self.abort(signal.reason))
                stopped = self._stop
            if stopped is not None:
                self._finish(self._assembler.fail(stopped))
                return
            self._watch()
            await self._carry()
        except asyncio.CancelledError:
            why = self._stop
            self._finish(self._stopped(why or error_info(ErrorKind.ABORTED, _CANCELLED)))
            if why is None:  # not by us: whoever closes the loop wants to see it cancelled
                raise
        except (KeyboardInterrupt, SystemExit) as exc:
            text = f"The provider raised {type(exc).__name__}."
            self._finish(self._assembler.fail(error_info(ErrorKind.UNKNOWN, text)))
            thread = loops.running()
            if thread is None or not thread.is_current:  # that thread is everybody's
                raise
        finally:
            try:
                if forget is not None:
                    forget()
                if self._timer is not None:
                    self._timer.cancel()
                if self._meter is not None:
                    self._meter.drop()
                if not self._queue.final.done():  # a bug of ours; nobody must wait for ever
                    self._queue.fail(ErrorKind.UNKNOWN, "pipy-ai failed; please report it.")
            finally:
                with self._lock:
                    self._task = self._loop = None
                    if not self._ended.done():
                        self._ended.set_result(None)

    def _stopped(self, why: ErrorInfo) -> list[AssistantMessageEvent]:
        """The last events of a request that was stopped. One that had said all is done."""
        if self._assembler.finished and why.kind in (ErrorKind.TIMEOUT, ErrorKind.BUDGET):
            return self._assembler.finish()
        return self._assembler.fail(why)

    async def _carry(self) -> None:
        tries, wait = 0, 0.0
        while True:
            events = await self._try(wait)
            last = events[-1] if events else None
            again = self._wait_before_retry(last, tries)
            if again is not None:
                tries, wait = tries + 1, again
            elif not self._may_ask_another(last):
                self._finish(events)
                return
            assert isinstance(last, ErrorEvent)
            self._count(last.error)
            self._attempts.append(self._told(last.error))
            if self._meter is not None:
                self._meter.close(last.error, self._attempts[-1])
            if again is None:
                self._provider, self._request = self._others.pop(0)()
                tries, wait = 0, 0.0
            self._skip = None
            self._renew()  # before the wait, which may be aborted
            self._heard_at = time.perf_counter() + wait
            self._watch()

    async def _try(self, wait: float) -> list[AssistantMessageEvent]:
        """One try: its events, without those that were told already."""
        try:
            if wait:
                await self._sleep(wait)
            return await self._attempt()
        except (Exception, asyncio.CancelledError) as exc:
            if self._stop:
                return self._stopped(self._stop)
            if skipped := self._skipped():
                return skipped
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # not the provider's own doing
            error = self._understand(exc)
            told_all = self._assembler.finished and _is_broken(error)
            return self._assembler.finish() if told_all else self._assembler.fail(error)

    def _skipped(self) -> list[AssistantMessageEvent] | None:
        """The end of this try if it alone was cancelled, by us: takes the cancellation back."""
        task = asyncio.current_task()
        if self._skip is None or task is None or task.uncancel():
            return None
        return self._assembler.fail(self._skip)

    async def _attempt(self) -> list[AssistantMessageEvent]:
        """Ask once: tells all events but the last batch, which it returns."""
        assembler, meter = self._assembler, self._meter
        told_all, passed, batches = False, None, 0
        if meter is not None:
            meter.open(self._request)
        stream = self._provider.stream(self._request)
        try:
            async for deltas in stream:
                if self._stop or self._skip:  # what is said after that is no part of the answer
                    break
                if not self._accepted:
                    self._accepted = True
                    if not self._started:
                        self._started = True
                        self._queue.push([assembler.start()])
                events: list[AssistantMessageEvent] = []
                if meter is not None:
                    deltas, passed = meter.take(deltas)
                try:
                    assembler.feed(deltas, events)
                finally:  # what came before a delta that is none is told all the same
                    if events:
                        self._heard_at = time.perf_counter()
                        if self._first_at is None:
                            self._first_at = self._heard_at
                        self._queue.push(events)
                if passed is not None:
                    return self._stopped(passed)
                if assembler.finished and not told_all:
                    told_all = True
                    self._heard_at = time.perf_counter()
                    self._watch()
                batches += 1
                if batches % FAIR == 0:
                    await asyncio.sleep(0)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        if self._stop:  # a provider that takes being cancelled for an end
            return self._stopped(self._stop)
        return self._skipped() or assembler.finish()

    def _understand(self, exc: BaseException) -> ErrorInfo:
        error = (
            exc.error.model_copy()
            if isinstance(exc, ProviderError)
            else classify(exc, self._request.provider)
        )
        if error.kind is ErrorKind.CONNECTION and self._assembler.has_content:
            error.kind = ErrorKind.INCOMPLETE
            error.message = f"{CUT_OFF} {error.message}"
        return error

    def _may_ask_another(self, last: AssistantMessageEvent | None) -> bool:
        """Whether the next model shall be asked, after a try that ended with `last`."""
        if not isinstance(last, ErrorEvent) or self._assembler.has_content or self._stop:
            return False
        error = last.error.error
        assert error is not None
        return bool(self._others) and (error.retryable or error.kind in FALLBACK)

    def _wait_before_retry(self, last: AssistantMessageEvent | None, tries: int) -> float | None:
        """Seconds to wait before another try; None when there shall be none."""
        error = last.error.error if isinstance(last, ErrorEvent) else None
        options = self._request.options
        if error is None or not error.retryable or self._assembler.has_content or self._stop:
            return None
        if tries >= options.max_retries or (self._skip and self._others):  # silence was long enough
            return None
        if error.retry_after is None:
            return self._jitter(0.0, min(MAX_BACKOFF, BACKOFF * 2**tries))
        if error.retry_after * 1000 > options.max_retry_delay_ms:
            error.message += (
                f" The provider asks to wait {error.retry_after:g} s, longer than"
                f" max_retry_delay_ms={options.max_retry_delay_ms} allows."
            )
            assert isinstance(last, ErrorEvent)
            last.error.error_message = error.message
            return None
        return error.retry_after

    def _watch(self) -> None:
        """Stop the request when its time is over, else look again when it may be."""
        options = self._request.options
        total = math.inf if options.timeout is None else options.timeout
        idle = math.inf if options.idle_timeout is None else options.idle_timeout
        if self._assembler.finished:  # only late usage can still come
            idle = min(idle, AFTERWORD)
        if self._timer is not None:
            self._timer.cancel()
        now = time.perf_counter()
        if now >= self._began_at + total:
            self._time_out(f"The answer took longer than timeout={total:g} s.")
        elif now >= self._heard_at + idle:
            self._time_out(f"Nothing came for idle_timeout={idle:g} s.", self._task)
        else:
            due = min(self._began_at + total, self._heard_at + idle)
            if due < math.inf:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(due - now, self._watch)

    def _time_out(self, text: str, task: asyncio.Task[Any] | None = None) -> None:
        """Stop the request; with a `task`, only this try of it as long as it has said nothing."""
        hint = " Raise it, or ask for less."
        why = error_info(ErrorKind.TIMEOUT, text + hint, provider=self._request.provider)
        silent = not (self._assembler.has_content or self._assembler.finished)
        if task is not None and silent and self._stop is None:
            self._skip = why
            task.cancel()
        else:
            self._cancel(why)

    # --- The end ----------------------------------------------------------------------------

    def _finish(self, events: list[AssistantMessageEvent]) -> None:
        last = events[-1] if events else None
        if isinstance(last, DoneEvent | ErrorEvent):
            self._complete(last.partial)
        self._queue.push(events)  # the queue ends the stream by itself when there is no last event

    def _complete(self, message: AssistantMessage) -> None:
        """Fill in what only the whole request tells: times, warnings, tries, usage nobody
        reported."""
        if self._began_at:
            now = time.perf_counter()
            message.duration_ms = round((now - self._began_at) * 1000, 3)
            if self._first_at is not None:
                message.ttft_ms = round((self._first_at - self._began_at) * 1000, 3)
        message.warnings = list(self._request.warnings)
        self._count(message)
        attempt = self._told(message)
        if self._attempts:
            message.attempts = [*self._attempts, attempt]
        if self._meter is not None and self._began_at:
            self._meter.close(message, attempt, last=True)
        if message.error is not None:
            before = self._tried_before()
            message.error.message = message.error.message[: MAX_MESSAGE - len(before)] + before
            message.error_message = message.error.message

    def _told(self, message: AssistantMessage) -> Attempt:
        """The newest try."""
        return made(
            Attempt,
            provider=message.provider,
            model=message.model,
            error=message.error.model_copy() if message.error is not None else None,
            usage=message.usage,
            duration_ms=round((time.perf_counter() - self._tried_at) * 1000, 3),
        )

    def _tried_before(self) -> str:
        """Which other models failed, in words; each with its newest error."""
        said = {
            f"{one.provider}/{one.model}": (one.error.kind, one.error.message[:200].rstrip("."))
            for one in self._attempts
            if one.error is not None
        }
        said.pop(self._request.model, None)
        told = "; ".join(f"{name} ({kind}: {text})" for name, (kind, text) in said.items())
        return f" Tried before: {told}."[:MAX_MESSAGE] if told else ""

    def _count(self, message: AssistantMessage) -> None:
        """Tokens that nobody reported, and what they cost."""
        usage = message.usage
        output, prompt = self._assembler.reported_usage, self._assembler.reported_input
        if self._accepted:
            self._estimate(message, output, prompt)
        priced = self._request.record is not None or self._request.provider == "local"
        if usage.cost.source == "unknown" and priced and self._accepted:
            from .bill import cost_of

            with contextlib.suppress(ValueError, ProviderError):  # of a Router file, by now broken
                usage.cost = cost_of(self._request, usage, message.response_model)

    def _estimate(self, message: AssistantMessage, output: bool, prompt: bool) -> None:
        """Work out what was not reported. A count told before the answer was over is too low."""
        usage = message.usage
        said = 0 if output and self._assembler.finished else estimate_output(message)
        if not output or said > usage.output:
            usage.output, usage.estimated = said, True
        if not prompt:
            usage.input, usage.estimated = estimate_input(self._request.context), True
        usage.total_tokens = usage.input + usage.output + usage.cache_read + usage.cache_write
