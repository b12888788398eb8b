"""OpenAI Chat Completions, as implemented by OpenAI and a hundred compatible hosts.

The differences between hosts are in `provider.profiles`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from ...types import AssistantContent, AssistantMessage, Message, ThinkingContent
from ..apis import OPENAI_CHAT
from ..credentials import openai_base_url, uses_default_openai_url
from ..deltas import (
    Delta,
    Finish,
    Omitted,
    RedactedThinking,
    ResponseInfo,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
)
from ..http.client import endpoint_url, replace_path_end
from ..http.sse import SSEReader
from ..profiles import Profile
from ..request import EncodedRequest, PreparedRequest, Request
from ..wire import Wire
from ._chat_media import decode_annotations, decode_audio, decode_images
from ._chat_tools import ExecutedTools, decode_search_results, encode_server_tool
from ._fields import content_text, dump_part, optional_id, optional_index, optional_text
from ._litellm_proxy import add_thinking_blocks, decode_thinking_blocks
from ._openai_messages import account_headers, chat_fields, schema_fallback
from ._parsing import (
    DONE_SENTINEL,
    error_from_payload,
    parse_object,
    reported_error,
    with_filters,
)
from ._usage import billing_from_chunk, usage_from_chat

_CITATIONS = ("reference", "tool_reference")  # Mistral's parts that are not content
_REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")

# === Requests ===============================================================================


def encode(request: Request, prepared: PreparedRequest) -> EncodedRequest:
    """Return URL, headers and body, without the key."""
    fields = chat_fields(request, prepared)
    extra_body = fields.pop("extra_body", None) or {}
    body = {"model": request.model_id, **fields, **extra_body}
    profile = request.profile
    if _requires_max_completion_tokens(request):
        body["max_completion_tokens"] = body.pop("max_tokens")
    if profile.thinking_effort is not None and (effort := body.pop("reasoning_effort", None)):
        body |= profile.thinking_effort(effort)
    for name, new_name in profile.rename_fields.items():
        value = body.pop(name, None)
        if new_name and value is not None:
            body[new_name] = value
    _map_tool_choice(request, profile, body)
    if profile.thinking_blocks:
        _restore_thinking_blocks(prepared.messages, body["messages"])
    if profile.assistant_after_tool_results:
        _mark_prefix(body["messages"])
    body |= profile.extra_fields
    url = endpoint_url(prepared.base_url or openai_base_url(), "/chat/completions")
    return EncodedRequest(url, account_headers(request), body)


def model_lists(url: str) -> tuple[str, ...]:
    """Return the URL of the list of models, for that of a request."""
    return (replace_path_end(url, "/chat/completions", "/models"),)


def _requires_max_completion_tokens(request: Request) -> bool:
    """Return whether a model rejects `max_tokens`; OpenAI's servers accept the new name for all."""
    profile = request.profile
    if request.family.max_completion_tokens:
        return not profile.translates_max_tokens
    if not profile.max_completion_tokens:
        return False
    if (only := profile.max_tokens_models) and only.search(request.base_model_id.lower()):
        return False
    reasoning = (request.record or {}).get("reasoning")
    if reasoning is None:  # an unlisted model
        return request.route.kind == "cloud" or uses_default_openai_url(request)
    return reasoning is True


def _map_tool_choice(request: Request, profile: Profile, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    kind = "named" if isinstance(choice, dict) else str(choice)
    if choice is None or kind not in profile.tool_choice:
        return
    body["tool_choice"] = new_choice = profile.tool_choice[kind]
    if new_choice == "auto":
        text = f'{request.provider} does not accept forced calls; sent "auto"'
        request.warn("tool_choice_changed", text)
    elif kind == "named" and len(body.get("tools") or ()) > 1:
        text = f'{request.provider} cannot force one of several tools; sent "{new_choice}"'
        request.warn("tool_choice_changed", text)


def _restore_thinking_blocks(messages: Sequence[Message], encoded: list[dict[str, Any]]) -> None:
    """Send Claude's signed thinking back in the form in which LiteLLM's proxy returned it."""
    assistant_messages = [message for message in messages if isinstance(message, AssistantMessage)]
    turns = [message for message in encoded if message["role"] == "assistant"]
    for message, turn in zip(assistant_messages, turns, strict=True):
        if turn.pop("reasoning_details", None) or any(map(_is_signed_thinking, message.content)):
            add_thinking_blocks(message, turn)


def _is_signed_thinking(part: AssistantContent) -> bool:
    return isinstance(part, ThinkingContent) and bool(part.thinking_signature)


def _mark_prefix(messages: list[dict[str, Any]]) -> None:
    """Mark a final assistant message as a prefix of the answer."""
    if messages[-1]["role"] == "assistant":
        messages[-1]["prefix"] = True


# === Responses ==============================================================================


class OpenAIChatDecoder:
    """Decodes one response. It is complete with a finish reason or `[DONE]`."""

    api = OPENAI_CHAT
    varying_fields: frozenset[str] = frozenset({"created", "obfuscation", "p"})
    count_field = ""

    def __init__(self) -> None:
        self.done: bool = False
        self._last_info: tuple[Any, Any] = (None, None)
        self._refused = False
        self._search_results: Any = None
        self._executed_tools: ExecutedTools | None = None

    def decode(
        self, event: str, data: str, deltas: list[Delta], parsed: dict[str, Any] | None = None
    ) -> None:
        """See `Decoder`."""
        if parsed is None and data.strip() == DONE_SENTINEL:
            self.done = True
            deltas.append(Finish())
        else:
            self.decode_chunk(parsed or parse_object(data), deltas, event)

    def decode_body(self, body: str, deltas: list[Delta]) -> None:
        """See `Decoder`."""
        self.decode_chunk(parse_object(body), deltas)

    def decode_chunk(self, chunk: dict[str, Any], deltas: list[Delta], event: str = "") -> None:
        """Append the deltas of a parsed chunk, or of a whole response."""
        error = None
        if not chunk.get("choices") or chunk.get("error") or event == "error":
            error = reported_error(chunk) or (chunk if event == "error" else None)
        info = (chunk.get("id"), chunk.get("model"))
        if info != self._last_info:
            self._last_info = info
            deltas.append(ResponseInfo(*map(optional_text, info)))
        groq = chunk.get("x_groq")
        usage = chunk.get("usage") or (groq.get("usage") if isinstance(groq, dict) else None)
        reason = None
        choices = chunk.get("choices") or ()
        for choice in choices:
            if choice.get("index"):
                continue  # only one choice was requested
            delta = choice.get("delta")
            if delta is None:  # not streamed
                delta = choice.get("message")
            if delta:
                self._decode_delta(delta, deltas)
            reason = choice.get("finish_reason")
            usage = usage or choice.get("usage")
            error = error or choice.get("error")  # OpenRouter
        if isinstance(usage, dict):
            deltas.append(usage_from_chat(usage))
        if (reason or usage or not choices) and (billing := billing_from_chunk(chunk)):
            deltas.append(billing)
        if error:
            raise error_from_payload(error)
        if self._search_results is None:
            self._search_results = chunk.get("search_results")  # Perplexity repeats them
        if reason and reason != "null":  # DashScope, while it generates
            deltas.extend(decode_search_results(self._search_results))
            refused = self._refused and reason == "stop"
            if reason == "content_filter":
                reason = with_filters(reason, choices)
            deltas.append(Finish("refusal" if refused else content_text(reason)))

    def _decode_delta(self, delta: dict[str, Any], deltas: list[Delta]) -> None:
        content = delta.get("content")
        if len(delta) == 1 and type(content) is str:  # nearly all deltas of text
            if content:
                deltas.append(Text(content))
            return
        reasoning = next(
            (v for n in _REASONING_FIELDS if isinstance(v := delta.get(n), str) and v), None
        )
        blocks = delta.get("thinking_blocks")
        if isinstance(blocks, list) and blocks:
            deltas.extend(decode_thinking_blocks(blocks, reasoning))
        elif reasoning is not None:
            deltas.append(Thinking(reasoning))
        details = delta.get("reasoning_details")
        if isinstance(details, list):
            _decode_reasoning_details(details, deltas, with_text=reasoning is None)
        if tools := delta.get("executed_tools"):  # Groq
            self._executed_tools = self._executed_tools or ExecutedTools()
            self._executed_tools.decode(tools, deltas)
        if isinstance(content, list):
            for part in content:
                self._decode_content_part(part, deltas)
        elif content:
            deltas.append(Text(content_text(content)))
        if delta.get("refusal"):
            self._decode_refusal(delta, deltas)
        for call in delta.get("tool_calls") or ():
            if call.get("custom"):  # a tool with free text as input
                deltas.append(Omitted("custom tool call"))
            else:
                deltas.append(_tool_fragment(call, call.get("index")))
        if isinstance(delta.get("function_call"), dict):  # the deprecated form: one call, no id
            deltas.append(_tool_fragment({"function": delta["function_call"]}, 0))
        if images := delta.get("images"):
            decode_images(images, deltas)
        if audio := delta.get("audio"):
            decode_audio(audio, deltas)
        if annotations := delta.get("annotations"):
            deltas.extend(decode_annotations(annotations))

    def _decode_refusal(self, fields: dict[str, Any], deltas: list[Delta]) -> None:
        if refusal := content_text(fields.get("refusal")):
            self._refused = True
            deltas.append(Text(refusal))

    def _decode_content_part(self, part: dict[str, Any], deltas: list[Delta]) -> None:
        """Decode a part of content that is a list, as Mistral sends it."""
        if text := content_text(part.get("text")):
            deltas.append(Text(text))
        thinking = part.get("thinking")
        thoughts = thinking if isinstance(thinking, list) else [{"text": thinking}]
        deltas.extend(Thinking(text) for p in thoughts if (text := content_text(p.get("text"))))
        self._decode_refusal(part, deltas)
        part_type = part.get("type")
        if not part.keys() & {"refusal", "text", "thinking"} and part_type not in _CITATIONS:
            deltas.append(Omitted(str(part_type)))


def _tool_fragment(call: dict[str, Any], index: Any) -> ToolFragment:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    google_extra = (call.get("extra_content") or {}).get("google") or {}
    return ToolFragment(
        index=optional_index(index),
        id=optional_id(call.get("id")),
        name=content_text(function.get("name")) or None,
        arguments=arguments or "",
        thought_signature=optional_text(google_extra.get("thought_signature")),
    )


def _decode_reasoning_details(details: list[Any], deltas: list[Delta], with_text: bool) -> None:
    """Decode OpenRouter's `reasoning_details`, the only place of signatures."""
    for detail in details:
        if not isinstance(detail, dict):
            continue
        text = detail.get("text") or detail.get("summary")
        if with_text and isinstance(text, str) and text:
            deltas.append(Thinking(text))
        if signature := optional_text(detail.get("signature")):
            deltas.append(ThinkingSignature(signature))
        is_encrypted = detail.get("type") == "reasoning.encrypted"
        if is_encrypted and optional_text(detail.get("data")) and (part := dump_part(detail)):
            deltas.append(RedactedThinking(part))


WIRE = Wire(
    api=OPENAI_CHAT,
    title="Chat Completions",
    encode=encode,
    decoder=OpenAIChatDecoder,
    framing=SSEReader,
    url_suffix="/chat/completions",
    schema_fallback=schema_fallback,
    sampling={name: name for name in ("temperature", "top_p", "top_k", "seed", "stop")},
    extensions=frozenset({"top_k"}),
    model_lists=model_lists,
    server_tool=encode_server_tool,
    replays_raw=True,
    produces=frozenset({"text", "image", "audio"}),
    audio_types=frozenset({"audio/wav", "audio/mpeg"}),
    # No standard has video; OpenRouter, vLLM, Alibaba and others read it in this form.
    video_types=frozenset({"video/mp4", "video/mpeg", "video/quicktime", "video/webm"}),
    video_urls=re.compile(r"https?://", re.IGNORECASE),
)
