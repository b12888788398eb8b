"""Test the Anthropic Messages wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ImageContent,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    complete,
    ctx,
    preview,
    stream,
    user,
)

from ..support.event_grammar import check_events
from ..support.scenarios import shape
from ..support.scripted_server import Lab, Status, sse
from ..support.wire_formats import ANTHROPIC, Counts, Wire, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def _turn(*content: Any, **fields: Any) -> AssistantMessage:
    return AssistantMessage(content=list(content), **{"stop_reason": "stop", **fields})


def test_called_tools_are_declared(july: Any) -> None:
    """It refuses calls and results in a conversation without tools; none shall be called now."""
    turn = _turn(*(ToolCall(id=i, name=n) for i, n in (("1", "f"), ("2", "g"), ("3", "f"))))
    results = [ToolResultMessage(tool_call_id=i) for i in ("1", "2", "3")]
    body = preview("anthropic/claude-sonnet-4-5", ctx("q", turn, *results)).body
    assert [tool["name"] for tool in body["tools"]] == ["f", "g"]
    assert body["tool_choice"] == {"type": "none"}
    assert "tools" not in preview("anthropic/claude-sonnet-4-5", "q").body


def test_trailing_whitespace_of_a_partial_message_is_stripped(july: Any) -> None:
    context = ctx("q", _turn(TextContent(text="Sure: \n")))
    [_, said] = preview("anthropic/claude-sonnet-4-5", context).body["messages"]
    assert said["content"] == [{"type": "text", "text": "Sure:"}]


def test_turn_does_not_end_with_thinking(july: Any) -> None:
    """Anthropic: "The final block in an assistant message cannot be `thinking`"."""
    thought = ThinkingContent(thinking="hm", thinking_signature="s")
    who = {"provider": "anthropic", "model": "claude-sonnet-4-5", "api": "anthropic-messages"}
    turn = _turn(thought, TextContent(text="Well"), thought, **who)
    body = preview("anthropic/claude-sonnet-4-5", ctx("q", turn, user("go on"))).body
    assert [b["type"] for b in body["messages"][1]["content"]] == ["thinking", "text"]


@pytest.mark.parametrize(
    ("model", "adaptive"),
    [
        ("claude-opus-4-9", True), ("claude-sonnet-6-20280101", True), ("claude-opus-4-10", True),
        ("claude-haiku-4-5-20990101", False), ("claude-3-7-sonnet-20990101", False),
        ("claude-sonnet-4-20990101", False),
    ],
)  # fmt: skip
def test_unknown_claude_model_thinks_like_its_family(july: Any, model: str, adaptive: bool) -> None:
    """From Opus 4.7 on a budget is refused."""
    thinking = preview(f"anthropic/{model}", "q", reasoning="low").body["thinking"]
    assert (thinking["type"] == "adaptive") is adaptive


def test_zeros_at_the_end_do_not_reset_usage(lab: Lab) -> None:
    first = {"id": "m", "model": "c", "usage": {"input_tokens": 9, "cache_read_input_tokens": 4}}
    last = {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2}
    lab.play(
        sse(
            {"type": "message_start", "message": first},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
            {"type": "content_block_delta", "index": 0,
             "delta": {"type": "text_delta", "text": "Hi"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
            {"type": "message_stop"},
        )
    )  # fmt: skip
    base = lab.url.removesuffix("/v1")
    message = complete("anthropic/claude-sonnet-4-5", "q", api_base=base, api_key="k")
    assert message.text == "Hi", message.error
    assert (message.usage.input, message.usage.cache_read, message.usage.output) == (9, 4, 2)


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
def test_server_side_tools_are_not_tool_calls(lab: Lab) -> None:
    events = list(ANTHROPIC.events([say("found it")], "stop", Counts()))
    block = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    server = [
        {"type": "content_block_start", "index": 7, "content_block": block},
        {"type": "content_block_delta", "index": 7,
         "delta": {"type": "input_json_delta", "partial_json": '{"query":"x"}'}},
        {"type": "content_block_stop", "index": 7},
    ]  # fmt: skip
    lab.play(sse(events[0], *server, *events[1:]))
    message = ask(lab, ANTHROPIC)
    assert shape(message) == [{"server": "web_search", "arguments": {"query": "x"}}, "found it"]
    assert message.tool_calls == []
    assert message.stop_reason == "stop"


@pytest.mark.usefixtures("transport")
@pytest.mark.parametrize(
    "deltas", [[], [""], ["{}"], ['{"x":', " 1}"]], ids=["none", "empty", "{}", "all"]
)
@pytest.mark.parametrize("stopped", [True, False])
def test_input_at_the_start_of_a_block(lab: Lab, deltas: list[str], stopped: bool) -> None:
    block = {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}}
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in deltas]
    events = [
        {"type": "message_start", "message": {"id": "m", "model": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *({"type": "content_block_delta", "index": 0, "delta": piece} for piece in pieces),
        *([{"type": "content_block_stop", "index": 0}] if stopped else []),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    ]
    lab.play(sse(*events))
    message = ask(lab, ANTHROPIC)
    assert shape(message) == [("f", {"x": 1})]
    assert message.stop_reason == "toolUse"


def test_thinking_between_calls_keeps_its_place() -> None:
    """LiteLLM puts calls last, which Anthropic refuses when thinking came between them."""
    turn = AssistantMessage(
        provider="anthropic", model="claude-sonnet-4-5", api="anthropic-messages",
        stop_reason="toolUse",
        content=[
            ThinkingContent(thinking="a", thinking_signature="s1"),
            ToolCall(id="c1", name="f", arguments={}),
            ThinkingContent(thinking="b", thinking_signature="s2"),
            ToolCall(id="c2", name="f", arguments={}),
        ],
    )  # fmt: skip
    results = [ToolResultMessage(tool_call_id=i, tool_name="f") for i in ("c1", "c2")]
    context = ctx("q", turn, *results, tools=[Tool(name="f")])
    body = preview("anthropic/claude-sonnet-4-5", context).body
    kinds = [block["type"] for block in body["messages"][1]["content"]]
    assert kinds == ["thinking", "tool_use", "thinking", "tool_use"]


PICTURE = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")


def _failed(call: ToolCall, *content: Any) -> ToolResultMessage:
    return ToolResultMessage(
        tool_call_id=call.id, tool_name=call.name, content=list(content), is_error=True
    )


@pytest.mark.parametrize("text", ["not found", ""])
@pytest.mark.parametrize("last", ["result", "user"])
def test_error_result_holds_text_only(july: Any, text: str, last: str) -> None:
    """Its files follow all results: the API wants results first."""
    calls = [ToolCall(id=f"call_{number}", name="f", arguments={}) for number in range(2)]
    results: list[Any] = [
        _failed(calls[0], *([TextContent(text=text)] if text else []), PICTURE),
        _failed(calls[1], PICTURE, PICTURE),
    ]
    turn = _turn(*calls, stop_reason="toolUse")
    context = ctx("q", turn, *results, *(["And now?"] if last == "user" else []))
    message = preview("anthropic/claude-sonnet-4-5", context).body["messages"][2]
    kinds = [block["type"] for block in message["content"]]
    assert kinds[:5] == ["tool_result", "tool_result", "image", "image", "image"]
    assert kinds[5:] == (["text"] if last == "user" else [])
    texts = [block["content"][0]["text"] for block in message["content"][:2]]
    assert texts == [text or "(see attached image)", "(see attached image)"]
    assert all(len(block["content"]) == 1 for block in message["content"][:2])


def test_provider_tools_are_added_to_the_callers(july: Any) -> None:
    tools = [Tool(name="lookup", description="d")]
    extra = {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    body = preview("anthropic/claude-sonnet-4-5", ctx("q", tools=tools), extra=extra).body
    assert [tool["name"] for tool in body["tools"]] == ["lookup", "web_search"]


SUMMARY = {
    "type": "compaction", "content": "They counted to three.", "encrypted_content": "gAAAA",
    "signature": "sig", "tool_changes": [],
}  # fmt: skip


def compacted_answer(streamed: bool) -> Any:
    """Return an answer that begins with a summary of the conversation."""
    text = {"type": "text", "text": "Four."}
    usage = {"input_tokens": 10, "output_tokens": 2}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "x", "usage": usage}
    if not streamed:
        content = [SUMMARY, text]
        return Status(200, json.dumps({**message, "content": content, "stop_reason": "end_turn"}))
    late = ("content", "encrypted_content")
    start = {name: None if name in late else value for name, value in SUMMARY.items()}
    delta = {"type": "compaction_delta", **{name: SUMMARY[name] for name in late}}
    return sse(
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": text},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    )


@pytest.mark.parametrize("streamed", [True, False])
def test_compaction_is_kept_and_sent_back(lab: Lab, july: Any, streamed: bool) -> None:
    lab.play(compacted_answer(streamed))
    options: dict[str, Any] = {"api_base": lab.url, "api_key": "k", "max_retries": 0}
    rule = {"edits": [{"type": "compact_20260112"}]}
    context, model = ctx("q"), "anthropic/claude-opus-4-6"
    answer = complete(
        model, context, extra={"context_management": rule},
        headers={"anthropic-beta": "compact-2026-01-12"}, **options,
    )  # fmt: skip
    assert lab.seen[0].json["context_management"] == rule
    assert (answer.text, answer.error, answer.warnings) == ("Four.", None, [])
    restored = AssistantMessage.model_validate_json(answer.model_dump_json())
    context.messages += [restored, user("And now?")]
    complete(model, context, headers={"anthropic-beta": "other-2026"}, **options)
    blocks = lab.seen[1].json["messages"][1]["content"]
    assert blocks == [SUMMARY, {"type": "text", "text": "Four."}]
    assert lab.seen[1].headers["anthropic-beta"] == "compact-2026-01-12,other-2026"
    complete("anthropic/claude-sonnet-4-5", context, **options)  # another model
    assert "gAAAA" not in json.dumps(lab.seen[2].json)
    assert "anthropic-beta" not in lab.seen[2].headers


def test_compaction_that_failed_is_left_out(lab: Lab, july: Any) -> None:
    """The API treats it as a no-op."""
    content = [{"type": "compaction", "content": None}, {"type": "text", "text": "Hi."}]
    message = {"id": "m", "role": "assistant", "content": content, "stop_reason": "end_turn"}
    lab.play(Status(200, json.dumps(message)))
    answer = complete(
        "anthropic/claude-opus-4-6", "q", api_base=lab.url, api_key="k", max_retries=0
    )
    assert [part.type for part in answer.content] == ["text"]
    assert answer.warnings == []
