"""Test which output mode is used where a host, a model or a limit rules one out."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model

from pipy_ai import Tool, complete, ctx, preview, stream, validate_tool_call

from ..support.schema_rules import anthropic_refuses, gemini_refuses, openai_refuses
from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import ANTHROPIC, CHAT, WIRES, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("july"),
]


class Bill(BaseModel):
    """A bill."""

    number: str
    total: float = 0


LOOK = Tool(name="look", description="Look.")
GOOD = '{"number": "7", "total": 1.5}'


def mode_of(body: dict[str, Any]) -> str:
    """Return how a request asks for the type."""
    config = body.get("generationConfig") or {}
    form = (body.get("response_format") or {}).get("type")
    if form == "json_schema" or "text" in body or "output_config" in body:
        return "native"
    if "responseSchema" in config:
        return "native"
    if form == "json_object":
        return "json_object"
    return "tool" if "Give the final answer by calling this" in json.dumps(body) else "prompt"


@pytest.mark.parametrize(
    ("model", "tools", "mode"),
    [
        ("deepseek/deepseek-v4-flash", None, "json_object"),
        ("deepseek/deepseek-reasoner", None, "json_object"),
        ("deepseek/deepseek-v4-pro", [LOOK], "prompt"),
        ("zai/glm-4.7", None, "json_object"),
        ("zai-coding-plan/glm-4.6", None, "json_object"),
        ("zhipuai/glm-4.7", [LOOK], "prompt"),
        ("groq/openai/gpt-oss-120b", None, "native"),
        ("groq/openai/gpt-oss-120b", [LOOK], "tool"),
        ("openai/gpt-5-mini", [LOOK], "native"),
        ("openai/gpt-5.4", [LOOK], "native"),
        ("gemini/gemini-2.5-flash", [LOOK], "tool"),
        ("gemini/gemini-3-flash-preview", [LOOK], "native"),
        ("xai/grok-4.3", [LOOK], "native"),
    ],
)
@pytest.mark.parametrize("transport", ["direct", "litellm"])
def test_mode_of_each_host(model: str, tools: Any, mode: str, transport: Any) -> None:
    shown = preview(model, ctx("q", tools=tools), output=Bill, api_key="k", transport=transport)
    body = json.loads(json.dumps(shown.body).replace("response_json_schema", "responseSchema"))
    assert mode_of(body) == mode
    assert not [w for w in shown.warnings if w.code == "output_mode_changed"]
    if mode in ("json_object", "prompt"):
        assert "JSON Schema" in json.dumps(body)
        assert body.get("tool_choice") in (None, "auto")


@pytest.mark.parametrize("model", ["deepseek/deepseek-v4-flash", "zai/glm-4.7"])
def test_native_mode_of_a_host_without_schemas(model: str) -> None:
    shown = preview(model, "q", output=Bill, output_mode="native", api_key="k")
    assert mode_of(shown.body) == "json_object"
    assert [w.code for w in shown.warnings] == ["output_mode_changed"]
    assert "does not accept a schema" in shown.warnings[0].message


def test_json_object_answer_is_parsed(lab: Lab) -> None:
    lab.play(CHAT.scene(say(GOOD)))
    options = {"api_base": CHAT.base(lab), "api_key": "k", "max_retries": 0}
    message = complete("deepseek/deepseek-v4-flash", "q", output=Bill, **options)  # type: ignore[call-overload]
    assert message.parsed == Bill(number="7", total=1.5)
    assert message.warnings == []


def big(count: int, kind: Any = str, default: Any = ...) -> type[BaseModel]:
    fields: dict[str, Any] = {f"field_{n}": (kind, default) for n in range(count)}
    return create_model("Big", **fields)


def deep(levels: int) -> Any:
    kind: Any = create_model("Level0", x=(int, ...))
    for number in range(1, levels):
        kind = create_model(f"Level{number}", inner=(kind, ...))
    return kind


LONG_ENUM = {"type": "object", "properties": {"a": {"enum": [f"v{n}" for n in range(1_001)]}}}


@pytest.mark.parametrize(
    ("model", "kind", "mode", "says"),
    [
        ("openai/gpt-5-mini", big(5_001), "tool", "5,001 properties (at most 5,000)"),
        ("openai/gpt-5.4", big(5_001), "tool", "5,001 properties"),
        ("openai/gpt-5-mini", deep(11), "tool", "11 levels of objects (at most 10)"),
        ("openai/gpt-5.4", LONG_ENUM, "tool", "1,001 enum values"),
        ("azure/gpt-4o", LONG_ENUM, "tool", "1,001 enum values"),
        ("anthropic/claude-opus-4-7", big(25, str, "x"), "tool", "25 optional fields (at most 24)"),
        ("anthropic/claude-opus-4-7", big(17, str | None), "tool", "17 unions (at most 16)"),
        # The limits are the model's, whoever hosts it.
        ("openrouter/openai/gpt-5-mini", LONG_ENUM, "tool", "1,001 enum values"),
        ("openrouter/anthropic/claude-sonnet-4.5", big(17, str, "x"), "tool", "17 unions"),
        ("gemini/gemini-3-flash-preview", big(3_000, list[float]), "prompt", "characters"),
    ],
)  # fmt: skip
def test_schema_beyond_a_limit(model: str, kind: Any, mode: str, says: str) -> None:
    """The next mode is used, and a warning says why, asked for or not."""
    native = preview(
        model, "q", output=kind, output_mode="native", api_key="k", api_base="http://h"
    )
    assert mode_of(native.body) == mode
    assert [w.code for w in native.warnings] == ["output_mode_changed"]
    assert says in native.warnings[0].message
    default = preview(model, "q", output=kind, api_key="k", api_base="http://h")
    assert mode_of(default.body) == mode
    if model.partition("/")[0] in ("openai", "gemini"):
        assert default.warnings == native.warnings


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        ("openai/gpt-5-mini", big(5_000)),
        ("openai/gpt-5-mini", deep(10)),
        ("anthropic/claude-opus-4-7", big(24, str, "x")),
        ("anthropic/claude-opus-4-7", big(16, str | None)),
        ("gemini/gemini-3-flash-preview", big(500)),
    ],
)
def test_schema_within_the_limits(model: str, kind: Any) -> None:
    shown = preview(model, "q", output=kind, output_mode="native", api_key="k")
    assert mode_of(shown.body) == "native"
    assert not shown.warnings
    if "openai" in model:
        assert openai_refuses(shown.body["response_format"]["json_schema"]["schema"]) == []
    elif "claude" in model:
        assert anthropic_refuses(shown.body["output_config"]["format"]["schema"]) == []
    else:
        assert gemini_refuses(shown.body["generationConfig"]["responseSchema"]) == []


class Thing(BaseModel):
    kind: str = Field(alias="@type")
    price: float = Field(alias="price (EUR)")


@pytest.mark.parametrize("mode", ["native", "tool"])
def test_field_names_that_anthropic_rejects(lab: Lab, mode: Any) -> None:
    lab.play(
        ANTHROPIC.scene(tool("c1", "Thing", '{"_type": "pen", "price__EUR_": 2}'), stop="tool")
    )
    options: Any = {"api_base": ANTHROPIC.base(lab), "api_key": "k", "max_retries": 0}
    message = complete(ANTHROPIC.model, "q", output=Thing, output_mode=mode, **options)
    assert (message.parsed.kind, message.parsed.price) == ("pen", 2)
    assert violations(lab.seen[0].path, lab.seen[0].json) == []
    codes = ["output_mode_changed"] * (mode == "native") + ["tool_schema_changed"]
    assert [w.code for w in message.warnings] == codes


LOOSE = {
    "name": "set",
    "parameters": {
        "type": "object",
        "properties": {"price (EUR)": {"type": "number"}, "more": {"type": "object"}},
        "additionalProperties": True,
    },
}
SENT = {"price__EUR_": 2, "more": {"price__EUR_": 3}}


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_arguments_of_renamed_properties(lab: Lab, wire: Any, transport: Any) -> None:
    """Only Anthropic is sent other names; elsewhere such a key is the model's own."""
    lab.play(wire.scene(tool("c1", "set", json.dumps(SENT)), stop="tool"))
    options: Any = {
        "api_base": wire.base(lab), "api_key": "k", "max_retries": 0, "transport": transport,
    }  # fmt: skip
    run = stream(wire.model, ctx("q", tools=[LOOSE]), **options)
    ended = [event.tool_call for event in run if event.type == "toolcall_end"]
    expected = {"price (EUR)": 2, "more": SENT["more"]} if wire is ANTHROPIC else SENT
    assert ended[0].arguments == expected
    [call] = run.result().tool_calls
    assert validate_tool_call([LOOSE], call) == expected
    assert pickle.loads(pickle.dumps(run.result())).tool_calls == [call]


def test_stream_with_tools_and_type(lab: Lab) -> None:
    """On a host without both, the answer is a call: its events show it."""
    lab.play(CHAT.scene(tool("c1", "Bill", GOOD), stop="tool"))
    options: Any = {"api_base": CHAT.base(lab), "api_key": "k", "max_retries": 0}
    events = stream("groq/openai/gpt-oss-120b", ctx("q", tools=[LOOK]), output=Bill, **options)
    assert [event.type for event in events][1] == "toolcall_start"
    assert events.result().parsed == Bill(number="7", total=1.5)
    assert lab.seen[0].json["tool_choice"] == "required"
