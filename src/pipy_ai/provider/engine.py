"""Run a request: stream from the provider, enforce timeouts, retry, and fall back.

A `Run` is one task in one event loop: the caller's own for `astream`, the background thread's for
`stream`. It always ends with exactly one terminal event and with the provider's connection closed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import math
import os
import random
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
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
from ..types import AssistantMessage, Attempt, Warning
from ..utils import event_loop as loops
from ..utils.construct import construct_unchecked
from ..utils.log import logger
from ..utils.text import format_usd
from ..utils.turns import START_COST, running_turns
from .apis import BEDROCK, OPENAI_CHAT
from .assembler import INTERRUPTED_MESSAGE, Assembler, new_call_id
from .base import Provider
from .deltas import Delta, join_text
from .finish import is_first_party_chat
from .interception import current_interceptor, skips_waits
from .observer import Observer, notify
from .request import Request
from .retry import notify_listeners, outcome, report_retry, retry_after_too_long, retry_delay

if TYPE_CHECKING:
    from ..accounting.meter import Meter
    from .caching import CachedRequest
    from .think_tags import ThinkTagParser

MIN_WATCHED_TOKENS = 2048  # shorter prompts may not be cached
YIELD_EVERY_BATCHES = 64  # a provider that never awaits would otherwise starve other tasks
MAX_CONTINUATIONS = 8  # of an answer that the provider pauses
USAGE_GRACE_S = 2.0  # time to wait for usage once the answer is complete

_CANCELLED_MESSAGE = "The request's task was cancelled."
_LOOP_CLOSED_MESSAGE = "The event loop that the request ran in was closed."


_running_tasks: set[asyncio.Task[None]] = set()  # a loop holds only weak references to its tasks
_begun_runs: weakref.WeakSet[Run] = weakref.WeakSet()


def _is_connection_loss(error: ErrorInfo) -> bool:
    return error.kind in (ErrorKind.CONNECTION, ErrorKind.INCOMPLETE)


def _create_meter(stop_request: Callable[[ErrorInfo], None]) -> Meter | None:
    """Return a meter for the active budgets and the ledger, or None if there are none."""
    budgets = active_budgets.get()
    if not budgets and "PIPY_LEDGER" not in os.environ:
        return None
    from ..accounting.ledger import ledger_path
    from ..accounting.meter import Meter

    return Meter(budgets, ledger_path(), stop_request)


def _restore_arguments(
    request: Request, tool_name: str, arguments: dict[str, Any]
) -> dict[str, Any]:
    restore = request.restore_arguments  # known once the request is encoded
    return arguments if restore is None else restore(tool_name, arguments)


def _think_tag_parser(request: Request) -> ThinkTagParser | None:
    """Return the parser of thinking that the host may send as text."""
    mode = request.options.think_tags
    if mode == "keep" or (mode == "auto" and not _may_send_think_tags(request)):
        return None
    from .think_tags import ThinkTagParser, is_known_reasoning_model

    if mode == "auto" and request.record is None and request.provider != "local":
        return ThinkTagParser(
            applies=lambda: is_known_reasoning_model(request.model_id), model_id=request.model_id
        )
    return ThinkTagParser(
        opened=mode == "opened", model_id=request.model_id if mode == "auto" else None
    )


def _may_send_think_tags(request: Request) -> bool:
    if request.provider == "local":
        return True  # a model file has no record
    if not request.route.kind:  # a registered provider, which yields thinking separately
        return False
    is_reasoning = request.record is None or request.record.get("reasoning")
    if not (is_reasoning or request.family.thinks_in_text):
        return False
    from .profiles import backend_for

    api = backend_for(request.backend).api_for(request.model_id)
    return api in (BEDROCK, OPENAI_CHAT) and not is_first_party_chat(request)


class Run:
    """One request in flight: the source of a stream.

    `begin`, `abort` and `closed` may be called from any thread. Each of `fallbacks` makes the
    request to another model. They are tried in order when a request fails before its first content
    with an error that may not affect another model. `metered`: budgets and the ledger count it.
    """

    __slots__ = (
        "__weakref__", "_accepted", "_answer_finished", "_assembler", "_attempt_error",
        "_attempt_started_at", "_attempts", "_begun", "_cache_hit", "_ended", "_ended_future",
        "_ended_observers", "_event_observers", "_fallbacks", "_first_content_at",
        "_jitter", "_last_content_at", "_lock", "_loop", "_meter", "_observers",
        "_provider", "_push", "_queue", "_recorder", "_request", "_sleep",
        "_start_event_pushed", "_started_at", "_stop_error", "_task", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        provider: Provider,
        request: Request,
        queue: EventQueue,
        fallbacks: Sequence[Callable[[], tuple[Provider, Request]]] = (),
        *,
        metered: bool = True,
        observers: Sequence[Observer] = (),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._provider = provider
        self._request = request
        self._queue = queue
        self._fallbacks = list(fallbacks)
        self._observers = observers
        self._ended_observers: Sequence[Observer] = ()
        self._event_observers = [o for o in observers if o.watches_events]
        self._push: Callable[[list[AssistantMessageEvent]], None] = (
            self._push_observed if self._event_observers else queue.push
        )
        self._sleep = sleep
        self._jitter = jitter
        self._lock = threading.Lock()
        self._ended = False
        self._ended_future: concurrent.futures.Future[None] | None = None  # if `closed` waits
        self._attempts: list[Attempt] = []  # failed attempts that were followed by another
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._stop_error: ErrorInfo | None = None  # set when we cancel the request
        self._attempt_error: ErrorInfo | None = None  # set when we cancel only this attempt
        self._start_event_pushed = False
        self._started_at = 0.0
        self._last_content_at = 0.0
        self._first_content_at: float | None = None
        self._meter = _create_meter(self._cancel) if metered else None
        self._reset_attempt()

    def _reset_attempt(self) -> None:
        """Set up the state that belongs to one attempt."""
        self._attempt_started_at = time.perf_counter()
        self._accepted = False  # by the provider
        self._answer_finished = False
        self._request.response = None
        self._cache_hit: CachedRequest | None = None
        self._recorder: Callable[[AsyncIterator[Sequence[Delta]]], Any] | None = None
        cassette = current_interceptor()
        self._assembler = Assembler(
            api=self._provider.api,
            provider=self._request.provider,
            model=self._request.model_id,
            output=self._request.output,
            first_party=is_first_party_chat(self._request),
            think_tags=_think_tag_parser(self._request),
            restore_arguments=partial(_restore_arguments, self._request),
            make_call_id=new_call_id if cassette is None else cassette.make_call_id,
        )

    # --- Starting and stopping --------------------------------------------------------------

    def begin_in_background(self) -> None:
        """Start in the background thread's loop."""
        loop_thread = loops.background_loop()
        if loop_thread.is_current:
            raise RuntimeError(
                "a blocking call inside pipy-ai's own event loop would never return: "
                "use the async version (astream, acomplete) here"
            )
        self._begun = True
        _begun_runs.add(self)
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
        _begun_runs.add(self)
        task = asyncio.get_running_loop().create_task(self.drive())
        _running_tasks.add(task)
        task.add_done_callback(_running_tasks.discard)

    def begin_if_running(self) -> None:
        """Start if the caller has a running loop."""
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop()
            self.begin()

    def abort(self, reason: str | None = None) -> None:
        """Stop the request immediately."""
        text = "The request was aborted" + (f": {reason}" if reason else ".")
        self._cancel(error_info(ErrorKind.ABORTED, text, provider=self._request.provider))

    def _cancel(self, error: ErrorInfo) -> None:
        with self._lock:
            if self._ended:
                return
            self._stop_error = self._stop_error or error
            never_begun, self._begun = not self._begun, True
            task, loop = self._task, self._loop
        if never_begun:
            self._fail_without_task(error)
        elif task is not None and loop is not None:
            try:
                loop.call_soon_threadsafe(task.cancel)
            except RuntimeError:  # the loop is closed, so the task will never continue
                self._fail_without_task(error)

    def fail_after_fork(self) -> None:
        """End in a forked child. The lock may be held by a thread that does not exist there."""
        self._lock = threading.Lock()
        self._ended, self._ended_future = True, None
        self._queue.fail_after_fork()

    def _fail_without_task(self, error: ErrorInfo) -> None:
        with self._lock:
            if self._ended:
                return
            self._set_ended()
        self._finish(self._assembler.fail(error))

    async def closed(self) -> None:
        """Wait until the task has ended."""
        with self._lock:
            if self._ended:
                return
            if self._ended_future is None:
                self._ended_future = concurrent.futures.Future()
            future = self._ended_future
        await asyncio.shield(asyncio.wrap_future(future))

    def _set_ended(self) -> None:
        """Wake those who wait in `closed`. The caller holds the lock."""
        if not self._ended and self._ended_future is not None:
            self._ended_future.set_result(None)
        self._ended = True

    # --- The task ---------------------------------------------------------------------------

    async def drive(self) -> None:
        """Run the request to its terminal event."""
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
            await running_turns().wait(START_COST)  # thousands may start at once
            self._arm_timeouts()
            if self._observers:
                self._notify("begun", self._request)
            await self._run_attempts()
        except asyncio.CancelledError:
            stop_error = self._stop_error
            self._finish(
                self._events_after_stop(
                    stop_error or error_info(ErrorKind.ABORTED, _CANCELLED_MESSAGE)
                )
            )
            if stop_error is None:  # the caller cancelled the task and expects a CancelledError
                raise
        except (KeyboardInterrupt, SystemExit) as exc:
            text = f"The provider raised {type(exc).__name__}."
            self._finish(self._assembler.fail(error_info(ErrorKind.UNKNOWN, text)))
            loop_thread = loops.existing_loop()
            if loop_thread is None or not loop_thread.is_current:  # other requests share it
                raise
        finally:
            try:
                if remove_listener is not None:
                    remove_listener()
                if self._timer is not None:
                    self._timer.cancel()
                if self._meter is not None:
                    self._meter.abandon()
                if not self._queue.ended:  # a bug; the caller must not wait forever
                    self._queue.fail(ErrorKind.UNKNOWN, "pipy-ai failed; please report it.")
            finally:
                with self._lock:
                    self._task = self._loop = None
                    self._set_ended()

    def _events_after_stop(self, error: ErrorInfo) -> list[AssistantMessageEvent]:
        """Return the last events of a stopped request; a complete answer is still a success."""
        if self._assembler.finished and error.kind in (ErrorKind.TIMEOUT, ErrorKind.BUDGET):
            return self._assembler.finish()
        return self._assembler.fail(error)

    async def _run_attempts(self) -> None:
        """Attempt the request until it succeeds or may not be repeated."""
        retries, delay = 0, 0.0
        while True:
            events = await self._attempt_or_error(delay)
            last_event = events[-1] if events else None
            next_delay: float | None = 0.0
            if self._take_next_tier(last_event):
                delay = 0.0
            elif (next_delay := self._next_delay(last_event, retries)) is not None:
                retries, delay = retries + 1, next_delay
            elif not self._should_fall_back(last_event):
                self._finalize(events)
                if self._ended_observers:
                    await self._settle_observers()
                self._queue.push(events)  # without a terminal event the queue ends the stream
                return
            assert isinstance(last_event, ErrorEvent)
            self._describe_response(last_event.error)
            self._complete_usage(last_event.error)
            self._attempts.append(self._attempt_record(last_event.error))
            if self._meter is not None:
                self._meter.finish_attempt(last_event.error, self._attempts[-1])
            failed_request = self._request
            if next_delay is None:
                self._provider, self._request = self._fallbacks.pop(0)()
                retries, delay = 0, 0.0
                next_model, reason = self._request.model, outcome(last_event.error)
                notify_listeners(last_event.error, 0.0)
                logger.warning(
                    "fallback %s to %s after %s", failed_request.model, next_model, reason
                )
            else:
                report_retry(last_event.error, delay)
            if self._observers:
                next_name = self._request.model if next_delay is None else None
                self._notify("attempt_failed", failed_request, last_event.error, delay, next_name)
            self._attempt_error = None
            self._reset_attempt()  # before the wait, which may be aborted
            self._last_content_at = time.perf_counter() + delay
            self._arm_timeouts()

    async def _attempt_or_error(self, delay: float) -> list[AssistantMessageEvent]:
        """Run one attempt and return the events that were not pushed yet."""
        try:
            if delay and not skips_waits():
                await self._sleep(delay)
            cache = self._request.options.cache
            uses_cache = "PIPY_CACHE" in os.environ if cache is None else cache is not False
            if not uses_cache or current_interceptor() is not None:  # a cassette records all
                return await self._stream_once()
            return await self._answer_from_cache()
        except (Exception, asyncio.CancelledError) as exc:
            if self._stop_error:
                return self._events_after_stop(self._stop_error)
            if events := self._events_after_attempt_error():
                return events
            task = asyncio.current_task()
            if isinstance(exc, asyncio.CancelledError) and (task is None or task.cancelling()):
                raise  # the caller cancelled the task, not the provider
            error = self._classify(exc)
            answer_complete = self._assembler.finished and _is_connection_loss(error)
            return self._assembler.finish() if answer_complete else self._assembler.fail(error)

    def _events_after_attempt_error(self) -> list[AssistantMessageEvent] | None:
        """If we cancelled only this attempt, undo the cancellation and return its last events."""
        task = asyncio.current_task()
        if self._attempt_error is None or task is None or task.uncancel():
            return None
        return self._assembler.fail(self._attempt_error)

    async def _answer_from_cache(self) -> list[AssistantMessageEvent]:
        """Answer from the cache of responses, or send the request once and keep the response."""
        from .caching import open_cached_request

        request = self._request
        cached = await open_cached_request(self._provider, request)
        if cached is None:
            return await self._stream_once()
        async with cached:
            self._last_content_at = time.perf_counter()  # it may have waited for an equal request
            self._assembler.make_call_id = cached.make_call_id
            if cached.hit is not None:
                self._cache_hit = cached
                if self._observers:
                    self._notify("attempt_started", request)
                return await self._stream_response(cached.replay()) or self._assembler.finish()
            self._recorder = cached.record
            events = await self._stream_once()
            was_continued = self._request is not request
            complete = self._assembler.finished and not (self._stop_error or was_continued)
            if complete and events and isinstance(events[-1], DoneEvent):
                await cached.save()
            return events

    async def _stream_once(self) -> list[AssistantMessageEvent]:
        """Send the request once; push all events except the last batch, which is returned.

        An answer that the provider pauses is continued by another request.
        """
        meter = self._meter
        if meter is not None:
            tokens = await self._count_input_tokens() if meter.counts_tokens else None
            meter.start_attempt(self._request, tokens)
        if self._observers:
            self._notify("attempt_started", self._request)
        for _ in range(MAX_CONTINUATIONS):
            events = await self._stream_response(self._provider.stream(self._request))
            if events is not None or not self._assembler.is_paused:
                break
            self._resume()
        else:
            events = await self._stream_response(self._provider.stream(self._request))
        return self._assembler.finish() if events is None else events

    def _resume(self) -> None:
        """Prepare the request that continues the paused answer."""
        events: list[AssistantMessageEvent] = []
        self._request = self._request.continuation(self._assembler.resume(events))
        self._push(events)
        self._answer_finished = False
        if self._meter is not None:
            self._meter.resume()
        self._last_content_at = time.perf_counter()
        self._arm_timeouts()

    async def _stream_response(
        self, stream: AsyncIterator[Sequence[Delta]]
    ) -> list[AssistantMessageEvent] | None:
        """Push the events of one response; return the last ones if the attempt was stopped."""
        request, assembler = self._request, self._assembler
        meter = self._meter if self._cache_hit is None else None
        budget_error, batches = None, 0
        if self._recorder is not None:
            stream = self._recorder(stream)
        elif meter is None and not self._event_observers:
            request.deliver = self._receive
        try:
            async for deltas in stream:
                if self._stop_error or self._attempt_error:  # later deltas are discarded
                    break
                if not self._accepted:
                    self._accepted = True
                    if not self._start_event_pushed:
                        self._start_event_pushed = True
                        self._push([assembler.start()])
                if meter is not None:
                    deltas, budget_error = meter.count_deltas(deltas)
                self._receive(deltas)
                if budget_error is not None:
                    return self._events_after_stop(budget_error)
                batches += 1
                if batches % YIELD_EVERY_BATCHES == 0:
                    await asyncio.sleep(0)
        finally:
            request.deliver = None
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        if self._stop_error:  # the provider ended its stream instead of raising CancelledError
            return self._events_after_stop(self._stop_error)
        return self._events_after_attempt_error()

    def _receive(self, deltas: Sequence[Delta]) -> None:
        """Push the events of deltas. Providers may call it in a callback: see `Request.deliver`."""
        if self._stop_error or self._attempt_error:  # later deltas are discarded
            return
        events: list[AssistantMessageEvent] = []
        if self._queue.result_only and not self._event_observers:
            deltas = join_text(deltas)
        try:
            self._assembler.feed(deltas, events)
        finally:  # events before an invalid delta are still pushed
            if events:
                self._last_content_at = time.perf_counter()
                if self._first_content_at is None:
                    self._first_content_at = self._last_content_at
                self._push(events)
        if self._assembler.finished and not self._answer_finished:
            self._answer_finished = True
            self._last_content_at = time.perf_counter()
            self._arm_timeouts()

    async def _count_input_tokens(self) -> int | None:
        """Return the tokens of the prompt as the provider counts them; None: it does not."""
        count = getattr(self._provider, "count_tokens", None)
        try:
            return None if count is None else await count(self._request)
        except ProviderError as failure:
            logger.info("count %s: %s", self._request.model, failure.error.kind)
            return None

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
        """Return whether to try the next model after an attempt that ended with `last_event`."""
        if (
            not isinstance(last_event, ErrorEvent)
            or self._assembler.has_content
            or self._stop_error
        ):
            return False
        error = last_event.error.error
        assert error is not None
        return bool(self._fallbacks) and (error.retryable or error.kind in FALLBACK_KINDS)

    def _take_next_tier(self, last_event: AssistantMessageEvent | None) -> bool:
        """If a service tier has no capacity, set the next one and return True, else False."""
        error = last_event.error.error if isinstance(last_event, ErrorEvent) else None
        tiers = self._request.options.service_tier
        if error is None or not isinstance(tiers, list) or len(tiers) < 2:
            return False
        kinds = [ErrorKind.OVERLOADED]
        if self._request.provider.startswith("google"):  # which calls that a rate limit
            kinds.append(ErrorKind.RATE_LIMIT)
        if error.kind not in kinds or self._assembler.has_content or self._stop_error:
            return False
        update = {"service_tier": tiers[1:]}
        self._request.options = self._request.options.model_copy(update=update)
        text = f"the service tier {tiers[0]!r} had no capacity; sent with {tiers[1]!r}"
        self._request.warn("service_tier_changed", text)
        return True

    def _next_delay(self, last_event: AssistantMessageEvent | None, retries: int) -> float | None:
        """Return the seconds to wait before the next attempt, or None if there is none."""
        error = last_event.error.error if isinstance(last_event, ErrorEvent) else None
        options = self._request.options
        if error is None or not error.retryable or self._assembler.has_content or self._stop_error:
            return None
        # After an idle timeout, the next model is a better bet than the same one again.
        if retries >= options.max_retries or (self._attempt_error and self._fallbacks):
            return None
        assert isinstance(last_event, ErrorEvent)
        if retry_after_too_long(last_event.error, options.max_retry_delay_ms):
            return None
        return retry_delay(error.retry_after, retries, self._jitter)

    def _arm_timeouts(self) -> None:
        """Stop the request if a timeout has passed, else schedule the next check."""
        options = self._request.options
        total_timeout = math.inf if options.timeout is None else options.timeout
        idle_timeout = math.inf if options.idle_timeout is None else options.idle_timeout
        if self._assembler.finished:  # only usage may still arrive
            idle_timeout = min(idle_timeout, USAGE_GRACE_S)
        if self._timer is not None:
            self._timer.cancel()
        now = time.perf_counter()
        if now >= self._started_at + total_timeout:
            self._time_out(f"The response took longer than timeout={total_timeout:g} s.")
        elif now >= self._last_content_at + idle_timeout:
            self._time_out(f"No data arrived for idle_timeout={idle_timeout:g} s.", self._task)
        else:
            deadline = min(self._started_at + total_timeout, self._last_content_at + idle_timeout)
            if deadline < math.inf:
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(deadline - now, self._arm_timeouts)

    def _time_out(self, text: str, task: asyncio.Task[Any] | None = None) -> None:
        """Stop the request, or with `task` only this attempt if it has no content yet."""
        hint = " Raise it, or shorten the request."
        error = error_info(ErrorKind.TIMEOUT, text + hint, provider=self._request.provider)
        nothing_received = not (self._assembler.has_content or self._assembler.finished)
        if task is not None and nothing_received and self._stop_error is None:
            self._attempt_error = error
            task.cancel()
        else:
            self._cancel(error)

    # --- The end ----------------------------------------------------------------------------

    def _finish(self, events: list[AssistantMessageEvent]) -> None:
        self._finalize(events)
        self._queue.push(events)  # without a terminal event the queue ends the stream itself

    def _finalize(self, events: list[AssistantMessageEvent]) -> None:
        """Complete the message of the last events."""
        last_event = events[-1] if events else None
        if isinstance(last_event, DoneEvent | ErrorEvent):
            self._finalize_message(last_event.partial)
            _log_request(last_event.partial)
            if self._observers:
                notify(self._event_observers, "events", self._request, events)
                self._notify("ended", self._request, last_event.partial)
                self._ended_observers, self._observers = self._observers, ()

    # --- Observers --------------------------------------------------------------------------

    def _notify(self, method: str, *args: Any) -> None:
        notify(self._observers, method, *args)

    def _push_observed(self, events: list[AssistantMessageEvent]) -> None:
        notify(self._event_observers, "events", self._request, events)
        self._queue.push(events)

    async def _settle_observers(self) -> None:
        """Wait for the observers. A cancellation ends the wait: the answer is complete."""
        for observer in self._ended_observers:
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await observer.settle()

    def _finalize_message(self, message: AssistantMessage) -> None:
        """Set the times, warnings, attempts and missing usage of the final message."""
        if self._started_at:
            now = time.perf_counter()
            message.duration_ms = round((now - self._started_at) * 1000, 3)
            if self._first_content_at is not None:
                message.ttft_ms = round((self._first_content_at - self._started_at) * 1000, 3)
        message.warnings = [*self._request.warnings, *self._assembler.warnings]
        self._describe_response(message)
        if (redact := self._request.redact) is not None:
            _redact_metadata(message, redact)
        self._complete_usage(message)
        if self._cache_hit is not None:
            self._cache_hit.mark(message)
        else:
            self._check_cache(message)
        attempt = self._attempt_record(message)
        if self._attempts:
            message.attempts = [*self._attempts, attempt]
        if self._meter is not None and self._started_at and self._cache_hit is None:
            self._meter.finish_attempt(message, attempt, is_last=True)
        if message.error is not None:
            earlier_failures = self._describe_earlier_attempts()
            message.error.message = (
                message.error.message[: MAX_MESSAGE_CHARS - len(earlier_failures)]
                + earlier_failures
            )
            message.error_message = message.error.message

    def _check_cache(self, message: AssistantMessage) -> None:
        """Warn if a long prompt that is sent again and again is never read from the cache."""
        usage, options = message.usage, self._request.options
        prices = (self._request.record or {}).get("cost") or {}
        # A host without a price for reads may have no cache.
        if usage.estimated or message.error is not None or not prices.get("cache_read"):
            return
        if usage.input + usage.cache_read + usage.cache_write < MIN_WATCHED_TOKENS:
            return
        from ..accounting.cache_watch import is_long, missed_cache_text

        if options.cache_retention == "none" or not is_long(self._request.context):
            return
        text = missed_cache_text(self._request, usage, self._attempt_started_at)
        if text is not None:
            message.warnings.append(Warning(code="cache_never_hit", message=text))

    def _describe_response(self, message: AssistantMessage) -> None:
        """Set what the headers of the response say, and the response itself with `raw=True`."""
        if (response := self._request.response) is not None and response.status:
            response.describe(message, keep=self._request.options.raw)
        if message.error is not None:
            message.request_id = message.request_id or message.error.request_id

    def _attempt_record(self, message: AssistantMessage) -> Attempt:
        """Return the record of the current attempt."""
        return construct_unchecked(
            Attempt,
            provider=message.provider,
            model=message.model,
            error=message.error.model_copy() if message.error is not None else None,
            usage=message.usage,
            duration_ms=round((time.perf_counter() - self._attempt_started_at) * 1000, 3),
        )

    def _describe_earlier_attempts(self) -> str:
        """Return a sentence that lists the other models that failed, with their last errors."""
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
        """Estimate the tokens that the provider did not report, and add the cost."""
        usage = message.usage
        if self._accepted:
            self._estimate_missing_usage(message)
        has_price = self._request.record is not None or self._request.provider == "local"
        has_price = has_price or self._request.route.has_deployments
        if usage.cost.source == "unknown" and has_price and self._accepted:
            from ..accounting.cost import request_cost

            # The Router's file may have become invalid meanwhile.
            with contextlib.suppress(ValueError, ProviderError):
                usage.cost, reason = request_cost(self._request, usage, message.response_model)
                if reason:
                    warning = construct_unchecked(
                        Warning, code="cost_unknown", message=f"the cost is unknown: {reason}"
                    )
                    message.warnings.append(warning)

    def _estimate_missing_usage(self, message: AssistantMessage) -> None:
        """Estimate unreported token counts. A count reported before the end is a lower bound."""
        usage, assembler = message.usage, self._assembler
        if not (assembler.output_reported and assembler.finished):
            estimated_output = estimate_output_tokens(message)
            if not assembler.output_reported or estimated_output > usage.output:
                usage.output, usage.estimated = estimated_output, True
        if not assembler.input_reported:
            usage.input, usage.estimated = estimate_input_tokens(self._request.context), True
        usage.total_tokens = usage.input + usage.output + usage.cache_read + usage.cache_write


def _log_request(message: AssistantMessage) -> None:
    if not logger.isEnabledFor(logging.INFO):
        return
    usage = message.usage
    logger.info(
        "request %s/%s api=%s outcome=%s duration=%.3fs input=%d output=%d cost=%s",
        message.provider,
        message.model,
        message.api,
        outcome(message),
        (message.duration_ms or 0.0) / 1000,
        usage.input + usage.cache_read + usage.cache_write,
        usage.output,
        "unknown" if usage.cost.total is None else format_usd(usage.cost.total),
    )


def _redact_metadata(message: AssistantMessage, redact: Callable[[str], str]) -> None:
    """Remove secrets that a provider repeats outside its answer."""
    for name in ("response_id", "response_model", "raw_stop_reason", "request_id", "container"):
        if value := getattr(message, name):
            setattr(message, name, redact(value))
    if message.error is not None:
        message.error.message = redact(message.error.message)
    for warning in message.warnings:
        warning.message = redact(warning.message)


def _after_fork() -> None:
    for run in list(_begun_runs):
        run.fail_after_fork()
    _begun_runs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
