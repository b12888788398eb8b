"""Test the Responses wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    complete,
    ctx,
    preview,
)
from pipy_ai._requests import build_request
from pipy_ai.provider.select import provider_for

from ..support.scripted_server import Lab, Pause

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def test_reasoning_is_not_asked_of_a_model_that_has_none(july: Any) -> None:
    """OpenAI: "Encrypted content is not supported with this model"."""
    assert "include" not in preview("openai/responses/gpt-4o", "q").body
    for model in ("openai/gpt-5.4", "openai/responses/o3", "openai/responses/new"):
        assert preview(model, "q").body["include"] == ["reasoning.encrypted_content"]


def test_an_answer_in_one_piece_may_take_its_time(lab: Lab, july: Any) -> None:
    """GPT-5 Pro does not stream, and thinks for longer than a stream may be silent."""
    said = {"type": "message", "content": [{"type": "output_text", "text": "late"}]}
    lab.play([json.dumps({"status": "completed", "output": [said]}).encode()])
    request = build_request("openai/gpt-5-pro", "q", None, {"api_base": lab.url, "api_key": "k"})

    async def answer() -> None:
        async for _ in provider_for(request).stream(request):
            pass

    asyncio.run(answer())
    assert request.options.idle_timeout == 1800
    lab.play([Pause()])
    message = complete(
        "openai/gpt-5-pro", "q", api_base=lab.url, api_key="k", idle_timeout=0.2, max_retries=0
    )
    assert message.error is not None
    assert message.error.kind == "timeout"
    lab.go()


def test_responses_take_what_chat_takes(july: Any) -> None:
    shown = preview("openai/gpt-5.4", "q", max_tokens=5, metadata={"user_id": 7, "a": "b"})
    assert shown.body["max_output_tokens"] == 16  # the least that OpenAI takes
    assert [warning.code for warning in shown.warnings] == ["max_tokens_changed"]
    assert shown.body["metadata"] == {"user_id": "7", "a": "b"}  # it takes strings


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
