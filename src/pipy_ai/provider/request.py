"""Context + model + options → Request. Pure: no network, no clock.

A `Request` is all that a provider is told. It never holds the caller's own objects where a
backend could change them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..types import (
    AssistantMessage,
    Context,
    ImageContent,
    SimpleStreamOptions,
    TextContent,
    ThinkingLevel,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserMessage,
    Warning,
)
from ..utils.unicode import clean_json, clean_surrogates

OMITTED_IMAGE = "(image omitted: the model does not take images)"


@dataclass(slots=True)
class Request:
    """One request: `provider/model_id`, what to say, how to say it.

    `warnings` is open: whoever clamps, ignores or replaces something adds a line, which ends up
    in `message.warnings`.
    """

    provider: str
    model_id: str
    context: Context
    options: SimpleStreamOptions
    warnings: list[Warning] = field(default_factory=list)

    @property
    def model(self) -> str:
        """The full name, as the caller wrote it."""
        return f"{self.provider}/{self.model_id}" if self.model_id else self.provider

    @property
    def reasoning(self) -> ThinkingLevel | None:
        """The level asked for; None: the model's own default."""
        return self.options.reasoning

    def warn(self, code: str, message: str) -> None:
        """Tell the caller about something that is done differently than asked."""
        warning = Warning(code=code, message=message)
        if warning not in self.warnings:
            self.warnings.append(warning)


def openai_messages(request: Request, *, images: bool = True) -> list[dict[str, Any]]:
    """The conversation in the words of OpenAI Chat Completions, which LiteLLM and llama.cpp share.

    Turns that ended in an error are left out, those that were aborted keep their text.
    """
    context = request.context
    messages: list[dict[str, Any]] = []
    if context.system_prompt:
        messages.append({"role": "system", "content": clean_surrogates(context.system_prompt)})
    for message in context.messages:
        if isinstance(message, UserMessage):
            content = _user_content(request, message, images)
            if content:
                messages.append({"role": "user", "content": content})
        elif isinstance(message, AssistantMessage):
            turn = _assistant_turn(message)
            if turn is not None:
                messages.append(turn)
        else:
            messages.extend(_tool_turns(request, message, images))
    return messages


def _user_content(request: Request, message: UserMessage, images: bool) -> Any:
    if isinstance(message.content, str):
        return clean_surrogates(message.content)
    return _parts(request, message.content, images)


def _parts(request: Request, content: Sequence[TextContent | ImageContent], images: bool) -> Any:
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, TextContent):
            if part.text:
                parts.append({"type": "text", "text": clean_surrogates(part.text)})
        elif images:
            url = part.url or f"data:{part.mime_type or 'image/png'};base64,{part.data}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
        else:
            request.warn("image_omitted", f"{request.model} does not take images; one was left out")
            parts.append({"type": "text", "text": OMITTED_IMAGE})
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _assistant_turn(message: AssistantMessage) -> dict[str, Any] | None:
    failed = message.error is not None or message.stop_reason in ("error", "aborted")
    text = clean_surrogates(message.text)
    turn: dict[str, Any] = {"role": "assistant", "content": text or None}
    if failed:
        return turn if text and message.stop_reason == "aborted" else None
    calls = message.tool_calls
    if calls:
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(clean_json(call.arguments), ensure_ascii=False),
                },
            }
            for call in calls
        ]
    return turn if text or calls else None


def _tool_turns(request: Request, message: ToolResultMessage, images: bool) -> list[dict[str, Any]]:
    text = "".join(part.text for part in message.content if isinstance(part, TextContent))
    pictures = [part for part in message.content if isinstance(part, ImageContent)]
    text = clean_surrogates(text) or ("(see attached image)" if pictures else "(no tool output)")
    if message.is_error:
        text = f"[tool error] {text}"  # LiteLLM does not forward the flag
    turns: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": message.tool_call_id, "content": text}
    ]
    if pictures:
        turns.append({"role": "user", "content": _parts(request, pictures, images)})
    return turns


def openai_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in the words of OpenAI Chat Completions; copies, since backends change them."""
    if not tools:
        return None
    return [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": clean_surrogates(tool.description),
                "parameters": clean_json(tool.parameters),
            },
        }
        for tool in tools
    ]


def openai_tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """`auto`, `none`, `required` as they are; any other name forces that one tool."""
    if choice is None or isinstance(choice, dict) or choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


# --- The words of OpenAI Responses ----------------------------------------------------------


def responses_input(request: Request) -> list[dict[str, Any]]:
    """The conversation in the words of OpenAI Responses. Reasoning goes back as the item it was."""
    items: list[dict[str, Any]] = []
    for message in request.context.messages:
        if isinstance(message, UserMessage):
            content = message.content
            if isinstance(content, str):
                content = [TextContent(text=content)]
            parts = _responses_parts(content)
            if parts:
                items.append({"role": "user", "content": parts})
        elif isinstance(message, AssistantMessage):
            items.extend(_responses_turn(message))
        else:
            items.append(_responses_result(message))
    return items


def _responses_parts(content: Sequence[TextContent | ImageContent]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for part in content:
        if isinstance(part, ImageContent):
            url = part.url or f"data:{part.mime_type or 'image/png'};base64,{part.data}"
            parts.append({"type": "input_image", "image_url": url, "detail": "auto"})
        elif part.text:
            parts.append({"type": "input_text", "text": clean_surrogates(part.text)})
    return parts


def _responses_turn(message: AssistantMessage) -> list[dict[str, Any]]:
    if message.stop_reason == "error" or message.stop_reason == "aborted":
        text = clean_surrogates(message.text) if message.stop_reason == "aborted" else ""
        return [_said(text)] if text else []
    items: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, TextContent):
            if part.text:
                items.append(_said(clean_surrogates(part.text), part.text_signature))
        elif isinstance(part, ToolCall):
            items.append(
                {
                    "type": "function_call",
                    "call_id": part.id,
                    "name": part.name,
                    "arguments": json.dumps(clean_json(part.arguments), ensure_ascii=False),
                }
            )
        elif part.thinking_signature and part.thinking_signature.startswith("{"):
            items.append(json.loads(part.thinking_signature))
    return items


def _said(text: str, identity: str | None = None) -> dict[str, Any]:
    item: dict[str, Any] = {
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    if identity:
        item["id"] = identity
    return item


def _responses_result(message: ToolResultMessage) -> dict[str, Any]:
    parts = _responses_parts(message.content)
    if message.is_error:
        parts.insert(0, {"type": "input_text", "text": "[tool error]"})
    output: Any = parts
    if all(part["type"] == "input_text" for part in parts):
        output = " ".join(part["text"] for part in parts) or "(no tool output)"
    return {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}


def responses_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in the words of OpenAI Responses; copies."""
    chat = openai_tools(tools)
    return [
        {"type": "function", **tool["function"], "strict": False} for tool in chat or ()
    ] or None


def responses_tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """`auto`, `none`, `required` as they are; any other name forces that one tool."""
    choice = openai_tool_choice(choice)
    if isinstance(choice, dict) and "function" in choice:
        return {"type": "function", "name": choice["function"]["name"]}
    return choice
