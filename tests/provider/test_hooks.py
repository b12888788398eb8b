"""Test hooks: what they get, and that one that fails or blocks harms no request."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipy_ai
from pipy_ai import (
    AssistantMessage,
    StreamOptions,
    acomplete,
    astream,
    complete,
    complete_many,
    faux,
    register_hooks,
    run_tools,
    stream,
)
from pipy_ai._requests import create_run
from pipy_ai.provider import Request, observer
from pipy_ai.utils import background_calls

from ..support.event_grammar import check_events
from ..support.scripted_server import Lab, Status, chat, finish, text
from ..support.watched_provider import Watched
from ..support.wire_formats import ANTHROPIC, say

WAIT = 10.0  # seconds, far above what anything here takes


class Calls:
    """Hooks that record their calls."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []
        self.events: list[Any] = []
        self.requests: list[Request] = []
        self.threads: set[str] = set()
        self.ended = threading.Event()

    def on_request(self, request: Request) -> None:
        self.requests.append(request)
        self.seen.append(("request", request.model))

    def on_response(self, request: Request, message: AssistantMessage) -> None:
        assert any(request is known for known in self.requests)
        self.threads.add(threading.current_thread().name)
        outcome = message.text if message.error is None else str(message.error.kind)
        self.seen.append(("response", request.model, outcome))
        self.ended.set()

    def on_event(self, request: Request, event: Any) -> None:
        assert any(request is known for known in self.requests)
        self.events.append(event)

    @property
    def options(self) -> dict[str, Any]:
        names = ("on_request", "on_response", "on_event")
        return {name: getattr(self, name) for name in names}


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What blocking hooks wait for."""
    event = threading.Event()
    yield event
    event.set()


def test_hooks_of_one_call(lab: Lab, calls: Calls) -> None:
    events = list(stream("hosted_vllm/m", "q", api_base=lab.url, **calls.options))
    assert check_events(events).text == "ok"
    assert calls.seen == [("request", "hosted_vllm/m"), ("response", "hosted_vllm/m", "ok")]
    assert calls.events == events
    assert calls.requests[0].context.messages[0].content == "q"
    complete("hosted_vllm/m", "q", api_base=lab.url)
    assert len(calls.seen) == 2


def test_hooks_of_all_calls(lab: Lab, calls: Calls) -> None:
    with register_hooks(**calls.options) as registered:
        complete("hosted_vllm/m", "q", api_base=lab.url)
        asyncio.run(acomplete("hosted_vllm/m", "q", api_base=lab.url))
    assert calls.seen == 2 * [
        ("request", "hosted_vllm/m"),
        ("response", "hosted_vllm/m", "ok"),
    ]
    registered.remove()
    complete("hosted_vllm/m", "q", api_base=lab.url)
    assert len(calls.seen) == 4


def test_hooks_of_options_and_of_all_calls_are_both_called(calls: Calls) -> None:
    seen: list[str] = []
    options = StreamOptions(on_request=lambda request: seen.append("own"))
    with register_hooks(on_request=lambda request: seen.append("global")):
        complete("faux/echo", "q", options)
    assert seen == ["global", "own"]


def test_each_attempt_is_reported(lab: Lab, calls: Calls) -> None:
    lab.play(
        Status(503, "{}", {"x-request-id": "r1"}), Status(503), chat(text("ok"), finish("stop"))
    )
    models = ["hosted_vllm/m", "hosted_vllm/n"]
    complete(models, "q", api_base=lab.url, max_retries=1, **calls.options)
    assert calls.seen == [
        ("request", "hosted_vllm/m"),
        ("response", "hosted_vllm/m", "overloaded"),
        ("request", "hosted_vllm/m"),
        ("response", "hosted_vllm/m", "overloaded"),
        ("request", "hosted_vllm/n"),
        ("response", "hosted_vllm/n", "ok"),
    ]
    assert calls.events[-1].type == "done"


def test_async_stream(calls: Calls) -> None:
    async def main() -> list[Any]:
        return [event async for event in astream("faux/echo", "a b", **calls.options)]

    assert calls.events == asyncio.run(main()) != []
    assert len(calls.seen) == 2


def test_tool_loops_and_many(calls: Calls) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    with faux.script(faux.tool("add", a=1, b=2), "3"):
        run_tools("faux/m", "q", [add], **calls.options).result()
    assert [call[0] for call in calls.seen] == ["request", "response"] * 2
    messages = complete_many("faux/echo", ["a", "b"], progress=False, **calls.options)
    assert [message.text for message in messages] == ["a", "b"]
    assert len(calls.seen) == 8


def test_cached_responses_are_reported(lab: Lab, calls: Calls, tmp_path: Path) -> None:
    options: Any = {"api_base": lab.url, "cache": str(tmp_path / "cache.db"), "raw": True}
    first = complete("hosted_vllm/m", "q", **options)
    message = complete("hosted_vllm/m", "q", **options, **calls.options)
    assert (first.cached is None, message.cached is None) == (True, False)
    assert (first.raw is None, message.raw is None) == (False, True)
    assert calls.seen == [("request", "hosted_vllm/m"), ("response", "hosted_vllm/m", "ok")]
    assert calls.events[-1].type == "done"


def test_continued_answer_is_one_attempt(lab: Lab, calls: Calls) -> None:
    """Anthropic pauses long turns with tools of its own; another request continues them."""
    paused = b"".join(ANTHROPIC.scene(say("one "))).replace(b"end_turn", b"pause_turn")
    lab.play([paused], ANTHROPIC.scene(say("two")))
    base = lab.url.removesuffix("/v1")
    message = complete(ANTHROPIC.model, "q", api_base=base, api_key="k" * 20, **calls.options)
    assert message.text == "one two"
    assert len(lab.seen) == 2
    model = ANTHROPIC.model
    assert calls.seen == [("request", model), ("response", model, "one two")]
    assert len(calls.requests) == 1


def test_aborted_request_is_reported(watched: Watched, calls: Calls) -> None:
    with stream("watched/m", "q", **calls.options):
        assert watched.stalled.wait(WAIT)
    assert calls.ended.wait(WAIT)
    assert calls.seen == [("request", "watched/m"), ("response", "watched/m", "aborted")]


def test_request_that_never_began_is_not_reported(calls: Calls) -> None:
    astream("faux/echo", "q", **calls.options).abort()
    assert calls.seen == []


def test_hooks_that_change_what_they_get(lab: Lab) -> None:
    lab.play(Status(503), chat(text("ok"), finish("stop")))

    def change_request(request: Any) -> None:
        request.context.messages.clear()
        request.options.temperature = 2.0
        request.options = request.model_id = None

    def change_response(request: Any, message: Any) -> None:
        message.content.clear()
        message.error = message.usage = None

    message = complete(
        "hosted_vllm/m",
        "q",
        api_base=lab.url,
        temperature=0.5,
        on_request=change_request,
        on_response=change_response,
    )
    assert message.text == "ok"
    assert message.usage.output
    for seen in lab.seen:
        assert seen.json["messages"] == [{"role": "user", "content": "q"}]
        assert (seen.json["temperature"], seen.json["model"]) == (0.5, "m")


def test_failing_hooks_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: Any) -> None:
        raise SystemExit("no")

    options: Any = {"on_request": broken, "on_response": broken, "on_event": broken}
    with caplog.at_level(logging.WARNING, "pipy_ai"):
        message = complete("faux/echo", "Hi", **options)
    assert message.text == "Hi"
    assert message.error is None
    assert {record.getMessage() for record in caplog.records} == {
        "the hook test_failing_hooks_are_logged.<locals>.broken failed"
    }
    assert "SystemExit: no" in caplog.text


@pytest.mark.parametrize("asynchronous", [False, True])
def test_blocking_hook_delays_a_response_once(
    release: threading.Event,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    asynchronous: bool,
) -> None:
    monkeypatch.setattr(background_calls, "CALL_TIMEOUT_S", 0.05)
    entered = threading.Event()

    def block(*args: Any) -> None:
        entered.set()
        assert release.wait(WAIT)

    def ask() -> AssistantMessage:
        if asynchronous:
            return asyncio.run(acomplete("faux/echo", "Hi", on_request=block))
        return complete("faux/echo", "Hi", on_request=block)

    with caplog.at_level(logging.WARNING, "pipy_ai"):
        assert ask().text == "Hi"
        assert entered.is_set()
        monkeypatch.setattr(background_calls, "CALL_TIMEOUT_S", 1e6)  # would hang, if it waited
        monkeypatch.setattr(
            background_calls.workers, "is_blocked", lambda pending: pending == [block]
        )
        assert ask().text == "Hi"
    assert caplog.text.count("continuing without it") == 1


def test_blocked_hooks_are_recognized(release: threading.Event) -> None:
    def block(request: Request) -> None:
        entered.set()
        assert release.wait(WAIT)

    entered = threading.Event()
    workers = background_calls.workers
    with stream("faux/echo", "Hi", on_request=block) as s:
        assert entered.wait(WAIT)
        assert not workers.is_blocked([block])
        thread, (hook, since) = next(iter(workers.running.items()))
        workers.running[thread] = (hook, since - background_calls.CALL_TIMEOUT_S)
        assert workers.is_blocked([block])
        assert not workers.is_blocked([print])
        release.set()
        assert s.result().text == "Hi"


def test_blocking_hook_does_not_block_other_requests(
    release: threading.Event, calls: Calls
) -> None:
    entered = threading.Event()

    def block(request: Request) -> None:
        entered.set()
        assert release.wait(WAIT)

    with stream("faux/echo", "Hi", on_request=block) as blocked:
        assert entered.wait(WAIT)
        assert complete("faux/echo", "Ho", **calls.options).text == "Ho"
        assert len(calls.seen) == 2
        release.set()
        assert blocked.result().text == "Hi"


def test_more_blocking_hooks_than_threads(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls that find no thread wait, then are dropped. The requests are answered."""
    monkeypatch.setattr(background_calls, "CALL_TIMEOUT_S", 0.01)
    monkeypatch.setattr(background_calls, "MAX_PENDING_JOBS", 5)
    before = {thread.ident for thread in threading.enumerate()}

    def block(request: Request) -> None:
        assert release.wait(WAIT)

    count = background_calls.MAX_THREADS + 20
    messages = complete_many("faux/echo", ["a"] * count, progress=False, on_request=block)
    assert [message.text for message in messages] == ["a"] * count
    threads = [
        t for t in threading.enumerate() if t.ident not in before and "pipy-ai call" in t.name
    ]
    assert len(threads) <= background_calls.MAX_THREADS
    assert "are dropped" in caplog.text


def test_pending_calls_are_bounded(
    release: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background_calls, "CALL_TIMEOUT_S", 0.01)
    monkeypatch.setattr(background_calls, "MAX_PENDING_CALLS", 3)
    seen: list[str] = []
    last = threading.Event()

    def slow(request: Request, event: Any) -> None:
        assert release.wait(WAIT)
        seen.append(event.type)
        if len(seen) == 3:
            last.set()

    with faux.script(faux.reply("one two three four five")):
        message = complete("faux/m", "q", on_event=slow)
    assert message.text == "one two three four five"
    release.set()
    assert last.wait(WAIT)
    assert caplog.text.count("are dropped") == 1


def test_hooks_run_in_the_context_of_the_call() -> None:
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    user.set("ada")
    seen: list[str] = []
    complete("faux/echo", "q", on_response=lambda request, message: seen.append(user.get()))
    assert seen == ["ada"]


def test_hook_may_send_requests() -> None:
    answers: list[str] = []

    def ask(request: Request, message: AssistantMessage) -> None:
        answers.append(complete("faux/echo", "from a hook").text)

    complete("faux/echo", "q", on_response=ask)
    assert answers == ["from a hook"]


async def _asynchronous(*args: Any) -> None: ...


class _Asynchronous:
    async def __call__(self, *args: Any) -> None: ...


@pytest.mark.parametrize("hook", [_asynchronous, _Asynchronous(), 7])
@pytest.mark.parametrize("name", ["on_request", "on_response", "on_event"])
def test_invalid_hooks(hook: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        complete("faux/echo", "q", **{name: hook})
    with pytest.raises(TypeError, match=name):
        register_hooks(**{name: hook})


def test_nothing_is_installed_without_hooks() -> None:
    """Deltas go directly to the queue of the stream, and no module of hooks is imported."""
    observer.observer_factories.clear()
    run, queue = create_run("faux/echo", pipy_ai.user("q"), None, {}, None, None)
    assert run._push == queue.push
    assert not run._observers
    code = (
        "import sys; from pipy_ai import complete; assert complete('faux/echo', 'q').text == 'q';"
        "assert 'pipy_ai.provider.hooks' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_only_event_hooks_see_deltas(calls: Calls) -> None:
    prompt = pipy_ai.user("q")
    run, queue = create_run("faux/echo", prompt, None, {"on_request": print}, None, None)
    assert run._push == queue.push
    run, queue = create_run("faux/echo", prompt, None, {"on_event": print}, None, None)
    assert run._push != queue.push


def test_failing_observers_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(observer.Observer):
        watches_events = True

        def attempt_started(self, request: Request) -> None:
            raise OSError("no")

        async def settle(self) -> None:
            raise OSError("no")

    def fail(request: Request) -> observer.Observer:
        raise OSError("never")

    monkeypatch.setattr(observer, "observer_factories", [fail, lambda request: Broken()])
    monkeypatch.setattr("pipy_ai._requests.observer_factories", observer.observer_factories)
    assert complete("faux/echo", "q").text == "q"
    assert caplog.text.count("an observer of requests failed") == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_has_its_own_threads() -> None:
    code = (
        "import os, warnings; warnings.simplefilter('ignore');"
        "from pipy_ai import complete; seen = [];"
        "ask = lambda: complete('faux/echo', 'q', on_request=lambda request: seen.append(1));"
        "ask(); pid = os.fork(); ask(); assert len(seen) == 2;"
        "pid and os.waitpid(pid, 0)[1] and exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_process_ends_while_a_hook_blocks() -> None:
    code = (
        "import time; from pipy_ai import complete;"
        "print(complete('faux/echo', 'q', on_request=lambda request: time.sleep(600)).text)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
    assert done.stdout.strip() == b"q"
    assert time.perf_counter() - started < 50
