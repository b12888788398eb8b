"""Chat Completions messages, shared by the wire, LiteLLM's arguments and the embedded model. Pure.

Everything is copied, since LiteLLM changes its arguments.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, assert_never

from ...types import (
    AssistantMessage,
    AudioContent,
    DocumentContent,
    FileContent,
    ImageContent,
    Message,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserContent,
    UserMessage,
    VideoContent,
)
from ...utils.surrogates import clean_json_surrogates, clean_surrogates
from ..content import file_name, file_url, inline_media, is_remote_file, result_text
from ..profiles import CLAUDE, OPENAI_MODELS
from ..request import PreparedRequest, ReasoningPlan, Request
from ..wire import OutputFallback
from ._fields import load_part
from ._litellm_proxy import add_thinking_blocks

_EXPIRY_MARGIN_S = 60  # for the way to the provider


class ChatDialect(NamedTuple):
    """How messages carry content for which Chat Completions has no field.

    Attributes:
        thinking: "fields" (`reasoning_fields` or `reasoning_details`), "chunks" (Mistral's parts of
            the content), "blocks" (LiteLLM's `thinking_blocks`) or "none".
        reasoning_fields: the fields of unsigned thinking.
        placeholder_reasoning: the thinking of a turn that has none.
        call_signature: the field of a tool call that holds Gemini's signature; "" for none.
        audio_input: how a message carries audio; see `Profile`.
        multipart_results: tool results may hold files. Otherwise the files of consecutive results
            follow them in a user message.
    """

    thinking: Literal["fields", "chunks", "blocks", "none"] = "fields"
    reasoning_fields: tuple[str, ...] = ("reasoning_content",)
    placeholder_reasoning: str | None = None
    call_signature: Literal["extra_content", "provider_specific_fields", ""] = "extra_content"
    multipart_results: bool = False
    audio_input: Literal["object", "data_url", "string"] = "object"


OPENAI_DIALECT = ChatDialect()


def chat_fields(
    request: Request, prepared: PreparedRequest, dialect: ChatDialect = OPENAI_DIALECT
) -> dict[str, Any]:
    """Return the fields of a request without model and address. None: leave the field out.

    Fields that LiteLLM does not support are in `extra_body`.
    """
    options = request.options
    user_id = (options.metadata or {}).get("user_id")
    if dialect.thinking == "fields":
        dialect = _thinking_dialect(request, dialect)
    dialect = dialect._replace(audio_input=request.profile.audio_input)
    messages = chat_messages(prepared.system_prompt, prepared.messages, dialect)
    if request.alternating_roles:
        messages = _merge_turns(messages)
    if request.profile.assistant_after_tool_results or request.alternating_roles:
        _add_bridges(messages)
    fields: dict[str, Any] = {
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        **prepared.sampling,
        "tools": chat_tools(prepared.tools),
        "tool_choice": chat_tool_choice(prepared.tool_choice),
        "max_tokens": options.max_tokens,
        "stop": prepared.stop,
        "user": None if user_id is None else str(user_id),
        "response_format": response_format(request),
        "reasoning_effort": prepared.reasoning.effort,
        "service_tier": request.service_tier,
        **modality_fields(request),
    }
    if thinking := thinking_fields(request, prepared.reasoning):
        fields["extra_body"] = thinking
    add_cache_fields(request, prepared, fields)
    return fields


def modality_fields(request: Request) -> dict[str, Any]:
    """Return the fields for images and audio in the answer.

    What a model produces is known of OpenAI's own and OpenRouter's; elsewhere it has to be asked
    for. OpenAI streams audio only as PCM.
    """
    is_known = request.provider in ("openai", "azure", "openrouter")
    if not request.modalities or not (is_known or request.options.modalities):
        return {}
    fields: dict[str, Any] = {"modalities": list(request.modalities)}
    if "audio" in request.modalities and is_known:
        fields["audio"] = {"voice": "alloy", "format": "pcm16"}
    return fields


def _thinking_dialect(request: Request, dialect: ChatDialect) -> ChatDialect:
    """Return a dialect with the fields from which the host reads the thinking of earlier turns."""
    profile, interleaved = request.profile, (request.record or {}).get("interleaved")
    if profile.thinking_chunks:
        return dialect._replace(thinking="chunks")
    fields = profile.reasoning_fields
    if isinstance(interleaved, Mapping):
        fields = (str(interleaved.get("field") or fields[0]),)
    placeholder = None if profile.strict_fields else request.family.placeholder_reasoning
    return dialect._replace(reasoning_fields=fields, placeholder_reasoning=placeholder)


def _merge_turns(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge consecutive messages of the user, and of the assistant."""
    merged: list[dict[str, Any]] = []
    for message in messages:
        previous = merged[-1] if merged else {}
        role, calls = message["role"], previous.get("tool_calls")
        if role == previous.get("role") and role in ("user", "assistant") and not calls:
            content = _join_content(previous.get("content"), message.get("content"))
            previous.update({**message, "content": content})
        else:
            merged.append(message)
    return merged


def _add_bridges(messages: list[dict[str, Any]]) -> None:
    """Put an assistant message between tool results and a message of the user."""
    for index in range(len(messages) - 1, 0, -1):
        if messages[index]["role"] == "user" and messages[index - 1]["role"] == "tool":
            messages.insert(index, {"role": "assistant", "content": "I have read the results."})


def _join_content(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    parts: list[dict[str, Any]] = []
    for content in (first, second):
        if isinstance(content, str):
            parts.append({"type": "text", "text": content})
        else:
            parts += content or ()
    return parts


def thinking_fields(request: Request, plan: ReasoningPlan) -> dict[str, Any]:
    """Return the host's fields for a thinking setting other than an effort."""
    profile, family = request.profile, request.family
    if plan.enabled is not None and profile.thinking_switch is not None:
        fields = profile.thinking_switch(plan.enabled)
        is_relay = request.backend == "hosted_vllm" and not request.route.is_self_hosted
        if is_relay and family.thinking_switch is not None:
            fields |= family.thinking_switch(plan.enabled)
        return fields
    if plan.budget_tokens and profile.thinking_budget is not None:
        return profile.thinking_budget(plan.budget_tokens)
    return {}


# --- Structured output ----------------------------------------------------------------------


def schema_fallback(request: Request, schema: Mapping[str, Any]) -> OutputFallback | None:
    """Return the fallback if a host does not accept the schema, or None."""
    profile, host = request.profile, request.provider
    if not profile.json_schema:
        return OutputFallback("prompt", f"{host} does not accept a schema")
    if request.context.tools and not profile.schema_with_tools:
        return OutputFallback("tool", f"{host} does not accept a schema together with tools")
    is_openai = profile.schema_limits or OPENAI_MODELS.search(request.base_model_id)
    if is_openai or CLAUDE.search(request.base_model_id):
        from ...utils.vendor_schemas import anthropic_limit, openai_limit, to_openai_strict_schema

        exceeded = openai_limit if is_openai else anthropic_limit
        if limit := exceeded(to_openai_strict_schema(schema) or {}):
            return OutputFallback("tool", f"{limit}, more than {host} accepts", over_limit=True)
    return None


def output_json_schema(request: Request) -> dict[str, Any] | None:
    """Return the schema that the response must match, strict where possible; None: no schema."""
    output = request.output
    if output is None or output.mode != "native":
        return None
    from ...utils.vendor_schemas import to_openai_strict_schema, to_tool_schema

    strict_schema = to_openai_strict_schema(output.schema)
    schema = to_tool_schema(output.schema) if strict_schema is None else strict_schema
    return {"name": output.name, "schema": schema, "strict": strict_schema is not None}


def response_format(request: Request) -> dict[str, Any] | None:
    """Return the schema as Chat Completions and llama.cpp expect it."""
    schema = output_json_schema(request)
    if schema is not None:
        return {"type": "json_schema", "json_schema": schema}
    # The schema is in the prompt. With tools, a call is not a JSON object.
    is_prompted = request.output is not None and request.output.mode == "prompt"
    if is_prompted and not request.profile.json_schema and not request.context.tools:
        return {"type": "json_object"}
    return None


# --- Prompt caches --------------------------------------------------------------------------


def add_cache_fields(request: Request, prepared: PreparedRequest, fields: dict[str, Any]) -> None:
    """Mark the parts for the provider to cache, and for how long."""
    profile, options = request.profile, request.options
    pattern = profile.cache_options_models
    has_options = pattern is not None and bool(pattern.match(request.model_id))
    if prepared.cache_retention == "none":
        if has_options:  # without breakpoints, the prompt is not cached
            _add_extra_body(fields, "prompt_cache_options", {"mode": "explicit"})
        return
    if prepared.cache_control:
        add_cache_control(fields["messages"], fields["tools"])
        if prepared.cache_retention == "long":
            extend_cache_ttl([fields["messages"], fields["tools"]])
    if options.session_id and profile.prompt_cache_key:
        fields["prompt_cache_key"] = _cache_key(options.session_id, profile.max_cache_key_chars)
    elif options.session_id and not prepared.cache_control:
        request.warn("option_ignored", f"session_id has no effect on {request.provider}")
    if profile.day_cache_models is not None:
        if prepared.cache_retention == "long" and profile.day_cache_models.match(request.model_id):
            _add_extra_body(fields, "prompt_cache_retention", "24h")
        elif prepared.cache_retention == "long" and has_options:
            _add_extra_body(fields, "prompt_cache_options", {"ttl": "30m"})  # the only value
        elif options.cache_retention == "long":
            request.warn("option_ignored", "the cache retention of this model cannot be set")


def _add_extra_body(fields: dict[str, Any], name: str, value: Any) -> None:
    # LiteLLM 1.106 drops plain arguments that it does not know.
    fields["extra_body"] = {**(fields.get("extra_body") or {}), name: value}


def _cache_key(session_id: str, max_chars: int) -> str:
    if max_chars and len(session_id) > max_chars:
        return hashlib.sha256(session_id.encode("utf-8", "replace")).hexdigest()
    return session_id


def add_cache_control(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> None:
    """Mark the parts to cache: system prompt, tools, everything up to the last user message.

    As a conversation grows, the markers move on and everything before them stays unchanged.
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
    """Make every `cache_control` marker last an hour instead of five minutes."""
    if isinstance(value, dict):
        if "cache_control" in value:
            value["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        for child in value.values():
            extend_cache_ttl(child)
    elif isinstance(value, list):
        for child in value:
            extend_cache_ttl(child)


# --- Messages -------------------------------------------------------------------------------


def chat_messages(
    system_prompt: str | None, messages: Sequence[Message], dialect: ChatDialect = OPENAI_DIALECT
) -> list[dict[str, Any]]:
    """Return an adapted conversation as Chat Completions messages."""
    encoded: list[dict[str, Any]] = []
    if system_prompt:
        encoded.append({"role": "system", "content": clean_surrogates(system_prompt)})
    pending_files: list[UserContent] = []
    for message in messages:
        if pending_files and not isinstance(message, ToolResultMessage):
            encoded.append({"role": "user", "content": _encode_content(pending_files, dialect)})
            pending_files = []
        match message:
            case UserMessage(content=str() as text):
                encoded.append({"role": "user", "content": text})
            case UserMessage(content=list() as parts):
                encoded.append({"role": "user", "content": _encode_content(parts, dialect)})
            case UserMessage():
                raise AssertionError("content must be text or a list of parts")
            case AssistantMessage():
                encoded.append(_encode_assistant(message, dialect))
            case ToolResultMessage() if dialect.multipart_results:
                encoded.append(_encode_multipart_result(message, dialect))
            case ToolResultMessage():
                encoded.append(encode_text_result(message))
                pending_files += [p for p in message.content if not isinstance(p, TextContent)]
            case _:
                assert_never(message)
    if pending_files:
        encoded.append({"role": "user", "content": _encode_content(pending_files, dialect)})
    return encoded


def _encode_content(content: Sequence[UserContent], dialect: ChatDialect) -> Any:
    if all(isinstance(part, TextContent) for part in content):
        return "\n".join(part.text for part in content if isinstance(part, TextContent))
    return [_encode_part(part, dialect) for part in content]


def _encode_part(part: UserContent, dialect: ChatDialect = OPENAI_DIALECT) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"type": "text", "text": part.text}
        case ImageContent():
            return {"type": "image_url", "image_url": {"url": file_url(part)}}
        case DocumentContent() if is_remote_file(part):  # LiteLLM's form; it downloads the file
            return {"type": "file", "file": {"file_id": part.url}}
        case DocumentContent():
            file = {"filename": file_name(part), "file_data": file_url(part)}
            return {"type": "file", "file": file}
        case AudioContent():
            return {"type": "input_audio", "input_audio": _encode_audio(part, dialect)}
        case VideoContent() if is_remote_file(part):
            return {"type": "video_url", "video_url": {"url": part.url}}
        case VideoContent():
            mime_type, data = inline_media(part)
            url = f"data:{mime_type};base64,{data}"
            return {"type": "video_url", "video_url": {"url": url}}
        case FileContent():
            # LiteLLM's form: it converts the file for the provider's API by its type.
            return {
                "type": "file", "file": {"file_id": part.url or part.id, "format": part.mime_type}
            }  # fmt: skip
        case _:
            assert_never(part)


def _encode_audio(audio: AudioContent, dialect: ChatDialect) -> str | dict[str, str]:
    from ...media import media_format

    mime_type, data = inline_media(audio)
    match dialect.audio_input:
        case "string":
            return data
        case "data_url":
            url = f"data:{mime_type};base64,{data}"
            return {"data": url, "format": media_format(mime_type)}
        case "object":
            return {"data": data, "format": media_format(mime_type)}
        case _:
            assert_never(dialect.audio_input)


def _encode_assistant(message: AssistantMessage, dialect: ChatDialect) -> dict[str, Any]:
    text, calls, images = "", [], []
    audio: AudioContent | None = None
    for part in message.content:
        match part:
            case TextContent():
                text += part.text
            case ThinkingContent():
                pass  # sent in the form of the dialect, below
            case ToolCall():
                calls.append(_encode_tool_call(part, dialect))
            case ServerToolCall() | ServerToolResult():
                pass  # no host of this API wants them back
            case ImageContent():
                images.append(_encode_part(part))
            case AudioContent():
                audio = part
            case _:
                assert_never(part)
    encoded: dict[str, Any] = {"role": "assistant", "content": text or None}
    if images:
        encoded["content"] = [*([{"type": "text", "text": text}] if text else ()), *images]
    if audio is not None:
        _add_audio(audio, encoded)
    match dialect.thinking:
        case "blocks":
            add_thinking_blocks(message, encoded)
        case "chunks":
            if message.thinking_text:
                encoded["content"] = _thinking_chunks(message)
        case "fields":
            _add_reasoning(message, encoded, dialect)
        case "none":
            pass
        case _:
            assert_never(dialect.thinking)
    if calls:
        encoded["tool_calls"] = calls
    return encoded


def _add_audio(audio: AudioContent, encoded: dict[str, Any]) -> None:
    """Refer to the provider's copy of the audio, or send the transcript once it has expired."""
    expires_at = audio.raw.get("expires_at")
    if isinstance(expires_at, int | float) and time.time() < expires_at - _EXPIRY_MARGIN_S:
        encoded["audio"] = {"id": audio.raw["id"]}
    elif audio.transcript:
        encoded["content"] = _join_content(encoded["content"] or "", audio.transcript).strip()


def _add_reasoning(
    message: AssistantMessage, encoded: dict[str, Any], dialect: ChatDialect
) -> None:
    if details := _reasoning_details(message):
        encoded["reasoning_details"] = details
        if dialect.placeholder_reasoning is None:
            return
    if thinking := message.thinking_text:
        for name in dialect.reasoning_fields:
            text = {"type": "reasoning.text", "text": thinking}
            encoded.setdefault(name, [text] if name == "reasoning_details" else thinking)
    elif dialect.placeholder_reasoning is not None:
        for name in dialect.reasoning_fields:
            name = "reasoning_content" if name == "reasoning_details" else name
            encoded[name] = dialect.placeholder_reasoning


def _thinking_chunks(message: AssistantMessage) -> list[dict[str, Any]]:
    """Return thinking and text as Mistral sent them."""
    chunks: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ThinkingContent) and part.thinking:
            text = {"type": "text", "text": part.thinking}
            chunks.append({"type": "thinking", "thinking": [text]})
        elif isinstance(part, TextContent):
            chunks.append({"type": "text", "text": part.text})
    return chunks


def _reasoning_details(message: AssistantMessage) -> list[dict[str, Any]]:
    """Return signed thinking in the form in which OpenRouter sent it."""
    details: list[dict[str, Any]] = []
    for part in message.content:
        if isinstance(part, ThinkingContent) and (signature := part.thinking_signature):
            if not part.redacted:
                signed_text = {"text": part.thinking, "signature": signature}
                details.append({"type": "reasoning.text", **signed_text})
            elif detail := load_part(signature):
                details.append(detail)
    return details


def _encode_tool_call(call: ToolCall, dialect: ChatDialect) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    encoded: dict[str, Any] = {"id": call.id, "type": "function", "function": function}
    if call.thought_signature and dialect.call_signature:
        signature: dict[str, Any] = {"thought_signature": call.thought_signature}
        if dialect.call_signature == "extra_content":  # Gemini behind an OpenAI-compatible host
            signature = {"google": signature}
        encoded[dialect.call_signature] = signature
    return encoded


def encode_text_result(message: ToolResultMessage) -> dict[str, Any]:
    """Return a tool result as text, for APIs whose results hold no files."""
    text = _mark_tool_error(message, result_text(message))
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": text}


def _encode_multipart_result(message: ToolResultMessage, dialect: ChatDialect) -> dict[str, Any]:
    content = _encode_content(message.content, dialect)
    if isinstance(content, str):
        content = _mark_tool_error(message, content)
    elif message.is_error:
        content.insert(0, {"type": "text", "text": "[tool error]"})
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}


def _mark_tool_error(message: ToolResultMessage, text: str) -> str:
    return f"[tool error] {text}" if message.is_error else text  # the API has no flag for it


# --- Tools ----------------------------------------------------------------------------------


def chat_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Return tool definitions; None: no tools."""
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
    """Return `auto`, `none` and `required` unchanged; any other name forces that tool."""
    if choice is None or isinstance(choice, dict) or choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


# --- Accounts -------------------------------------------------------------------------------

# Headers of a provider's account, and the variables of their values.
_ACCOUNT_HEADERS: dict[str, dict[str, tuple[str, ...]]] = {
    "github-copilot": {"copilot-integration-id": ("GITHUB_COPILOT_INTEGRATION_ID",)},
    "openai": {
        "openai-organization": ("OPENAI_ORG_ID", "OPENAI_ORGANIZATION"),
        "openai-project": ("OPENAI_PROJECT_ID", "OPENAI_PROJECT"),
    },
}


def account_headers(request: Request) -> dict[str, str]:
    """Return the headers that name the account or the application, from the environment."""
    headers = {
        header: next(filter(None, map(os.environ.get, names)), "")
        for header, names in _ACCOUNT_HEADERS.get(request.provider, {}).items()
    }
    return {header: value for header, value in headers.items() if value}
