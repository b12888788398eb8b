"""Test that streams are closed: abort, break, exceptions, timeouts and interpreter exit."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    AsyncAssistantMessageEventStream,
    acomplete,
    astream,
    complete,
    faux,
    stream,
)
from pipy_ai.errors import AbortedError

from .support.event_grammar import check_events
from .support.watched_provider import Watched

WAIT = 10.0  # seconds, far above what anything here takes


def test_abort_from_another_thread_ends_a_stalled_stream(watched: Watched) -> None:
    s = stream("watched/m", "q")

    def abort() -> None:
        assert watched.stalled.wait(WAIT)
        s.abort()

    threading.Thread(target=abort).start()
    events = list(s)
    message = check_events(events)
    assert message.stop_reason == "aborted"
    assert message.text == "one two "
    assert watched.left.wait(WAIT)
    with pytest.raises(AbortedError) as caught:
        message.raise_for_error()
    assert caught.value.response is message


def test_break_closes_the_stream(watched: Watched) -> None:
    s = stream("watched/m", "q")
    for event in s:
        if event.type == "text_delta":
            break
    assert watched.left.wait(WAIT)
    assert s.result().stop_reason == "aborted"


def test_exception_in_the_loop_body_closes_the_stream(watched: Watched) -> None:
    def body() -> None:
        with stream("watched/m", "q") as s:
            for _ in s:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert watched.left.wait(WAIT)


def test_garbage_collection_closes_the_stream(watched: Watched) -> None:
    s = stream("watched/m", "q")
    assert watched.stalled.wait(WAIT)
    del s
    assert watched.left.wait(WAIT)


async def test_async_break_closes_the_stream(watched: Watched) -> None:
    async for event in astream("watched/m", "q"):
        if event.type == "text_delta":
            break
    assert await asyncio.to_thread(watched.left.wait, WAIT)


async def test_async_with_waits_until_everything_is_closed(watched: Watched) -> None:
    async with astream("watched/m", "q") as s:
        async for _ in s:
            break
    assert watched.left.is_set()
    assert (await s.result()).stop_reason == "aborted"


@pytest.mark.parametrize("verb", ["iterate", "result", "complete"])
async def test_cancelling_the_task_closes_the_stream(watched: Watched, verb: str) -> None:
    async def consume() -> None:
        if verb == "complete":
            await acomplete("watched/m", "q")
        elif verb == "result":
            await astream("watched/m", "q").result()
        else:
            async for _ in astream("watched/m", "q"):
                pass

    task = asyncio.create_task(consume())
    assert await asyncio.to_thread(watched.stalled.wait, WAIT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(watched.left.wait, WAIT)


def test_one_signal_stops_many_streams_and_releases_them(watched: Watched) -> None:
    controller = AbortController()
    streams = [stream("watched/m", "q", signal=controller.signal) for _ in range(3)]
    assert watched.stalled.wait(WAIT)
    controller.abort("enough")
    for s in streams:
        message = s.result()
        assert message.stop_reason == "aborted"
        assert message.error is not None
        assert "enough" in message.error.message
    assert complete("faux/echo", "q", signal=AbortController().signal).stop_reason == "stop"
    late = complete("faux/echo", "q", signal=controller.signal)
    assert late.stop_reason == "aborted"
    assert late.content == []
    other = AbortController()
    for _ in range(3):
        complete("faux/echo", "q", signal=other.signal)
    assert not other.signal._listeners


@pytest.mark.parametrize("option", ["timeout", "idle_timeout"])
def test_timeout_stops_a_stalled_stream(watched: Watched, option: str) -> None:
    message = complete("watched/m", "q", **{option: 0.05})  # type: ignore[arg-type]
    assert message.stop_reason == "error"
    assert message.error is not None
    assert message.error.kind == "timeout"
    assert option in message.error.message
    assert message.text == "one two "
    assert watched.left.wait(WAIT)


def test_200_streams_leave_nothing_behind(watched: Watched) -> None:
    complete("faux/echo", "warm up")
    gc.collect()
    before = (threading.active_count(), open_files())
    for number in range(200):
        s = stream("watched/m" if number % 2 else "faux/echo", "q q q q q")
        if number % 4 == 0:
            s.result()
        elif number % 4 == 1:
            for _ in s:
                break
        elif number % 4 == 2:
            s.abort()
        del s
    from pipy_ai.utils import event_loop as loop

    thread = loop.background_loop()
    deadline = time.monotonic() + WAIT
    while thread._tasks and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not thread._tasks
    gc.collect()
    assert (threading.active_count(), open_files()) == before


def open_files() -> int:
    import os

    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


EXITS = {
    "sync, done": "complete('faux/echo', 'q')",
    "sync, in mid-stream": """
        s, t = stream('faux/stall', 'q'), stream('faux/stall', 'q')
        next(iter(s))
    """,
    "sync, never read": "keep = [stream('faux/stall', 'q') for _ in range(5)]",
    "async, done": "asyncio.run(acomplete('faux/echo', 'q'))",
    "async, left": """
        async def main():
            async for event in astream('faux/stall', 'q'):
                break
        for _ in range(3):
            asyncio.run(main())
    """,
    "async, never awaited": "s = astream('faux/echo', 'q')",
    "a forked child": """
        complete('faux/echo', 'q')
        pid = os.fork()
        if pid == 0:
            assert complete('faux/echo', 'child').text == 'child'
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """,
    "a stream that a forked child reads": """
        script = faux.script(faux.reply('first ', faux.stall(), 'second'))
        script.__enter__()
        s = stream('faux/stall', 'q')
        events = iter(s)
        while next(events).partial.text != 'first ':
            pass
        done = stream('faux/echo', 'q')
        assert done.result().text == 'q'
        pid = os.fork()
        if pid == 0:
            last = list(events)[-1]
            assert (last.type, last.error.error.kind) == ('error', 'connection')
            assert last.error.text == 'first ' and 'forked' in last.error.error.message
            assert s.result() is last.error and not s.abort()
            assert done.result().text == 'q' and list(done)[-1].type == 'done'
            sys.exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        s.abort()
        assert s.result().error.kind == 'aborted'
    """,
}


@pytest.mark.parametrize("name", EXITS)
def test_interpreter_exits_cleanly(name: str) -> None:
    code = "import asyncio, os, sys\nfrom pipy_ai import *\n"
    code += "script = faux.script(*[faux.reply('x', faux.stall())] * 9)\nscript.__enter__()\n"
    code += textwrap.dedent(EXITS[name])
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "dev",
            "-W",
            "error",
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            code,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the lost task
@pytest.mark.parametrize("stop", [True, False])
def test_stream_survives_the_closing_of_its_event_loop(watched: Watched, stop: bool) -> None:
    """As in a restarted notebook: the task of the stream never continues."""

    async def begin() -> AsyncAssistantMessageEventStream:
        s = astream("watched/m", "q")
        while not watched.stalled.is_set():
            await asyncio.sleep(0)
        return s

    loop = asyncio.new_event_loop()
    s = loop.run_until_complete(begin())
    loop.close()
    if stop:
        s.abort()
    message = asyncio.run(asyncio.wait_for(s.result(), WAIT))
    assert (message.stop_reason, message.text) == ("aborted", "one two ")


async def test_two_readers_share_one_stream() -> None:
    with faux.script("one two three four", delay=0.01):
        s = astream("faux/m", "q")

        async def read() -> list[Any]:
            return [event async for event in s]

        both = await asyncio.wait_for(asyncio.gather(read(), read()), WAIT)
    assert len(both[0] + both[1]) == 9


def test_failing_listener_closes_the_stream(watched: Watched) -> None:
    controller = AbortController()
    controller.signal.add_listener(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    s = stream("watched/m", "q", signal=controller.signal)
    assert watched.stalled.wait(WAIT)
    with pytest.raises(ZeroDivisionError):
        controller.abort()
    assert s.result().stop_reason == "aborted"
