"""Test `run_tools(output=…)`: a typed answer after tools."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import InvalidOutputError, ToolCall, ctx, faux, run_tools

from .support.scripted_server import Lab, Status
from .support.tool_loop_runs import Go, async_run, sync_run
from .support.vendor_rules import violations
from .support.wire_formats import CHAT, CONVERSE, GEMINI, WIRES, Counts, Wire, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Weather(BaseModel):
    """The weather."""

    city: str
    celsius: float


TOKYO = Weather(city="Tokyo", celsius=22)
GOOD = '{"city": "Tokyo", "celsius": 22}'
BAD = '{"city": "Tokyo"}'
SKIP = {"c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="}  # Gemini 3 requires a signature
seen_cities: list[str] = []


def look(city: str) -> str:
    """Look out of the window."""
    seen_cities.append(city)
    return "sunny, 22 °C"


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


@pytest.fixture(autouse=True)
def _reset() -> None:
    seen_cities.clear()


def way(lab: Lab, wire: Wire, **options: Any) -> dict[str, Any]:
    return {"api_base": wire.base(lab), "api_key": "sk-0123456789", "max_retries": 0, **options}


def model_of(wire: Wire) -> str:
    return "gemini/gemini-3-flash-preview" if wire is GEMINI else wire.model


def answer(wire: Wire, mode: str, text: str, **more: Any) -> Any:
    if mode == "tool":
        return wire.scene(tool("c9", "Weather", text), stop="tool", **more)
    return wire.scene(say(text), **more)


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("mode", ["native", "tool", "prompt"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_value_after_tools(lab: Lab, wire: Wire, mode: Any, transport: str, go: Go) -> None:
    if transport == "litellm" and wire is CONVERSE and mode == "native":
        pytest.skip("LiteLLM replaces the schema by a tool, and does not stream")
    lab.play(
        wire.scene(tool("c1", "look", '{"city": "Tokyo"}'), stop="tool", counts=Counts(10, 1)),
        answer(wire, mode, BAD, counts=Counts(20, 2)),
        answer(wire, mode, GOOD, counts=Counts(30, 3)),
        wire.scene(say("Nice.")),
    )
    context = ctx("How warm is it in Tokyo?")
    options = way(lab, wire, transport=transport)
    ran = go(model_of(wire), context, [look], output=Weather, output_mode=mode, **options)
    assert ran.message.parsed == TOKYO
    assert (ran.message.stop_reason, ran.message.error) == ("stop", None)
    assert json.loads(ran.message.text) == json.loads(GOOD)
    assert [type(message).__name__ for message in ran.run.messages] == [
        "ParsedMessage", "ToolResultMessage", "ParsedMessage",
    ]  # fmt: skip
    assert (ran.run.usage.input, ran.run.usage.output) == (60, 6)
    assert seen_cities == ["Tokyo"]
    rejected = [event for event in ran.events if event.type == "error"]
    assert [event.partial.error.kind for event in rejected] == ["invalid_output"]
    for request in lab.seen:
        assert violations(request.path, request.json, SKIP) == []
    # The conversation goes on without traces of the rejected answer.
    context.extend(ran.run.messages)
    context.messages += ctx("Thanks").messages
    run_tools(model_of(wire), context, [look], **options).result()
    assert violations(lab.seen[3].path, lab.seen[3].json, SKIP) == []
    assert "does not fit" not in json.dumps(lab.seen[3].json)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("answer_first", [True, False])
def test_answer_beside_calls_ends_the_run(lab: Lab, wire: Wire, answer_first: bool, go: Go) -> None:
    parts = [
        tool("c2", "Weather", GOOD),
        tool("c1", "look", '{"city": "X"}'),
        tool("c3", "look", '{"city": "Y"}'),
    ]
    lab.play(
        wire.scene(*(parts if answer_first else parts[::-1]), stop="tool"),
        wire.scene(say("Nice.")),
    )
    context = ctx("How warm is it?")
    options = way(lab, wire)
    ran = go(model_of(wire), context, [look], output=Weather, output_mode="tool", **options)
    assert ran.message.parsed == TOKYO
    assert seen_cities == []
    # Every call has a result, so that the conversation can go on.
    answer_message, *results = ran.run.messages
    assert [result.tool_call_id for result in results] == [
        call.id for call in answer_message.tool_calls
    ]
    assert len(results) == 2
    assert all(result.is_error for result in results)
    context.extend(ran.run.messages)
    context.messages += ctx("Thanks").messages
    run_tools(model_of(wire), context, [look], **options).result()
    assert violations(lab.seen[1].path, lab.seen[1].json, SKIP) == []
    assert "final answer was given" in json.dumps(lab.seen[1].json)


def test_answer_tool_is_not_approved_or_confused(lab: Lab, go: Go) -> None:
    asked: list[ToolCall] = []

    def weather(city: str) -> str:
        """Of another name than the type, but the same in lower case."""
        return "rain"

    lab.play(
        CHAT.scene(tool("c1", "weather", '{"city": "X"}'), stop="tool"),
        CHAT.scene(tool("c2", "Weather", GOOD), stop="tool"),
    )
    ran = go(
        CHAT.model, "q", [weather], output=Weather, output_mode="tool",
        approve=lambda call: asked.append(call) or True, **way(lab, CHAT),
    )  # fmt: skip
    assert ran.message.parsed == TOKYO
    assert [call.name for call in asked] == ["weather"]


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_retries_are_limited(retries: int, go: Go) -> None:
    with faux.script(*[BAD] * (retries + 1)) as provider:
        ran = go("faux/x", "q", [look], output=Weather, output_retries=retries)
    assert provider.calls == retries + 1
    assert ran.message.error.kind == "invalid_output"
    with pytest.raises(InvalidOutputError, match="celsius: Field required"):
        ran.message.parsed  # noqa: B018


def test_max_turns_counts_retries(go: Go) -> None:
    with faux.script(faux.reply(faux.tool("look", city="A")), BAD) as provider:
        ran = go("faux/x", "q", [look], output=Weather, max_turns=2)
    assert provider.calls == 2
    assert ran.message.error.kind == "invalid_output"
    with faux.script(faux.reply(faux.tool("look", city="A"))):
        ran = go("faux/x", "q", [look], output=Weather, max_turns=1)
    assert ran.message.error is None
    with pytest.raises(InvalidOutputError, match="called look instead of answering"):
        ran.message.parsed  # noqa: B018


def test_tools_after_a_rejected_answer(go: Go) -> None:
    script = [BAD, faux.reply(faux.tool("look", city="B")), GOOD]
    with faux.script(*script):
        ran = go("faux/x", "q", [look], output=Weather)
    assert ran.message.parsed == TOKYO
    assert seen_cities == ["B"]


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (int, '{"value": 3}', 3),
        (list[str], '{"value": ["a"]}', ["a"]),
        (Point, '{"x": 1}', Point(1)),
        ({"type": "object", "properties": {"a": {"type": "integer"}}}, '{"a": 1}', {"a": 1}),
    ],
)
def test_kinds_of_output(kind: Any, text: str, value: Any, go: Go) -> None:
    with faux.script(faux.reply(faux.tool("look", city="A")), text):
        assert go("faux/x", "q", [look], output=kind).message.parsed == value


def test_fallback_has_its_own_mode(lab: Lab, go: Go) -> None:
    lab.play(
        Status(500, '{"error": {"message": "down"}}'),
        GEMINI.scene(tool("c1", "look", '{"city": "A"}'), stop="tool"),
        Status(500, '{"error": {"message": "down"}}'),
        GEMINI.scene(tool("c2", "Weather", GOOD), stop="tool"),
    )
    models = ["gemini/gemini-3-flash-preview", "gemini/gemini-2.5-flash"]
    ran = go(models, "q", [look], output=Weather, **way(lab, GEMINI))
    assert ran.message.parsed == TOKYO
    bodies = [request.json for request in lab.seen]
    assert ["responseSchema" in body.get("generationConfig", {}) for body in bodies] == [
        True, False, True, False,
    ]  # fmt: skip
    assert [len(body["tools"][0]["functionDeclarations"]) for body in bodies] == [1, 2, 1, 2]


def test_wrong_use_is_rejected_before_any_request() -> None:
    with pytest.raises(TypeError, match="output= takes a type"):
        run_tools("faux/x", "q", [look], output=look)
    with pytest.raises(ValueError, match="output_mode must be one of"):
        run_tools("faux/x", "q", [look], output=int, output_mode="json")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="output_retries must be 0 or more"):
        run_tools("faux/x", "q", [look], output=int, output_retries=-1)


def test_aborted_run_has_no_value() -> None:
    run = run_tools("faux/x", "q", [look], output=Weather)
    run.abort()
    message = run.result()
    assert message.stop_reason == "aborted"
    with pytest.raises(Exception, match="aborted"):
        message.parsed  # noqa: B018
