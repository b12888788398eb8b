"""Test cancellation through LiteLLM: connections, threads and tasks are closed."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from typing import Any

import pytest

from pipy_ai import acomplete, astream, complete, stream
from pipy_ai.utils import event_loop as loops

from ..support.event_grammar import check_events
from ..support.scripted_server import STALL, Lab, Scene, sse, text

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


MODEL = "hosted_vllm/m"


@pytest.fixture(autouse=True)
def _through_litellm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_TRANSPORT", "litellm")


WAIT = 10.0


def stalled(lab: Lab) -> Scene:
    return sse(*text("one "), STALL)


def test_abort_from_another_thread_closes_the_connection_quickly(lab: Lab) -> None:
    complete(MODEL, "warm up", api_base=lab.url)
    lab.play(sse(STALL), stalled(lab))
    for expected in ("", "one "):
        count = len(lab.seen)
        heard = threading.Event()
        s = stream(MODEL, "q", api_base=lab.url)
        aborted_at = 0.0

        def abort(s: Any = s, count: int = count, heard: Any = heard, text: str = expected) -> None:
            nonlocal aborted_at
            while len(lab.seen) == count:  # until the request is there
                time.sleep(0.001)
            if text:
                assert heard.wait(WAIT)
            aborted_at = time.perf_counter()
            s.abort()

        threading.Thread(target=abort).start()
        events = []
        for event in s:
            events.append(event)
            if event.type == "text_delta":
                heard.set()
        assert time.perf_counter() - aborted_at < 0.1
        message = check_events(events)
        assert message.stop_reason == "aborted"
        assert message.text == expected
        assert lab.seen[-1].left.wait(WAIT)
        assert lab.seen[-1].left_at - aborted_at < 0.25


def test_leaving_the_loop_closes_the_connection(lab: Lab) -> None:
    lab.play(stalled(lab), stalled(lab), stalled(lab))
    s = stream(MODEL, "q", api_base=lab.url)
    for event in s:
        if event.type == "text_delta":
            break
    assert lab.seen[-1].left.wait(WAIT)

    def raise_in_the_body() -> None:
        for event in stream(MODEL, "q", api_base=lab.url):
            if event.type == "text_delta":
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raise_in_the_body()
    assert lab.seen[-1].left.wait(WAIT)

    def raise_under_with() -> None:
        with stream(MODEL, "q", api_base=lab.url) as kept:
            streams.append(kept)
            for event in kept:
                if event.type == "text_delta":
                    raise ZeroDivisionError

    streams: list[Any] = []
    with pytest.raises(ZeroDivisionError) as caught:
        raise_under_with()
    assert caught.value.__traceback__ is not None  # still held, with all its frames
    assert lab.seen[-1].left.wait(WAIT)


async def test_cancelling_the_task_closes_the_connection(lab: Lab) -> None:
    lab.play(stalled(lab))
    heard = asyncio.Event()

    async def consume() -> None:
        async for event in astream(MODEL, "q", api_base=lab.url):
            if event.type == "text_delta":
                heard.set()

    task = asyncio.create_task(consume())
    await asyncio.wait_for(heard.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(lab.seen[-1].left.wait, WAIT)


def test_200_abandoned_streams_leave_no_thread_socket_or_task(lab: Lab) -> None:
    complete(MODEL, "warm up", api_base=lab.url)
    lab.play(stalled(lab))
    for _ in stream(MODEL, "q", api_base=lab.url):
        break
    assert lab.seen[-1].left.wait(WAIT)
    before = census()
    lab.play(*[stalled(lab) for _ in range(200)])
    for number in range(200):
        s = stream(MODEL, "q", api_base=lab.url)
        for event in s:
            if event.type == "text_delta":
                if number % 2:
                    s.abort()
                else:
                    break
    assert all(seen.left.wait(WAIT) for seen in lab.seen[1:])
    deadline = time.monotonic() + WAIT
    while census() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert census() <= before


def census() -> tuple[int, int, int]:
    """Count threads, open files, and tasks of the background loop.

    Not those of asyncio's own pool, which LiteLLM has files read in: it keeps a few, and for good.
    """
    gc.collect()
    thread = loops.background_loop()
    tasks = asyncio.run_coroutine_threadsafe(_count_tasks(), thread.loop).result(5)
    threads = [one for one in threading.enumerate() if not one.name.startswith("asyncio_")]
    return len(threads), len(os.listdir("/proc/self/fd")), tasks


async def _count_tasks() -> int:
    return len(asyncio.all_tasks())


def test_threads_and_repeated_loops_share_the_connection_pool(lab: Lab) -> None:
    wrong: list[Any] = []

    def work() -> None:
        for _ in range(4):
            message = complete(MODEL, "q", api_base=lab.url)
            if message.text != "ok":
                wrong.append(message)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for _ in range(5):
        assert asyncio.run(acomplete(MODEL, "q", api_base=lab.url)).text == "ok"
    assert not wrong
