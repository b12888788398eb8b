"""One background thread with one event loop for the whole process.

It starts with the first request that needs it, runs all synchronous calls, and stops with the
interpreter without leaving a thread, task or socket behind. A forked child starts its own.
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
    """A handle for a task in the loop thread, usable from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.task: asyncio.Task[Any] | None = None
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()

    def cancel(self) -> None:
        """Cancel the task."""

        def stop() -> None:
            if self.task is not None:
                self.task.cancel()

        # The callback runs after the one that starts the task. A closed loop raises RuntimeError.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(stop)

    async def wait(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds for the task to end."""
        with contextlib.suppress(TimeoutError):
            ended = asyncio.shield(asyncio.wrap_future(self.ended))
            await asyncio.wait_for(ended, timeout_s)


class LoopThread:
    """An event loop in a daemon thread. Get it with `background_loop()`."""

    def __init__(self, name: str = "pipy-ai") -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.new_event_loop()
        self._stopping = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cleanups: list[Callable[[], Awaitable[object]]] = []
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            while not self._stopping:
                try:
                    self.loop.run_forever()
                except (KeyboardInterrupt, SystemExit):  # raised by one task; the others continue
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
        """Whether the caller is in this thread, where blocking would block every request."""
        return threading.current_thread() is self._thread

    @property
    def is_alive(self) -> bool:
        """Whether the thread is running."""
        return self._thread.is_alive()

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context | None = None
    ) -> BackgroundTask:
        """Start a coroutine as a task of the loop, from any thread; in `context` if given."""
        background_task = BackgroundTask(self.loop)

        def start() -> None:
            task = background_task.task = self.loop.create_task(coroutine, context=context)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda _: background_task.ended.set_result(None))

        self.loop.call_soon_threadsafe(start)
        return background_task

    def add_cleanup(self, cleanup: Callable[[], Awaitable[object]]) -> None:
        """Register a function that is awaited before the loop closes."""
        self._cleanups.append(cleanup)

    def stop(self) -> None:
        """Cancel all tasks, close the loop, and end the thread."""
        if self.is_alive and not self.is_current:
            self._stopping = True
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(timeout=5.0)


_lock = threading.Lock()
_loop_thread: LoopThread | None = None


def background_loop() -> LoopThread:
    """Return the process's loop thread, and start it if necessary."""
    global _loop_thread
    with _lock:
        if _loop_thread is None or not _loop_thread.is_alive:
            _loop_thread = LoopThread()
        return _loop_thread


def existing_loop() -> LoopThread | None:
    """Return the loop thread if it was started, or None."""
    return _loop_thread


def shutdown() -> None:
    """Stop the loop thread, if any. The next request starts another."""
    global _loop_thread
    with _lock:
        loop_thread, _loop_thread = _loop_thread, None
    if loop_thread is not None:
        loop_thread.stop()


def _after_fork() -> None:
    # The thread does not exist in the child, and its loop and sockets belong to the parent.
    global _loop_thread, _lock
    _loop_thread, _lock = None, threading.Lock()


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def run_blocking(coroutine: Coroutine[Any, Any, T], async_name: str) -> T:
    """Run a coroutine in the background loop and wait for it.

    If the caller is interrupted meanwhile (Ctrl-C), the coroutine is cancelled.

    Raises:
        RuntimeError: The caller is in that loop, where `async_name` should be used instead.
    """
    background = background_loop()
    if background.is_current:
        coroutine.close()
        raise RuntimeError(f"use {async_name} inside pipy-ai's own event loop")
    future = asyncio.run_coroutine_threadsafe(coroutine, background.loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


async def run_in_thread(name: str, function: Callable[[], T]) -> T:
    """Run a blocking function in a new thread and return its result.

    Unlike an executor's, the thread does not outlive the function. If the caller is cancelled, it
    continues immediately, and the function's result is dropped.
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
