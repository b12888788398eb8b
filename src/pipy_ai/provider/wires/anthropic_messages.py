"""Anthropic Messages."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, assert_never

from ...types import (
    AssistantContent,
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
from ...utils.json_parse import parse_arguments
from ...utils.surrogates import clean_json_surrogates, clean_surrogates
from ..apis import ANTHROPIC
from ..content import COMMON_IMAGE_TYPES, inline_data, is_remote_file, result_text
from ..deltas import (
    Delta,
    Finish,
    Omitted,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from ..http.client import add_query, endpoint_url, replace_path_end
from ..http.sse import SSEReader
from ..profiles import ADAPTIVE_CLAUDE, SWITCHED_CLAUDE, backend_for
from ..request import EncodedRequest, PreparedRequest, ReasoningPlan, Request
from ..wire import OutputFallback, ReasoningOptions, ThinkingRules, TokenCounter, Wire
from ._anthropic_tools import (
    CALL_TYPES,
    answered_calls,
    caller_signature,
    decode_citation,
    decode_result,
    encode_caller,
    encode_citations,
    encode_server_tool,
    is_result,
    tool_name,
)
from ._fields import (
    content_text,
    dump_part,
    load_part,
    optional_id,
    optional_index,
    optional_text,
)
from ._parsing import (
    error_from_payload,
    parse_object,
    reported_error,
)
from ._usage import anthropic_tool, usage_from_anthropic

DEFAULT_BASE_URL = "https://api.anthropic.com"
API_VERSION = "2023-06-01"
DEFAULT_MAX_TOKENS = 4096  # the API requires a limit; used if the record has none

# Fields of OpenAI that LiteLLM translates, and those that it cannot.
_TRANSLATED_FIELDS = frozenset(
    {
        "max_completion_tokens", "parallel_tool_calls", "reasoning_effort", "response_format",
        "web_search_options",
    }
)  # fmt: skip
_REJECTED_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "modalities", "n", "prediction", "presence_penalty", "seed", "top_logprobs", "verbosity",
    }
)  # fmt: skip
_COMPACTION = "compaction"  # the type of a block
_COMPACTION_BETA = "compact-2026-01-12"
_DOCUMENT_TYPES = ("application/pdf", "text/plain")  # of files that `document` refers to
# Fields of a request that also belong to one for its number of tokens.
_COUNTED_FIELDS = (
    "model", "messages", "system", "tools", "tool_choice", "thinking", "output_config",
    "cache_control", "compaction", "context_management", "mcp_servers", "output_format", "speed",
)  # fmt: skip

# === Requests ===============================================================================


def auth_headers(api_key: str) -> dict[str, str]:
    """Return the headers that carry the key."""
    return {"x-api-key": api_key}


def accepts_extra(names: Collection[str]) -> bool:
    """Return whether no field is one that LiteLLM translates from OpenAI's API."""
    return _TRANSLATED_FIELDS.isdisjoint(names)


def default_reasoning(record: Mapping[str, Any] | None, model_id: str) -> ReasoningOptions:
    """Return how a Claude model without `reasoning_options` accepts options for thinking."""
    release_date = str((record or {}).get("release_date") or "")
    if release_date >= "2026-02" or ADAPTIVE_CLAUDE.match(model_id):  # from Opus 4.6 on
        efforts = ("low", "medium", "high", "max")
        return ReasoningOptions(efforts, toggle=SWITCHED_CLAUDE.match(model_id))
    return ReasoningOptions(budget={"min": 1024})


def schema_fallback(request: Request, schema: Mapping[str, Any]) -> OutputFallback | None:
    """Return the fallback if Claude does not accept the schema, or None."""
    if ANTHROPIC not in backend_for(request.backend).direct:
        return OutputFallback("tool", f"{request.provider} does not accept schemas for Claude")
    from ...utils.vendor_schemas import anthropic_limit, to_anthropic_schema

    closed = to_anthropic_schema(schema)
    if closed is None:
        text = "Anthropic does not accept a schema with arbitrary keys or a recursive one"
        return OutputFallback("tool", text)
    if limit := anthropic_limit(closed):
        return OutputFallback("tool", f"{limit}, more than Anthropic accepts", over_limit=True)
    return None


def tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a tool as Anthropic accepts it."""
    from ...utils.vendor_schemas import to_anthropic_tool_schema

    return to_anthropic_tool_schema(schema)


def arguments_restorer(
    schema: Mapping[str, Any],
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """Return a function that restores the property names that `tool_schema` replaced."""
    from ...utils.vendor_schemas import anthropic_arguments_restorer

    return anthropic_arguments_restorer(schema)


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL, headers and body, without the key."""
    options = request.options
    user_id = (options.metadata or {}).get("user_id")
    body: dict[str, Any] = {
        "model": request.model_id,
        "messages": encode_messages(prepared.messages),
        "system": _system_blocks(prepared.system_prompt),
        "max_tokens": options.max_tokens or _default_max_tokens(request),
        "stream": True,
        **WIRE.sampling_fields(prepared),
        "stop_sequences": [prepared.stop] if isinstance(prepared.stop, str) else prepared.stop,
        "tools": encode_tools(prepared.tools),
        "tool_choice": _tool_choice(prepared.tool_choice),
        "metadata": None if user_id is None else {"user_id": str(user_id)},
        "container": _container(prepared.messages),
        "service_tier": request.service_tier,
        **thinking_fields(prepared.reasoning),
    }
    if (schema := output_format(request)) is not None:
        body["output_config"] = {**body.get("output_config", {}), "format": schema}
    if not request.has_tools and (called_tools := _called_tools(prepared.messages)):
        body |= {"tools": called_tools, "tool_choice": {"type": "none"}}
    if prepared.cache_control:
        _add_cache_control(body, prepared.cache_retention == "long")
    url = _messages_url(prepared.base_url or _default_base_url(request))
    headers = {"anthropic-version": API_VERSION}
    if _has_compaction(body["messages"]):
        headers["anthropic-beta"] = _COMPACTION_BETA
    return EncodedRequest(url, headers, body)


def _has_compaction(messages: list[dict[str, Any]]) -> bool:
    return any(block["type"] == _COMPACTION for turn in messages for block in turn["content"])


def count_request(
    request: Request, url: str, body: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return URL and body of the request that counts the tokens of another one."""
    counted = {name: body[name] for name in _COUNTED_FIELDS if name in body}
    return replace_path_end(url, "/messages", "/messages/count_tokens"), counted


def model_lists(url: str) -> tuple[str, ...]:
    """Return the URL of the list of models, for that of a request."""
    return (add_query(replace_path_end(url, "/messages", "/models"), "limit=1000"),)


def thinking_fields(plan: ReasoningPlan) -> dict[str, Any]:
    """Return the thinking fields: a budget, adaptive thinking with an effort, or the switch."""
    if plan.budget_tokens:
        budget = {"type": "enabled", "budget_tokens": plan.budget_tokens}
        return {"thinking": budget, "max_tokens": plan.max_tokens}
    if plan.enabled is False or plan.effort == "none":
        return {"thinking": {"type": "disabled"}}
    if plan.effort:
        return {
            "thinking": {"type": "adaptive", "display": "summarized"},
            "output_config": {"effort": plan.effort},
        }
    return {}


def _default_base_url(request: Request) -> str:
    if request.provider != "anthropic":
        return DEFAULT_BASE_URL
    variables = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE")
    return next(filter(None, map(os.environ.get, variables)), DEFAULT_BASE_URL)


def _messages_url(base_url: str) -> str:
    address, separator, query = base_url.partition("?")
    address = address.rstrip("/").removesuffix("/v1/messages").removesuffix("/v1")
    return endpoint_url(address + separator + query, "/v1/messages")


def _default_max_tokens(request: Request) -> int:
    limits = (request.record or {}).get("limit")
    output_limit = limits.get("output") if isinstance(limits, dict) else None
    if isinstance(output_limit, int) and output_limit > 0:
        return output_limit
    return DEFAULT_MAX_TOKENS


def output_format(request: Request) -> dict[str, Any] | None:
    """Return the schema that the response must match; None: no schema."""
    output = request.output
    if output is None or output.mode != "native":
        return None
    from ...utils.vendor_schemas import to_anthropic_schema

    return {"type": "json_schema", "schema": to_anthropic_schema(output.schema)}


def _container(messages: Sequence[Message]) -> str | None:
    """Return the sandbox of an answer that goes on."""
    answer = next((m for m in reversed(messages) if not isinstance(m, ToolResultMessage)), None)
    return answer.container if isinstance(answer, AssistantMessage) else None


def _system_blocks(system_prompt: str | None) -> list[dict[str, Any]] | None:
    return [{"type": "text", "text": system_prompt}] if system_prompt else None


def _tool_choice(choice: str | dict[str, Any] | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, dict):  # OpenAI's form, or already Anthropic's
        function = choice.get("function")
        return {"type": "tool", "name": function["name"]} if isinstance(function, dict) else choice
    types = {"auto": "auto", "none": "none", "required": "any"}
    return {"type": types[choice]} if choice in types else {"type": "tool", "name": choice}


def encode_tools(tools: Sequence[Tool] | None) -> list[dict[str, Any]] | None:
    """Return tool definitions; None: no tools."""
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
    """Return definitions of the tools that a conversation has called.

    The API requires them even when the request offers no tools.
    """
    calls = [
        call
        for message in messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls
    ]
    names = dict.fromkeys(call.name for call in calls)
    schema = {"type": "object", "properties": {}}
    return [{"name": name, "input_schema": dict(schema)} for name in names]


def encode_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return the conversation; consecutive messages of users and tools become one."""
    encoded: list[dict[str, Any]] = []
    server_calls = answered_calls(messages)
    files_after_results: list[dict[str, Any]] = []  # which a result cannot hold
    for message in messages:
        if files_after_results and not isinstance(message, ToolResultMessage):
            encoded[-1]["content"] += files_after_results
            files_after_results = []
        match message:
            case UserMessage():
                role, blocks = "user", _encode_user_content(message)
            case AssistantMessage():
                role, blocks = "assistant", _encode_answer(message, server_calls)
            case ToolResultMessage():
                role, blocks = "user", [_encode_result(message)]
                files_after_results += _encode_files(message)
            case _:
                assert_never(message)
        if encoded and encoded[-1]["role"] == role:
            encoded[-1]["content"] += blocks
        else:
            encoded.append({"role": role, "content": blocks})
    if files_after_results:
        encoded[-1]["content"] += files_after_results
    if encoded and encoded[-1]["role"] == "assistant":
        last_block = encoded[-1]["content"][-1]
        if last_block["type"] == "text":  # a prefix must not end in white space
            last_block["text"] = last_block["text"].rstrip()
    return encoded


def _encode_user_content(message: UserMessage) -> list[dict[str, Any]]:
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}]
    return [_encode_part(part) for part in message.content]


def _encode_part(part: UserContent) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"type": "text", "text": part.text}
        case ImageContent():
            return {"type": "image", "source": _file_source(part)}
        case DocumentContent():
            title = {"title": part.name} if part.name else {}
            return {"type": "document", "source": _file_source(part), **title}
        case AudioContent() | VideoContent():
            raise AssertionError("`adapt_messages` replaced it")
        case FileContent():
            return _encode_stored_file(part)
        case _:
            assert_never(part)


def _encode_stored_file(file: FileContent) -> dict[str, Any]:
    source = {"type": "file", "file_id": file.id}
    if file.mime_type in COMMON_IMAGE_TYPES:
        return {"type": "image", "source": source}
    if file.mime_type in _DOCUMENT_TYPES:
        return {
            "type": "document", "source": source, **({"title": file.name} if file.name else {})
        }  # fmt: skip
    return {"type": "container_upload", "file_id": file.id}


def _stored_file_problem(file: FileContent, request: Request) -> str:
    if file.mime_type in COMMON_IMAGE_TYPES or file.mime_type in _DOCUMENT_TYPES:
        return ""
    tools = (request.options.extra or {}).get("tools") or ()
    names = {tool.get("name") for tool in tools if isinstance(tool, dict)}
    if "code_execution" in names | {tool.name for tool in request.context.tools or ()}:
        return ""
    kind = file.mime_type or "of an unknown type"
    name = file.name or file.id
    return f"{name} is {kind}; Claude reads such files only with code_execution() (--code)"


def _file_source(part: ImageContent | DocumentContent) -> dict[str, Any]:
    if is_remote_file(part):
        return {"type": "url", "url": part.url}
    media_type, data = inline_data(part)
    return {"type": "base64", "media_type": media_type, "data": data}


def _encode_answer(message: AssistantMessage, server_calls: set[str]) -> list[dict[str, Any]]:
    return [
        _encode_block(part, server_calls)
        for part in message.content
        if not (isinstance(part, ServerToolCall) and part.id not in server_calls)
        and not (isinstance(part, ServerToolResult) and part.tool_call_id not in server_calls)
    ]


def _encode_block(part: AssistantContent, server_calls: set[str]) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"type": "text", "text": part.text, **encode_citations(part.citations)}
        case ThinkingContent(redacted=True):
            return _compaction_block(part) or {
                "type": "redacted_thinking", "data": part.thinking_signature
            }  # fmt: skip
        case ThinkingContent():
            signature = part.thinking_signature
            # Hosts of other models may send no signature but require the field.
            return {"type": "thinking", "thinking": part.thinking, "signature": signature or ""}
        case ToolCall():
            call = {"type": "tool_use", "id": part.id, "name": part.name, "input": part.arguments}
            return {**call, **encode_caller(part, server_calls)}
        case ServerToolCall() | ServerToolResult() | ImageContent() | AudioContent():
            return dict(part.raw)
        case _:
            assert_never(part)


def _compaction_block(part: ThinkingContent) -> dict[str, Any] | None:
    """Return the summary of the conversation that Claude has made; None: it is thinking."""
    signature = part.thinking_signature or ""
    block = load_part(signature) if signature.startswith("{") else None
    return block if block is not None and block.get("type") == _COMPACTION else None


def _encode_result(message: ToolResultMessage) -> dict[str, Any]:
    content = [block for block in map(_encode_part, message.content) if _is_held(block, message)]
    content = content or [{"type": "text", "text": result_text(message)}]
    result = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": content}
    return {**result, "is_error": True} if message.is_error else result


def _encode_files(message: ToolResultMessage) -> list[dict[str, Any]]:
    """Return the files that have to follow the result."""
    return [block for block in map(_encode_part, message.content) if not _is_held(block, message)]


def _is_held(block: dict[str, Any], message: ToolResultMessage) -> bool:
    """Return whether a result can hold a block.

    One with `is_error` holds only text (vellum-ai/vellum-assistant#18387), and none a file for
    code execution.
    """
    return block["type"] == "text" or not (message.is_error or block["type"] == "container_upload")


def _add_cache_control(body: dict[str, Any], long: bool) -> None:
    """Mark the parts to cache: system prompt, tools, everything up to the last user message."""
    marker = {"type": "ephemeral", "ttl": "1h"} if long else {"type": "ephemeral"}
    last_user = next((m for m in reversed(body["messages"]) if m["role"] == "user"), None)
    for blocks in (body["system"], body["tools"], last_user and last_user["content"]):
        if blocks:
            blocks[-1]["cache_control"] = dict(marker)


# === Responses ==============================================================================


class AnthropicMessagesDecoder:
    """Decodes one response. It is complete with a stop reason or `message_stop`."""

    api = ANTHROPIC
    varying_fields: frozenset[str] = frozenset()
    count_field = ""

    def __init__(self) -> None:
        self.done: bool = False
        self._tool_blocks: set[int | None] = set()  # indices of blocks that call the caller's tools
        self._server_calls: dict[str, int] = {}  # of Anthropic's own tools
        # Inputs in the start event of a block; dropped if deltas follow.
        self._unsent_inputs: dict[int | None, str] = {}
        self._open_calls: dict[int | None, dict[str, Any]] = {}  # blocks of Anthropic's own tools
        self._tool_names: dict[str, str] = {}  # of those calls, by id
        self._citations: dict[int | None, list[dict[str, Any]]] = {}
        self._compactions: dict[int | None, dict[str, Any]] = {}  # open blocks

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        body = parsed or parse_object(data)
        event_type = body.get("type") or event
        if event_type == "content_block_delta":
            self._decode_block_delta(body.get("index"), body.get("delta") or {}, deltas)
        elif event_type == "content_block_start":
            self._decode_block_start(body.get("index"), body.get("content_block") or {}, deltas)
        elif event_type == "content_block_stop":
            self._end_block(body.get("index"), deltas)
        elif event_type == "message_start":
            message = body.get("message") or {}
            deltas.append(_response_info(message))
            self._append_usage(message.get("usage"), deltas)
            if message.get("content"):
                self._decode_first_blocks(message, deltas)
        elif event_type == "message_delta":
            usage = body.get("usage")
            if isinstance(usage, dict):  # some hosts send 0 for counts of `message_start`
                usage = {name: value for name, value in usage.items() if value != 0}
            self._append_usage(usage, deltas)
            self._end_message(body.get("delta") or {}, deltas)
        elif event_type == "message_stop":
            self.done = True
            self._end_blocks(deltas)
            deltas.append(Finish())
        elif event_type == "error" or body.get("error"):
            raise error_from_payload(body.get("error", body))
        elif "type" not in body and (error := reported_error(body)):
            raise error_from_payload(error)

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`."""
        message = parse_object(body)
        if not message.get("content") and (error := reported_error(message)):
            raise error_from_payload(error)
        deltas.append(_response_info(message))
        for index, block in enumerate(message.get("content") or ()):
            self._decode_block_start(index, block, deltas)
            self._end_block(index, deltas)
        self._append_usage(message.get("usage"), deltas)
        self._end_message(message, deltas)

    def _decode_first_blocks(self, message: dict[str, Any], deltas: list[Delta]) -> None:
        """Decode complete blocks, which code that calls the caller's tools starts with.

        Such a response may have no other events.
        """
        for number, block in enumerate(message["content"]):
            index = -1 - number  # the blocks that follow count from 0
            self._decode_block_start(index, block, deltas)
            self._end_block(index, deltas)
        self._end_message(message, deltas)

    def _end_message(self, message: dict[str, Any], deltas: list[Delta]) -> None:
        container = message.get("container")
        if isinstance(container, dict) and (container_id := optional_id(container.get("id"))):
            deltas.append(ResponseInfo(container=container_id))
        if reason := content_text(message.get("stop_reason")):
            self._end_blocks(deltas)
            deltas.append(Finish(reason))

    def _decode_block_start(self, index: Any, block: dict[str, Any], deltas: list[Delta]) -> None:
        index = optional_index(index)
        block_type = block.get("type")
        if block_type == "text":
            deltas.append(Text(content_text(block.get("text")), index))
            for citation in block.get("citations") or ():
                self._citations.setdefault(index, []).append(citation)
        elif block_type == "thinking":
            deltas.append(Thinking(content_text(block.get("thinking")), index))
            if signature := optional_text(block.get("signature")):
                deltas.append(ThinkingSignature(signature, index))
        elif block_type == "redacted_thinking":
            deltas.append(RedactedThinking(content_text(block.get("data")), index))
        elif block_type == _COMPACTION:
            self._compactions[index] = block
        elif block_type == "tool_use":
            self._tool_blocks.add(index)
            name = content_text(block.get("name"))
            deltas.append(
                ToolFragment(
                    index,
                    optional_id(block.get("id")),
                    name,
                    thought_signature=caller_signature(block),
                )
            )
            if tool_input := block.get("input"):
                self._unsent_inputs[index] = json.dumps(tool_input, ensure_ascii=False)
        elif block_type in CALL_TYPES:
            self._start_server_call(index, block, deltas)
        elif is_result(block_type):
            call_id = optional_id(block.get("tool_use_id")) or ""
            deltas.append(decode_result(block, self._tool_names.get(call_id, "")))
        elif block_type not in (None, "fallback"):
            deltas.append(Omitted(str(block_type)))

    def _start_server_call(
        self, index: int | None, block: dict[str, Any], deltas: list[Delta]
    ) -> None:
        call_id, name = optional_id(block.get("id")) or "", tool_name(block)
        self._tool_names[call_id] = name
        self._open_calls[index] = {**block, "input": ""}
        deltas.append(ServerToolFragment(index, call_id, name))
        if tool_input := block.get("input"):
            self._unsent_inputs[index] = json.dumps(tool_input, ensure_ascii=False)
        if block.get("type") == "server_tool_use" and (tool := anthropic_tool(block)):
            self._server_calls[tool] = self._server_calls.get(tool, 0) + 1
            deltas.append(UsageReport(server_tool_calls=dict(self._server_calls)))

    def _append_usage(self, usage: Any, deltas: list[Delta]) -> None:
        if isinstance(usage, dict):
            deltas.append(usage_from_anthropic(usage, self._server_calls))

    def _decode_block_delta(self, index: Any, delta: dict[str, Any], deltas: list[Delta]) -> None:
        index = index if type(index) is int else optional_index(index)
        delta_type = delta.get("type")
        if delta_type == "text_delta":
            text = delta.get("text")
            deltas.append(Text(text if type(text) is str else content_text(text), index))
        elif delta_type == "thinking_delta":
            deltas.append(Thinking(content_text(delta.get("thinking")), index))
        elif delta_type == "signature_delta":
            deltas.append(ThinkingSignature(content_text(delta.get("signature")), index))
        elif delta_type == "input_json_delta":
            arguments = delta.get("partial_json")
            arguments = arguments if type(arguments) is str else content_text(arguments)
            if self._unsent_inputs and arguments.strip() not in ("", "{}"):
                self._unsent_inputs.pop(index, None)
            if index in self._tool_blocks:
                deltas.append(ToolFragment(index, arguments=arguments))
            elif (call := self._open_calls.get(index)) is not None:
                call["input"] += arguments
                deltas.append(ServerToolFragment(index, arguments=arguments))
        elif delta_type == "compaction_delta" and index in self._compactions:
            self._compactions[index] = {**self._compactions[index], **delta}
        elif delta_type == "citations_delta":
            self._citations.setdefault(index, []).append(delta.get("citation") or {})

    def _end_block(self, index: Any, deltas: list[Delta]) -> None:
        """Add the input that was in the start event of a block and in no delta, and citations."""
        index = optional_index(index)
        tool_input = self._unsent_inputs.pop(index, None)
        call = self._open_calls.pop(index, None)
        if call is not None:
            arguments = tool_input or call["input"] or "{}"
            parsed, error = parse_arguments(arguments)
            raw = {**call, "input": parsed} if error is None else None
            deltas.append(ServerToolFragment(index, arguments=tool_input or "", raw=raw))
        elif tool_input:
            deltas.append(ToolFragment(index, arguments=tool_input))
        if compaction := _compaction_part(self._compactions.pop(index, {})):
            deltas.append(RedactedThinking(compaction, index))
        citations = self._citations.pop(index, ())
        deltas += [decode_citation(item, index) for item in citations if isinstance(item, dict)]

    def _end_blocks(self, deltas: list[Delta]) -> None:
        unfinished = (self._unsent_inputs, self._open_calls, self._compactions, self._citations)
        for index in {index: None for blocks in unfinished for index in blocks}:
            self._end_block(index, deltas)


def _compaction_part(block: dict[str, Any]) -> str | None:
    """Return a summary of the conversation as JSON, to be sent back; None: it failed."""
    if not optional_text(block.get("content")) and not optional_text(
        block.get("encrypted_content")
    ):
        return None
    fields = {name: value for name, value in block.items() if value is not None}
    return dump_part({**fields, "type": _COMPACTION})


def _response_info(message: dict[str, Any]) -> ResponseInfo:
    return ResponseInfo(optional_text(message.get("id")), optional_text(message.get("model")))


WIRE = Wire(
    api=ANTHROPIC,
    title="Anthropic",
    encode=encode,
    decoder=AnthropicMessagesDecoder,
    framing=SSEReader,
    url_suffix="/v1/messages",
    sampling={name: name for name in ("temperature", "top_p", "top_k")}
    | {"stop": "stop_sequences"},
    default_family="claude",
    blank_stops=False,  # "each stop sequence must contain non-whitespace"
    auth_headers=auth_headers,
    accepts_extra=accepts_extra,
    server_tool=encode_server_tool,
    file_problem=_stored_file_problem,
    replays_raw=True,
    rejected_extra=_REJECTED_FIELDS,
    document_urls=True,
    schema_providers=frozenset({"anthropic"}),
    schema_fallback=schema_fallback,
    tool_name=re.compile(r"[A-Za-z0-9_-]{1,128}"),
    tool_schema=tool_schema,
    arguments_restorer=arguments_restorer,
    signed_thinking=True,
    starts_with_user=True,
    strict_history=True,
    cache_control=True,
    thinking=ThinkingRules(
        budget=True,
        off_by_default=True,
        switch=True,
        adaptive_effort="max",
        tools_beta="interleaved-thinking-2025-05-14",
        defaults=default_reasoning,
    ),
    token_counter=TokenCounter(count_request, "input_tokens"),
    model_lists=model_lists,
)
