"""Test the names and schemas under which tools are sent, on every wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import Context, Tool, ToolCall, UserMessage, complete, ctx, preview, tool_result
from pipy_ai.errors import BadRequestError
from pipy_ai.tools import validate_tool_call

from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    GEMINI,
    RESPONSES,
    WIRES,
    Wire,
    say,
    tool,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

TEXT = {"type": "string"}
UNION = {
    "type": "object",
    "properties": {"file": TEXT, "dir": TEXT},
    "anyOf": [{"required": ["file"]}, {"required": ["dir"]}],
}


def way(lab: Lab, wire: Wire, **options: Any) -> dict[str, Any]:
    return {"api_base": wire.base(lab), "api_key": "sk-0123456789", "max_retries": 0, **options}


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def sent_tools(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of a request: name, and schema as `parameters`."""
    if "toolConfig" in body and "messages" in body:  # Bedrock
        specs = [tool["toolSpec"] for tool in body["toolConfig"]["tools"] if "toolSpec" in tool]
        return [{"name": spec["name"], "parameters": spec["inputSchema"]["json"]} for spec in specs]
    tools = body["tools"]
    if "functionDeclarations" in tools[0] or "function_declarations" in tools[0]:
        (tools,) = tools[0].values()
    functions = [one.get("function", one) for one in tools]
    return [
        {"name": one["name"], "parameters": one.get("parameters") or one.get("input_schema") or {}}
        for one in functions
    ]


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_one_bad_tool_does_not_fail_the_request(lab: Lab, wire: Wire, transport: str) -> None:
    tools = [
        Tool(name="nothing", parameters={}),
        Tool(name="bare", parameters={"type": "object"}),
        Tool(name="union", parameters=UNION),
        Tool(name="pair", parameters={"type": "object", "properties": {
            "at": {"type": "array", "prefixItems": [TEXT, {"type": "number"}]}}}),
        Tool(name="look", parameters={"type": "object", "properties": {
            "id": {"type": "string", "pattern": "^(?!0)"}}}),
        Tool(name="old", parameters={"type": "object", "properties": {
            "n": {"type": "integer", "minimum": 0, "exclusiveMinimum": True}}}),
    ]  # fmt: skip
    lab.play(wire.scene(say("ok")))
    message = complete(wire.model, ctx("q", tools=tools), **way(lab, wire, transport=transport))
    assert message.text == "ok"
    assert [w.code for w in message.warnings] == ["tool_schema_changed"]
    assert "'union' was sent with all properties" in message.warnings[0].message
    body = lab.seen[0].json
    if transport == "direct":
        assert violations(lab.seen[0].path, body) == []
    union = sent_tools(body)[2]["parameters"]
    assert set(union["properties"]) == {"file", "dir"}
    assert not union.keys() & {"anyOf", "oneOf", "allOf"}


NAMES = ("files.read/all", "x" * 80, "übung", "a b", "a_b", "2nd")


@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_names_are_replaced_and_restored(lab: Lab, wire: Wire, transport: str) -> None:
    tools = [Tool(name=name, parameters={"type": "object", "properties": {}}) for name in NAMES]
    context = ctx("q", tools=tools)
    options = way(lab, wire, transport=transport)
    if wire is not COHERE and wire.forces_calls:  # Cohere's would be the only one that is sent
        options["tool_choice"] = "files.read/all"
    body = preview(wire.model, context, **options).body
    sent = [one["name"] for one in sent_tools(body)]
    assert len(set(sent)) == len(NAMES)
    assert sent[4] == "a_b"
    if "tool_choice" in options:
        assert sent[0] in json.dumps(body.get("tool_choice") or body.get("toolConfig"))
    lab.play(
        wire.scene(tool("c1", sent[0], "{}"), tool("c2", sent[4], "{}"), stop="tool"),
        wire.scene(say("ok")),
    )
    message = complete(wire.model, context, **options)
    assert [call.name for call in message.tool_calls] == ["files.read/all", "a_b"]
    assert {w.code for w in message.warnings} == {"tool_name_changed"}
    assert "'files.read/all'" in message.warnings[0].message
    context.messages += [message, *(tool_result(call, "x") for call in message.tool_calls)]
    complete(wire.model, context, **way(lab, wire, transport=transport))
    text = json.dumps(lab.seen[1].json, ensure_ascii=False)
    assert "files.read/all" not in text
    if transport == "direct":
        assert violations(lab.seen[1].path, lab.seen[1].json) == []


def test_calls_of_other_hosts_are_renamed(lab: Lab) -> None:
    """A conversation began where other names are valid."""
    call = ToolCall(id="c1", name="files.read", arguments={})
    answer = complete("faux/echo", "q")
    answer.content = [call]
    messages = [UserMessage(content="q"), answer, tool_result(call, "x")]
    lab.play(CHAT.scene(say("ok")))
    complete(CHAT.model, Context(messages=messages), **way(lab, CHAT))
    assert lab.seen[0].json["messages"][1]["tool_calls"][0]["function"]["name"] == "files_read"


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_call_without_a_name_gets_one(wire: Wire, transport: str) -> None:
    """Every API would reject the conversation otherwise."""
    call = ToolCall(id="c1", name="", arguments={})
    answer = complete("faux/echo", "q")
    answer.content = [call]
    messages = [UserMessage(content="q"), answer, tool_result(call, "x")]
    options: dict[str, Any] = {"api_key": "k", "transport": transport}
    body = json.dumps(preview(wire.model, Context(messages=messages), **options).body)
    assert '"name": ""' not in body
    assert '"name": "_"' in body


@pytest.mark.parametrize(
    "choice",
    [
        "files.read",
        {"type": "tool", "name": "files.read"},
        {"type": "function", "function": {"name": "files.read"}},
    ],
)
def test_forced_tool_has_its_new_name(choice: Any) -> None:
    context = ctx("q", tools=[Tool(name="files.read"), Tool(name="look")])
    shown = preview("anthropic/claude-sonnet-4-5", context, tool_choice=choice, api_key="k")
    assert shown.body["tool_choice"] == {"type": "tool", "name": "files_read"}


def test_names_that_a_vendor_accepts_are_kept() -> None:
    for model, name in (
        ("anthropic/claude-sonnet-4-5", "x" * 128),
        ("gemini/gemini-2.5-flash", "files.read:all"),
        ("openai/gpt-4o", "2nd"),
    ):
        shown = preview(model, ctx("q", tools=[Tool(name=name)]), api_key="k")
        assert name in json.dumps(shown.body)
        assert not shown.warnings


def test_illegal_property_names_of_anthropic(lab: Lab) -> None:
    schema = {
        "type": "object",
        "properties": {"filter[id]": TEXT, "$top": {"type": "integer"}},
        "required": ["filter[id]"],
        "additionalProperties": False,
    }
    query = Tool(name="query", parameters=schema)
    lab.play(
        ANTHROPIC.scene(tool("c1", "query", '{"filter_id_": "7", "_top": 3}'), stop="tool"),
        ANTHROPIC.scene(tool("c1", "query", '{"filter_id_": 7, "_top": "3"}'), stop="tool"),
    )
    for _ in range(2):  # the second answer needs conversions, too
        message = complete(ANTHROPIC.model, ctx("q", tools=[query]), **way(lab, ANTHROPIC))
        assert [w.code for w in message.warnings] == ["tool_schema_changed"]
        assert violations(lab.seen[0].path, lab.seen[0].json) == []
        arguments = validate_tool_call([query], message.tool_calls[0])
        assert arguments == {"filter[id]": "7", "$top": 3}
    for wire in (CHAT, RESPONSES, GEMINI):
        shown = preview(wire.model, ctx("q", tools=[query]), **way(lab, wire))
        assert "filter[id]" in json.dumps(shown.body)
        assert not shown.warnings


def test_loosened_schema_is_still_validated() -> None:
    from pipy_ai import ToolValidationError

    call = ToolCall(name="union", arguments={})
    with pytest.raises(ToolValidationError):
        validate_tool_call([Tool(name="union", parameters=UNION)], call)
    nullable = {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}}
    call = ToolCall(name="f", arguments={"a": None})
    assert validate_tool_call([Tool(name="f", parameters=nullable)], call) == {"a": None}


@pytest.mark.parametrize("levels", [150, 3000])
def test_schema_that_is_too_deep_for_the_embedded_model(levels: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {"type": "object", "properties": {"a": deep}}
    with pytest.raises(BadRequestError, match="'digger'"):
        preview("local/smollm2", ctx("q", tools=[Tool(name="digger", parameters=deep)]))


@pytest.mark.parametrize("levels", [150, 3000])
def test_schema_that_is_too_deep_names_the_tool(lab: Lab, wire: Wire, levels: int) -> None:
    deep: dict[str, Any] = {}
    for _ in range(levels):
        deep = {"type": "object", "properties": {"a": deep}}
    context = ctx("q", tools=[Tool(name="digger", parameters=deep)])
    message = complete(wire.model, context, **way(lab, wire))
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "the schema of the tool 'digger' cannot be sent" in message.error.message
    assert lab.seen == []
