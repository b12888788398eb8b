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
from ...utils.json_schema import reduced
from ...utils.unicode import clean_surrogates
from ..openai_words import inline, result_text
from ..prepare import Prepared, endpoint
from ..request import Request

_NEWER = re.compile(r"gemini-([3-9]|\d\d)")
_UNSIGNED = base64.b64encode(b"skip_thought_signature_validator").decode()
BASE = "https://generativelanguage.googleapis.com/v1beta"


def sign(key: str) -> dict[str, str]:
    """The header that carries the key."""
    return {"x-goog-api-key": key}


def encode(request: Request, prepared: Prepared) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    options = request.options
    config: dict[str, Any] = {
        "temperature": prepared.temperature,
        "topP": prepared.top_p,
        "maxOutputTokens": prepared.thinking.get("max_tokens", options.max_tokens),
        "stopSequences": [options.stop] if isinstance(options.stop, str) else options.stop,
        "seed": options.seed,
        "thinkingConfig": _thinking(prepared.thinking),
        **_shape(request),
    }
    config = {name: value for name, value in config.items() if value is not None}
    body: dict[str, Any] = {
        "contents": contents(prepared.messages, newer=_NEWER.search(request.model_id) is not None),
        "systemInstruction": {"parts": [{"text": prepared.system}]} if prepared.system else None,
        "tools": tools(request.context.tools),
        "toolConfig": _choice(options.tool_choice) if request.offers_tools else None,
        "generationConfig": config or None,
    }
    model = quote(request.model_id, safe="/@:-._~")
    url = endpoint(prepared.base or BASE, f"/models/{model}:streamGenerateContent", "alt=sse")
    return url, {}, body


def _shape(request: Request) -> dict[str, Any]:
    output = request.output
    if output is None or output.mode != "native":
        return {}
    return {"responseMimeType": "application/json", "responseSchema": reduced(output.schema)}


def _thinking(plan: dict[str, Any]) -> dict[str, Any] | None:
    if effort := plan.get("reasoning_effort"):
        return {"includeThoughts": effort != "none", "thinkingLevel": effort}
    if thinking := plan.get("thinking"):
        tokens = thinking["budget_tokens"]
        return {"thinkingBudget": tokens} | ({"includeThoughts": True} if tokens else {})
    return None


def _choice(choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
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


def tools(given: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in Gemini's words; their schemas reduced to what it takes."""
    if not given:
        return None
    return [
        {
            "functionDeclarations": [
                {
                    "name": tool.name,
                    "description": clean_surrogates(tool.description),
                    **({"parameters": schema} if (schema := reduced(tool.parameters)) else {}),
                }
                for tool in given
            ]
        }
    ]


def contents(given: Sequence[Message], newer: bool = False) -> list[dict[str, Any]]:
    """A handed-over conversation. What one side says in a row is one turn, as are the
    results of a turn's calls.

    `newer` models, from Gemini 3 on, want calls to have ids, and signatures: other models' calls
    get the one that stands for none.
    """
    out: list[dict[str, Any]] = []
    names: dict[str, str] = {}  # of the functions, by the ids of their calls
    kind: type | None = None
    for message in given:
        if isinstance(message, AssistantMessage):
            names |= {call.id: call.name for call in message.tool_calls}
            role, parts = "model", [_said(part, newer) for part in message.content]
            first = next((part for part in parts if "functionCall" in part), None)
            if newer and first is not None:
                first.setdefault("thoughtSignature", _UNSIGNED)
        elif isinstance(message, ToolResultMessage):
            role, parts = "user", _result(message, names, newer)
        elif isinstance(message.content, str):
            role, parts = "user", [{"text": message.content}]
        else:
            role, parts = "user", [_part(part) for part in message.content]
        kind, before = type(message), kind
        if out and kind is before:
            out[-1]["parts"] += parts
        else:
            out.append({"role": role, "parts": parts})
    return out


def _part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"text": part.text}
    media, data = inline(part)
    return {"inlineData": {"mimeType": media, "data": data}}


def _said(part: TextContent | ThinkingContent | ToolCall, newer: bool) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        call = {"name": part.name, "args": part.arguments} | ({"id": part.id} if newer else {})
        said: dict[str, Any] = {"functionCall": call}
        signature = part.thought_signature
    elif isinstance(part, TextContent):
        said, signature = {"text": part.text}, part.text_signature
    else:
        said, signature = {"text": part.thinking, "thought": True}, part.thinking_signature
    return {**said, "thoughtSignature": signature} if signature else said


def _result(message: ToolResultMessage, names: dict[str, str], newer: bool) -> list[dict[str, Any]]:
    files = [_part(part) for part in message.content if not isinstance(part, TextContent)]
    said = {"error" if message.is_error else "output": result_text(message)}
    name = names.get(message.tool_call_id) or message.tool_name
    response: dict[str, Any] = {"name": name, "response": said}
    response |= {"id": message.tool_call_id} if newer else {}
    return [{"functionResponse": response}, *files]
