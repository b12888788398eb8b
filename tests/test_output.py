"""Typed answers: four wires, three ways to ask, over real sockets; and the real model."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from pipy_ai import (
    Context,
    InvalidOutputError,
    OutputValidationError,
    ParsedMessage,
    Tool,
    acomplete,
    astream,
    complete,
    ctx,
    faux,
    preview,
    register_provider,
    stream,
    tool_result,
)
from pipy_ai.errors import AuthenticationError
from pipy_ai.output.schema import Output
from pipy_ai.provider.registered import unregister_provider

from .grammar import check_events
from .schemas import KINDS, PLAIN, Colour, Invoice, Kind, Line, Mixed, Owner, Person
from .wire.lab import FIN, Lab, Status
from .wire.strict import violations
from .wire.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, WIRES, Counts, Wire, say, think, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Bill(BaseModel):
    """A bill."""

    number: str
    total: Annotated[float, Field(ge=0)]
    tags: list[str] = []


GOOD = '{"number": "7", "total": 1.5}'
BAD = '{"number": "7"}'
BILL = Bill(number="7", total=1.5)


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def way(lab: Lab, wire: Wire, **options: Any) -> dict[str, Any]:
    return {"api_base": wire.base(lab), "api_key": "sk-0123456789", "max_retries": 0, **options}


def answer(wire: Wire, mode: str, text: str, **more: Any) -> Any:
    """An answer as it comes in a mode: a call, text, or text with something around it."""
    if mode == "tool":
        return wire.scene(tool("c1", "Bill", text[:9], text[9:]), stop="tool", **more)
    if mode == "prompt":
        return wire.scene(say("Here {it} is:\n```json\n", text, "\n```\nAnything else?"), **more)
    return wire.scene(say(text[:9], text[9:]), **more)


# --- What is sent ---------------------------------------------------------------------------

PLAIN_BILL = {
    "description": "A bill.",
    "properties": {
        "number": {"type": "string"},
        "total": {"minimum": 0, "type": "number"},
        "tags": {"default": [], "items": {"type": "string"}, "type": "array"},
    },
    "required": ["number", "total"],
    "title": "Bill",
    "type": "object",
}
STRICT_BILL = {
    **PLAIN_BILL,
    "properties": {
        "number": {"type": "string"},
        "total": {"minimum": 0, "type": "number"},
        "tags": {"anyOf": [{"items": {"type": "string"}, "type": "array"}, {"type": "null"}]},
    },
    "required": ["number", "total", "tags"],
    "additionalProperties": False,
}
CLOSED_BILL = {
    **PLAIN_BILL,
    "properties": {
        "number": {"type": "string"},
        "total": {"type": "number", "description": "(minimum: 0)"},
        "tags": {"items": {"type": "string"}, "type": "array"},
    },
    "additionalProperties": False,
}
REDUCED_BILL = {
    **PLAIN_BILL,
    "properties": {
        **PLAIN_BILL["properties"],  # type: ignore[dict-item]
        "tags": {"items": {"type": "string"}, "type": "array"},
    },
}
CALL = {"name": "Bill", "description": "Give the final answer by calling this. A bill."}
SAID = {
    "tool": "Give your final answer by calling the function Bill.",
    "prompt": "Answer with JSON only, without other words, that fits this JSON Schema:\n",
}
# What the way adds to a request, by wire: natively, and as a tool.
ADDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    CHAT.name: (
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "Bill", "schema": STRICT_BILL, "strict": True},
            }
        },
        {
            "tools": [{"type": "function", "function": {**CALL, "parameters": PLAIN_BILL}}],
            "tool_choice": {"type": "function", "function": {"name": "Bill"}},
        },
    ),
    RESPONSES.name: (
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "Bill",
                    "schema": STRICT_BILL,
                    "strict": True,
                }
            }
        },
        {
            "tools": [{"type": "function", **CALL, "parameters": PLAIN_BILL, "strict": False}],
            "tool_choice": {"type": "function", "name": "Bill"},
        },
    ),
    ANTHROPIC.name: (
        {"output_config": {"format": {"type": "json_schema", "schema": CLOSED_BILL}}},
        {
            "tools": [{**CALL, "input_schema": PLAIN_BILL}],
            "tool_choice": {"type": "tool", "name": "Bill"},
        },
    ),
    GEMINI.name: (
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseSchema": REDUCED_BILL,
            }
        },
        {
            "tools": [{"functionDeclarations": [{**CALL, "parameters": REDUCED_BILL}]}],
            "toolConfig": {
                "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["Bill"]}
            },
        },
    ),
}
SYSTEM: dict[str, Callable[[Any], Any]] = {
    CHAT.name: lambda body: body["messages"][0]["content"],
    RESPONSES.name: lambda body: body["instructions"],
    ANTHROPIC.name: lambda body: body["system"][0]["text"],
    GEMINI.name: lambda body: (
        body.get("systemInstruction") or body["system_instruction"]
    )["parts"][0]["text"],
}  # fmt: skip
DEFAULTS = {CHAT.name: "native", RESPONSES.name: "native", GEMINI.name: "native",
            ANTHROPIC.name: "tool"}  # fmt: skip


@pytest.mark.parametrize("mode", ["native", "tool", "prompt", None])
def test_the_request_and_the_value(lab: Lab, wire: Wire, mode: Any, transport: str) -> None:
    used = mode or DEFAULTS[wire.name]
    lab.play(wire.scene(say("x")), answer(wire, used, GOOD), answer(wire, used, GOOD))
    context = ctx("q", system="Be brief.")
    complete(wire.model, context, **way(lab, wire, cache_retention="none"))
    asked = way(lab, wire, cache_retention="none", output=Bill, output_mode=mode)
    message = complete(wire.model, context, **asked)
    assert message.parsed == BILL
    assert (message.stop_reason, message.error, message.warnings) == ("stop", None, [])
    assert not message.tool_calls
    assert json.loads(message.text.partition("```json")[2].partition("```")[0] or message.text) == {
        "number": "7",
        "total": 1.5,
    }
    plain, typed = lab.seen[0].json, lab.seen[1].json
    assert violations(lab.seen[1].path, typed) == []
    system = SYSTEM[wire.name](typed)
    if used == "native":
        assert system == "Be brief."
    else:
        assert system.startswith(f"Be brief.\n\n{SAID[used]}")
    if used == "prompt":
        assert json.loads(system.rpartition("\n")[2]) == PLAIN_BILL
    added = {key: value for key, value in typed.items() if plain.get(key) != value}
    for key in ("messages", "instructions", "system", "systemInstruction", "system_instruction"):
        added.pop(key, None)
    expected = {} if used == "prompt" else ADDED[wire.name][used == "tool"]
    if transport == "direct":
        assert added == expected
        complete(wire.model, context, **asked)
        assert lab.seen[2].body == lab.seen[1].body  # prompt caches depend on it
    else:
        assert litellms(added) == litellms(copy.deepcopy(expected))


def litellms(added: dict[str, Any]) -> dict[str, Any]:
    """Without the differences of LiteLLM's requests: names of Gemini's in snake_case; it sends
    Gemini a JSON Schema in another field, and Anthropic no title and no description of a tool's
    parameters; the order of words does not count."""
    text = json.dumps(added)
    for ours, theirs in (
        ("responseMimeType", "response_mime_type"),
        ("functionDeclarations", "function_declarations"),
        ("allowedFunctionNames", "allowed_function_names"),
    ):
        text = text.replace(ours, theirs)
    added = json.loads(text)
    config = added.get("generationConfig", {})
    for name in ("responseSchema", "response_schema", "response_json_schema"):
        config.pop(name, None)
    for one in added.get("tools", ()):
        one.pop("type", None)
        for name in ("title", "description"):
            one.get("input_schema", {}).pop(name, None)
        for function in one.get("function_declarations", ()):
            function["parameters"]["properties"]["tags"].pop("default", None)
    return added


def test_the_bytes_of_a_request(lab: Lab) -> None:
    lab.play(CHAT.scene(say('{"value": "yes"}')))
    message = complete(CHAT.model, "Really?", output=Literal["yes", "no"], **way(lab, CHAT))
    assert message.parsed == "yes"
    assert lab.seen[0].body == (
        b'{"model":"m","messages":[{"role":"user","content":"Really?"}],"stream":true,'
        b'"stream_options":{"include_usage":true},"response_format":{"type":"json_schema",'
        b'"json_schema":{"name":"answer","schema":{"type":"object","properties":{"value":'
        b'{"enum":["yes","no"],"type":"string"}},"required":["value"],'
        b'"additionalProperties":false},"strict":true}}}'
    )


def test_an_open_type_is_not_strict() -> None:
    form = preview("openai/gpt-4o", "q", output=dict[str, int]).body["response_format"]
    assert form["json_schema"]["strict"] is False
    assert form["json_schema"]["schema"] == {
        "type": "object", "additionalProperties": {"type": "integer"},
    }  # fmt: skip


LOOK = Tool(name="look", description="Look.")


@pytest.mark.parametrize(
    ("model", "kind", "tools", "used"),
    [
        ("anthropic/claude-sonnet-4-5", dict[str, int], None, "tool"),
        ("anthropic/claude-sonnet-4-5", KINDS["recursive model"].kind, None, "tool"),
        ("google/gemini-2.5-flash", dict[str, int], None, "prompt"),
        ("google/gemini-2.5-flash", Bill, [LOOK], "tool"),
        ("google/gemini-3-flash-preview", Bill, [LOOK], "native"),
        ("openai/gpt-4o", dict[str, int], [LOOK], "native"),
    ],
)
def test_what_cannot_be_asked_natively(model: str, kind: Any, tools: Any, used: str) -> None:
    context = ctx("q", tools=tools)
    forced = preview(model, context, output=kind, output_mode="native")
    assert [w.code for w in forced.warnings] == ["output_mode_changed"] * (used != "native")
    other = preview(model, context, output=kind, output_mode=used)  # type: ignore[arg-type]
    assert forced.body == other.body
    if "claude" not in model:  # whose record promises nothing
        assert preview(model, context, output=kind) == other


def test_claude_is_not_forced_while_it_thinks(lab: Lab, transport: str) -> None:
    lab.play(ANTHROPIC.scene(think("hm", signature="s"), tool("c1", "Bill", GOOD), stop="tool"))
    asked = way(lab, ANTHROPIC, output=Bill, reasoning="low", cache_retention="none")
    message = complete(ANTHROPIC.model, "q", **asked)
    assert message.parsed == BILL
    assert [w.code for w in message.warnings] == ["tool_choice_changed"]
    body = lab.seen[0].json
    assert body["tool_choice"] == {"type": "auto"}
    assert "calling the function Bill" in body["system"][0]["text"]


def test_effort_and_format_go_together(lab: Lab, transport: str) -> None:
    lab.play(ANTHROPIC.scene(say(GOOD)))
    asked = way(lab, ANTHROPIC, output=Bill, output_mode="native", reasoning="high")
    assert complete("anthropic/claude-opus-4-7", "q", **asked).parsed == BILL
    config = lab.seen[0].json["output_config"]
    assert config["effort"] == "high"
    assert config["format"]["schema"] == CLOSED_BILL


def test_a_provider_without_a_record_is_asked_in_words() -> None:
    async def parrot(request: Any) -> Any:
        assert "JSON Schema" in request.context.system_prompt
        yield GOOD

    register_provider("parrot", parrot)
    try:
        assert complete("parrot/x", "q", output=Bill).parsed == BILL
    finally:
        unregister_provider("parrot")


# --- Mending --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["native", "tool", "prompt"])
def test_a_bad_answer_is_mended(lab: Lab, wire: Wire, mode: Any, transport: str) -> None:
    lab.play(
        answer(wire, mode, BAD, counts=Counts(10, 5)),
        answer(wire, mode, GOOD, counts=Counts(30, 7, reasoning=2)),
    )
    context = ctx("q")
    message = complete(wire.model, context, output=Bill, output_mode=mode, **way(lab, wire))
    assert message.parsed == BILL
    assert (message.usage.input, message.usage.output) == (40, 12)
    assert message.usage.total_tokens == 52
    assert len(context.messages) == 1
    first, second = lab.seen
    assert violations(second.path, second.json) == []
    said = json.dumps(second.json)
    assert "The answer does not fit its schema:\\ntotal: Field required" in said
    assert said.count('\\"number\\": \\"7\\"') == 1  # the bad answer, as text
    # All else is as it was.
    for body in (first.json, second.json):
        for key in ("messages", "input", "contents"):
            body.pop(key, None)
    assert first.json == second.json


async def test_the_asynchronous_twin_mends_as_well(lab: Lab) -> None:
    lab.play(CHAT.scene(say("no")), CHAT.scene(say(GOOD)))
    message = await acomplete(CHAT.model, "q", output=Bill, **way(lab, CHAT))
    assert message.parsed == BILL


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_what_stays_wrong_is_an_error(retries: int) -> None:
    with faux.script(*[BAD] * 9) as provider:
        message = complete("faux/x", "q", output=Bill, output_retries=retries)
    assert provider.calls == retries + 1
    assert message.text == BAD
    assert message.error is not None
    assert message.error.kind == "invalid_output"
    assert message.error.message == "The answer does not fit its schema:\ntotal: Field required"
    assert message.stop_reason == "error"
    with pytest.raises(InvalidOutputError, match="total: Field required") as caught:
        message.parsed  # noqa: B018
    assert caught.value.response is message


def test_the_raw_call_is_kept(lab: Lab) -> None:
    lab.play(*[CHAT.scene(tool("c1", "Bill", '{"number": '), stop="tool")] * 2)
    message = complete(CHAT.model, "q", output=Bill, output_mode="tool", **way(lab, CHAT))
    assert message.text == '{"number": '
    assert message.error is not None
    assert "not valid JSON" in message.error.message


def test_a_cut_answer_is_not_asked_for_again(lab: Lab, wire: Wire, transport: str) -> None:
    lab.play(wire.scene(say('{"number": "7", "to'), stop="length"))
    asked = way(lab, wire, output=Bill, output_mode="native")
    message = complete(wire.model, "q", **asked)
    assert len(lab.seen) == 1
    assert message.error is not None
    assert message.error.kind == "invalid_output"
    assert "raise max_tokens" in message.error.message
    assert message.text == '{"number": "7", "to'
    lab.play(wire.scene(say(GOOD, "  "), stop="length"))  # enough of it has come
    message = complete(wire.model, "q", **asked)
    assert message.parsed == BILL
    assert message.stop_reason == "length"


def test_other_failures_stay_what_they_are(lab: Lab, wire: Wire) -> None:
    lab.play(
        Status(401, {"error": {"message": "no such key"}}),
        wire.scene(say('{"number"'), stop="filter"),
        wire.scene(say('{"number"'), FIN, stop=None),
    )
    for kind in ("auth", "content_filter", "incomplete"):
        message = complete(wire.model, "q", output=Bill, **way(lab, wire))
        assert message.error is not None
        assert message.error.kind == kind
        with pytest.raises(AuthenticationError if kind == "auth" else Exception):
            message.parsed  # noqa: B018
    assert len(lab.seen) == 3


# --- Together with tools --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["native", "tool"])
def test_a_call_of_a_tool_comes_back_as_it_is(lab: Lab, wire: Wire, mode: Any) -> None:
    lab.play(wire.scene(tool("c1", "look", '{"x": 1}'), stop="tool"), answer(wire, mode, GOOD))
    context = ctx("q", tools=[LOOK])
    asked = way(lab, wire, output=Bill, output_mode=mode)
    model = "gemini/gemini-3-flash-preview" if wire is GEMINI else wire.model
    message = complete(model, context, **asked)
    assert (message.stop_reason, message.error) == ("toolUse", None)
    with pytest.raises(InvalidOutputError, match="called look instead of answering"):
        message.parsed  # noqa: B018
    context.messages += [message, tool_result(message.tool_calls[0], "seen")]
    assert complete(model, context, **asked).parsed == BILL
    assert len(lab.seen) == 2
    assert context.tools == [LOOK]


def test_a_tool_of_the_same_name_keeps_it() -> None:
    context = ctx("q", tools=[Tool(name="Bill")])
    body = preview("openai/gpt-4o", context, output=Bill, output_mode="tool").body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Bill", "Bill_0"]
    assert body["tool_choice"] == "required"


def test_a_conversation_goes_on_after_an_answer_by_tool(lab: Lab, wire: Wire) -> None:
    steps = [think("hm", signature="s"), tool("c1", "Bill", GOOD)]
    lab.play(wire.scene(*steps, stop="tool"), wire.scene(say("ok")))
    asked = way(lab, wire)
    first = complete(wire.model, "q", output=Bill, output_mode="tool", **asked)
    assert (first.stop_reason, first.tool_calls) == ("stop", [])
    complete(wire.model, [*ctx("q").messages, first, *ctx("Thanks").messages], **asked)
    assert violations(lab.seen[1].path, lab.seen[1].json, {"s"}) == []
    assert "No result provided" not in json.dumps(lab.seen[1].json)


# --- Streams --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["native", "tool", "prompt"])
def test_what_has_come_of_the_value(lab: Lab, wire: Wire, mode: Any, transport: str) -> None:
    pieces = ['{"number": ', '"7", "to', 'tal": 1.5', "}"]
    steps = [tool("c1", "Bill", *pieces)] if mode == "tool" else [say(*pieces)]
    lab.play(wire.scene(*steps, stop="tool" if mode == "tool" else "stop"))
    s = stream(wire.model, "q", output=Bill, output_mode=mode, **way(lab, wire))
    events = list(s)
    check_events(events)
    deltas = [event for event in events if event.type in ("text_delta", "toolcall_delta")]
    if mode != "tool" or wire.fragments:
        assert [event.parsed_partial for event in deltas] == [
            {}, {"number": "7"}, {"number": "7", "total": 1.5}, {"number": "7", "total": 1.5},
        ]  # fmt: skip
    assert events[0].parsed_partial is None
    done = events[-1]
    assert done.parsed_partial == {"number": "7", "total": 1.5}
    result: ParsedMessage[Bill] = s.result()
    assert result.parsed == BILL
    if mode == "tool":  # as the events told it
        assert [call.name for call in result.tool_calls] == ["Bill"]
        assert result.stop_reason == "toolUse"


async def test_a_stream_does_not_mend() -> None:
    with faux.script(BAD, BAD) as provider:
        s = astream("faux/x", "q", output=Bill)
        events = [event async for event in s]
        check_events(events)
        assert events[-1].type == "error"
        message = await s.result()
        assert provider.calls == 1
    assert message.error is not None
    assert message.error.kind == "invalid_output"
    assert message.text == BAD


def test_a_partial_list_is_unwrapped() -> None:
    with faux.script('{"value": ["red", "blue"]}', chunk_size=15):
        seen = [e.parsed_partial for e in stream("faux/x", "q", output=list[Colour])]
    assert ["red"] in seen
    assert seen[-1] == ["red", "blue"]
    with faux.script("Hi"):
        assert {e.parsed_partial for e in stream("faux/x", "q")} == {None}


def test_nothing_is_read_before_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    whole = ParsedMessage.parsed_partial
    spy = property(lambda self: looked.append(self) or whole.fget(self))  # type: ignore[attr-defined]
    monkeypatch.setattr(ParsedMessage, "parsed_partial", spy)
    with faux.script(GOOD, GOOD):
        assert stream("faux/x", "q", output=Bill).result().parsed == BILL
        assert not looked
        list(stream("faux/x", "q", output=Bill))[3].parsed_partial  # noqa: B018
        assert len(looked) == 1


def test_leaving_a_stream(lab: Lab) -> None:
    with faux.script(faux.reply('{"number": "7"', faux.stall())):
        s = stream("faux/x", "q", output=Bill)
        for event in s:
            if event.parsed_partial == {"number": "7"}:
                break
        message = s.result()
    assert message.stop_reason == "aborted"
    assert message.parsed_partial == {"number": "7"}
    with pytest.raises(Exception, match="aborted"):
        message.parsed  # noqa: B018


# --- Types ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_type(kind: Kind) -> None:
    with faux.script(json.dumps(kind.written), json.dumps({"surely": "wrong"})):
        message = complete("faux/x", "q", output=kind.kind)
        value = message.parsed
        bare = Output.of(kind.kind)
        assert value == bare.parse(json.dumps(kind.written))
        if isinstance(kind.kind, type):
            assert isinstance(value, dict if kind.kind.__name__ == "Movie" else kind.kind)
        if bare.wrapped:  # a model may forget the wrapping
            assert bare.parse(json.dumps(kind.written["value"])) == value
        assert pickle.loads(pickle.dumps(message)).parsed == value
        assert copy.deepcopy(message).parsed == value
        again = Context.model_validate_json(Context(messages=[message]).model_dump_json())
        assert again.messages[0].content == message.content
        if kind.kind != dict[str, float]:
            error = complete("faux/x", "q", output=kind.kind, output_retries=0).error
            assert error is not None
            assert error.kind == "invalid_output"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Bill, f"Sure!\n```json\n{GOOD}\n```\nDone.", BILL),
        (Bill, f"```\n{GOOD}```", BILL),
        (Bill, f'Not {{"number": "1", "total": 0}} but {GOOD} [1]', BILL),
        (Bill, "{oh} " + GOOD, BILL),
        (Bill, '{"number": "7\n", "total": "1.5", "tags": null}', Bill(number="7\n", total=1.5)),
        (list[int], "The list: [1, 2]", [1, 2]),
        (Mixed, '{"value": null, "either": null}', Mixed(value=None)),
        (
            Person,
            '{"name": "A", "address": {"street": "B", "zip": "12345", "country": null},'
            ' "former": [{"street": "C", "zip": "54321", "country": null}], "colour": null}',
            Person(
                name="A",
                address={"street": "B", "zip": "12345"},  # type: ignore[arg-type]
                former=[{"street": "C", "zip": "54321"}],  # type: ignore[list-item]
            ),
        ),
        (
            Owner,
            '{"pet": {"kind": "cat", "lives": 9}, "other": {"kind": "dog", "tricks": []}}',
            Owner(
                pet={"kind": "cat", "lives": 9},  # type: ignore[arg-type]
                other={"kind": "dog", "tricks": []},  # type: ignore[arg-type]
            ),
        ),
        (PLAIN, '{"city": "Rome", "sky": null, "near": null}', {"city": "Rome"}),
    ],
)
def test_an_answer_is_read_with_forbearance(kind: Any, text: str, value: Any) -> None:
    assert Output.of(kind).parse(text) == value


WHOLE = "(all)"


@pytest.mark.parametrize(
    ("kind", "text", "lines"),
    [
        (Bill, "", [f"{WHOLE}: it is empty"]),
        (Bill, "Sorry.", [f"{WHOLE}: it holds no JSON object"]),
        (  # no part of what is broken passes for the whole
            Line,
            '{"text": "a", "price": {"text": "b", "price": 1}, "count": ',
            [f"{WHOLE}: it is not valid JSON: Expecting value: line 1 column 60 (char 59)"],
        ),
        (dict[str, Any], '{"a":' * 900 + "1" + "}" * 900, [f"{WHOLE}: it is nested too deeply"]),
        (Bill, BAD, ["total: Field required"]),
        (
            Invoice,
            '{"number": 1, "total": "x", "lines": [{"text": "a", "price": -1}]}',
            [
                "number: Input should be a valid string",
                "total: Input should be a valid number, unable to parse string as a number",
                "lines[0].price: Input should be greater than or equal to 0",
            ],
        ),
        (Literal["a", "b"], '{"value": "c"}', ["(all): Input should be 'a' or 'b'"]),
        (
            PLAIN,
            '{"city": 1, "near": {}}',
            ["city: 1 is not of type 'string'", "near: 'name' is a required property"],
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_path(kind: Any, text: str, lines: list[str]) -> None:
    with pytest.raises(OutputValidationError) as caught:
        Output.of(kind).parse(text)
    assert caught.value.problems == lines
    assert str(pickle.loads(pickle.dumps(caught.value))) == "\n".join(lines)


def test_a_validator_that_fails_is_told() -> None:
    class Odd(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _check(cls, value: int) -> int:
            if value == 1:
                raise ValueError("not one")
            raise KeyError("a bug")

    for number, text in ((1, "x: Value error, not one"), (2, "KeyError: 'a bug'")):
        with faux.script(json.dumps({"x": number})):
            error = complete("faux/x", "q", output=Odd, output_retries=0).error
        assert error is not None
        assert text in error.message


@pytest.mark.parametrize("kind", [42, Invoice(number="1", total=1), object(), lambda: 1])
def test_what_is_no_type_is_refused(kind: Any) -> None:
    with faux.script() as provider, pytest.raises(TypeError, match="output= takes a type"):
        complete("faux/x", "q", output=kind)
    assert provider.calls == 0


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match="no JSON Schema: 'objekt'"):
        complete("faux/x", "q", output={"type": "objekt"})
    with pytest.raises(ValueError, match="another schema: https://example"):
        complete("faux/x", "q", output={"$ref": "https://example.com/schema.json"})
    with pytest.raises(ValueError, match="output_mode is one of native, tool, prompt"):
        complete("faux/x", "q", output=Bill, output_mode="json")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="output_retries is 0 or more"):
        complete("faux/x", "q", output=Bill, output_retries=-1)
    with pytest.raises(TypeError, match="output_retries"):
        stream("faux/x", "q", output=Bill, output_retries=1)  # type: ignore[call-overload]


def test_a_request_without_a_type_loads_nothing_of_this() -> None:
    code = (
        "import sys; from pipy_ai import complete; complete('faux/echo', 'q');"
        "assert not {'pipy_ai.output.schema', 'pipy_ai.utils.json_schema', 'jsonschema'} & {*sys.modules};"
        "complete('faux/echo', '{\"value\": 1}', output=int).parsed;"
        "assert 'jsonschema' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- The real model -------------------------------------------------------------------------


class Place(BaseModel):
    city: Literal["Paris", "Rome"]
    stars: Annotated[int, Field(ge=1, le=5)]
    sights: Annotated[list[Literal["tower", "forum", "bridge"]], Field(min_length=1, max_length=2)]


@pytest.mark.usefixtures("weights")
@pytest.mark.parametrize("mode", ["native", "tool"])
def test_the_embedded_model_fills_a_model(mode: Any) -> None:
    s = stream("local/smollm2", "Where is the forum?", output=Place, output_mode=mode)
    partials = [event.parsed_partial for event in s]
    message = s.result()
    assert message.error is None, message.error
    assert isinstance(message.parsed, Place)
    assert {"city": message.parsed.city} in partials


def test_the_model_behind_a_server_fills_a_model(llama: str, transport: str) -> None:
    body = {"chat_template_kwargs": {"enable_thinking": False}}
    asked: dict[str, Any] = {
        "api_base": llama, "temperature": 0, "max_tokens": 100, "extra": {"extra_body": body},
    }  # fmt: skip
    message = complete("hosted_vllm/smollm2", "Where is the forum?", output=Place, **asked)
    assert message.error is None, message.error
    assert isinstance(message.parsed, Place)
    letter = complete("hosted_vllm/smollm2", "Which?", output=Literal["a", "b"], **asked)
    assert letter.parsed in ("a", "b")
