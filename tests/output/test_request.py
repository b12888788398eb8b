"""Test how a type becomes a request, in three modes on four wires."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from pipy_ai import Tool, complete, ctx, preview, register_provider, stream
from pipy_ai.provider.registered import unregister_provider

from ..support.schema_cases import KINDS
from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    CONVERSE,
    GEMINI,
    OLLAMA,
    RESPONSES,
    WIRES,
    Wire,
    say,
    think,
    tool,
)

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
    """Return a response in an output mode: a call, text, or text with other text around it."""
    if mode == "tool":
        return wire.scene(tool("c1", "Bill", text[:9], text[9:]), stop="tool", **more)
    if mode == "prompt":
        return wire.scene(say("Here {it} is:\n```json\n", text, "\n```\nAnything else?"), **more)
    return wire.scene(say(text[:9], text[9:]), **more)


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
COHERE_BILL = {name: value for name, value in CLOSED_BILL.items() if name[:2] != "ad"}
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
    CONVERSE.name: (
        {
            "outputConfig": {
                "textFormat": {
                    "type": "json_schema",
                    "structure": {"jsonSchema": {"name": "Bill", "schema": CLOSED_BILL}},
                }
            }
        },
        {
            "toolConfig": {
                "tools": [{"toolSpec": {**CALL, "inputSchema": {"json": PLAIN_BILL}}}],
                "toolChoice": {"tool": {"name": "Bill"}},
            }
        },
    ),
    OLLAMA.name: (
        {"format": STRICT_BILL},
        {"tools": [{"type": "function", "function": {**CALL, "parameters": PLAIN_BILL}}]},
    ),
    COHERE.name: (
        {"response_format": {"type": "json_object", "json_schema": COHERE_BILL}},
        {
            "tools": [{"type": "function", "function": {**CALL, "parameters": PLAIN_BILL}}],
            "tool_choice": "REQUIRED",
        },
    ),
}
SYSTEM: dict[str, Callable[[Any], Any]] = {
    CHAT.name: lambda body: body["messages"][0]["content"],
    COHERE.name: lambda body: body["messages"][0]["content"],
    RESPONSES.name: lambda body: body["instructions"],
    ANTHROPIC.name: lambda body: body["system"][0]["text"],
    CONVERSE.name: lambda body: body["system"][0]["text"],
    OLLAMA.name: lambda body: body["messages"][0]["content"],
    GEMINI.name: lambda body: (
        body.get("systemInstruction") or body["system_instruction"]
    )["parts"][0]["text"],
}  # fmt: skip
DEFAULTS = {CHAT.name: "native", RESPONSES.name: "native", GEMINI.name: "native",
            ANTHROPIC.name: "tool", CONVERSE.name: "tool", OLLAMA.name: "native",
            COHERE.name: "tool"}  # fmt: skip


@pytest.mark.parametrize("mode", ["native", "tool", "prompt", None])
def test_request_and_value(lab: Lab, wire: Wire, mode: Any, transport: str) -> None:
    if transport == "litellm" and wire is CONVERSE and mode == "native":
        pytest.skip("LiteLLM replaces the schema by a tool, and does not stream")
    used = mode or DEFAULTS[wire.name]
    lab.play(wire.scene(say("x")), answer(wire, used, GOOD), answer(wire, used, GOOD))
    context = ctx("q", system="Be brief.")
    complete(wire.model, context, **way(lab, wire, cache_retention="none"))
    keywords = way(lab, wire, cache_retention="none", output=Bill, output_mode=mode)
    message = complete(wire.model, context, **keywords)
    assert message.parsed == BILL
    assert (message.stop_reason, message.error) == ("stop", None)
    unforced = used == "tool" and not wire.forces_calls
    assert [w.code for w in message.warnings] == ["tool_choice_changed"] * unforced
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
    if wire is CONVERSE and used == "native":
        definition = added["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        definition["schema"] = json.loads(definition["schema"])
    if used == "prompt" and wire is COHERE:
        expected = {"response_format": {"type": "json_object"}}
    if transport == "direct":
        assert added == expected
        complete(wire.model, context, **keywords)
        assert lab.seen[2].body == lab.seen[1].body  # prompt caches depend on it
    else:
        assert litellms(added) == litellms(copy.deepcopy(expected))


def litellms(added: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as LiteLLM sends them: snake_case names and another schema field for
    Gemini, and no title or description of tool parameters for Anthropic; order does not count."""
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
    for one in added.get("toolConfig", {}).get("tools", ()):
        for name in ("title", "description"):
            one.get("toolSpec", {}).get("inputSchema", {}).get("json", {}).pop(name, None)
    for one in added.get("tools", ()):
        one.pop("type", None)
        for name in ("title", "description"):
            one.get("input_schema", {}).pop(name, None)
        for function in one.get("function_declarations", ()):
            function["parameters"]["properties"]["tags"].pop("default", None)
    return added


def test_request_body_is_unchanged(lab: Lab) -> None:
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


def test_open_type_is_not_strict() -> None:
    form = preview("openai/gpt-4o", "q", output=dict[str, int]).body["response_format"]
    assert form["json_schema"]["strict"] is False
    assert form["json_schema"]["schema"] == {
        "type": "object", "additionalProperties": {"type": "integer"}, "properties": {},
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
def test_fallback_from_native_mode(model: str, kind: Any, tools: Any, used: str) -> None:
    context = ctx("q", tools=tools)
    forced = preview(model, context, output=kind, output_mode="native")
    assert [w.code for w in forced.warnings] == ["output_mode_changed"] * (used != "native")
    other = preview(model, context, output=kind, output_mode=used)  # type: ignore[arg-type]
    assert forced.body == other.body
    if "claude" not in model:  # whose record promises nothing
        assert preview(model, context, output=kind) == other


def test_claude_is_not_forced_while_thinking(lab: Lab, transport: str) -> None:
    lab.play(ANTHROPIC.scene(think("hm", signature="s"), tool("c1", "Bill", GOOD), stop="tool"))
    keywords = way(lab, ANTHROPIC, output=Bill, reasoning="low", cache_retention="none")
    message = complete(ANTHROPIC.model, "q", **keywords)
    assert message.parsed == BILL
    assert [w.code for w in message.warnings] == ["tool_choice_changed"]
    body = lab.seen[0].json
    assert body["tool_choice"] == {"type": "auto"}
    assert "calling the function Bill" in body["system"][0]["text"]


def test_effort_and_format_are_merged(lab: Lab, transport: str) -> None:
    lab.play(ANTHROPIC.scene(say(GOOD)))
    keywords = way(lab, ANTHROPIC, output=Bill, output_mode="native", reasoning="high")
    assert complete("anthropic/claude-opus-4-7", "q", **keywords).parsed == BILL
    config = lab.seen[0].json["output_config"]
    assert config["effort"] == "high"
    assert config["format"]["schema"] == CLOSED_BILL


def test_custom_provider_uses_prompt_mode() -> None:
    async def parrot(request: Any) -> Any:
        assert "JSON Schema" in request.context.system_prompt
        yield GOOD

    register_provider("parrot", parrot)
    try:
        assert complete("parrot/x", "q", output=Bill).parsed == BILL
    finally:
        unregister_provider("parrot")


def test_wrong_use_is_rejected() -> None:
    with pytest.raises(ValueError, match="not a valid JSON Schema: 'objekt'"):
        complete("faux/x", "q", output={"type": "objekt"})
    with pytest.raises(ValueError, match="another schema: https://example"):
        complete("faux/x", "q", output={"$ref": "https://example.com/schema.json"})
    with pytest.raises(ValueError, match="output_mode must be one of native, tool, prompt"):
        complete("faux/x", "q", output=Bill, output_mode="json")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="output_retries must be 0 or more"):
        complete("faux/x", "q", output=Bill, output_retries=-1)
    with pytest.raises(TypeError, match="output_retries"):
        stream("faux/x", "q", output=Bill, output_retries=1)  # type: ignore[call-overload]


def test_request_without_a_type_loads_no_schema_code() -> None:
    code = (
        "import sys; from pipy_ai import complete; complete('faux/echo', 'q');"
        "heavy = {'pipy_ai.output.schema', 'pipy_ai.utils.json_schema', 'jsonschema'};"
        "assert not heavy & {*sys.modules};"
        "complete('faux/echo', '{\"value\": 1}', output=int).parsed;"
        "assert 'jsonschema' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
