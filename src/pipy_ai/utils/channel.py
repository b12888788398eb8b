"""A hand-over of batches from any thread to a consumer, who may wait or await."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

# Windows does not interrupt a wait for Ctrl-C, so there it is cut into short ones.
WAIT_SLICE_S = 0.1 if sys.platform == "win32" else None


class Channel(Generic[T]):
    """An unbounded queue that hands over everything that is ready at once.

    Any thread may `put` and `close`; consumers call `get` (blocks) or `aget` (awaits), and share
    what comes if they are several. Both return `[]` when the channel is closed and empty, and raise
    the error that it was closed with.
    """

    __slots__ = ("_closed", "_error", "_items", "_ready", "_waiters")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._closed = False
        self._error: BaseException | None = None
        self._ready = threading.Condition(threading.Lock())
        self._waiters: list[asyncio.Future[None]] = []

    def put(self, batch: Iterable[T]) -> None:
        """Add items and wake the consumer. After `close` they are dropped."""
        with self._ready:
            if self._closed:
                return
            self._items.extend(batch)
            if self._items:
                self._wake()

    def close(self, error: BaseException | None = None) -> None:
        """No more items. What is ready is still handed over, then `error` is raised."""
        with self._ready:
            if not self._closed:
                self._closed, self._error = True, error
                self._wake()

    @property
    def ready(self) -> bool:
        """Whether `get` would return at once with something."""
        return bool(self._items)

    def _wake(self) -> None:
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
            except RuntimeError:  # the consumer's loop is closed: nobody waits any more
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
        """All that is ready; blocks until there is something."""
        with self._ready:
            while (batch := self._take()) is None:
                self._ready.wait(WAIT_SLICE_S)
            return batch

    async def aget(self) -> list[T]:
        """All that is ready; awaits until there is something."""
        while True:
            with self._ready:
                batch = self._take()
                if batch is not None:
                    return batch
                waiter = asyncio.get_running_loop().create_future()
                self._waiters = [
                    *(pending for pending in self._waiters if not pending.done()),
                    waiter,
                ]
            await waiter


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def await_future(future: concurrent.futures.Future[T]) -> T:
    """The result of a future that any thread may settle. Being cancelled does it no harm.

    Unlike `asyncio.wrap_future` it does not wake the loop through its socket when the future is
    settled within the loop: a tenth of what a short answer costs.
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
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

        future.add_done_callback(wake)
        await waiter
    return future.result()
