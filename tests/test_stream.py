"""Test the streams: results, producers and several readers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEventStream,
    AsyncAssistantMessageEventStream,
    DoneEvent,
    StartEvent,
    StopReason,
    StreamOptions,
    aquick,
    assistant,
    astream,
    complete,
    complete_simple,
    faux,
    quick,
    register_provider,
    stream,
    stream_simple,
)
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from .support.event_grammar import check_events


def test_result_works_before_during_and_after_iteration() -> None:
    assert stream("faux/echo", "Hi").result().text == "Hi"
    s = stream("faux/echo", "Hi there, you")
    events = []
    for event in s:
        events.append(event)
        assert s.result().text == "Hi there, you"
    assert check_events(events) == s.result()
    assert list(s) == []


async def test_result_works_before_during_and_after_async_iteration() -> None:
    assert (await astream("faux/echo", "Hi").result()).text == "Hi"
    s = astream("faux/echo", "Hi there, you")
    events = []
    async for event in s:
        events.append(event)
        assert (await s.result()).text == "Hi there, you"
    assert check_events(events) == await s.result()


def test_async_stream_may_be_created_before_the_loop() -> None:
    s = astream("faux/echo", "Hi")

    async def main() -> str:
        return "".join([e.delta async for e in s if e.type == "text_delta"])

    assert asyncio.run(main()) == "Hi"
    unused = astream("faux/echo", "Hi")
    unused.abort()
    assert asyncio.run(unused.result()).stop_reason == "aborted"


def test_every_function_accepts_reasoning_and_keywords_override_options() -> None:
    with faux.script(*["x"] * 5) as provider:
        options = StreamOptions(temperature=1.0, max_tokens=5)
        complete("faux/m", "q", options, temperature=0.0, reasoning="high")
        complete_simple("faux/m", "q", reasoning="low")
        stream_simple("faux/m", "q", reasoning="low").result()
        quick("q", "faux/m", system="s", max_tokens=7)
        asyncio.run(aquick("q", "faux/m"))
    first, _, _, fourth, _ = provider.requests
    assert (first.options.temperature, first.options.max_tokens) == (0.0, 5)
    assert first.reasoning == "high"
    assert fourth.context.system_prompt == "s"
    assert fourth.options.max_tokens == 7


def test_times_are_in_milliseconds() -> None:
    message = complete("faux/echo", "Hi")
    assert message.ttft_ms is not None
    assert message.duration_ms is not None
    assert 0 < message.ttft_ms <= message.duration_ms < 10_000


def test_manual_stream_accepts_events_from_any_thread() -> None:
    s = AssistantMessageEventStream()
    final = assistant("done")

    def produce() -> None:
        s.push(StartEvent(partial=assistant()))
        s.push(DoneEvent(reason="stop", message=final))  # type: ignore[arg-type]
        s.push(StartEvent(partial=assistant()))
        s.end(assistant("too late"))

    thread = threading.Thread(target=produce)
    thread.start()
    assert [event.type for event in s] == ["start", "done"]
    assert s.result() == final
    thread.join()


async def test_manual_async_stream_accepts_events_from_any_thread() -> None:
    s = AsyncAssistantMessageEventStream()
    threading.Timer(0.01, lambda: s.end(assistant("hello"))).start()
    assert [event.type async for event in s] == ["done"]
    assert (await s.result()).text == "hello"


def test_producer_without_a_last_event_ends_in_an_error() -> None:
    s = AssistantMessageEventStream()
    s.push(StartEvent(partial=assistant("so far")))
    s.end()
    message = check_last(list(s))
    assert message.text == "so far"
    assert message.error.kind == "incomplete"


def check_last(events: list[Any]) -> Any:
    assert events[-1].type in ("done", "error")
    assert sum(event.type in ("done", "error") for event in events) == 1
    return events[-1].partial


WAIT = 10.0  # seconds, far above what anything here takes


async def test_async_stream_runs_unread_and_can_be_aborted() -> None:
    began = asyncio.Event()

    async def stall(request: Request) -> AsyncIterator[str]:
        began.set()
        yield "so far"
        await asyncio.Event().wait()

    register_provider("unread", stall)
    try:
        s = astream("unread/m", "q")
        await asyncio.wait_for(began.wait(), WAIT)
        s.abort()
        message = await asyncio.wait_for(s.result(), WAIT)
    finally:
        unregister_provider("unread")
    assert message.stop_reason == "aborted"


@pytest.mark.parametrize("verb", ["iterate", "aiterate"])
def test_event_is_delivered_at_once(verb: str) -> None:
    """Push 200 events, each after the previous one was read. Polling every tenth of a second would
    take twenty seconds."""
    partial = assistant()
    taken = threading.Semaphore(0)
    s = AssistantMessageEventStream() if verb == "iterate" else AsyncAssistantMessageEventStream()

    def produce() -> None:
        for _ in range(200):
            s.push(StartEvent(partial=partial))
            taken.acquire(timeout=WAIT)
        s.end(assistant("done"))

    async def read(twin: AsyncAssistantMessageEventStream) -> None:
        async for _ in twin:
            taken.release()

    thread = threading.Thread(target=produce)
    began = time.perf_counter()
    thread.start()
    if isinstance(s, AsyncAssistantMessageEventStream):
        asyncio.run(read(s))
    else:
        for _ in s:
            taken.release()
    assert time.perf_counter() - began < 3
    thread.join(WAIT)


@pytest.mark.parametrize("reason", [StopReason.ERROR, StopReason.ABORTED])
def test_manual_stream_ends_with_a_failed_message(reason: StopReason) -> None:
    s = AssistantMessageEventStream()
    s.end(AssistantMessage(stop_reason=reason))
    [event] = list(s)
    assert (event.type, s.result().stop_reason) == ("error", reason)


def test_aborted_manual_stream() -> None:
    s = AssistantMessageEventStream()
    s.push(StartEvent(partial=AssistantMessage()))
    s.abort()
    s.abort()  # no effect after the last event
    assert [event.type for event in s] == ["start", "error"]
    message = s.result()
    assert message.stop_reason == "aborted"
    assert message.error is not None
    assert message.error.kind == "aborted"
