"""Test stopping a tool loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    AssistantMessage,
    ToolCall,
    arun_tools,
    faux,
    register_provider,
    run_tools,
    tool_loop,
)
from pipy_ai.provider.registered import unregister_provider

from .support.tool_loop_runs import Go, Ran, async_run, ended, nothing_left, sync_run
from .support.watched_provider import Watched

WAIT = 10.0  # seconds, far above what anything here takes


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


def call(name: str, /, **arguments: Any) -> Any:
    return faux.tool(name, **arguments)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def boom() -> None:
    """Always fails."""
    raise ValueError("it broke")


class Waits:
    """An async tool that waits for ever and records how it ended."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()
        self.error: BaseException | None = None

    async def wait(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.ended.set()

    @property
    def cancelled(self) -> bool:
        return self.ended.wait(WAIT) and isinstance(self.error, asyncio.CancelledError)


def stopping(how: str, when: threading.Event, make: Any, go: Go, *args: Any, **options: Any) -> Ran:
    """Run, and abort from another thread as soon as `when` is set."""
    controller = AbortController()
    made: list[Any] = []

    def build(*args: Any, **options: Any) -> Any:
        made.append(make(*args, **options))
        return made[0]

    def stop() -> None:
        assert when.wait(WAIT)
        if how == "abort":
            made[0].abort()
        else:
            controller.abort("enough")

    thread = threading.Thread(target=stop)
    thread.start()
    try:
        if go is sync_run:
            run = build(*args, signal=controller.signal, **options)
            events = list(run)
            ran = ended(run, events, run.result())
        else:

            async def main() -> Ran:
                run = build(*args, signal=controller.signal, **options)
                events = [event async for event in run]
                return ended(run, events, await run.result())

            ran = asyncio.run(main())
    finally:
        thread.join(WAIT)
    assert controller.signal._listeners == {}
    return ran


def verb_of(go: Go) -> Any:
    return run_tools if go is sync_run else arun_tools


@pytest.fixture(params=["abort", "signal"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_abort_during_the_response(go: Go, how: str) -> None:
    provider = Watched("one ", "two ")
    register_provider("watched", provider)
    try:
        ran = stopping(how, provider.stalled, verb_of(go), go, "watched/m", "q", [add])
    finally:
        unregister_provider("watched")
    assert ran.message.stop_reason == "aborted"
    assert ran.message.text == "one two "
    assert ran.run.messages == [ran.message]
    assert ("enough" in str(ran.message.error_message)) == (how == "signal")
    assert provider.left.wait(WAIT)
    nothing_left()


@pytest.mark.parametrize("alone", [False, True])
def test_abort_cancels_async_tools(go: Go, how: str, alone: bool) -> None:
    waits = Waits()
    calls = [call("wait")] if alone else [call("wait"), call("add", a=1, b=2)]
    with faux.script(faux.reply(*calls), "never") as provider:
        ran = stopping(how, waits.began, verb_of(go), go, "faux/m", "q", [waits.wait, add])
    assert waits.cancelled
    assert provider.calls == 1
    assert ran.message.stop_reason == "aborted"
    assert ("enough" in str(ran.message.error_message)) == (how == "signal")
    assert ran.results[0].is_error
    assert ran.texts[0] == "The call was aborted."
    nothing_left()


def test_abort_does_not_wait_for_threads(go: Go, how: str) -> None:
    began, release, finished = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        began.set()
        release.wait(WAIT)
        finished.set()

    with faux.script(faux.reply(call("block"), call("block")), "never"):
        ran = stopping(how, began, verb_of(go), go, "faux/m", "q", [block])
        assert not finished.is_set()
    release.set()
    assert ran.texts == ["The call was aborted."] * 2
    nothing_left()


def test_abort_does_not_wait_for_a_tool_that_ignores_cancellation(
    go: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool_loop, "CANCEL_GRACE_S", 0.05)
    began, release = threading.Event(), asyncio.Event()
    inside: list[Any] = []

    async def stubborn() -> None:
        inside.append(asyncio.get_running_loop())
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.shield(release.wait())

    with faux.script(faux.reply(call("stubborn")), "never"):
        ran = stopping("abort", began, verb_of(go), go, "faux/m", "q", [stubborn])
    assert ran.message.stop_reason == "aborted"
    if go is sync_run:
        inside[0].call_soon_threadsafe(release.set)
    nothing_left()


def test_abort_between_the_calls_and_the_tools(go: Go) -> None:
    ran_calls: list[int] = []

    def work() -> None:
        ran_calls.append(1)

    async def main() -> AssistantMessage:
        run = arun_tools("faux/m", "q", [work])
        async for event in run:
            if event.type == "done":
                run.abort()
        assert [m.role for m in run.messages] == ["assistant", "toolResult", "toolResult"]
        return await run.result()

    with faux.script(faux.reply(call("work"), call("work")), "never") as provider:
        if go is async_run:
            message = asyncio.run(main())
        else:
            run = run_tools("faux/m", "q", [work])
            for event in run:
                if event.type == "done":
                    run.abort()
            message = run.result()
    assert message.stop_reason == "aborted"
    assert ran_calls == []
    assert provider.calls == 1


def test_abort_between_the_results(go: Go) -> None:
    waits = Waits()

    async def main() -> Any:
        run = arun_tools("faux/m", "q", [waits.wait, add])
        async for event in run:
            if event.type == "tool_result":
                run.abort()
        return run

    with faux.script(faux.reply(call("wait"), call("add", a=1, b=2)), "never"):
        if go is async_run:
            run = asyncio.run(main())
        else:
            run = run_tools("faux/m", "q", [waits.wait, add])
            for event in run:
                if event.type == "tool_result":
                    run.abort()
    assert waits.cancelled
    assert [m.content[0].text for m in run.messages[1:]] == ["The call was aborted.", "3"]


def test_abort_ends_an_awaited_approval(go: Go, how: str) -> None:
    waits = Waits()

    async def approve(call: ToolCall) -> bool:
        await waits.wait()
        return True

    with faux.script(faux.reply(call("boom"), call("boom")), "never"):
        ran = stopping(how, waits.began, verb_of(go), go, "faux/m", "q", [boom], approve=approve)
    assert waits.cancelled
    assert ran.texts == ["The call was aborted."] * 2


def test_abort_by_a_tool_in_the_callers_thread() -> None:
    def work(n: int) -> int:
        run.abort()
        return n

    with faux.script(faux.reply(call("work", n=1), call("work", n=2)), "never"):
        run = run_tools("faux/m", "q", [work], concurrency=1)
        assert run.result().stop_reason == "aborted"
    assert [m.content[0].text for m in run.messages[1:]] == ["1", "The call was aborted."]


def test_aborted_run_sends_no_request(go: Go) -> None:
    controller = AbortController()
    controller.abort("enough")
    with faux.script("never") as provider:
        ran = go("faux/m", "q", [add], signal=controller.signal)
        assert [event.type for event in ran.events] == ["error"]
        run = run_tools("faux/m", "q", [add])
        run.abort()
        assert run.result().stop_reason == "aborted"
    assert provider.calls == 0


def test_abort_after_the_end_does_nothing() -> None:
    with faux.script("ok"):
        run = run_tools("faux/m", "q", [add])
        message = run.result()
        run.abort()
        assert run.result() is message
        assert list(run) == []


def test_leaving_the_loop_stops_the_tools() -> None:
    waits = Waits()
    reply = faux.reply(call("wait"), call("add", a=1, b=2))
    with faux.script(reply, reply, "never") as provider:
        run = run_tools("faux/m", "q", [waits.wait, add])
        for event in run:
            if event.type == "tool_result":
                break
        assert waits.cancelled
        assert run.result().stop_reason == "aborted"
        assert [m.role for m in run.messages] == ["assistant", "toolResult", "toolResult"]

        waits = Waits()
        with run_tools("faux/m", "q", [waits.wait, add]) as run:
            for event in run:
                if event.type == "tool_result":
                    break
        assert waits.cancelled
    assert provider.calls == 2
    nothing_left()


async def test_leaving_the_async_loop_stops_the_tools() -> None:
    waits = Waits()
    reply = faux.reply(call("wait"), call("add", a=1, b=2))
    with faux.script(reply, "never") as provider:
        async with arun_tools("faux/m", "q", [waits.wait, add]) as run:
            async for event in run:
                if event.type == "tool_result":
                    break
        assert isinstance(waits.error, asyncio.CancelledError)
        assert (await run.result()).stop_reason == "aborted"
    assert provider.calls == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_task_cancels_its_tools() -> None:
    waits = Waits()
    with faux.script(faux.reply(call("wait"), call("add", a=1, b=2)), "never"):
        run = arun_tools("faux/m", "q", [waits.wait, add])
        task = asyncio.ensure_future(run.result())
        while not waits.began.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert isinstance(waits.error, asyncio.CancelledError)
    assert [m.role for m in run.messages] == ["assistant", "toolResult", "toolResult"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelled_task_closes_the_response() -> None:
    provider = Watched("one ")
    register_provider("watched", provider)
    try:
        task = asyncio.ensure_future(arun_tools("watched/m", "q", [add]).result())
        while not provider.stalled.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        unregister_provider("watched")
    assert provider.left.is_set()


def test_result_may_be_requested_in_mid_iteration() -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), "ok"):
        run = run_tools("faux/m", "q", [add])
        for event in run:
            if event.type == "tool_result":
                assert run.result().text == "ok"
        assert run.result().text == "ok"
    assert [m.role for m in run.messages] == ["assistant", "toolResult", "assistant"]


def test_unstarted_run_costs_nothing() -> None:
    with faux.script("never") as provider:
        run_tools("faux/m", "q", [add])
        arun_tools("faux/m", "q", [add])
    assert provider.calls == 0
