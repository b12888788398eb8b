"""Direct lanes: requests for the wires that most of the world speaks, built here, without LiteLLM.

A lane is an encoder (`Request` → HTTP), a decoder of `provider.wire`, and a row of `LANES`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..types import DocumentContent, ImageContent
from ..utils.surrogates import clean_json_surrogates
from .credentials import PLACEHOLDER_KEY, aresolve_api_key, resolve_api_key
from .deltas import Delta
from .exchange import stream_deltas
from .http.client import USER_AGENT, HTTPRequest
from .prepare import prepare_request, style_of
from .redaction import redacted_error, redacted_preview
from .request import Preview, Request
from .wires import (
    AnthropicMessagesDecoder,
    GeminiDecoder,
    OpenAIChatDecoder,
    OpenAIResponsesDecoder,
)
from .wires import anthropic_messages_encode as anthropic_messages
from .wires import gemini_encode as gemini
from .wires import openai_chat_encode as openai_chat
from .wires import openai_responses_encode as openai_responses
from .wires._base import Wire, bearer_header
from .wires._content import is_remote_file

# What `extra` may hold that only LiteLLM understands, besides everything that begins so.
_LITELLM_ONLY_OPTIONS = frozenset(
    {
        "allowed_openai_params", "api_base", "api_key", "api_type", "api_version", "base_url",
        "cache", "caching", "client", "context_window_fallback_dict", "cooldown_time",
        "custom_llm_provider", "drop_params", "extra_query", "fallbacks", "input_cost_per_token",
        "max_retries", "mock_response", "mock_timeout", "model_list", "no-log", "num_retries",
        "organization", "output_cost_per_token", "preset_cache_key", "request_timeout",
        "ssl_verify", "stream_timeout", "supports_system_message", "timeout",
    }
)  # fmt: skip
# OpenAI's words, which LiteLLM translates for other wires.
_OPENAI_ONLY_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "reasoning_effort", "response_format", "service_tier", "top_logprobs",
        "verbosity", "web_search_options",
    }
)  # fmt: skip
# What Gemini knows at the top of a request; LiteLLM finds the place of everything else.
_GEMINI_FIELDS = frozenset(
    {
        "cachedContent", "cached_content", "contents", "extra_body", "extra_headers",
        "generationConfig", "labels", "safetySettings", "safety_settings", "serviceTier", "store",
        "systemInstruction", "toolConfig", "tools",
    }
)  # fmt: skip
# Fields of a body that hold settings: those of the caller are joined with ours.
_MERGED_FIELDS = frozenset(
    {
        "chat_template_kwargs", "generationConfig", "metadata", "output_config", "reasoning",
        "stream_options", "text",
    }
)  # fmt: skip


WIRES = {
    "chat": Wire(openai_chat.encode, bearer_header, OpenAIChatDecoder, OpenAIChatDecoder.api),
    "responses": Wire(
        openai_responses.encode, bearer_header, OpenAIResponsesDecoder, OpenAIResponsesDecoder.api
    ),
    "anthropic": Wire(
        anthropic_messages.encode,
        anthropic_messages.auth_headers,
        AnthropicMessagesDecoder,
        AnthropicMessagesDecoder.api,
    ),
    "gemini": Wire(gemini.encode, gemini.auth_headers, GeminiDecoder, GeminiDecoder.api),
}


def direct_wire(request: Request) -> Wire | None:
    """The lane that carries a request; None: LiteLLM does."""
    transport = request.options.transport or os.environ.get("PIPY_TRANSPORT", "").strip() or "auto"
    route = request.route
    if (
        transport == "litellm"
        or route.kind == "router"
        or (route.problem and not request.options.api_base)
    ):
        return None
    style = style_of(request)
    if not _is_reachable(request, style):
        return None
    extra = request.options.extra or {}
    if any(name in _LITELLM_ONLY_OPTIONS or name.startswith("litellm_") for name in extra):
        return None
    if style in ("anthropic", "gemini") and not _OPENAI_ONLY_FIELDS.isdisjoint(extra):
        return None
    if style == "gemini" and not _GEMINI_FIELDS.issuperset(extra):
        return None
    if any(_needs_download(part, request, style) for part in _content_parts(request)):
        return None  # LiteLLM fetches what these wires take no address of
    return WIRES[style]


def _is_reachable(request: Request, style: str) -> bool:
    """Whether a wire of ours reaches the host."""
    if style == "chat":
        base_url = request.options.api_base or request.route.api_base
        return request.backend in openai_chat.BACKENDS and bool(
            base_url or request.backend == "openai"
        )
    if style == "responses":
        return request.backend in ("openai", "xai")
    return request.backend == style  # not the clouds that host these models, too


def _content_parts(request: Request) -> list[Any]:
    return [
        part
        for message in request.context.messages
        if isinstance(message.content, list)
        for part in message.content
    ]


def _needs_download(part: Any, request: Request, style: str) -> bool:
    """Whether it is named by an address, where the wire wants the data."""
    if isinstance(part, DocumentContent):
        needs_data = style in ("chat", "gemini") and request.accepts_documents is not False
    else:
        needs_data = style == "gemini" and isinstance(part, ImageContent)
    return needs_data and is_remote_file(part)


class DirectProvider:
    """Sends requests over one lane."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.api: str = wire.api

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer a request; see `Provider`."""
        api_key = await aresolve_api_key(request)
        try:
            batches = stream_deltas(
                self._build_http_request(request, api_key), self._wire.decoder()
            )
            try:
                async for deltas in batches:
                    yield deltas
            finally:
                await batches.aclose()
        except Exception as exc:
            raise redacted_error(exc, request, api_key) from None

    async def preview(self, request: Request) -> Preview:
        """What would be sent; see `pipy_ai.preview`."""
        api_key = resolve_api_key(request, placeholder=PLACEHOLDER_KEY)
        return redacted_preview(self._build_http_request(request, api_key, preview=True), api_key)

    def _build_http_request(
        self, request: Request, api_key: str | None, preview: bool = False
    ) -> HTTPRequest:
        prepared = prepare_request(request, preview)
        url, headers, body = self._wire.encode(request, prepared)
        extra = dict(request.options.extra or {})
        headers = {**headers, **(extra.pop("extra_headers", None) or {})}
        body = {name: value for name, value in body.items() if value is not None}
        for name, value in (extra | (extra.pop("extra_body", None) or {})).items():
            current = body.get(name) if name in _MERGED_FIELDS and isinstance(value, dict) else None
            body[name] = {**current, **value} if isinstance(current, dict) else value
        if request.options.on_payload is not None:
            body = request.options.on_payload(body) or body
        auth_headers = self._wire.auth_headers(api_key or PLACEHOLDER_KEY)
        if request.route.key_header:
            auth_headers = {request.route.key_header: f"Bearer {api_key or PLACEHOLDER_KEY}"}
        return HTTPRequest(
            "POST", url, _merge_headers(auth_headers, headers, prepared.headers), _encode_body(body)
        )


def _encode_body(body: Any) -> bytes:
    """A request's body as JSON.

    Raises:
        ProviderError: there is something in it that JSON has not.
    """
    try:
        try:
            return _dump_json(body)
        except UnicodeEncodeError:
            return _dump_json(clean_json_surrogates(body))
    except (TypeError, ValueError, RecursionError) as error:
        text = (
            f"The request cannot be written as JSON: {error}. Look at what the conversation's tool"
            " calls and tools hold, and at extra=, metadata= and on_payload=."
        )
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text)) from None


def _dump_json(body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _merge_headers(*sources: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers, one of each name whatever its case; the last one of a name counts, but features of
    Anthropic's beta add up."""
    merged: dict[str, tuple[str, str]] = {
        "content-type": ("content-type", "application/json"),
        "accept": ("accept", "application/json"),
        "accept-encoding": ("accept-encoding", "identity"),
        "user-agent": ("user-agent", USER_AGENT),
    }
    for source in sources:
        for name, value in source.items():
            key, value = name.lower(), str(value)
            if key == "anthropic-beta" and key in merged:
                features = [*merged[key][1].split(","), *value.split(",")]
                value = ",".join(dict.fromkeys(part.strip() for part in features if part.strip()))
            merged[key] = (name, value)
    return list(merged.values())


__all__ = ["WIRES", "DirectProvider", "ProviderError", "Wire", "direct_wire"]
