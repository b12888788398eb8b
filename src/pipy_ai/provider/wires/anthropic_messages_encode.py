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
from ...utils.surrogates import clean_json_surrogates, clean_surrogates
from ..http.client import endpoint_url
from ..prepare import PreparedRequest
from ..request import Request
from ._content import inline_data, is_remote_file

DEFAULT_BASE_URL = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 4096  # tokens of an answer, where nobody said and no record tells

_OAUTH_TOKEN_PREFIX = "sk-ant-oat"  # how a token of a subscription begins


def auth_headers(api_key: str) -> dict[str, str]:
    """The headers that carry the key."""
    if api_key.startswith(_OAUTH_TOKEN_PREFIX):
        return {"authorization": f"Bearer {api_key}", "anthropic-beta": "oauth-2025-04-20"}
    return {"x-api-key": api_key}


def encode(
    request: Request, prepared: PreparedRequest
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    options = request.options
    if options.seed is not None:
        request.warn("option_ignored", "Anthropic knows no seed")
    user_id = (options.metadata or {}).get("user_id")
    body: dict[str, Any] = {
        "model": request.model_id,
        "messages": encode_messages(prepared.messages),
        "system": _system_blocks(prepared.system_prompt),
        "max_tokens": options.max_tokens or _default_max_tokens(request),
        "stream": True,
        "temperature": prepared.temperature,
        "top_p": prepared.top_p,
        "stop_sequences": _stop_sequences(options.stop),
        "tools": encode_tools(request.context.tools),
        "tool_choice": _tool_choice(options.tool_choice, request.has_tools),
        "metadata": None if user_id is None else {"user_id": str(user_id)},
    }
    for name, value in prepared.reasoning_fields.items():
        body[name] = _tool_choice(value, True) if name == "tool_choice" else value
    if not request.has_tools and (called_tools := _called_tools(prepared.messages)):
        body |= {"tools": called_tools, "tool_choice": {"type": "none"}}
    if prepared.cache_retention != "none":
        _add_cache_control(body, prepared.cache_retention == "long")
    env_base_url = os.environ.get("ANTHROPIC_BASE_URL") or os.environ.get("ANTHROPIC_API_BASE")
    base_url = (
        prepared.base_url
        or (env_base_url if request.provider == "anthropic" else None)
        or DEFAULT_BASE_URL
    )
    address, separator, query = base_url.partition("?")
    address = address.rstrip("/").removesuffix("/v1/messages").removesuffix("/v1")
    return (
        endpoint_url(address + separator + query, "/v1/messages"),
        {"anthropic-version": API_VERSION},
        body,
    )


def _default_max_tokens(request: Request) -> int:
    limit = (request.record or {}).get("limit")
    max_output = limit.get("output") if isinstance(limit, dict) else None
    return max_output if isinstance(max_output, int) and max_output > 0 else DEFAULT_MAX_TOKENS


def _system_blocks(text: str | None) -> list[dict[str, Any]] | None:
    return [{"type": "text", "text": text}] if text else None


def _stop_sequences(stop: str | list[str] | None) -> list[str] | None:
    return [stop] if isinstance(stop, str) else stop


def _tool_choice(choice: str | dict[str, Any] | None, has_tools: bool) -> dict[str, Any] | None:
    if choice is None or not has_tools:
        return None
    if isinstance(choice, dict):
        function = choice.get("function")
        return {"type": "tool", "name": function["name"]} if isinstance(function, dict) else choice
    choice_types = {"auto": "auto", "none": "none", "required": "any"}
    return (
        {"type": choice_types[choice]}
        if choice in choice_types
        else {"type": "tool", "name": choice}
    )


def encode_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in Anthropic's words."""
    if not tools:
        return None
    return [
        {
            "name": tool.name,
            "description": clean_surrogates(tool.description),
            "input_schema": {"type": "object", **clean_json_surrogates(tool.parameters)},
        }
        for tool in tools
    ]


def _called_tools(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The tools that a conversation has called: Anthropic wants to be told of them, even when
    there is nothing more to call."""
    calls = [
        tool_call
        for message in messages
        if isinstance(message, AssistantMessage)
        for tool_call in message.tool_calls
    ]
    names = dict.fromkeys(call.name for call in calls)
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


def encode_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A handed-over conversation. What the user and the tools say in a row is one message."""
    encoded: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, AssistantMessage):
            role, blocks = "assistant", [_assistant_block(part) for part in message.content]
        elif isinstance(message, ToolResultMessage):
            role, blocks = "user", [_tool_result_block(message)]
        else:
            role, blocks = "user", _user_blocks(message)
        if encoded and encoded[-1]["role"] == role:
            encoded[-1]["content"] += blocks
        else:
            encoded.append({"role": role, "content": blocks})
    if (
        encoded
        and encoded[-1]["role"] == "assistant"
        and encoded[-1]["content"][-1]["type"] == "text"
    ):
        last_block = encoded[-1]["content"][-1]  # what it shall go on from must not end in a space
        last_block["text"] = last_block["text"].rstrip()
    return encoded


def _user_blocks(message: UserMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [_encode_part(part) for part in message.content]


def _encode_part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if is_remote_file(part):
        source = {"type": "url", "url": part.url}
    else:
        media_type, data = inline_data(part)
        source = {"type": "base64", "media_type": media_type, "data": data}
    title_field = {"title": part.name} if isinstance(part, DocumentContent) and part.name else {}
    return {"type": part.type, "source": source, **title_field}


def _assistant_block(part: TextContent | ThinkingContent | ToolCall) -> dict[str, Any]:
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


def _tool_result_block(message: ToolResultMessage) -> dict[str, Any]:
    result: dict[str, Any] = {
        "type": "tool_result",
        "tool_use_id": message.tool_call_id,
        "content": [_encode_part(part) for part in message.content],
    }
    if message.is_error:
        result["is_error"] = True
    return result


def _add_cache_control(body: dict[str, Any], long_retention: bool) -> None:
    """What is to be cached: system, tools, all up to the last that the user said."""
    cache_control = {"type": "ephemeral", "ttl": "1h"} if long_retention else {"type": "ephemeral"}
    last_user_message = next(
        (message for message in reversed(body["messages"]) if message["role"] == "user"), None
    )
    for blocks in (
        body["system"],
        body["tools"],
        last_user_message and last_user_message["content"],
    ):
        if blocks:
            blocks[-1]["cache_control"] = dict(cache_control)
