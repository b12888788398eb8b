"""Call functions in daemon threads, in order and within bounds.

For functions that belong to others and may block or fail: hooks, and exporters of telemetry.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .log import logger

CALL_TIMEOUT_S = 1.0  # how long `settle` and `wait` wait
MAX_PENDING_CALLS = 1024  # of one `BackgroundCalls`; later ones are dropped
MAX_PENDING_JOBS = 1024  # that wait for a thread; later ones are dropped
MAX_THREADS = 16
IDLE_TIMEOUT_S = 10.0  # after which an idle thread ends

Call: TypeAlias = tuple[Callable[..., object], tuple[Any, ...]]
"""A function and its arguments."""


class BackgroundCalls:
    """Calls that run one after the other, in a copy of the `contextvars` of its creator.

    A function that fails is logged with `what` and its name, and ignored.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque()  # the first one is running if `_running`
        self._running = False
        self._dropped = False
        self._on_idle: list[Callable[[], object]] = []

    def submit(self, calls: Sequence[Call]) -> None:
        """Add calls. Never blocks; safe from any thread."""
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
            logger.warning("calls of %ss are dropped, because they take too long", self._what)

    async def settle(self) -> None:
        """Wait until all calls have returned, at most `CALL_TIMEOUT_S` seconds."""
        loop, idle = asyncio.get_running_loop(), asyncio.Event()
        if not self._watch(lambda: loop.call_soon_threadsafe(idle.set)):
            return
        try:
            await asyncio.wait_for(idle.wait(), CALL_TIMEOUT_S)
        except TimeoutError:
            self._report_slow_call()

    def wait(self) -> None:
        """Block until all calls have returned, at most `CALL_TIMEOUT_S` seconds."""
        idle = threading.Event()
        if self._watch(idle.set) and not idle.wait(CALL_TIMEOUT_S):
            self._report_slow_call()

    def _watch(self, on_idle: Callable[[], object]) -> bool:
        """Have `on_idle` called after the last call. Return False if there is nothing to wait for.

        There is not if one of the functions is known to block.
        """
        with self._lock:
            if not self._running:
                return False
            pending = [function for function, _ in self._calls]
            self._on_idle.append(on_idle)
        return not workers.is_blocked(pending)

    def _report_slow_call(self) -> None:
        with self._lock:
            name = self._name(self._calls[0][0]) if self._calls else self._what
        logger.warning(
            "the %s has run for more than %g s; continuing without it", name, CALL_TIMEOUT_S
        )

    def _run(self) -> None:
        """Call what is pending, in a thread."""
        while True:
            with self._lock:
                if not self._calls:
                    self._running = False
                    waiting, self._on_idle = self._on_idle, []
                    break
                function, args = self._calls[0]
            workers.running[threading.get_ident()] = (function, time.monotonic())
            try:
                self._context.run(function, *args)
            except BaseException:  # a SystemExit would only end the thread
                logger.warning("the %s failed", self._name(function), exc_info=True)
            finally:
                workers.running.pop(threading.get_ident(), None)
                with self._lock:
                    self._calls.popleft()
        for on_idle in waiting:
            try:
                on_idle()
            except RuntimeError:  # the loop was closed meanwhile
                continue

    def _name(self, function: Callable[..., object]) -> str:
        return f"{self._what} {getattr(function, '__qualname__', None) or type(function).__name__}"


class _Workers:
    """Daemon threads that run jobs. They start when needed, and end when idle."""

    def __init__(self) -> None:
        self.running: dict[int, tuple[Callable[..., object], float]] = {}  # calls, since when
        self._condition = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = self._idle = 0

    def submit(self, job: Callable[[], None]) -> bool:
        """Run a job in a thread. Return False if too many are waiting."""
        with self._condition:
            if len(self._jobs) >= MAX_PENDING_JOBS:
                return False
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._condition.notify()
            elif self._threads < MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="pipy-ai call", daemon=True).start()
        return True

    def is_blocked(self, functions: Sequence[Callable[..., object]]) -> bool:
        """Return whether a function, or all threads, have run for longer than callers wait."""
        limit = time.monotonic() - CALL_TIMEOUT_S
        blocked = [function for function, since in list(self.running.values()) if since <= limit]
        return len(blocked) >= MAX_THREADS or any(f in blocked for f in functions)

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
