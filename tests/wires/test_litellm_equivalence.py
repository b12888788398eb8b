"""Test that the direct transport sends LiteLLM's request, except for listed differences."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import re
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Context,
    DocumentContent,
    ImageContent,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    apreview,
)

from ..support.vendor_rules import violations

pytestmark = [
    pytest.mark.litellm,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


MODELS = {
    "chat": ["openai/gpt-4o", "groq/openai/gpt-oss-120b", "novita-ai/deepseek/deepseek-v3.2"],
    "responses": ["openai/gpt-5.4", "openai/gpt-5-codex"],
    "anthropic": ["anthropic/claude-sonnet-4-5", "anthropic/claude-opus-4-7"],
    "gemini": ["google/gemini-2.5-flash", "google/gemini-2.5-pro"],
}
APIS = {
    "chat": "openai-completions",
    "responses": "openai-responses",
    "anthropic": "anthropic-messages",
    "gemini": "google-generative-ai",
}
IMAGE = ImageContent(data="iVBORw0KGgo=", mime_type="image/png")
PDF = DocumentContent(data="JVBERi0xLjc=", name="r.pdf")
WORDS = ["yes", "Straße", "日本", "a\nb", "😀", '{"x": 1}', "data: [DONE]"]


def conversation(dice: random.Random, model: str, api: str) -> Context:
    """A conversation with everything that can be in one; some of it by another model."""
    provider, _, identity = model.partition("/")
    own = {"provider": provider, "model": identity, "api": api}
    other = {"provider": "acme", "model": "m", "api": "openai-completions"}
    messages: list[Any] = [UserMessage(content=dice.choice(WORDS))]
    for turn in range(dice.randrange(4)):
        who = dice.choice([own, own, other])
        content: list[Any] = []
        if dice.random() < 0.3:
            content.append(ThinkingContent(thinking="hm", thinking_signature=_signed(api)))
        if dice.random() < 0.7:
            content.append(TextContent(text=dice.choice(WORDS)))
        calls = [
            ToolCall(
                id=f"call_{turn}_{n}", name="look", arguments={"x": dice.choice(WORDS), "n": n}
            )
            for n in range(dice.choice([0, 0, 1, 2]))
        ]
        stop = "toolUse" if calls else "stop"
        messages.append(AssistantMessage(content=[*content, *calls], stop_reason=stop, **who))
        for call in calls:
            said: list[Any] = [TextContent(text=dice.choice(WORDS))]
            messages.append(
                ToolResultMessage(
                    tool_call_id=call.id, tool_name="look", content=said,
                    is_error=dice.random() < 0.2,
                )
            )  # fmt: skip
        parts: list[Any] = [TextContent(text=dice.choice(WORDS))]
        parts += [IMAGE] if dice.random() < 0.3 else []
        parts += [PDF] if dice.random() < 0.3 else []
        messages.append(UserMessage(content=parts if dice.random() < 0.5 else dice.choice(WORDS)))
    look = Tool(
        name="look", description="Look.",
        parameters={
            "type": "object", "required": ["x"],
            "properties": {"x": {"type": "string"}, "n": {"type": "integer"}},
        },
    )  # fmt: skip
    called = any(isinstance(message, ToolResultMessage) for message in messages)
    system = dice.choice([None, "Be brief."])
    tools = [look] if called or dice.random() < 0.5 else None
    return Context(system_prompt=system, messages=messages, tools=tools)


def _signed(api: str) -> str:
    item = '{"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "sig"}'
    return item if "responses" in api else "sig"


def options(dice: random.Random, wire: str, tools: bool) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if dice.random() < 0.5:
        chosen["max_tokens"] = dice.choice([100, 5000])
    if dice.random() < 0.3 and wire in ("chat", "gemini"):
        chosen |= {"temperature": 0.5, "top_p": 0.9, "seed": 7, "stop": dice.choice(["X", ["X"]])}
    if dice.random() < 0.3:
        chosen["reasoning"] = dice.choice(["low", "high", "max"])
    if tools and dice.random() < 0.4:
        chosen["tool_choice"] = dice.choice(["auto", "none", "required", "look"])
    if dice.random() < 0.2:
        chosen["cache_retention"] = dice.choice(["none", "long"])
    return chosen


def plain(wire: str, body: Any) -> Any:
    """A body without the differences that are listed."""
    body = copy.deepcopy(body)
    return {"anthropic": _anthropic, "gemini": _gemini, "chat": _chat}.get(wire, dict)(body)


def _chat(body: Any) -> Any:
    """- A turn without text says so with null, as OpenAI does; on some routes LiteLLM leaves the
    field out: the same."""
    for message in body["messages"]:
        if message.get("content") is None:
            message.pop("content", None)
    return body


def _anthropic(body: Any) -> Any:
    """- A failed result says `is_error`, as Anthropic documents it; LiteLLM drops the flag, so that
      there the text begins with "[tool error]".
    - A document says its name; LiteLLM drops it.
    - A result's text is a block or a string, and a tool is `custom` by default: the same."""
    for tool in body.get("tools") or ():
        tool.pop("type", None)
    for message in body["messages"]:
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        for block in message["content"]:
            if block["type"] == "document":
                block.pop("title", None)
            if block["type"] == "tool_result":
                content = block["content"]
                text = content if isinstance(content, str) else "".join(b["text"] for b in content)
                failed = block.pop("is_error", False) or text.startswith("[tool error] ")
                block["content"] = (failed, text.removeprefix("[tool error] "))
    return body


def _gemini(body: Any) -> Any:
    """- Names are camelCase, as Google's documents have them; its servers read both.
    - Two calls alike in a turn stay two; LiteLLM sends one (none are alike here).
    - A result says `output` or `error`, the words that Google gives a meaning; LiteLLM's `content`
      has none, so that there the text begins with "[tool error]"."""
    body = _camel(body)
    for turn in body["contents"]:
        for part in turn["parts"]:
            if "functionResponse" in part:
                said = part["functionResponse"]["response"]
                # LiteLLM takes a text that is a JSON object for the response itself.
                known = said.keys() & {"output", "error", "content"}
                text = said[known.pop()] if known else json.dumps(said)
                failed = "error" in said or text.startswith("[tool error] ")
                part["functionResponse"]["response"] = (failed, text.removeprefix("[tool error] "))
    return body


def _camel(value: Any, inside: bool = False) -> Any:
    if isinstance(value, dict):
        return {
            key if inside else re.sub("_([a-z])", lambda m: m[1].upper(), key): _camel(
                inner, inside or key in ("args", "response", "properties")
            )
            for key, inner in value.items()
        }
    return [_camel(inner, inside) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("wire", sorted(MODELS))
def test_request_equals_litellms(july: Any, wire: str) -> None:
    """200 conversations a wire."""

    async def compare() -> None:
        for seed in range(200):
            dice = random.Random(seed)
            model = dice.choice(MODELS[wire])
            context = conversation(dice, model, APIS[wire])
            asked = options(dice, wire, bool(context.tools))
            ours = await apreview(model, context, **asked)
            theirs = await apreview(model, context, transport="litellm", **asked)
            assert ours.url == theirs.url, (seed, model)
            assert plain(wire, ours.body) == plain(wire, theirs.body), (seed, model, asked)
            assert ours.warnings == theirs.warnings
            shown = {name.lower(): value for name, value in ours.headers.items()}
            for name, value in theirs.headers.items():
                if name.lower() not in ("accept-encoding", "user-agent", "accept"):
                    assert shown.get(name.lower()) == value, (seed, name)
            path = ours.url.partition("?")[0]
            assert violations(path, ours.body, {"sig"}) == [], seed

    asyncio.run(compare())
