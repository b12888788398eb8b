"""Test tools with a `timeout`: what takes longer is abandoned and reported to the model."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pipy_ai import AbortController, Tool, faux, tool, tool_jobs

from .support.tool_loop_runs import Go, async_run, nothing_left, sync_run

WAIT = 10.0  # seconds, far above what anything here takes
SHORT = 0.05
TIMED_OUT = "The call was abandoned: no result within 0.05 seconds."


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


def test_tools_within_their_timeout(go: Go) -> None:
    async def later() -> str:
        return "later"

    tools = [Tool("now", run=lambda: "now", timeout=WAIT), Tool("later", run=later, timeout=WAIT)]
    with faux.script(faux.reply(faux.tool("now"), faux.tool("later")), faux.tool("now"), "ok"):
        assert sorted(go("faux/m", "q", tools).texts) == ["later", "now", "now"]
    nothing_left()


def test_a_thread_that_takes_longer_is_abandoned(go: Go) -> None:
    release, ended = threading.Event(), threading.Event()

    @tool(timeout=SHORT)
    def slow() -> str:
        release.wait(WAIT)
        ended.set()
        return "too late"

    with faux.script(faux.reply(faux.tool("slow")), "ok"):
        ran = go("faux/m", "q", [slow])
    assert not ended.is_set()
    assert (ran.texts, ran.results[0].is_error) == ([TIMED_OUT], True)
    assert ran.message.text == "ok"
    release.set()
    assert ended.wait(WAIT)


def test_an_async_tool_is_cancelled(go: Go) -> None:
    cleaned: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(WAIT)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    with faux.script(faux.reply(faux.tool("slow"), faux.tool("fast")), "ok"):
        ran = go("faux/m", "q", [Tool("slow", run=slow, timeout=SHORT), Tool("fast", run=str)])
    assert ran.texts == [TIMED_OUT, ""]
    assert cleaned == ["up"]
    nothing_left()


def test_an_async_tool_that_ignores_cancellation_is_abandoned(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_jobs, "CANCEL_GRACE_S", SHORT)
    release = threading.Event()

    async def stubborn() -> str:
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        raise SystemExit("too late to end the program")

    def answer(_: Any) -> str:
        release.set()
        return "ok"

    with faux.script(faux.reply(faux.tool("stubborn")), answer):
        ran = go("faux/m", "q", [Tool("stubborn", run=stubborn, timeout=SHORT)])
    assert ran.texts == [TIMED_OUT]
    assert ran.message.text == "ok"


def test_system_exit_within_the_timeout_ends_the_run(go: Go) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    for run in (leave, lambda: exec("raise SystemExit(3)")):
        with (
            faux.script(faux.reply(faux.tool("leave"))),
            pytest.raises(SystemExit, match="3"),
        ):
            go("faux/m", "q", [Tool("leave", run=run, timeout=WAIT)])


def test_an_abort_cancels_a_tool_before_its_timeout(go: Go) -> None:
    controller = AbortController()
    cleaned: list[str] = []

    async def slow() -> None:
        try:
            controller.abort()
            await asyncio.sleep(WAIT)
        finally:
            cleaned.append("up")

    with faux.script(faux.reply(faux.tool("slow"))):
        ran = go("faux/m", "q", [Tool("slow", run=slow, timeout=WAIT)], signal=controller.signal)
    assert ran.message.stop_reason == "aborted"
    assert cleaned == ["up"]
    nothing_left()
