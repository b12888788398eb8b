"""Test fallback models."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Context,
    Model,
    PipyError,
    StreamOptions,
    ThinkingContent,
    UserMessage,
    acomplete,
    aquick,
    arun_tools,
    astream,
    complete,
    complete_simple,
    ctx,
    faux,
    quick,
    register_provider,
    run_tools,
    stream,
)
from pipy_ai.provider.registered import unregister_provider

from ..support.event_grammar import check_events
from ..support.scripted_server import FIN, RESET, STALL, Lab, Status, sse
from ..support.wire_formats import ANTHROPIC, CHAT, Counts, say, think

ALL = ["one/a", "two/b", "three/c"]


@pytest.fixture
def three() -> Any:
    """Three scripted providers."""
    found = [faux.FauxProvider() for _ in ALL]
    for name, provider in zip(ALL, found, strict=True):
        register_provider(name.partition("/")[0], provider)
    yield found
    for name in ALL:
        unregister_provider(name.partition("/")[0])


def summary(message: AssistantMessage) -> list[tuple[str, str | None]]:
    return [
        (f"{one.provider}/{one.model}", one.error and one.error.kind) for one in message.attempts
    ]


@pytest.mark.parametrize(
    "kind",
    ["auth", "missing_key", "quota", "not_found", "context_overflow", "rate_limit", "overloaded",
     "server", "timeout", "connection", "incomplete"],
)  # fmt: skip
def test_errors_that_fall_back(three: Any, kind: str) -> None:
    three[0].add(faux.error(kind, "no luck"))
    three[1].add("here")
    s = stream(ALL, "Hi", max_retries=0)
    message = check_events(list(s))
    assert (message.provider, message.model, message.text) == ("two", "b", "here")
    assert message.error is None
    assert summary(message) == [("one/a", kind), ("two/b", None)]
    assert message.attempts[0].error.message == "no luck"
    assert all(one.duration_ms is not None for one in message.attempts)
    assert three[2].calls == 0


@pytest.mark.parametrize("kind", ["bad_request", "content_filter", "unknown", "aborted"])
def test_errors_that_do_not_fall_back(three: Any, kind: str) -> None:
    three[0].add(faux.error("overloaded", "busy"))
    three[1].add(faux.error(kind, "Temperature is not for this model."))
    message = complete(ALL, "Hi", max_retries=0)
    assert message.error is not None
    assert (message.error.kind, three[2].calls) == (kind, 0)
    assert message.error.message == (
        "Temperature is not for this model. Tried before: one/a (overloaded: busy)."
    )


def test_single_model_reports_no_attempts() -> None:
    message = complete(["faux/echo"], "Hi")
    assert (message.text, message.attempts) == ("Hi", [])


def test_fallback_comes_after_retries(three: Any) -> None:
    three[0].add(*[faux.error("server", "broken", retry_after=0.0)] * 3)
    three[1].add(faux.error("rate_limit", retry_after=0.0), "yes")
    message = complete(("one/a", "two/b"), "Hi")
    assert summary(message) == [
        ("one/a", "server"), ("one/a", "server"), ("one/a", "server"),
        ("two/b", "rate_limit"), ("two/b", None),
    ]  # fmt: skip
    assert message.text == "yes"


def test_no_fallback_after_the_first_content(three: Any) -> None:
    three[0].add(faux.reply("Hel", faux.cut()))
    message = complete(ALL, "Hi")
    assert message.error is not None
    assert (message.error.kind, message.text, message.attempts) == ("incomplete", "Hel", [])
    assert three[1].calls == 0


def test_last_error_names_all_failures(three: Any) -> None:
    three[0].add(*[faux.error("server", "Broken.", retry_after=0.0)] * 2)
    three[1].add(faux.error("auth", "x" * 5000))
    three[2].add(faux.error("quota", "y" * 5000))
    events = list(stream(ALL, "Hi", max_retries=1))
    assert [event.type for event in events] == ["error"]
    message = events[0].partial
    assert message.error is not None
    assert message.error.kind == "quota"
    assert (message.provider, message.model) == ("three", "c")
    assert len(message.error.message) <= 4096
    assert message.error.message.endswith(
        f"y Tried before: one/a (server: Broken); two/b (auth: {'x' * 200})."
    )
    assert message.error_message == message.error.message
    assert summary(message)[-1] == ("three/c", "quota")
    with pytest.raises(PipyError, match="Tried before"):
        message.raise_for_error()
    again = AssistantMessage.model_validate_json(message.model_dump_json())
    assert again == message == pickle.loads(pickle.dumps(message))


# --- On the wire --------------------------------------------------------------------------


def test_each_model_gets_the_conversation_in_its_own_format(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-anthropic-0123456789")
    monkeypatch.setenv("OWN_API_KEY", "sk-own-0123456789")
    root = ANTHROPIC.base(lab)
    claude = Model(id="claude-sonnet-4-5", provider="anthropic", api=root, npm="@ai-sdk/anthropic")
    gpt = Model(id="gpt-4o", provider="own", api=lab.url, env=["OWN_API_KEY"])
    lab.play(
        Status(529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}),
        CHAT.scene(say("Hello"), counts=Counts(7, 2)),
    )
    before = AssistantMessage(
        provider="anthropic", model="claude-sonnet-4-5", api="anthropic-messages",
        content=[ThinkingContent(thinking="hm", thinking_signature="sig"),
                 {"type": "text", "text": "Yes?"}],
        stop_reason="stop",
    )  # fmt: skip
    asked = Context(
        system_prompt="Be brief.",
        messages=[UserMessage(content="Hi"), before, UserMessage(content="There?")],
    )
    events = list(stream([claude, gpt], asked, max_retries=0))
    message = check_events(events)
    assert (message.api, message.provider, message.text) == (
        "openai-completions", "own", "Hello",
    )  # fmt: skip
    first, second = lab.seen
    assert first.path.endswith("/messages")
    assert first.json["messages"][1]["content"][0]["signature"] == "sig"
    assert second.path.endswith("/chat/completions")
    assert "sig" not in json.dumps(second.json)
    assert second.json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert second.headers["authorization"] == "Bearer sk-own-0123456789"
    assert message.usage.input == 7
    assert message.attempts[0].usage.total_tokens == 0  # it was refused


def test_provider_specific_options_are_sent_to_no_other_provider(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In particular not its API key."""
    monkeypatch.setenv("OWN_API_KEY", "sk-own-0123456789")
    key = "sk-very-secret-0123456789"
    gpt = Model(id="gpt-4o", provider="own", api=lab.url, env=["OWN_API_KEY"])
    refused = Status(401, {"error": {"message": f"bad key {key}"}})
    lab.play(refused, Status(503), CHAT.scene(say("x")))
    message = complete(
        ["hosted_vllm/a", "hosted_vllm/b", gpt],
        "Hi",
        api_key=key,
        api_base=lab.url,
        headers={"x-team": "red"},
        extra={"top_k": 3},
        max_retries=0,
    )
    assert (message.provider, message.text) == ("own", "x")
    first, second, third = lab.seen
    for one in (first, second):
        assert one.headers["authorization"] == f"Bearer {key}"
        assert (one.headers["x-team"], one.json["top_k"]) == ("red", 3)
    assert third.headers["authorization"] == "Bearer sk-own-0123456789"
    assert "x-team" not in third.headers
    assert "top_k" not in third.json
    assert key not in third.body.decode() + repr(third.headers) + message.model_dump_json()
    assert [one.code for one in message.warnings] == ["option_not_passed"]


def test_missing_key_falls_back_before_any_io(lab: Lab, july: Any) -> None:
    gpt = Model(id="m", provider="own", api=lab.url, env=[])
    message = complete(["anthropic/claude-sonnet-4-5", gpt], "Hi", max_retries=0)
    assert summary(message) == [("anthropic/claude-sonnet-4-5", "missing_key"), ("own/m", None)]
    assert len(lab.seen) == 1


@pytest.mark.parametrize("fault", [FIN, RESET])
def test_start_event_is_emitted_once(lab: Lab, fault: Any) -> None:
    """Although the first model also accepted the request and then sent nothing."""
    lab.play(sse(b": hello\n\n", fault), CHAT.scene(say("Hello")))
    models = [Model(id=name, provider="own", api=lab.url, env=[]) for name in "ab"]
    events = list(stream(models, "Hi", max_retries=0))
    message = check_events(events)
    assert (message.model, message.text) == ("b", "Hello")
    assert len(lab.seen) == 2


def test_silent_model_falls_back_after_the_timeout(lab: Lab) -> None:
    lab.play(sse(b": hello\n\n", STALL), CHAT.scene(think("hm"), say("Hello")))
    models = [Model(id=name, provider="own", api=lab.url, env=[]) for name in "ab"]
    events = list(stream(models, "Hi there", idle_timeout=0.2, max_retries=5))
    message = check_events(events)
    assert summary(message) == [("own/a", "timeout"), ("own/b", None)]
    assert lab.seen[0].left.wait(5)
    # It was accepted: what it read is an estimate of what was billed.
    assert message.attempts[0].usage.input > 0
    assert message.attempts[0].usage.estimated


async def test_last_model_times_out_and_total_timeout_stops_all(lab: Lab) -> None:
    lab.play(*[sse(b": hello\n\n", STALL)] * 3)
    models = [Model(id=name, provider="own", api=lab.url, env=[]) for name in "ab"]
    message = await acomplete(models, "Hi", idle_timeout=0.1, max_retries=0)
    assert summary(message) == [("own/a", "timeout"), ("own/b", "timeout")]
    assert "Tried before: own/a (timeout" in (message.error_message or "")
    message = await acomplete(models, "Hi", timeout=0.1)
    assert len(lab.seen) == 3
    assert message.error is not None
    assert (message.error.kind, message.attempts) == ("timeout", [])


def test_silence_before_content_is_retried(lab: Lab) -> None:
    silent = sse(b": hello\n\n", STALL)
    lab.play(silent, [STALL], CHAT.scene(say("Hello")), silent, silent)
    model = Model(id="a", provider="own", api=lab.url, env=[])
    message = check_events(list(stream(model, "Hi", idle_timeout=0.2)))
    assert message.text == "Hello"
    assert summary(message) == [("own/a", "timeout")] * 2 + [("own/a", None)]
    assert all(seen.left.wait(5) for seen in lab.seen[:2])
    message = complete(model, "Hi", idle_timeout=0.1, max_retries=1)
    assert len(lab.seen) == 5
    assert message.error is not None
    assert (message.error.kind, message.error.retryable) == ("timeout", True)
    assert "idle_timeout=0.1" in message.error.message


def test_total_timeout_spans_all_attempts(lab: Lab) -> None:
    lab.play(*[sse(b": hello\n\n", STALL)] * 4)
    model = Model(id="a", provider="own", api=lab.url, env=[])
    message = complete(model, "Hi", timeout=0.5, idle_timeout=0.2, max_retries=100)
    assert message.error is not None
    assert " timeout=0.5" in message.error.message
    assert len(lab.seen) <= 3


@pytest.mark.parametrize("turned", [None, RuntimeError("cancelled")])
def test_cancellation_does_not_fall_back(turned: Exception | None) -> None:
    """A provider may swallow the cancellation or turn it into another exception."""

    async def silent(request: Any) -> AsyncIterator[str]:
        try:
            if request.model_id == "half":
                yield "half an "
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if turned is not None:
                raise turned from None

    register_provider("silent", silent)
    try:
        message = complete("silent/half", "Hi", timeout=0.1)
        assert message.text == "half an "
        assert message.error is not None
        assert message.error.kind == "timeout"
        models = ["silent/a", "silent/b", "silent/c", "faux/echo"]
        message = complete(models, "Hi", idle_timeout=0.05, max_retries=0)
        assert message.text == "Hi"
        assert [kind for _, kind in summary(message)] == ["timeout"] * 3 + [None]
    finally:
        unregister_provider("silent")


def test_abort_stops_all(three: Any) -> None:
    asked = threading.Event()

    def answer(request: Any) -> Any:
        asked.set()
        return script.pop()

    script = [faux.error("server", "busy", retry_after=30.0), faux.reply("", faux.stall())]
    three[0].add(answer, answer)
    for _ in range(2):
        asked.clear()
        s = stream(ALL, "Hi")
        assert asked.wait(10)
        s.abort()
        assert s.result().stop_reason == "aborted"
    assert three[1].calls == 0


# --- Every function -----------------------------------------------------------------------------


async def test_every_function_accepts_several_models(three: Any) -> None:
    def again() -> None:
        three[0].add(faux.error("auth", "no"))
        three[1].add("yes")

    models = ["one/a", "two/b"]
    for ask in (
        lambda: complete(models, "Hi"),
        lambda: complete_simple(models, "Hi", StreamOptions(temperature=0)),
        lambda: quick("Hi", models),
        lambda: run_tools(models, "Hi").result(),
    ):
        again()
        assert ask().text == "yes"
    for wait in (
        lambda: acomplete(models, "Hi"),
        lambda: aquick("Hi", models),
        lambda: astream(models, "Hi").result(),
        lambda: arun_tools(models, "Hi").result(),
    ):
        again()
        assert (await wait()).text == "yes"


def test_typed_output_uses_each_models_own_mode(three: Any) -> None:
    three[0].add(faux.error("server", retry_after=0.0), "no number", faux.error("auth"))
    three[1].add('{"value": 7}')
    message = complete(["one/a", "two/b"], "A number?", output=int)
    assert message.parsed == 7
    assert summary(message) == [
        ("one/a", "server"), ("one/a", "invalid_output"), ("one/a", "auth"), ("two/b", None),
    ]  # fmt: skip


def test_tool_loop_falls_back_in_every_turn(three: Any) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    three[0].add(faux.error("quota"), faux.error("quota"))
    three[1].add(faux.reply(faux.tool("add", a=2, b=3)), "It is 5.")
    run = run_tools(["one/a", "two/b"], "2 + 3?", [add])
    assert run.result().text == "It is 5."
    assert three[0].calls == 2


def test_router_model_among_others(tmp_path: Any, lab: Lab) -> None:
    """Its name identifies it, as in a request without fallbacks."""
    import os

    os.makedirs(os.environ["PIPY_DATA_DIR"], exist_ok=True)
    with open(os.path.join(os.environ["PIPY_DATA_DIR"], "router.yaml"), "w") as file:
        file.write("model_list: [{model_name: fast}]")  # broken: the answer's error
    gpt = Model(id="m", provider="own", api=lab.url, env=[])
    message = complete(["fast", gpt], "Hi")
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "router.yaml" in message.error.message


# --- Wrong use ------------------------------------------------------------------------------


def test_wrong_use_raises_before_any_request(three: Any) -> None:
    with pytest.raises(ValueError, match="no model given"):
        complete([], "Hi")
    with pytest.raises(ValueError, match="no model given"):
        run_tools((), "Hi")
    with pytest.raises(ValueError, match="no-such-model"):
        complete(["one/a", "no-such-model"], "Hi")
    with pytest.raises(TypeError, match="not int"):
        complete(["one/a", 5], "Hi")  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not set"):
        complete({"one/a"}, "Hi")  # type: ignore[call-overload]
    assert three[0].calls == 0


def test_string_is_a_single_name() -> None:
    with pytest.raises(ValueError, match="xyz"):
        complete("xyz", "Hi")


def test_context_is_copied_at_the_call(three: Any) -> None:
    """Changes made while the first model runs do not reach the second."""
    context = ctx("first")

    def fail(request: Any) -> Any:
        context.messages.append(UserMessage(content="later"))
        return faux.error("auth")

    three[0].add(fail)
    three[1].add("yes")
    complete(["one/a", "two/b"], context)
    assert [m.content for m in three[1].requests[0].context.messages] == ["first"]
