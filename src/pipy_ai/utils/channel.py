"""A queue from any thread to a blocking or awaiting consumer."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

# Ctrl-C does not interrupt a wait on Windows, nor does any signal that arrives just before the wait
# begins, or in another thread. So the wait is split.
WAIT_SLICE_S = 0.1 if sys.platform == "win32" else 0.5


class Channel(Generic[T]):
    """An unbounded queue whose consumers take all ready items at once.

    Any thread may call `put` and `close`. Consumers call `get`, which blocks, or `aget`, which
    awaits; each item goes to one of them. When the channel is closed and empty, both return `[]`,
    or raise once the error that it was closed with.
    """

    __slots__ = ("_blocked", "_closed", "_error", "_items", "_lock", "_ready", "_waiters")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._closed = False
        self._error: BaseException | None = None
        self._lock = threading.Lock()
        self._ready: threading.Condition | None = None  # made by the first `get` that blocks
        self._blocked = 0  # consumers in `get`
        self._waiters: list[asyncio.Future[None]] = []  # of consumers in `aget`

    def put(self, batch: Iterable[T], *, last: bool = False) -> None:
        """Add items and wake the consumers; with `last`, also end the channel.

        After its end, items are dropped.
        """
        with self._lock:
            if self._closed:
                return
            self._items += batch
            self._closed = last
            if self._items or last:
                self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """End the channel. Consumers still get the ready items, then `error` is raised if given."""
        with self._lock:
            if not self._closed:
                self._closed, self._error = True, error
                self._wake()

    def after_fork(self) -> Channel[T]:
        """Return a copy for a forked child, in which a thread of the parent may hold the lock."""
        copy: Channel[T] = Channel()
        copy._items = list(self._items)
        return copy

    @property
    def ready(self) -> bool:
        """Whether `get` would return items without waiting."""
        return bool(self._items)

    def _wake(self) -> None:
        if self._ready is not None and self._blocked:
            self._ready.notify_all()
        if not self._waiters:
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            loop = waiter.get_loop()
            try:
                if asyncio._get_running_loop() is loop:
                    _resolve(waiter)
                else:
                    loop.call_soon_threadsafe(_resolve, waiter)
            except RuntimeError:  # the consumer's loop is closed, so it no longer waits
                pass

    def _take(self) -> list[T] | None:
        if self._items:
            batch, self._items = self._items, []
            return batch
        if not self._closed:
            return None
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return []

    def get(self) -> list[T]:
        """Return all ready items; block until there are some."""
        with self._lock:
            if (batch := self._take()) is not None:
                return batch
            if self._ready is None:
                self._ready = threading.Condition(self._lock)
            self._blocked += 1
            try:
                while (batch := self._take()) is None:
                    self._ready.wait(WAIT_SLICE_S)
                return batch
            finally:
                self._blocked -= 1

    async def aget(self) -> list[T]:
        """Return all ready items; wait until there are some."""
        while True:
            with self._lock:
                if self._items:
                    batch, self._items = self._items, []
                    return batch
                if self._closed:
                    return self._take() or []
                if self._waiters:
                    self._waiters = [waiter for waiter in self._waiters if not waiter.done()]
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
            await waiter


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def await_future(future: concurrent.futures.Future[T]) -> T:
    """Await a future that any thread may set. Cancelling the caller does not cancel the future.

    `asyncio.wrap_future` wakes the loop through its socket even if the future is set within the
    loop, which is a tenth of the cost of a short answer. This function does not.
    """
    if not future.done():
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def wake(_: object) -> None:
            try:
                if asyncio._get_running_loop() is loop:
                    _resolve(waiter)
                else:
                    loop.call_soon_threadsafe(_resolve, waiter)
            except RuntimeError:  # the loop is closed, so the caller no longer waits
                pass

        future.add_done_callback(wake)
        await waiter
    return future.result()
