"""Ollama's own API, `/api/chat`: the server applies the chat template of the model.

`truncate` and `shift` are false: by default the server silently drops the beginning of a prompt
that does not fit, or of the conversation when the answer does not. Its context is small by default,
so a larger one is requested for a longer prompt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never
from urllib.parse import urlsplit

from ...tokens import estimate_input_tokens
from ...types import (
    AssistantMessage,
    AudioContent,
    Context,
    DocumentContent,
    FileContent,
    ImageContent,
    Message,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    ToolCall,
    ToolResultMessage,
    UserContent,
    UserMessage,
    VideoContent,
)
from ...utils.construct import construct_unchecked
from ..apis import OLLAMA_CHAT
from ..content import inline_data
from ..deltas import Delta, Finish, ResponseInfo, Text, Thinking, ToolFragment, UsageReport
from ..http.client import endpoint_url, replace_path_end
from ..http.json_lines import JSONLinesReader
from ..request import EncodedRequest, PreparedRequest, ReasoningPlan, Request
from ..wire import OutputFallback, ReasoningOptions, ThinkingRules, Wire
from ._fields import content_text, optional_id, optional_text, token_count
from ._openai_messages import chat_tools, encode_text_result, output_json_schema
from ._parsing import error_from_payload, parse_object

DEFAULT_BASE_URL = "http://127.0.0.1:11434"
CLOUD_HOST = "ollama.com"
GPT_OSS = "gpt-oss"

# The context of a server with less than 24 GB of graphics memory (docs.ollama.com/context-length).
SERVER_CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 2048  # reserved for an answer without `max_tokens`
THINKING_TOKENS = 4096  # reserved in addition if the model is told to think
_PROMPT_MARGIN = 1.25  # the estimate may be too low, and the chat template adds tokens
_TEMPLATE_TOKENS = 64
# The first response of a model comes after it has been loaded, which may take minutes.
LOADING_IDLE_TIMEOUT_S = 600.0

# Settings of the model: the fields of `options` (ollama/ollama, `api/types.go`).
_OPTION_FIELDS = frozenset(
    {
        "draft_num_predict", "frequency_penalty", "main_gpu", "min_p", "mirostat", "mirostat_eta",
        "mirostat_tau", "num_batch", "num_ctx", "num_gpu", "num_keep", "num_predict", "num_thread",
        "penalize_newline", "presence_penalty", "repeat_last_n", "repeat_penalty", "seed", "stop",
        "temperature", "tfs_z", "top_k", "top_p", "typical_p", "use_mmap",
    }
)  # fmt: skip

# Fields of OpenAI that LiteLLM translates.
_TRANSLATED_FIELDS = frozenset(
    {
        "functions", "max_completion_tokens", "max_tokens", "reasoning_effort", "response_format",
    }
)  # fmt: skip

# === Requests ===============================================================================


def accepts_extra(names: Collection[str]) -> bool:
    """Return whether no field is one that LiteLLM translates from OpenAI's API."""
    return _TRANSLATED_FIELDS.isdisjoint(names)


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL and body, without the key."""
    base_url = prepared.base_url or DEFAULT_BASE_URL
    is_cloud = _runs_in_cloud(base_url, request.model_id)
    options = {
        **WIRE.sampling_fields(prepared),
        "stop": [prepared.stop] if isinstance(prepared.stop, str) else prepared.stop,
        "num_predict": request.options.max_tokens,
        "num_ctx": None if is_cloud else context_tokens(request, prepared),
    }
    options = {name: value for name, value in options.items() if value is not None}
    schema = output_json_schema(request)
    body: dict[str, Any] = {
        "model": request.model_id,
        "messages": encode_messages(prepared.system_prompt, prepared.messages),
        "stream": True,
        "tools": None if prepared.tool_choice == "none" else chat_tools(prepared.tools),
        "format": None if schema is None else schema["schema"],
        "think": _think(request, prepared.reasoning),
        "truncate": False,
        "shift": False,
        "options": options or None,
    }
    idle_timeout = None if is_cloud else LOADING_IDLE_TIMEOUT_S
    return EncodedRequest(endpoint_url(base_url, "/api/chat"), {}, body, idle_timeout)


def _runs_in_cloud(base_url: str, model_id: str) -> bool:
    """Return whether Ollama's cloud runs the model, always with its largest context."""
    tag = model_id.rpartition(":")[2]
    return tag == "cloud" or tag.endswith("-cloud") or urlsplit(base_url).hostname == CLOUD_HOST


def context_tokens(request: Request, prepared: PreparedRequest) -> int | None:
    """Return the context to request; None: that of any server is large enough.

    The server loads a model again for another context, so the sizes are powers of two.
    """
    default = SERVER_CONTEXT_TOKENS
    if (setting := os.environ.get("OLLAMA_CONTEXT_LENGTH", "").strip()).isdecimal():
        default = int(setting) or default
    answer_tokens = request.options.max_tokens
    if answer_tokens is None:
        answer_tokens = ANSWER_TOKENS + (THINKING_TOKENS if prepared.reasoning.thinks else 0)
    prompt = construct_unchecked(
        Context,
        system_prompt=prepared.system_prompt,
        messages=prepared.messages,
        tools=prepared.tools,
    )
    prompt_tokens = round(estimate_input_tokens(prompt) * _PROMPT_MARGIN)
    needed = prompt_tokens + answer_tokens + _TEMPLATE_TOKENS
    if needed <= default:
        return None
    limit = ((request.record or {}).get("limit") or {}).get("context")
    return min(1 << (needed - 1).bit_length(), limit or needed * 2)


def _think(request: Request, plan: ReasoningPlan) -> bool | str | None:
    if plan.enabled is False and GPT_OSS in request.model_id:  # the server would ignore it
        text = "thinking cannot be turned off for this model; it was set to low"
        request.warn("reasoning_changed", text)
        return "low"
    if plan.effort == "none":
        return False
    return plan.effort or plan.enabled


def reasoning_defaults(record: Mapping[str, Any] | None, model_id: str) -> ReasoningOptions:
    """Return the settings of a model: `gpt-oss` has levels, others turn thinking on for any."""
    levels = ("low", "medium", "high")
    return ReasoningOptions(levels if GPT_OSS in model_id else ("none", *levels, "max"))


def schema_fallback(request: Request, schema: Mapping[str, Any]) -> OutputFallback | None:
    """Return the fallback with tools: a schema restricts the whole answer, so no tool is called."""
    if request.context.tools:
        return OutputFallback("prompt", "Ollama cannot call tools together with a schema")
    return None


def encode_messages(system_prompt: str | None, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return an adapted conversation. Images of tool results follow in a user message."""
    encoded: list[dict[str, Any]] = []
    if system_prompt:
        encoded.append({"role": "system", "content": system_prompt})
    pending_images: list[UserContent] = []
    for message in messages:
        if pending_images and not isinstance(message, ToolResultMessage):
            encoded.append(_encode_user_content(pending_images))
            pending_images = []
        match message:
            case UserMessage(content=str() as text):
                encoded.append({"role": "user", "content": text})
            case UserMessage(content=list() as parts):
                encoded.append(_encode_user_content(parts))
            case UserMessage():
                raise AssertionError("content must be text or a list of parts")
            case AssistantMessage():
                encoded.append(_encode_assistant(message))
            case ToolResultMessage():
                encoded.append({**encode_text_result(message), "tool_name": message.tool_name})
                pending_images += [p for p in message.content if not isinstance(p, TextContent)]
            case _:
                assert_never(message)
    if pending_images:
        encoded.append(_encode_user_content(pending_images))
    return encoded


def _encode_user_content(parts: Sequence[UserContent]) -> dict[str, Any]:
    texts: list[str] = []
    images: list[str] = []
    for part in parts:
        match part:
            case TextContent():
                texts.append(part.text)
            case ImageContent() | DocumentContent():
                images.append(inline_data(part)[1])
            case AudioContent() | VideoContent() | FileContent():
                raise AssertionError("`adapt_messages` replaced it")
            case _:
                assert_never(part)
    encoded: dict[str, Any] = {"role": "user", "content": "\n".join(texts)}
    return {**encoded, "images": images} if images else encoded


def _encode_assistant(message: AssistantMessage) -> dict[str, Any]:
    text, calls = "", []
    for part in message.content:
        match part:
            case TextContent():
                text += part.text
            case ThinkingContent():
                pass  # below
            case ToolCall():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case ServerToolCall() | ServerToolResult() | ImageContent() | AudioContent():
                pass  # `adapt_messages` replaced them
            case _:
                assert_never(part)
    encoded: dict[str, Any] = {"role": "assistant", "content": text}
    if thinking := message.thinking_text:
        encoded["thinking"] = thinking
    if calls:
        encoded["tool_calls"] = calls
    return encoded


# === Responses ==============================================================================


class OllamaChatDecoder:
    """Decodes one response. It is complete with the line that has `"done": true`."""

    api = OLLAMA_CHAT
    varying_fields: frozenset[str] = frozenset({"created_at"})
    count_field = ""

    def __init__(self) -> None:
        self.done: bool = False
        self._model: Any = None
        self._call_count = 0

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        line = parsed or parse_object(data)
        model = line.get("model")
        if model != self._model:
            self._model = model
            deltas.append(ResponseInfo(model=optional_text(model)))
        message = line.get("message")
        if message:
            if thinking := message.get("thinking"):
                deltas.append(Thinking(content_text(thinking)))
            if content := message.get("content"):
                deltas.append(Text(content_text(content)))
            for call in message.get("tool_calls") or ():
                self._decode_call(call, deltas)
        if line.get("error"):
            error, status = line["error"], line.get("status")
            if isinstance(error, str) and isinstance(status, int):
                error = {"message": error, "status": status}
            raise error_from_payload(error)
        if line.get("done"):
            self.done = True
            deltas.append(_usage(line))
            if timings := _timings(line):
                deltas.append(ResponseInfo(timings_ms=timings))
            deltas.append(Finish(content_text(line.get("done_reason")) or None))

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`: a body that is not streamed is the last line alone."""
        self.decode("", body, deltas)

    def _decode_call(self, call: dict[str, Any], deltas: list[Delta]) -> None:
        function = call.get("function") or {}
        arguments = function.get("arguments")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments or {}, ensure_ascii=False)
        # Calls come whole. Some servers give each of them the index 0.
        index, self._call_count = self._call_count, self._call_count + 1
        name = content_text(function.get("name"))
        deltas.append(ToolFragment(index, optional_id(call.get("id")), name, arguments))


_DURATIONS = {
    "load": "load_duration",
    "input": "prompt_eval_duration",
    "output": "eval_duration",
    "total": "total_duration",
}


def _timings(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the durations of the last line, which are in nanoseconds."""
    counts = {phase: token_count(line.get(field)) for phase, field in _DURATIONS.items()}
    return {phase: count / 1e6 for phase, count in counts.items() if count is not None}


def _usage(line: Mapping[str, Any]) -> UsageReport:
    """Return the counts of the last line, which leaves out those that are 0.

    Without a count of the prompt all of it was in the server's cache, and its size is unknown.
    """
    output = token_count(line.get("eval_count"))
    if output is None and "prompt_eval_count" in line:
        output = 0
    return UsageReport(input=token_count(line.get("prompt_eval_count")), output=output)


WIRE = Wire(
    api=OLLAMA_CHAT,
    title="Ollama",
    encode=encode,
    decoder=OllamaChatDecoder,
    framing=JSONLinesReader,
    url_suffix="/api/chat",
    model_lists=lambda url: (replace_path_end(url, "/api/chat", "/api/tags"),),
    sampling={name: name for name in ("temperature", "top_p", "top_k", "seed", "stop")},
    accepts_extra=accepts_extra,
    nested_extra={"options": _OPTION_FIELDS},
    image_urls=False,
    schema_fallback=schema_fallback,
    thinking=ThinkingRules(defaults=reasoning_defaults),
)
