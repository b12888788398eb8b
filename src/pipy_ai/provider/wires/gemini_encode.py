"""Gemini's streamGenerateContent. Pure."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from ...types import (
    AssistantMessage,
    Message,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserContent,
)
from ...utils.json_schema import to_gemini_schema
from ...utils.surrogates import clean_surrogates
from ..http.client import endpoint_url
from ..prepare import PreparedRequest
from ..request import Request
from ._content import inline_data, result_text

_GEMINI_3_OR_LATER = re.compile(r"gemini-([3-9]|\d\d)")
_SKIP_SIGNATURE_CHECK = base64.b64encode(b"skip_thought_signature_validator").decode()
DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/v1beta"


def auth_headers(api_key: str) -> dict[str, str]:
    """The header that carries the key."""
    return {"x-goog-api-key": api_key}


def encode(
    request: Request, prepared: PreparedRequest
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    options = request.options
    generation_config: dict[str, Any] = {
        "temperature": prepared.temperature,
        "topP": prepared.top_p,
        "maxOutputTokens": prepared.reasoning_fields.get("max_tokens", options.max_tokens),
        "stopSequences": [options.stop] if isinstance(options.stop, str) else options.stop,
        "seed": options.seed,
        "thinkingConfig": _thinking_config(prepared.reasoning_fields),
        **_output_format(request),
    }
    generation_config = {
        name: value for name, value in generation_config.items() if value is not None
    }
    body: dict[str, Any] = {
        "contents": encode_contents(
            prepared.messages, is_gemini_3=_GEMINI_3_OR_LATER.search(request.model_id) is not None
        ),
        "systemInstruction": {"parts": [{"text": prepared.system_prompt}]}
        if prepared.system_prompt
        else None,
        "tools": encode_tools(request.context.tools),
        "toolConfig": _tool_config(options.tool_choice) if request.has_tools else None,
        "generationConfig": generation_config or None,
    }
    model = quote(request.model_id, safe="/@:-._~")
    url = endpoint_url(
        prepared.base_url or DEFAULT_BASE_URL, f"/models/{model}:streamGenerateContent", "alt=sse"
    )
    return url, {}, body


def _output_format(request: Request) -> dict[str, Any]:
    output = request.output
    if output is None or output.mode != "native":
        return {}
    return {
        "responseMimeType": "application/json",
        "responseSchema": to_gemini_schema(output.schema),
    }


def _thinking_config(reasoning_fields: dict[str, Any]) -> dict[str, Any] | None:
    if effort := reasoning_fields.get("reasoning_effort"):
        return {"includeThoughts": effort != "none", "thinkingLevel": effort}
    if thinking := reasoning_fields.get("thinking"):
        budget_tokens = thinking["budget_tokens"]
        return {"thinkingBudget": budget_tokens} | (
            {"includeThoughts": True} if budget_tokens else {}
        )
    return None


def _tool_config(choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, dict):
        function = choice.get("function")
        if not isinstance(function, dict):
            return choice
        choice = str(function["name"])
    modes = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
    config: dict[str, Any] = {"mode": modes.get(choice, "ANY")}
    if choice not in modes:
        config["allowedFunctionNames"] = [choice]
    return {"functionCallingConfig": config}


def encode_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in Gemini's words; their schemas reduced to what it takes."""
    if not tools:
        return None
    return [
        {
            "functionDeclarations": [
                {
                    "name": tool.name,
                    "description": clean_surrogates(tool.description),
                    **(
                        {"parameters": schema}
                        if (schema := to_gemini_schema(tool.parameters))
                        else {}
                    ),
                }
                for tool in tools
            ]
        }
    ]


def encode_contents(messages: Sequence[Message], is_gemini_3: bool = False) -> list[dict[str, Any]]:
    """A handed-over conversation. What one side says in a row is one turn, as are the
    results of a turn's calls.

    `newer` models, from Gemini 3 on, want calls to have ids, and signatures: other models' calls
    get the one that stands for none.
    """
    encoded: list[dict[str, Any]] = []
    function_names: dict[str, str] = {}  # of the functions, by the ids of their calls
    message_type: type | None = None
    for message in messages:
        if isinstance(message, AssistantMessage):
            function_names |= {call.id: call.name for call in message.tool_calls}
            role, parts = "model", [_assistant_part(part, is_gemini_3) for part in message.content]
            first_call = next((part for part in parts if "functionCall" in part), None)
            if is_gemini_3 and first_call is not None:
                first_call.setdefault("thoughtSignature", _SKIP_SIGNATURE_CHECK)
        elif isinstance(message, ToolResultMessage):
            role, parts = "user", _tool_result_parts(message, function_names, is_gemini_3)
        elif isinstance(message.content, str):
            role, parts = "user", [{"text": message.content}]
        else:
            role, parts = "user", [_encode_part(part) for part in message.content]
        message_type, previous_type = type(message), message_type
        if encoded and message_type is previous_type:
            encoded[-1]["parts"] += parts
        else:
            encoded.append({"role": role, "parts": parts})
    return encoded


def _encode_part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"text": part.text}
    media_type, data = inline_data(part)
    return {"inlineData": {"mimeType": media_type, "data": data}}


def _assistant_part(
    part: TextContent | ThinkingContent | ToolCall, is_gemini_3: bool
) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        function_call = {"name": part.name, "args": part.arguments} | (
            {"id": part.id} if is_gemini_3 else {}
        )
        encoded: dict[str, Any] = {"functionCall": function_call}
        signature = part.thought_signature
    elif isinstance(part, TextContent):
        encoded, signature = {"text": part.text}, part.text_signature
    else:
        encoded, signature = {"text": part.thinking, "thought": True}, part.thinking_signature
    return {**encoded, "thoughtSignature": signature} if signature else encoded


def _tool_result_parts(
    message: ToolResultMessage, function_names: dict[str, str], is_gemini_3: bool
) -> list[dict[str, Any]]:
    file_parts = [
        _encode_part(part) for part in message.content if not isinstance(part, TextContent)
    ]
    result = {"error" if message.is_error else "output": result_text(message)}
    name = function_names.get(message.tool_call_id) or message.tool_name
    function_response: dict[str, Any] = {"name": name, "response": result}
    function_response |= {"id": message.tool_call_id} if is_gemini_3 else {}
    return [{"functionResponse": function_response}, *file_parts]
