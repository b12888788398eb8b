"""Test `complete`, `stream` and their async versions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from pipy_ai import (
    PipyError,
    acomplete,
    acomplete_simple,
    aquick,
    assistant,
    astream,
    astream_simple,
    complete,
    complete_simple,
    faux,
    quick,
    register_provider,
    stream,
    stream_simple,
)
from pipy_ai._requests import merge_options
from pipy_ai.errors import AbortedError
from pipy_ai.options import SimpleStreamOptions, ThinkingLevel
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from .support.event_grammar import check_events

WAIT = 10.0  # seconds, far above what anything here takes


async def test_blocking_call_inside_a_running_loop() -> None:
    assert complete("faux/echo", "Hi").text == "Hi"


def test_repeated_asyncio_run() -> None:
    for number in range(20):
        assert asyncio.run(acomplete("faux/echo", str(number))).text == str(number)


def test_32_concurrent_threads() -> None:
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


def test_blocking_call_in_a_provider_is_rejected() -> None:
    async def careless(request: Request) -> AsyncIterator[str]:
        yield complete("faux/echo", "never").text

    register_provider("careless", careless)
    try:
        message = complete("careless/m", "q", timeout=WAIT)
    finally:
        unregister_provider("careless")
    assert message.error is not None
    assert "acomplete" in message.error.message


def test_unknown_keyword_suggests_the_nearest_option() -> None:
    with pytest.raises(TypeError, match="unknown option 'temprature'; did you mean temperature"):
        complete("faux/echo", "Hi", temprature=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown option"):
        astream("faux/echo", "Hi", nonsense=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown option 'tools'; it belongs to the context"):
        stream("faux/echo", "Hi", tools=[print])  # type: ignore[call-arg]


@pytest.mark.parametrize("prompt", ["", "  \n", [], [assistant()]])
def test_empty_context_is_rejected(prompt: Any) -> None:
    with faux.script("never") as provider:
        with pytest.raises(ValueError, match="empty"):
            stream("faux/m", prompt)
        with pytest.raises(ValueError, match="empty"):
            astream("faux/m", prompt)
        assert provider.calls == 0


@pytest.mark.parametrize("model", ["no-such-model", "/x", "openai/", ""])
def test_invalid_model_name_is_rejected(model: str) -> None:
    with pytest.raises(ValueError, match=r"provider/model|no model 'no-such-model'"):
        complete(model, "Hi")


def test_wrong_types_are_rejected() -> None:
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


def test_request_is_a_snapshot_of_the_call() -> None:
    from pipy_ai import ctx, user

    context = ctx("first")
    s = astream("faux/echo", context)
    context.messages.append(user("second"))
    assert asyncio.run(s.result()).text == "first"


def test_error_of_another_library_raises() -> None:
    from pipy_ai import AssistantMessage

    for reason, kind in (("error", PipyError), ("aborted", AbortedError)):
        message = AssistantMessage.model_validate({"stopReason": reason, "errorMessage": "no"})
        with pytest.raises(kind, match="no"):
            message.raise_for_error()


async def test_every_function_answers_and_passes_its_options() -> None:
    high: Any = {"reasoning": ThinkingLevel.HIGH}
    more: Any = {**high, "headers": {"X-Mine": "yes"}, "max_retry_delay_ms": 7}
    with faux.script(*["fine"] * 10) as provider:
        answers = [  # the blocking ones, too, inside of a running loop
            complete("faux/m", "q", **more),
            complete_simple("faux/m", "q", **more),
            stream("faux/m", "q", **more).result(),
            stream_simple("faux/m", "q", **more).result(),
            await acomplete("faux/m", "q", **more),
            await acomplete_simple("faux/m", "q", **more),
            await astream("faux/m", "q", **more).result(),
            await astream_simple("faux/m", "q", **more).result(),
            quick("q", "faux/m", **high),
            await aquick("q", "faux/m", **high),
        ]
    assert [message.text for message in answers] == ["fine"] * 10
    assert [request.reasoning for request in provider.requests] == ["high"] * 10
    for request in provider.requests[:8]:
        assert request.options.headers == {"X-Mine": "yes"}
        assert request.options.max_retry_delay_ms == 7


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("api_base", ["http://x", ""]),
        ("api_key", ["k", SecretStr("k"), "k\ud800", 5]),
        ("cache", [True, "x.sqlite", 5]),
        ("extra", [{"a": {"b": 1}}, {}, {1: 2}, "x"]),
        ("headers", [{"x": "y"}, {"x": 1}, {"x": "\ud800"}, {1: "y"}, []]),
        ("idle_timeout", [5, 0.5, 0, -1, True, "5", float("nan"), float("inf"), 10**400]),
        ("max_retries", [0, 3, -1, True, 1.0, None]),
        ("max_tokens", [1, 0, 2.5, "7", 10**30]),
        ("metadata", [{"user_id": "u"}, {1: 2}]),
        ("raise_on_error", [True, 1, "x", None]),
        ("raw", [False, 0]),
        ("reasoning", ["low", ThinkingLevel.HIGH, "lowest", 3]),
        ("seed", [0, -7, 1.5]),
        ("session_id", ["s", 1]),
        ("stop", ["a", ["a", "b"], 1]),
        ("temperature", [0, 0.7, 1, float("nan"), "hot", 10**400]),
        ("timeout", [30, 1e-3, 0]),
        ("tool_choice", ["auto", {"type": "any"}]),
        ("top_k", [5, 0, True]),
        ("top_p", [0.9, float("inf")]),
    ],
)
def test_option_is_the_same_without_pydantics_validator(name: str, values: list[Any]) -> None:
    for value in [*values, None]:
        try:
            validated = SimpleStreamOptions.model_validate({name: value})
        except ValidationError:
            with pytest.raises(ValidationError):
                merge_options(None, {name: value})  # type: ignore[misc]
            continue
        merged = merge_options(None, {name: value})  # type: ignore[misc]
        assert merged == validated
        assert merged.model_fields_set == validated.model_fields_set
        if name not in ("temperature", "top_p"):  # an int stays one
            assert type(getattr(merged, name)) is type(getattr(validated, name))
        if isinstance(value, dict):
            assert getattr(merged, name) is not value
