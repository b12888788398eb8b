"""Test the Gemini wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
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
