"""One background thread with one event loop, for the whole process.

It starts with the first request that needs it, carries every synchronous call, and ends with the
interpreter, leaving no thread, task or socket behind. A forked child starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundTask:
    """A task in the loop thread, as seen from outside."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.task: asyncio.Task[Any] | None = None
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    def cancel(self) -> None:
        """Cancel it, from any thread. It has been started by the time this is carried out."""

        def stop() -> None:
            if self.task is not None:
                self.task.cancel()

        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing runs any more
            self._loop.call_soon_threadsafe(stop)

    async def wait(self, timeout_s: float) -> None:
        """Wait until it has ended, but not for ever."""
        with contextlib.suppress(TimeoutError):
            ended = asyncio.shield(asyncio.wrap_future(self.ended))
            await asyncio.wait_for(ended, timeout_s)


class LoopThread:
    """An event loop in a daemon thread. Start it with `ensure()`."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cleanups: list[Callable[[], Awaitable[object]]] = []
        self._thread = threading.Thread(target=self._run, name="pipy-ai", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._stopping:
                try:
                    self.loop.run_forever()
                except (KeyboardInterrupt, SystemExit):  # of some task; the others go on
                    continue
            self.loop.run_until_complete(self._shut_down())
        finally:
            self.loop.close()

    async def _shut_down(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        for cleanup in self._cleanups:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(cleanup(), 1.0)
        remaining = asyncio.all_tasks() - {asyncio.current_task()}
        for task in remaining:
            task.cancel()
        if remaining:
            await asyncio.wait(remaining, timeout=1.0)
        await self.loop.shutdown_asyncgens()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in this thread, where blocking would block everything."""
        return threading.current_thread() is self._thread

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context | None = None
    ) -> BackgroundTask:
        """Run a coroutine as a task of the loop, in `context` if one is given. From any thread."""
        background_task = BackgroundTask(self.loop)

        def start() -> None:
            task = background_task.task = self.loop.create_task(coroutine, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: background_task.ended.set_result(None))

        self.loop.call_soon_threadsafe(start)
        return background_task

    def add_cleanup(self, cleanup: Callable[[], Awaitable[object]]) -> None:
        """Await `cleanup()` in the loop before it closes."""
        self._cleanups.append(cleanup)

    def stop(self) -> None:
        """Cancel everything, close the loop, end the thread."""
        if self._thread.is_alive() and not self.is_current:
            self._stopping = True
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout=5.0)


_lock = threading.Lock()
_loop_thread: LoopThread | None = None


def background_loop() -> LoopThread:
    """The process's loop thread, started if need be."""
    global _loop_thread
    with _lock:
        if _loop_thread is None or not _loop_thread._thread.is_alive():
            _loop_thread = LoopThread()
        return _loop_thread


def existing_loop() -> LoopThread | None:
    """The loop thread if one was started."""
    return _loop_thread


def shutdown() -> None:
    """Stop the loop thread if there is one; the next request starts another."""
    global _loop_thread
    with _lock:
        loop_thread, _loop_thread = _loop_thread, None
    if loop_thread is not None:
        loop_thread.stop()


def _after_fork() -> None:
    # The parent's thread does not exist here; its loop and sockets belong to the parent.
    global _loop_thread, _lock
    _loop_thread, _lock = None, threading.Lock()


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


async def run_in_thread(name: str, function: Callable[[], T]) -> T:
    """Run a blocking function in a thread of its own, which ends with it.

    Unlike an executor's, the thread is gone afterwards. On cancellation the caller goes on at
    once and the function's result is dropped.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def resolve(result: T | None, error: BaseException | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as exc:
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(resolve, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
