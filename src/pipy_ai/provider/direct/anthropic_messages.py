"""Anthropic Messages. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ...types import (
    AssistantMessage,
    DocumentContent,
    Message,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserContent,
    UserMessage,
)
from ...utils.unicode import clean_json, clean_surrogates
from ..openai_words import inline, is_remote
from ..prepare import Prepared, endpoint
from ..request import Request

BASE = "https://api.anthropic.com"
VERSION = "2023-06-01"
LONGEST = 4096  # tokens of an answer, where nobody said and no record tells

_OAUTH = "sk-ant-oat"  # how a token of a subscription begins


def sign(key: str) -> dict[str, str]:
    """The headers that carry the key."""
    if key.startswith(_OAUTH):
        return {"authorization": f"Bearer {key}", "anthropic-beta": "oauth-2025-04-20"}
    return {"x-api-key": key}


def encode(request: Request, prepared: Prepared) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    options = request.options
    if options.seed is not None:
        request.warn("option_ignored", "Anthropic knows no seed")
    user = (options.metadata or {}).get("user_id")
    body: dict[str, Any] = {
        "model": request.model_id,
        "messages": messages(prepared.messages),
        "system": _system(prepared.system),
        "max_tokens": options.max_tokens or _longest(request),
        "stream": True,
        "temperature": prepared.temperature,
        "top_p": prepared.top_p,
        "stop_sequences": _stops(options.stop),
        "tools": tools(request.context.tools),
        "tool_choice": _choice(options.tool_choice, request.offers_tools),
        "metadata": None if user is None else {"user_id": str(user)},
    }
    for name, value in prepared.thinking.items():
        body[name] = _choice(value, True) if name == "tool_choice" else value
    if not request.offers_tools and (known := _called(prepared.messages)):
        body |= {"tools": known, "tool_choice": {"type": "none"}}
    if prepared.retention != "none":
        _mark(body, prepared.retention == "long")
    named = os.environ.get("ANTHROPIC_BASE_URL") or os.environ.get("ANTHROPIC_API_BASE")
    base = prepared.base or (named if request.provider == "anthropic" else None) or BASE
    head, mark, query = base.partition("?")
    head = head.rstrip("/").removesuffix("/v1/messages").removesuffix("/v1")
    return endpoint(head + mark + query, "/v1/messages"), {"anthropic-version": VERSION}, body


def _longest(request: Request) -> int:
    limit = (request.record or {}).get("limit")
    most = limit.get("output") if isinstance(limit, dict) else None
    return most if isinstance(most, int) and most > 0 else LONGEST


def _system(text: str | None) -> list[dict[str, Any]] | None:
    return [{"type": "text", "text": text}] if text else None


def _stops(stop: str | list[str] | None) -> list[str] | None:
    return [stop] if isinstance(stop, str) else stop


def _choice(choice: str | dict[str, Any] | None, there_are_tools: bool) -> dict[str, Any] | None:
    if choice is None or not there_are_tools:
        return None
    if isinstance(choice, dict):
        function = choice.get("function")
        return {"type": "tool", "name": function["name"]} if isinstance(function, dict) else choice
    words = {"auto": "auto", "none": "none", "required": "any"}
    return {"type": words[choice]} if choice in words else {"type": "tool", "name": choice}


def tools(given: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in Anthropic's words."""
    if not given:
        return None
    return [
        {
            "name": tool.name,
            "description": clean_surrogates(tool.description),
            "input_schema": {"type": "object", **clean_json(tool.parameters)},
        }
        for tool in given
    ]


def _called(given: Sequence[Message]) -> list[dict[str, Any]]:
    """The tools that a conversation has called: Anthropic wants to be told of them, even when
    there is nothing more to call."""
    calls = [c for m in given if isinstance(m, AssistantMessage) for c in m.tool_calls]
    names = dict.fromkeys(call.name for call in calls)
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


def messages(given: Sequence[Message]) -> list[dict[str, Any]]:
    """A handed-over conversation. What the user and the tools say in a row is one message."""
    out: list[dict[str, Any]] = []
    for message in given:
        if isinstance(message, AssistantMessage):
            role, blocks = "assistant", [_block(part) for part in message.content]
        elif isinstance(message, ToolResultMessage):
            role, blocks = "user", [_result(message)]
        else:
            role, blocks = "user", _user(message)
        if out and out[-1]["role"] == role:
            out[-1]["content"] += blocks
        else:
            out.append({"role": role, "content": blocks})
    if out and out[-1]["role"] == "assistant" and out[-1]["content"][-1]["type"] == "text":
        last = out[-1]["content"][-1]  # what it shall go on from must not end in a space
        last["text"] = last["text"].rstrip()
    return out


def _user(message: UserMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [_part(part) for part in message.content]


def _part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if is_remote(part):
        source = {"type": "url", "url": part.url}
    else:
        media, data = inline(part)
        source = {"type": "base64", "media_type": media, "data": data}
    title = {"title": part.name} if isinstance(part, DocumentContent) and part.name else {}
    return {"type": part.type, "source": source, **title}


def _block(part: TextContent | ThinkingContent | ToolCall) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if isinstance(part, ToolCall):
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.thinking_signature}
    return {
        "type": "thinking",
        "thinking": part.thinking,
        "signature": part.thinking_signature,
    }


def _result(message: ToolResultMessage) -> dict[str, Any]:
    result: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": message.tool_call_id,
        "content": [_part(part) for part in message.content],
    }
    if message.is_error:
        result["is_error"] = True
    return result


def _mark(body: dict[str, Any], long: bool) -> None:
    """What is to be cached: system, tools, all up to the last that the user said."""
    mark = {"type": "ephemeral", "ttl": "1h"} if long else {"type": "ephemeral"}
    last = next((m for m in reversed(body["messages"]) if m["role"] == "user"), None)
    for blocks in (body["system"], body["tools"], last and last["content"]):
        if blocks:
            blocks[-1]["cache_control"] = dict(mark)
