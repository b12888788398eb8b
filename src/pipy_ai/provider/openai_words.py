"""Requests in the words of OpenAI: Chat Completions, which half the world, LiteLLM and llama.cpp
speak, and Responses. Pure.

Nothing here touches the caller's objects: backends that change what they are given change copies.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from ..files import sniff_image
from ..types import (
    AssistantMessage,
    DocumentContent,
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
from ..utils.unicode import clean_json, clean_surrogates
from .prepare import Prepared
from .request import Request

LEAST = 16  # tokens that OpenAI's Responses API lets an answer have at least
# OpenAI's models that keep a prompt for a day; the others refuse to be asked.
_KEEPS_LONG = re.compile(
    r"gpt-5(\.[1-5])?(-codex(-max|-mini)?|(?<=\.\d)-(chat-latest|pro))?(-\d{4}-\d\d-\d\d)?$"
)


def chat_fields(request: Request, prepared: Prepared) -> dict[str, Any]:
    """A request of Chat Completions, without model and address. None: leave the field out.

    For the wires behind LiteLLM its own additions are used, by `prepared.style`.
    """
    options = request.options
    user = (options.metadata or {}).get("user_id")
    fields: dict[str, Any] = {
        "messages": chat_messages(prepared.system, prepared.messages, prepared.style),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": prepared.temperature,
        "top_p": prepared.top_p,
        "tools": openai_tools(request.context.tools),
        "tool_choice": openai_tool_choice(options.tool_choice) if request.offers_tools else None,
        "max_tokens": options.max_tokens,
        "stop": options.stop,
        "seed": options.seed,
        "user": None if user is None else str(user),
        # To Anthropic it goes in Anthropic's own words, with what `prepared` has.
        "response_format": None if request.backend == "anthropic" else response_format(request),
    }
    fields |= prepared.thinking
    _cache(request, prepared, fields)
    return fields


def responses_fields(request: Request, prepared: Prepared) -> dict[str, Any]:
    """A request of the Responses API, without model and address. None: leave the field out."""
    options = request.options
    for name in ("stop", "seed"):
        if getattr(options, name) is not None:
            request.warn("option_ignored", f"the Responses API knows no {name}")
    fields: dict[str, Any] = {
        "input": responses_input(prepared.messages),
        "instructions": prepared.system,
        "stream": True,
        "temperature": prepared.temperature,
        "top_p": prepared.top_p,
        "tools": responses_tools(request.context.tools),
        "tool_choice": responses_tool_choice(options.tool_choice) if request.offers_tools else None,
        "max_output_tokens": _at_least(request, options.max_tokens),
        "include": ["reasoning.encrypted_content"] if _may_reason(request) else None,
        "store": False,
        "metadata": {
            name: value if isinstance(value, str) else json.dumps(value, default=str)
            for name, value in (options.metadata or {}).items()
        }
        or None,
    }
    if (form := json_schema(request)) is not None:
        fields["text"] = {"format": {"type": "json_schema", **form}}
    thinking = dict(prepared.thinking)
    if effort := thinking.pop("reasoning_effort", None):
        thinking["reasoning"] = {"effort": effort, "summary": "auto"}
    fields |= thinking
    _cache(request, prepared, fields)
    return fields


def _at_least(request: Request, tokens: int | None) -> int | None:
    if tokens is None or tokens >= LEAST or request.backend != "openai":
        return tokens
    request.warn("max_tokens_changed", f"the Responses API takes no max_tokens below {LEAST}")
    return LEAST


def _may_reason(request: Request) -> bool:
    """Whether there may be reasoning to bring back; OpenAI's other models refuse to be asked."""
    return (request.record or {}).get("reasoning") is not False


def json_schema(request: Request) -> dict[str, Any] | None:
    """The type that the answer shall have, in OpenAI's words: strict where it can be."""
    output = request.output
    if output is None or output.mode != "native":
        return None
    from ..utils.json_schema import strict

    schema = strict(output.schema)
    loose = schema is None
    return {"name": output.name, "schema": output.schema if loose else schema, "strict": not loose}


def response_format(request: Request) -> dict[str, Any] | None:
    """The same, as Chat Completions and llama.cpp take it."""
    form = json_schema(request)
    return None if form is None else {"type": "json_schema", "json_schema": form}


def _cache(request: Request, prepared: Prepared, fields: dict[str, Any]) -> None:
    """What the provider is to keep, and for how long."""
    if prepared.retention == "none":
        return
    marks = prepared.style == "anthropic" or (
        request.backend == "openrouter" and request.model_id.startswith("anthropic/")
    )
    if marks:
        mark_for_cache(fields["messages"], fields["tools"])
        if prepared.retention == "long":
            lengthen_cache([fields["messages"], fields["tools"]])
    session = request.options.session_id
    if request.backend == "openai":
        if session:
            fields["prompt_cache_key"] = session if len(session) <= 64 else _short(session)
        if prepared.retention == "long" and _KEEPS_LONG.match(request.model_id):
            body = fields.get("extra_body") or {}  # LiteLLM 1.106 drops the plain argument
            fields["extra_body"] = {**body, "prompt_cache_retention": "24h"}
        elif request.options.cache_retention == "long":
            request.warn("option_ignored", "how long this model's cache lasts cannot be set")
    elif request.backend in ("openrouter", "deepseek") and session:
        fields["prompt_cache_key"] = session
    elif session and not marks:
        request.warn("option_ignored", f"session_id means nothing to {request.provider}")


def _short(session: str) -> str:
    return hashlib.sha256(session.encode("utf-8", "replace")).hexdigest()


# --- OpenAI Chat Completions, which LiteLLM and llama.cpp share -----------------------------


def chat_messages(
    system: str | None, messages: Sequence[Message], style: str = "chat"
) -> list[dict[str, Any]]:
    """A handed-over conversation in the words of Chat Completions, with LiteLLM's additions for
    the wires behind it: `style` is `chat`, `anthropic` or `gemini`."""
    out: list[dict[str, Any]] = []
    if system:
        out.append({"role": "system", "content": clean_surrogates(system)})
    files: list[UserContent] = []
    for message in messages:
        if files and not isinstance(message, ToolResultMessage):
            out.append({"role": "user", "content": _parts(files)})
            files = []
        if isinstance(message, UserMessage):
            content = message.content
            said = content if isinstance(content, str) else _parts(content)
            out.append({"role": "user", "content": said})
        elif isinstance(message, AssistantMessage):
            out.append(_turn(message, style))
        elif style == "chat":  # its results are text; files follow the whole run of them
            out.append(_text_result(message))
            files += [part for part in message.content if not isinstance(part, TextContent)]
        else:
            out.append(_rich_result(message))
    if files:
        out.append({"role": "user", "content": _parts(files)})
    return out


def _parts(content: Sequence[UserContent]) -> Any:
    if all(isinstance(part, TextContent) for part in content):
        return "\n".join(part.text for part in content if isinstance(part, TextContent))
    return [_part(part) for part in content]


def _part(part: UserContent) -> dict[str, Any]:
    if isinstance(part, TextContent):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImageContent):
        return {"type": "image_url", "image_url": {"url": file_url(part)}}
    if is_remote(part):  # LiteLLM's word for it; it fetches what the wire cannot name
        return {"type": "file", "file": {"file_id": part.url}}
    return {"type": "file", "file": {"filename": file_name(part), "file_data": file_url(part)}}


def is_remote(file: ImageContent | DocumentContent) -> bool:
    """Whether somebody has to fetch it."""
    return bool(file.url) and not str(file.url).startswith("data:")


def file_url(file: ImageContent | DocumentContent) -> str:
    """The file as a URL: its own, or a `data:` URL."""
    return file.url or f"data:{media_type(file)};base64,{file.data}"


def file_name(document: DocumentContent) -> str:
    """What it is called: OpenAI takes no file without a name."""
    return document.name or "document.pdf"


def inline(file: ImageContent | DocumentContent) -> tuple[str, str]:
    """The MIME type and the base64 data of a file that is not remote."""
    if not file.url:
        return media_type(file), file.data
    head, _, data = file.url.partition(",")  # data:image/png;base64,…
    return head.partition(":")[2].partition(";")[0] or media_type(file), data


def media_type(file: ImageContent | DocumentContent) -> str:
    """What kind of file it is: as it says, else as an image's first bytes do."""
    if file.mime_type:
        return "image/jpeg" if file.mime_type == "image/jpg" else file.mime_type
    if isinstance(file, DocumentContent):
        return "application/pdf"
    with contextlib.suppress(ValueError):
        return sniff_image(base64.b64decode(file.data[:64])) or "image/png"
    return "image/png"


def result_text(message: ToolResultMessage) -> str:
    """What a tool said, where files cannot stand among it."""
    said = [part.text for part in message.content if isinstance(part, TextContent)]
    return "\n".join(said) or f"(see attached {message.content[0].type})"


def _turn(message: AssistantMessage, style: str) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": "assistant", "content": message.text or None}
    if style == "anthropic":
        anthropic_thinking(message, turn)
    elif style == "chat" and (details := _details(message)):
        turn["reasoning_details"] = details
    elif style == "chat" and message.thinking_text:
        turn["reasoning_content"] = message.thinking_text
    calls = [_call(call, style) for call in message.tool_calls]
    if calls:
        turn["tool_calls"] = calls
    return turn


def _details(message: AssistantMessage) -> list[dict[str, Any]]:
    """Signed thinking as OpenRouter gave it out, and wants it back."""
    details: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ThinkingContent) and (signature := part.thinking_signature):
            if not part.redacted:
                signed = {"text": part.thinking, "signature": signature}
                details.append({"type": "reasoning.text", **signed})
            elif signature.startswith("{"):
                details.append(json.loads(signature))
    return details


def _call(call: ToolCall, style: str) -> dict[str, Any]:
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


def anthropic_thinking(message: AssistantMessage, turn: dict[str, Any]) -> None:
    """Thinking blocks where LiteLLM expects them: apart when they lead, else among the text."""
    blocks: list[dict[str, Any]] = []
    leading = True
    mixed = False
    for part in message.content:
        if isinstance(part, ThinkingContent):
            mixed = mixed or not leading
            if part.redacted:
                blocks.append({"type": "redacted_thinking", "data": part.thinking_signature})
            else:
                blocks.append(
                    {
                        "type": "thinking",
                        "thinking": part.thinking,
                        "signature": part.thinking_signature,
                    }
                )
        elif isinstance(part, TextContent):
            leading = False
            blocks.append({"type": "text", "text": part.text})
    if mixed:
        turn["content"] = blocks
    elif thinking := [block for block in blocks if block["type"] != "text"]:
        turn["thinking_blocks"] = thinking


def _text_result(message: ToolResultMessage) -> dict[str, Any]:
    text = _marked(message, result_text(message))
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": text}


def _rich_result(message: ToolResultMessage) -> dict[str, Any]:
    content = _parts(message.content)
    if isinstance(content, str):
        content = _marked(message, content)
    elif message.is_error:
        content.insert(0, {"type": "text", "text": "[tool error]"})
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}


def _marked(message: ToolResultMessage, text: str) -> str:
    return f"[tool error] {text}" if message.is_error else text  # LiteLLM drops the flag


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


def mark_for_cache(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> None:
    """Tell an Anthropic-style provider what to cache: system, tools, all up to the last question.

    The marks of a conversation move on as it grows; what stands before them stays as it was.
    """
    mark = {"type": "ephemeral"}
    system = messages[0] if messages and messages[0]["role"] == "system" else None
    last = next((m for m in reversed(messages) if m["role"] == "user"), None)
    for message in (system, last):
        if message is None:
            continue
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}]
        content: list[dict[str, Any]] = message["content"]
        content[-1]["cache_control"] = dict(mark)
    if tools:
        tools[-1]["cache_control"] = dict(mark)


def lengthen_cache(value: Any) -> None:
    """Make every mark of `mark_for_cache` last for an hour instead of five minutes."""
    if isinstance(value, dict):
        if "cache_control" in value:
            value["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        for inner in value.values():
            lengthen_cache(inner)
    elif isinstance(value, list):
        for inner in value:
            lengthen_cache(inner)


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
    if is_remote(part):
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": file_name(part), "file_data": file_url(part)}


def _responses_turn(message: AssistantMessage) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, TextContent):
            said: dict[str, Any] = {
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": part.text, "annotations": []}],
            }
            if part.text_signature:
                said["id"] = part.text_signature
            items.append(said)
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
        output = _text_result(message)["content"]
    return {"type": "function_call_output", "call_id": message.tool_call_id, "output": output}


def responses_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Tools in the words of OpenAI Responses; copies."""
    functions = [tool["function"] for tool in openai_tools(tools) or ()]
    return [{"type": "function", **function, "strict": False} for function in functions] or None


def responses_tool_choice(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    """`auto`, `none`, `required` as they are; any other name forces that one tool."""
    choice = openai_tool_choice(choice)
    if isinstance(choice, dict) and "function" in choice:
        return {"type": "function", "name": choice["function"]["name"]}
    return choice
