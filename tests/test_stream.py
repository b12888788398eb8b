"""Streams and the engine: every way in, every way out, always exactly one last event."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    AssistantMessageEventStream,
    AsyncAssistantMessageEventStream,
    DoneEvent,
    PipyError,
    StartEvent,
    StreamOptions,
    acomplete,
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
from pipy_ai.errors import AbortedError, RateLimitError
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from .grammar import check_events

WAIT = 10.0  # seconds, far above what anything here takes


class Watched:
    """A provider that says some words, then stalls, and knows when it was left."""

    api = "watched"

    def __init__(self, *words: str) -> None:
        self.words = words
        self.left = threading.Event()
        self.stalled = threading.Event()

    async def stream(self, request: Request) -> AsyncIterator[Any]:
        from pipy_ai.provider import Text

        try:
            yield [Text(word) for word in self.words]
            self.stalled.set()
            await asyncio.Event().wait()
        finally:
            self.left.set()


@pytest.fixture
def watched() -> Any:
    provider = Watched("one ", "two ")
    register_provider("watched", provider)
    yield provider
    unregister_provider("watched")


# --- Results --------------------------------------------------------------------------------


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


def test_an_async_stream_may_be_made_before_there_is_a_loop() -> None:
    s = astream("faux/echo", "Hi")

    async def main() -> str:
        return "".join([e.delta async for e in s if e.type == "text_delta"])

    assert asyncio.run(main()) == "Hi"
    unused = astream("faux/echo", "Hi")
    unused.abort()
    assert asyncio.run(unused.result()).stop_reason == "aborted"


def test_every_verb_takes_reasoning_and_keywords_win_over_options() -> None:
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


def test_times_are_told_in_milliseconds() -> None:
    message = complete("faux/echo", "Hi")
    assert message.ttft_ms is not None
    assert message.duration_ms is not None
    assert 0 < message.ttft_ms <= message.duration_ms < 10_000


# --- Producers ------------------------------------------------------------------------------


def test_a_stream_without_a_source_takes_events_from_any_thread() -> None:
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


async def test_the_async_twin_takes_events_from_any_thread() -> None:
    s = AsyncAssistantMessageEventStream()
    threading.Timer(0.01, lambda: s.end(assistant("hello"))).start()
    assert [event.type async for event in s] == ["done"]
    assert (await s.result()).text == "hello"


def test_a_producer_that_ends_with_nothing_ends_in_an_error() -> None:
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


# --- Leaving --------------------------------------------------------------------------------


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


def test_an_exception_in_the_loop_body_closes_the_stream(watched: Watched) -> None:
    def body() -> None:
        with stream("watched/m", "q") as s:
            for _ in s:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    assert watched.left.wait(WAIT)


def test_dropping_a_stream_closes_it(watched: Watched) -> None:
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


def test_one_signal_stops_many_and_forgets_them(watched: Watched) -> None:
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
def test_the_clock_stops_a_stalled_stream(watched: Watched, option: str) -> None:
    message = complete("watched/m", "q", **{option: 0.05})  # type: ignore[arg-type]
    assert message.stop_reason == "error"
    assert message.error is not None
    assert message.error.kind == "timeout"
    assert option in message.error.message
    assert message.text == "one two "
    assert watched.left.wait(WAIT)


# --- Trying again ---------------------------------------------------------------------------


def test_a_failure_before_the_first_content_is_tried_again() -> None:
    failure = faux.error("overloaded", retry_after=0.0)
    with faux.script(failure, faux.reply(faux.cut()), "fine") as provider:
        events = list(stream("faux/m", "q"))
    assert check_events(events).text == "fine"
    assert provider.calls == 3
    assert sum(event.type == "start" for event in events) == 1


def test_nothing_is_tried_again_after_content_or_when_it_cannot_help() -> None:
    broken = faux.reply("half", faux.error("server", retry_after=0.0))
    refused = faux.error("auth", retry_after=0.0)
    with faux.script(broken, refused) as provider:
        assert complete("faux/m", "q").text == "half"
        assert complete("faux/m", "q").error is not None
        assert provider.calls == 2


def test_retries_end() -> None:
    failure = faux.error("server", retry_after=0.0)
    with faux.script(*[failure] * 5) as provider:
        assert complete("faux/m", "q").stop_reason == "error"
        assert provider.calls == 3
        assert complete("faux/m", "q", max_retries=0).stop_reason == "error"
        assert provider.calls == 4


def test_a_long_retry_after_fails_at_once_and_is_told() -> None:
    with faux.script(faux.error("rate_limit", "slow down", retry_after=3600)) as provider:
        message = complete("faux/m", "q")
    assert provider.calls == 1
    assert message.error is not None
    assert message.error.retry_after == 3600
    assert "3600 s" in message.error.message
    assert message.error_message == message.error.message
    with pytest.raises(RateLimitError):
        message.raise_for_error()


def test_the_wait_before_a_retry_can_be_aborted() -> None:
    with faux.script(faux.error("rate_limit", retry_after=30)) as provider:
        s = stream("faux/m", "q")
        while not provider.calls:
            time.sleep(0.001)
        s.abort()
        assert s.result().stop_reason == "aborted"


# --- Loops, threads, processes --------------------------------------------------------------


async def test_a_blocking_call_works_inside_a_running_loop() -> None:
    assert complete("faux/echo", "Hi").text == "Hi"


def test_repeated_asyncio_run() -> None:
    for number in range(20):
        assert asyncio.run(acomplete("faux/echo", str(number))).text == str(number)


def test_32_threads_at_once() -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for turn in range(20):
            text = f"{number}/{turn} " * 5
            message = check_events(list(stream("faux/echo", text)))
            if message.text != text:
                wrong.append((number, turn, message))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_blocking_call_in_a_provider_is_refused_rather_than_deadlocked() -> None:
    async def careless(request: Request) -> AsyncIterator[str]:
        yield complete("faux/echo", "never").text

    register_provider("careless", careless)
    try:
        message = complete("careless/m", "q", timeout=WAIT)
    finally:
        unregister_provider("careless")
    assert message.error is not None
    assert "acomplete" in message.error.message


def test_a_provider_of_ones_own() -> None:
    async def parrot(request: Request) -> AsyncIterator[str]:
        yield "You said: "
        yield str(request.context.messages[-1].content)

    register_provider("parrot", parrot)
    try:
        message = complete("parrot/any", "Hi")
    finally:
        unregister_provider("parrot")
    assert message.text == "You said: Hi"
    assert (message.provider, message.model, message.api) == ("parrot", "any", "parrot")
    assert message.stop_reason == "stop"
    assert message.usage.estimated
    assert message.usage.total_tokens > 0


@pytest.mark.parametrize("fault", [ValueError("odd"), KeyError("gone"), RuntimeError()])
def test_a_provider_that_breaks_gives_an_error_message(fault: Exception) -> None:
    async def broken(request: Request) -> AsyncIterator[str]:
        yield "half"
        raise fault

    register_provider("broken", broken)
    try:
        message = check_events(list(stream("broken/any", "Hi")))
    finally:
        unregister_provider("broken")
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "unknown"
    assert type(fault).__name__ in message.error.message


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
}


@pytest.mark.parametrize("name", EXITS)
def test_the_interpreter_exits_cleanly(name: str) -> None:
    code = "import asyncio, os, sys\nfrom pipy_ai import *\n"
    code += "faux.script(*[faux.reply('x', faux.stall())] * 9).__enter__()\n"
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
def test_a_stream_outlives_a_loop_that_was_closed_over_it(watched: Watched, stop: bool) -> None:
    """As in a notebook that is restarted: its task will never go on."""

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


async def test_two_who_read_one_stream_share_it() -> None:
    with faux.script("one two three four", delay=0.01):
        s = astream("faux/m", "q")

        async def read() -> list[Any]:
            return [event async for event in s]

        both = await asyncio.wait_for(asyncio.gather(read(), read()), WAIT)
    assert len(both[0] + both[1]) == 9


def test_one_bad_listener_leaves_no_stream_running(watched: Watched) -> None:
    controller = AbortController()
    controller.signal.add_listener(lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    s = stream("watched/m", "q", signal=controller.signal)
    assert watched.stalled.wait(WAIT)
    with pytest.raises(ZeroDivisionError):
        controller.abort()
    assert s.result().stop_reason == "aborted"


# --- Wrong use ------------------------------------------------------------------------------


def test_an_unknown_keyword_names_the_nearest_option() -> None:
    with pytest.raises(TypeError, match="unknown option 'temprature'; did you mean 'temperature'"):
        complete("faux/echo", "Hi", temprature=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown option"):
        astream("faux/echo", "Hi", nonsense=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown option 'tools'; it belongs to the context"):
        stream("faux/echo", "Hi", tools=[print])  # type: ignore[call-arg]


@pytest.mark.parametrize("prompt", ["", "  \n", [], [assistant()]])
def test_an_empty_context_is_refused_before_anything_happens(prompt: Any) -> None:
    with faux.script("never") as provider:
        with pytest.raises(ValueError, match="empty"):
            stream("faux/m", prompt)
        with pytest.raises(ValueError, match="empty"):
            astream("faux/m", prompt)
        assert provider.calls == 0


@pytest.mark.parametrize("model", ["no-such-model", "/x", "openai/", ""])
def test_a_name_that_means_no_model_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match=r"provider/model|no model 'no-such-model'"):
        complete(model, "Hi")


def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError):
        complete("faux/echo", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        complete(7, "Hi")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        complete("faux/echo", "Hi", {"temperature": 0})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_tokens"):
        complete("faux/echo", "Hi", max_tokens=-1)
    with pytest.raises(TypeError, match="stream"):
        register_provider("odd", "nonsense")  # type: ignore[arg-type]
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature"):
            complete("faux/echo", "Hi", temperature=number)


# --- Copies ---------------------------------------------------------------------------------


def test_events_messages_and_errors_survive_pickle_and_deepcopy() -> None:
    with faux.script(
        faux.reply(faux.thinking("t", "s"), "x", faux.tool("f", a=1)), faux.error("rate_limit")
    ):
        events = list(stream("faux/m", "q"))
        failed = complete("faux/m", "q", max_retries=0)
    for event in events:
        for twin in (pickle.loads(pickle.dumps(event)), copy.deepcopy(event), copy.copy(event)):
            assert twin == event
            assert twin.partial == event.partial
    with pytest.raises(PipyError) as caught:
        failed.raise_for_error()
    twin = pickle.loads(pickle.dumps(caught.value))
    assert type(twin) is RateLimitError
    assert twin.error == failed.error
    assert twin.response == failed
    assert copy.deepcopy(failed) == failed


# --- Providers that misbehave ---------------------------------------------------------------


@pytest.fixture
def odd() -> Any:
    """Registers one generator function as `odd/…`."""

    def register(function: Any) -> None:
        register_provider("odd", function)

    yield register
    unregister_provider("odd")


def test_a_provider_that_swallows_cancellation_is_not_asked_again(odd: Any) -> None:
    asked = 0

    class Deaf:
        api = "odd"

        async def stream(self, request: Request) -> AsyncIterator[Any]:
            nonlocal asked
            asked += 1
            yield []
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if request.model_id == "raises":
                    raise ConnectionError("gone") from None

    odd(Deaf())
    for model in ("odd/returns", "odd/raises"):
        asked = 0
        message = complete(model, "q", timeout=0.05)
        assert message.error is not None
        assert message.error.kind == "timeout"
        assert asked == 1


@pytest.mark.parametrize("said", [[], ["half"]])
async def test_a_provider_that_cancels_itself_was_not_aborted(odd: Any, said: list[str]) -> None:
    """By closing what it waits for, say. It failed, like any other connection."""

    async def cancelled(request: Request) -> AsyncIterator[str]:
        for word in said:
            yield word
        inner = asyncio.ensure_future(asyncio.sleep(60))
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    odd(cancelled)
    for message in (
        complete("odd/m", "q", max_retries=0),
        await acomplete("odd/m", "q", max_retries=0),
    ):
        assert message.error is not None
        assert (message.text, message.stop_reason) == ("".join(said), "error")
        assert message.error.kind == ("incomplete" if said else "connection")
    again = await acomplete(["odd/m", "faux/echo"], "q", max_retries=0)
    assert again.text == ("half" if said else "q")


def test_a_provider_that_never_waits_holds_nobody_up(odd: Any) -> None:
    left = threading.Event()

    async def endless(request: Request) -> AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            left.set()

    odd(endless)
    with stream("odd/m", "q"):
        assert complete("faux/echo", "Hi").text == "Hi"
        assert not left.is_set()
    assert left.wait(WAIT)
    message = complete("odd/m", "q", timeout=0.05)
    assert message.error is not None
    assert message.error.kind == "timeout"


def test_nothing_a_provider_reports_keeps_the_end_from_coming(odd: Any) -> None:
    from pipy_ai.provider import Text, UsageReport

    async def floats(request: Request) -> AsyncIterator[Any]:
        yield [UsageReport(input=1.5, output=float("nan"), reasoning="many")]  # type: ignore[arg-type]
        yield Text("fine")

    async def nonsense(request: Request) -> AsyncIterator[Any]:
        yield [Text("told"), object()]

    odd(floats)
    assert complete("odd/m", "q").text == "fine"
    odd(nonsense)
    message = check_events(list(stream("odd/m", "q")))
    assert message.text == "told"
    assert message.error is not None


def test_a_provider_that_exits_takes_nobody_with_it(odd: Any, watched: Watched) -> None:
    async def leave(request: Request) -> AsyncIterator[str]:
        yield "x"
        raise SystemExit(3)

    odd(leave)
    other = stream("watched/m", "q")
    message = complete("odd/m", "q")
    assert message.error is not None
    assert "SystemExit" in message.error.message
    other.abort()
    assert other.result().stop_reason == "aborted"


def test_a_request_is_of_the_moment_it_was_made() -> None:
    from pipy_ai import ctx, user

    context = ctx("first")
    s = astream("faux/echo", context)
    context.messages.append(user("second"))
    assert asyncio.run(s.result()).text == "first"


def test_a_lone_surrogate_in_a_tool_does_no_harm(odd: Any) -> None:
    from pipy_ai import Tool, ctx

    async def plain(request: Request) -> AsyncIterator[str]:
        yield "fine"

    odd(plain)
    context = ctx("q", tools=[Tool(name="f", description="\ud83d")])
    assert complete("odd/m", context).text == "fine"


def test_an_error_of_another_library_raises_too() -> None:
    from pipy_ai import AssistantMessage

    for reason, kind in (("error", PipyError), ("aborted", AbortedError)):
        message = AssistantMessage.model_validate({"stopReason": reason, "errorMessage": "no"})
        with pytest.raises(kind, match="no"):
            message.raise_for_error()


def test_scripts_can_be_nested() -> None:
    with faux.script("outer"):
        with faux.script("inner"):
            assert complete("faux/m", "q").text == "inner"
        assert complete("faux/m", "q").text == "outer"


def test_options_with_a_signal_can_be_copied() -> None:
    controller = AbortController()
    options = copy.deepcopy(StreamOptions(signal=controller.signal))
    controller.abort()
    assert complete("faux/echo", "q", options).stop_reason == "aborted"
