"""Test the Gemini wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    complete,
    ctx,
    preview,
    stream,
)

from ..support.event_grammar import check_events
from ..support.scripted_server import Lab, sse
from ..support.wire_formats import GEMINI, Wire, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.litellm
def test_top_level_parameter_is_moved_to_generation_config(july: Any) -> None:
    """Google refuses it where the caller wrote it, at the top."""
    body = preview("google/gemini-2.5-flash", "q", extra={"top_k": 40}).body
    assert "top_k" not in body
    assert body["generationConfig"] == {"top_k": 40}  # Google reads both spellings
    safe = {"safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}]}
    assert preview("google/gemini-2.5-flash", "q", extra=safe).body["safetySettings"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("LANGUAGE", "content_filter"),
        ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
        ("MALFORMED_RESPONSE", "server"),
        ("TOO_MANY_TOOL_CALLS", "server"),
        ("MISSING_THOUGHT_SIGNATURE", "server"),
        ("OTHER", "server"),
    ],
)
def test_finish_reasons_without_content(lab: Lab, reason: str, kind: str) -> None:
    lab.play(sse({"candidates": [{"finishReason": reason}]}))
    base = lab.url.replace("/v1", "/v1beta")
    message = complete("google/gemini-2.5-flash", "q", api_base=base, api_key="k", max_retries=0)
    assert message.error is not None
    assert message.error.kind == kind
    assert message.raw_stop_reason == reason


def test_gemini_3_gets_signatures_and_ids() -> None:
    call = ToolCall(id="c1", name="f", arguments={}, thought_signature="own")
    mine = AssistantMessage(
        provider="google", model="gemini-3-flash-preview", api="google-generative-ai",
        content=[call, ToolCall(id="c2", name="f")], stop_reason="toolUse",
    )  # fmt: skip
    foreign = mine.model_copy(update={"provider": "acme"})
    results = [ToolResultMessage(tool_call_id=i, tool_name="f") for i in ("c1", "c2")]
    for turn, signature in (
        (mine, "own"),
        (foreign, "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="),
    ):
        context = ctx("q", turn, *results, tools=[Tool(name="f")])
        body = preview("google/gemini-3-flash-preview", context).body
        first, second = body["contents"][1]["parts"]
        assert first["thoughtSignature"] == signature
        assert "thoughtSignature" not in second  # the first of parallel calls carries it
        ids = [part["functionResponse"]["id"] for part in body["contents"][2]["parts"]]
        assert ids == [first["functionCall"]["id"], second["functionCall"]["id"]]


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


KEY = "sk-very-secret-0123456789"


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


@pytest.mark.usefixtures("transport")
def test_call_signature_is_not_in_the_id(lab: Lab) -> None:
    lab.play(GEMINI.scene(tool("", "f", '{"x": 1}', signature="c2ln"), stop="tool"))
    [call] = ask(lab, GEMINI).tool_calls
    assert call.thought_signature == "c2ln"
    assert call.id
    assert "c2ln" not in call.id


@pytest.mark.usefixtures("transport")
def test_blocked_responses_and_prompts(lab: Lab) -> None:
    for raw, kind in (("MALFORMED_FUNCTION_CALL", "server"), ("RECITATION", "content_filter")):
        scene = [
            part.replace(b'"STOP"', json.dumps(raw).encode()) for part in GEMINI.scene(say("so"))
        ]
        lab.play(scene)
        message = ask(lab, GEMINI)
        assert message.error is not None
        assert (message.error.kind, message.raw_stop_reason) == (kind, raw)
    lab.play(sse({"promptFeedback": {"blockReason": "SAFETY"}}))
    message = ask(lab, GEMINI)
    assert message.error is not None
    assert message.error.kind == "content_filter"


@pytest.mark.usefixtures("transport")
def test_call_in_several_parts(lab: Lab) -> None:
    parts = [{"name": "f", "args": {}}, {"args": {"x": 1}}, {"name": "f", "args": {"x": 2}}]
    chunks = [{"candidates": [{"content": {"parts": [{"functionCall": p}]}}]} for p in parts]
    lab.play(sse(*chunks, {"candidates": [{"finishReason": "STOP"}]}))
    message = ask(lab, GEMINI)
    assert [(call.name, call.arguments) for call in message.tool_calls] == [
        ("f", {"x": 1}), ("f", {"x": 2}),
    ]  # fmt: skip


def _chunk(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **fields}]}


THOUGHT = {"text": "hm", "thought": True}
CALL = {"functionCall": {"name": "lookup", "args": {}, "id": "call_1"}}
SIGNED = {"thoughtSignature": "c2ln"}


@pytest.mark.parametrize("empty", [{"text": "", **SIGNED}, SIGNED])
@pytest.mark.parametrize(
    ("parts", "returned"),
    [
        ([THOUGHT, {"text": "Hi"}], [{"text": "Hi", **SIGNED}]),
        ([THOUGHT], [{"text": "", **SIGNED}]),
        ([THOUGHT, {**CALL, **SIGNED}], [{**CALL, **SIGNED}, {"text": "", **SIGNED}]),
    ],
)
def test_signature_of_a_part_without_text_is_returned(
    lab: Lab, july: Any, parts: Any, returned: Any, empty: Any
) -> None:
    """Gemini may send it with the last part of a response."""
    chunks = [*map(_chunk, parts), _chunk(empty, finishReason="STOP")]
    lab.play(sse(*chunks))
    model = "google/gemini-3.1-pro-preview"
    events = list(stream(model, "q", api_base=GEMINI.base(lab), api_key="k"))
    message = check_events(events)
    restored = AssistantMessage.model_validate_json(message.model_dump_json())
    results = [
        ToolResultMessage(tool_call_id=call.id, tool_name=call.name, content=[])
        for call in restored.tool_calls
    ]
    sent = preview(model, ctx("q", restored, *(results or ["go on"]))).body["contents"][1]
    assert sent["parts"] == returned
    # Another model gets neither the signature nor the empty part.
    other = preview("google/gemini-2.5-pro", ctx("q", restored, *(results or ["go on"]))).body
    assert "c2ln" not in json.dumps(other)
    assert '"text": ""' not in json.dumps(other)


@pytest.mark.parametrize("transport", ["direct", "litellm"])
@pytest.mark.parametrize("choice", [None, "auto", "required"])
def test_provider_tools_beside_functions(july: Any, transport: Any, choice: str | None) -> None:
    """Gemini 3 wants a flag and has no mode AUTO then; older models take one kind."""
    options: dict[str, Any] = {
        "extra": {"tools": [{"googleSearch": {}}]},
        "tool_choice": choice,
        "transport": transport,
        "api_key": "k",
    }
    context = ctx("q", tools=[Tool(name="lookup", description="d")])
    shown = preview("google/gemini-3.1-pro-preview", context, **options)
    assert "lookup" in json.dumps(shown.body["tools"])
    assert "googleSearch" in json.dumps(shown.body["tools"])
    config = shown.body["toolConfig"]
    assert config["includeServerSideToolInvocations"] is True
    if transport == "direct":
        mode = (config.get("functionCallingConfig") or {}).get("mode")
        assert mode == {None: None, "auto": "VALIDATED", "required": "ANY"}[choice]
    older = preview("google/gemini-2.5-flash", context, **options)
    assert "lookup" in json.dumps(older.body["tools"])
    assert "googleSearch" not in json.dumps(older.body["tools"])
    assert "option_ignored" in [warning.code for warning in older.warnings]


def test_files_of_results_are_inside_of_the_response_from_gemini_3_on(july: Any) -> None:
    image = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
    call = ToolCall(id="call_1", name="camera", arguments={})
    result = ToolResultMessage(tool_call_id="call_1", tool_name="camera", content=[image])
    turn = AssistantMessage(content=[call], stop_reason="toolUse")
    for model, inside in (("gemini-3-flash-preview", True), ("gemini-2.5-flash", False)):
        parts = preview(f"google/{model}", ctx("q", turn, result)).body["contents"][2]["parts"]
        assert ("parts" in parts[0]["functionResponse"]) is inside
        assert len(parts) == (1 if inside else 2)
        assert "iVBORw0KGgo=" in json.dumps(parts)


def test_no_schema_after_calls_or_with_a_forced_call(july: Any) -> None:
    call = ToolCall(id="call_1", name="lookup", arguments={})
    result = ToolResultMessage(tool_call_id="call_1", tool_name="lookup", content=[])
    turn = AssistantMessage(content=[call], stop_reason="toolUse")
    schema = {"type": "object", "properties": {"n": {"type": "string"}}, "required": ["n"]}
    after_calls = preview("google/gemini-2.5-flash", ctx("q", turn, result), output=schema).body
    assert "responseSchema" not in after_calls.get("generationConfig", {})
    tools = ctx("q", tools=[Tool(name="lookup", description="d")])
    model = "google/gemini-3-flash-preview"
    forced = preview(model, tools, output=schema, tool_choice="required").body
    assert "responseSchema" not in forced.get("generationConfig", {})
    assert "responseSchema" in preview(model, tools, output=schema).body["generationConfig"]
