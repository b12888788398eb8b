"""Requests in the words of OpenAI: Chat Completions, which half the world, LiteLLM and llama.cpp
speak, and Responses. Pure.

Nothing here touches the caller's objects: backends that change what they are given change copies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from typing import Any

from ...types import (
    AssistantMessage,
    ImageContent,
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
from ..prepare import PreparedRequest
from ..request import Request
from ._content import file_name, file_url, is_remote_file, result_text
from ._litellm_proxy import add_thinking_blocks

MIN_OUTPUT_TOKENS = 16  # tokens that OpenAI's Responses API lets an answer have at least
# OpenAI's models that keep a prompt for a day; the others refuse to be asked.
_SUPPORTS_24H_CACHE = re.compile(
    r"gpt-5(\.[1-5])?(-codex(-max|-mini)?|(?<=\.\d)-(chat-latest|pro))?(-\d{4}-\d\d-\d\d)?$"
)


def chat_fields(request: Request, prepared: PreparedRequest) -> dict[str, Any]:
    """A request of Chat Completions, without model and address. None: leave the field out.

    For the wires behind LiteLLM its own additions are used, by `prepared.style`.
    """
    options = request.options
    user_id = (options.metadata or {}).get("user_id")
    fields: dict[str, Any] = {
        "messages": chat_messages(prepared.system_prompt, prepared.messages, prepared.style),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": prepared.temperature,
        "top_p": prepared.top_p,
        "tools": chat_tools(request.context.tools),
        "tool_choice": chat_tool_choice(options.tool_choice) if request.has_tools else None,
        "max_tokens": options.max_tokens,
        "stop": options.stop,
        "seed": options.seed,
        "user": None if user_id is None else str(user_id),
        # To Anthropic it goes in Anthropic's own words, with what `prepared` has.
        "response_format": None if request.backend == "anthropic" else response_format(request),
    }
    fields |= prepared.reasoning_fields
    _add_cache_fields(request, prepared, fields)
    return fields


def responses_fields(request: Request, prepared: PreparedRequest) -> dict[str, Any]:
    """A request of the Responses API, without model and address. None: leave the field out."""
    options = request.options
    for name in ("stop", "seed"):
        if getattr(options, name) is not None:
            request.warn("option_ignored", f"the Responses API knows no {name}")
    fields: dict[str, Any] = {
        "input": responses_input(prepared.messages),
        "instructions": prepared.system_prompt,
        "stream": True,
        "temperature": prepared.temperature,
        "top_p": prepared.top_p,
        "tools": responses_tools(request.context.tools),
        "tool_choice": responses_tool_choice(options.tool_choice) if request.has_tools else None,
        "max_output_tokens": _clamp_max_tokens(request, options.max_tokens),
        "include": ["reasoning.encrypted_content"] if _may_support_reasoning(request) else None,
        "store": False,
        "metadata": {
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in (options.metadata or {}).items()
        }
        or None,
    }
    if (schema_format := output_json_schema(request)) is not None:
        fields["text"] = {"format": {"type": "json_schema", **schema_format}}
    reasoning = dict(prepared.reasoning_fields)
    if effort := reasoning.pop("reasoning_effort", None):
        reasoning["reasoning"] = {"effort": effort, "summary": "auto"}
    fields |= reasoning
    _add_cache_fields(request, prepared, fields)
    return fields


def _clamp_max_tokens(request: Request, max_tokens: int | None) -> int | None:
    if max_tokens is None or max_tokens >= MIN_OUTPUT_TOKENS or request.backend != "openai":
        return max_tokens
    request.warn(
        "max_tokens_changed", f"the Responses API takes no max_tokens below {MIN_OUTPUT_TOKENS}"
    )
    return MIN_OUTPUT_TOKENS


def _may_support_reasoning(request: Request) -> bool:
    """Whether there may be reasoning to bring back; OpenAI's other models refuse to be asked."""
    return (request.record or {}).get("reasoning") is not False


def output_json_schema(request: Request) -> dict[str, Any] | None:
    """The type that the answer shall have, in OpenAI's words: strict where it can be."""
    output = request.output
    if output is None or output.mode != "native":
        return None
    from ...utils.json_schema import to_openai_strict_schema

    strict_schema = to_openai_strict_schema(output.schema)
    is_loose = strict_schema is None
    return {
        "name": output.name,
        "schema": output.schema if is_loose else strict_schema,
        "strict": not is_loose,
    }


def response_format(request: Request) -> dict[str, Any] | None:
    """The same, as Chat Completions and llama.cpp take it."""
    schema_format = output_json_schema(request)
    return None if schema_format is None else {"type": "json_schema", "json_schema": schema_format}


def _add_cache_fields(request: Request, prepared: PreparedRequest, fields: dict[str, Any]) -> None:
    """What the provider is to keep, and for how long."""
    if prepared.cache_retention == "none":
        return
    uses_cache_control = prepared.style == "anthropic" or (
        request.backend == "openrouter" and request.model_id.startswith("anthropic/")
    )
    if uses_cache_control:
        add_cache_control(fields["messages"], fields["tools"])
        if prepared.cache_retention == "long":
            extend_cache_ttl([fields["messages"], fields["tools"]])
    session_id = request.options.session_id
    if request.backend == "openai":
        if session_id:
            fields["prompt_cache_key"] = (
                session_id if len(session_id) <= 64 else _hash_session_id(session_id)
            )
        if prepared.cache_retention == "long" and _SUPPORTS_24H_CACHE.match(request.model_id):
            extra_body = fields.get("extra_body") or {}  # LiteLLM 1.106 drops the plain argument
            fields["extra_body"] = {**extra_body, "prompt_cache_retention": "24h"}
        elif request.options.cache_retention == "long":
            request.warn("option_ignored", "how long this model's cache lasts cannot be set")
    elif request.backend in ("openrouter", "deepseek") and session_id:
        fields["prompt_cache_key"] = session_id
    elif session_id and not uses_cache_control:
        request.warn("option_ignored", f"session_id means nothing to {request.provider}")


def _hash_session_id(session_id: str) -> str:
    return hashlib.sha256(session_id.encode("utf-8", "replace")).hexdigest()


# --- OpenAI Chat Completions, which LiteLLM and llama.cpp share -----------------------------


def chat_messages(
    system: str | None, messages: Sequence[Message], style: str = "chat"
) -> list[dict[str, Any]]:
    """A handed-over conversation in the words of Chat Completions, with LiteLLM's additions for
    the wires behind it: `style` is `chat`, `anthropic` or `gemini`."""
    converted: list[dict[str, Any]] = []
    if system:
        converted.append({"role": "system", "content": clean_surrogates(system)})
    pending_files: list[UserContent] = []
    for message in messages:
        if pending_files and not isinstance(message, ToolResultMessage):
            converted.append({"role": "user", "content": _chat_content(pending_files)})
            pending_files = []
        if isinstance(message, UserMessage):
            content = message.content
            user_content = content if isinstance(content, str) else _chat_content(content)
            converted.append({"role": "user", "content": user_content})
        elif isinstance(message, AssistantMessage):
            converted.append(_assistant_message(message, style))
        elif style == "chat":  # its results are text; files follow the whole run of them
            converted.append(_text_result_message(message))
            pending_files += [part for part in message.content if not isinstance(part, TextContent)]
        else:
            converted.append(_multipart_result_message(message))
    if pending_files:
        converted.append({"role": "user", "content": _chat_content(pending_files)})
    return converted


def _chat_content(content: Sequence[UserContent]) -> Any:
    if all(isinstance(part, TextContent) for part in content):
        return "\n".join(part.text for part in content if isinstance(part, TextContent))
    return [_chat_part(part) for part in content]


def _chat_part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImageContent):
        return {"type": "image_url", "image_url": {"url": file_url(part)}}
    if is_remote_file(part):  # LiteLLM's word for it; it fetches what the wire cannot name
        return {"type": "file", "file": {"file_id": part.url}}
    return {"type": "file", "file": {"filename": file_name(part), "file_data": file_url(part)}}


def _assistant_message(message: AssistantMessage, style: str) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    if style == "anthropic":
        add_thinking_blocks(message, turn)
    elif style == "chat" and (details := _reasoning_details(message)):
        turn["reasoning_details"] = details
    elif style == "chat" and message.thinking_text:
        turn["reasoning_content"] = message.thinking_text
    calls = [_chat_tool_call(call, style) for call in message.tool_calls]
    if calls:
        turn["tool_calls"] = calls
    return turn


def _reasoning_details(message: AssistantMessage) -> list[dict[str, Any]]:
    """Signed thinking as OpenRouter gave it out, and wants it back."""
    details: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ThinkingContent) and (signature := part.thinking_signature):
            if not part.redacted:
                signed_text = {"text": part.thinking, "signature": signature}
                details.append({"type": "reasoning.text", **signed_text})
            elif signature.startswith("{"):
                details.append(json.loads(signature))
    return details


def _chat_tool_call(call: ToolCall, style: str) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    entry: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    }
    if style == "gemini" and call.thought_signature:
        entry["provider_specific_fields"] = {"thought_signature": call.thought_signature}
    elif style == "chat" and call.thought_signature:  # Gemini behind an OpenAI-compatible host
        entry["extra_content"] = {"google": {"thought_signature": call.thought_signature}}
    return entry


def _text_result_message(message: ToolResultMessage) -> dict[str, Any]:
    text = _prefix_tool_error(message, result_text(message))
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": text}


def _multipart_result_message(message: ToolResultMessage) -> dict[str, Any]:
    content = _chat_content(message.content)
    if isinstance(content, str):
        content = _prefix_tool_error(message, content)
    elif message.is_error:
        content.insert(0, {"type": "text", "text": "[tool error]"})
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}


def _prefix_tool_error(message: ToolResultMessage, text: str) -> str:
    return f"[tool error] {text}" if message.is_error else text  # LiteLLM drops the flag


def chat_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in the words of OpenAI Chat Completions; copies, since backends change them."""
    if not tools:
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": clean_surrogates(tool.description),
                "parameters": clean_json_surrogates(tool.parameters),
            },
        }
        for tool in tools
    ]


def chat_tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """`auto`, `none`, `required` as they are; any other name forces that one tool."""
    if choice is None or isinstance(choice, dict) or choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def add_cache_control(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> None:
    """Tell an Anthropic-style provider what to cache: system, tools, all up to the last question.

    The marks of a conversation move on as it grows; what stands before them stays as it was.
    """
    cache_control = {"type": "ephemeral"}
    system_message = messages[0] if messages and messages[0]["role"] == "system" else None
    last_user_message = next(
        (candidate for candidate in reversed(messages) if candidate["role"] == "user"), None
    )
    for message in (system_message, last_user_message):
        if message is None:
            continue
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        content: list[dict[str, Any]] = message["content"]
        content[-1]["cache_control"] = dict(cache_control)
    if tools:
        tools[-1]["cache_control"] = dict(cache_control)


def extend_cache_ttl(value: Any) -> None:
    """Make every mark of `mark_for_cache` last for an hour instead of five minutes."""
    if isinstance(value, dict):
        if "cache_control" in value:
            value["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        for child in value.values():
            extend_cache_ttl(child)
    elif isinstance(value, list):
        for child in value:
            extend_cache_ttl(child)


# --- OpenAI Responses -----------------------------------------------------------------------


def responses_input(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A handed-over conversation in the words of OpenAI Responses. Reasoning goes back as the
    item that it was."""
    items: list[dict[str, Any]] = []
    for message in messages:
        if isinstance(message, UserMessage):
            content = message.content
            parts = [TextContent(text=content)] if isinstance(content, str) else content
            items.append({"role": "user", "content": _responses_parts(parts)})
        elif isinstance(message, AssistantMessage):
            items.extend(_responses_turn(message))
        else:
            items.append(_responses_result(message))
    return items


def _responses_parts(content: Sequence[UserContent]) -> list[dict[str, Any]]:
    return [_responses_part(part) for part in content]


def _responses_part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, ImageContent):
        return {"type": "input_image", "image_url": file_url(part), "detail": "auto"}
    if is_remote_file(part):
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": file_name(part), "file_data": file_url(part)}


def _responses_turn(message: AssistantMessage) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, TextContent):
            item: dict[str, Any] = {
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": part.text, "annotations": []}],
            }
            if part.text_signature:
                item["id"] = part.text_signature
            items.append(item)
        elif isinstance(part, ToolCall):
            items.append(
                {
                    "type": "function_call",
                    "call_id": part.id,
                    "name": part.name,
                    "arguments": json.dumps(part.arguments, ensure_ascii=False),
                }
            )
        elif part.thinking_signature and part.thinking_signature.startswith("{"):
            items.append(json.loads(part.thinking_signature))
    return items


def _responses_result(message: ToolResultMessage) -> dict[str, Any]:
    if not all(isinstance(part, TextContent) for part in message.content):
        output: Any = _responses_parts(message.content)
        if message.is_error:
            output.insert(0, {"type": "input_text", "text": "[tool error]"})
    else:
        output = _text_result_message(message)["content"]
    return {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}


def responses_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in the words of OpenAI Responses; copies."""
    functions = [tool["function"] for tool in chat_tools(tools) or ()]
    return [{"type": "function", **function, "strict": False} for function in functions] or None


def responses_tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """`auto`, `none`, `required` as they are; any other name forces that one tool."""
    choice = chat_tool_choice(choice)
    if isinstance(choice, dict) and "function" in choice:
        return {"type": "function", "name": choice["function"]["name"]}
    return choice


DEFAULT_BASE_URL = "https://api.openai.com/v1"


def openai_headers(request: Request) -> dict[str, str]:
    """OpenAI's own: which organization and project pay."""
    if request.provider != "openai":
        return {}
    headers = {
        "openai-organization": os.environ.get("OPENAI_ORG_ID")
        or os.environ.get("OPENAI_ORGANIZATION"),
        "openai-project": os.environ.get("OPENAI_PROJECT_ID") or os.environ.get("OPENAI_PROJECT"),
    }
    return {name: value for name, value in headers.items() if value}
