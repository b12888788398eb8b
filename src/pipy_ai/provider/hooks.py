"""Hooks: functions of the caller that are called for requests, responses and events.

They run in threads of their own, in order for each request, so that one that blocks or fails does
not affect a request. A response is delivered once its hooks have run, but `HOOK_TIMEOUT_S` after
its last event at the latest.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..events import AssistantMessageEvent
from ..options import check_hook
from ..types import AssistantMessage
from ..utils.log import logger
from .observer import Observer, observer_factories
from .request import Request

if TYPE_CHECKING:
    from typing import Self

RequestHook: TypeAlias = Callable[[Request], object]
"""Called before each attempt is sent."""
ResponseHook: TypeAlias = Callable[[Request, AssistantMessage], object]
"""Called after each attempt, with its message."""
EventHook: TypeAlias = Callable[[Request, AssistantMessageEvent], object]
"""Called for each event."""

HOOK_TIMEOUT_S = 1.0  # how long a response waits for its hooks
MAX_PENDING_CALLS = 1024  # of one request; calls beyond are dropped
MAX_PENDING_REQUESTS = 1024  # that wait for a thread; calls beyond are dropped
MAX_THREADS = 16
IDLE_TIMEOUT_S = 10.0  # after which an idle thread ends

Call: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]


@dataclass(eq=False, slots=True)
class Hooks:
    """Hooks for all requests, until `remove()` or the end of a `with` block."""

    on_request: RequestHook | None = None
    """Called before each attempt."""
    on_response: ResponseHook | None = None
    """Called after each attempt."""
    on_event: EventHook | None = None
    """Called for each event."""

    def remove(self) -> None:
        """Call these hooks for no further request. May be called more than once."""
        if self in _hooks:
            _hooks.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


_hooks: list[Hooks] = []  # of all requests


def register_hooks(
    *,
    on_request: RequestHook | None = None,
    on_response: ResponseHook | None = None,
    on_event: EventHook | None = None,
) -> Hooks:
    """Call functions for every request of the process that begins from now on.

    Args:
        on_request: Called with the `Request` before each attempt. A retry is another attempt, and
            a fallback too.
        on_response: Called with the `Request` and the `AssistantMessage` after each attempt. The
            message of a failed attempt has an `error`.
        on_event: Called with the `Request` and each event.

    Raises:
        TypeError: A hook is asynchronous, or cannot be called.

    Example:
        >>> from pipy_ai import complete, register_hooks
        >>> with register_hooks(on_response=lambda request, message: print(request.model)):
        ...     message = complete("faux/echo", "Hi")
        faux/echo
    """
    for name, hook in (
        ("on_request", on_request), ("on_response", on_response), ("on_event", on_event),
    ):  # fmt: skip
        if hook is not None:
            check_hook(name, hook)
    enable_hooks()
    hooks = Hooks(on_request, on_response, on_event)
    _hooks.append(hooks)
    return hooks


def enable_hooks() -> None:
    """Look for hooks when a request begins."""
    if _observe not in observer_factories:
        observer_factories.append(_observe)


def _observe(request: Request) -> Observer | None:
    """Return the observer that calls the hooks of a request, or None if there are none."""
    options = request.options
    hooks = list(_hooks)
    if options.on_request or options.on_response or options.on_event:
        hooks.append(Hooks(options.on_request, options.on_response, options.on_event))
    return HookObserver(hooks) if hooks else None


class HookObserver(Observer):
    """Calls the hooks of one request, one after the other."""

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._on_request = [h.on_request for h in hooks if h.on_request is not None]
        self._on_response = [h.on_response for h in hooks if h.on_response is not None]
        self._on_event = [h.on_event for h in hooks if h.on_event is not None]
        self.watches_events = bool(self._on_event)
        self._context = contextvars.copy_context()
        self._attempt_open = False
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque()  # the first one is running if `_running`
        self._running = False
        self._dropped = False
        self._on_idle: list[Callable[[], None]] = []

    def attempt_started(self, request: Request) -> None:
        self._attempt_open = True
        self._submit([(hook, (request,)) for hook in self._on_request])

    def events(self, request: Request, events: Sequence[AssistantMessageEvent]) -> None:
        hooks = self._on_event
        self._submit([(hook, (request, event)) for event in events for hook in hooks])

    def attempt_failed(
        self, request: Request, message: AssistantMessage, delay: float, fallback: str | None
    ) -> None:
        self.ended(request, message)

    def ended(self, request: Request, message: AssistantMessage) -> None:
        if self._attempt_open:
            self._attempt_open = False
            self._submit([(hook, (request, message)) for hook in self._on_response])

    async def settle(self) -> None:
        """Wait until all hooks were called, unless one of them blocks."""
        loop, idle = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(idle.set)

        with self._lock:
            if not self._running:
                return
            pending = [hook for hook, _ in self._calls]
            self._on_idle.append(wake)
        if workers.is_blocked(pending):
            return  # reported before
        try:
            await asyncio.wait_for(idle.wait(), HOOK_TIMEOUT_S)
        except TimeoutError:
            with self._lock:
                name = _hook_name(self._calls[0][0]) if self._calls else "a hook"
            logger.warning("%s takes longer than %g s: the request goes on", name, HOOK_TIMEOUT_S)

    def _submit(self, calls: list[Call]) -> None:
        if not calls:
            return
        with self._lock:
            room = MAX_PENDING_CALLS - len(self._calls)
            self._calls.extend(calls[:room])
            dropped = len(calls) > room
            if not self._running:
                self._running = workers.submit(self._run)
            if not self._running:
                self._calls.clear()
                dropped = True
            report, self._dropped = dropped and not self._dropped, self._dropped or dropped
        if report:
            logger.warning("calls of hooks are dropped, because the hooks are too slow")

    def _run(self) -> None:
        """Call what is pending, in a thread."""
        while True:
            with self._lock:
                if not self._calls:
                    self._running = False
                    waiting, self._on_idle = self._on_idle, []
                    break
                hook, args = self._calls[0]
            workers.running[threading.get_ident()] = (hook, time.monotonic())
            try:
                self._context.run(hook, *args)
            except BaseException:  # a SystemExit would only end the thread
                logger.warning("%s failed", _hook_name(hook), exc_info=True)
            finally:
                workers.running.pop(threading.get_ident(), None)
                with self._lock:
                    self._calls.popleft()
        for wake in waiting:
            try:
                wake()
            except RuntimeError:  # the loop was closed meanwhile
                continue


def _hook_name(hook: Callable[..., object]) -> str:
    return f"the hook {getattr(hook, '__qualname__', None) or type(hook).__name__}"


class _Workers:
    """Daemon threads that run functions. They start when needed, and end when idle."""

    def __init__(self) -> None:
        self.running: dict[int, tuple[Callable[..., object], float]] = {}  # hooks, since when
        self._condition = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = self._idle = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Run a job in a thread. Return False if too many are waiting."""
        with self._condition:
            if len(self._jobs) >= MAX_PENDING_REQUESTS:
                return False
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._condition.notify()
            elif self._threads < MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="pipy-ai hook", daemon=True).start()
        return True

    def is_blocked(self, hooks: Sequence[Callable[..., object]]) -> bool:
        """Return whether one of the hooks has been running for longer than a request waits."""
        limit = time.monotonic() - HOOK_TIMEOUT_S
        blocked = [hook for hook, since in list(self.running.values()) if since <= limit]
        return any(hook in blocked for hook in hooks) or len(blocked) >= MAX_THREADS

    def _work(self) -> None:
        while True:
            with self._condition:
                self._idle += 1
                self._condition.wait_for(lambda: self._jobs, IDLE_TIMEOUT_S)
                self._idle -= 1
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            job()


workers = _Workers()


def _after_fork() -> None:
    """Start anew in a forked child, where the threads do not exist."""
    global workers
    workers = _Workers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
