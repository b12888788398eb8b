"""Direct lanes: requests for the wires that most of the world speaks, built here, without LiteLLM.

A lane is an encoder (`Request` → HTTP), a decoder of `provider.wire`, and a row of `LANES`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ErrorKind, ProviderError, error_info
from ...types import DocumentContent, ImageContent
from ...utils.unicode import clean_json
from ..deltas import Delta
from ..keys import NO_KEY, find_key, key_for
from ..openai_words import is_remote
from ..prepare import Prepared, prepare, style_of
from ..remote import AGENT, failure, masked
from ..request import Preview, Request
from ..wire import AnthropicMessages, Decoder, Gemini, OpenAIChat, OpenAIResponses
from ..wire.http import Call
from ..wire.sender import exchange
from . import anthropic_messages, gemini, openai_chat, openai_responses

# What `extra` may hold that only LiteLLM understands, besides everything that begins so.
_LITELLM_ONLY = frozenset(
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
_OPENAI_WORDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "reasoning_effort", "response_format", "service_tier", "top_logprobs",
        "verbosity", "web_search_options",
    }
)  # fmt: skip
# What Gemini knows at the top of a request; LiteLLM finds the place of everything else.
_GEMINI_WORDS = frozenset(
    {
        "cachedContent", "cached_content", "contents", "extra_body", "extra_headers",
        "generationConfig", "labels", "safetySettings", "safety_settings", "serviceTier", "store",
        "systemInstruction", "toolConfig", "tools",
    }
)  # fmt: skip
# Fields of a body that hold settings: those of the caller are joined with ours.
_SETTINGS = frozenset(
    {
        "chat_template_kwargs", "generationConfig", "metadata", "output_config", "reasoning",
        "stream_options", "text",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    """One wire: how a request is written, and how its answer is read.

    `encode` gives the URL, the headers and the JSON body; the key comes with `sign`.
    """

    encode: Callable[[Request, Prepared], tuple[str, dict[str, str], dict[str, Any]]]
    sign: Callable[[str], dict[str, str]]
    decoder: Callable[[], Decoder]
    api: str


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


LANES = {
    "chat": Lane(openai_chat.encode, _bearer, OpenAIChat, OpenAIChat.api),
    "responses": Lane(openai_responses.encode, _bearer, OpenAIResponses, OpenAIResponses.api),
    "anthropic": Lane(
        anthropic_messages.encode, anthropic_messages.sign, AnthropicMessages, AnthropicMessages.api
    ),
    "gemini": Lane(gemini.encode, gemini.sign, Gemini, Gemini.api),
}


def lane_for(request: Request) -> Lane | None:
    """The lane that carries a request; None: LiteLLM does."""
    wanted = request.options.transport or os.environ.get("PIPY_TRANSPORT", "").strip() or "auto"
    way = request.route
    if (
        wanted == "litellm"
        or way.rule == "router"
        or (way.problem and not request.options.api_base)
    ):
        return None
    style = style_of(request)
    if not _speaks(request, style):
        return None
    extra = request.options.extra or {}
    if any(name in _LITELLM_ONLY or name.startswith("litellm_") for name in extra):
        return None
    if style in ("anthropic", "gemini") and not _OPENAI_WORDS.isdisjoint(extra):
        return None
    if style == "gemini" and not _GEMINI_WORDS.issuperset(extra):
        return None
    if any(_must_be_fetched(part, request, style) for part in _parts(request)):
        return None  # LiteLLM fetches what these wires take no address of
    return LANES[style]


def _speaks(request: Request, style: str) -> bool:
    """Whether a wire of ours reaches the host."""
    if style == "chat":
        base = request.options.api_base or request.route.api_base
        return request.backend in openai_chat.BACKENDS and bool(base or request.backend == "openai")
    if style == "responses":
        return request.backend in ("openai", "xai")
    return request.backend == style  # not the clouds that host these models, too


def _parts(request: Request) -> list[Any]:
    return [
        part
        for message in request.context.messages
        if isinstance(message.content, list)
        for part in message.content
    ]


def _must_be_fetched(part: Any, request: Request, style: str) -> bool:
    """Whether it is named by an address, where the wire wants the data."""
    if isinstance(part, DocumentContent):
        wants_data = style in ("chat", "gemini") and request.documents is not False
    else:
        wants_data = style == "gemini" and isinstance(part, ImageContent)
    return wants_data and is_remote(part)


class DirectProvider:
    """Sends requests over one lane."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self.api: str = lane.api

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer a request; see `Provider`."""
        secret = await find_key(request)
        try:
            batches = exchange(self._call(request, secret), self._lane.decoder())
            try:
                async for deltas in batches:
                    yield deltas
            finally:
                await batches.aclose()
        except Exception as exc:
            raise failure(exc, request, secret) from None

    async def preview(self, request: Request) -> Preview:
        """What would be sent; see `pipy_ai.preview`."""
        secret = key_for(request, missing=NO_KEY)
        return masked(self._call(request, secret, preview=True), secret)

    def _call(self, request: Request, secret: str | None, preview: bool = False) -> Call:
        prepared = prepare(request, preview)
        url, headers, body = self._lane.encode(request, prepared)
        extra = dict(request.options.extra or {})
        headers = {**headers, **(extra.pop("extra_headers", None) or {})}
        body = {name: value for name, value in body.items() if value is not None}
        for name, value in (extra | (extra.pop("extra_body", None) or {})).items():
            old = body.get(name) if name in _SETTINGS and isinstance(value, dict) else None
            body[name] = {**old, **value} if isinstance(old, dict) else value
        if request.options.on_payload is not None:
            body = request.options.on_payload(body) or body
        key = self._lane.sign(secret or NO_KEY)
        if request.route.key_header:
            key = {request.route.key_header: f"Bearer {secret or NO_KEY}"}
        return Call("POST", url, _joined(key, headers, prepared.headers), _written(body))


def _written(body: Any) -> bytes:
    """A request's body as JSON.

    Raises:
        ProviderError: there is something in it that JSON has not.
    """
    try:
        try:
            return _json(body)
        except UnicodeEncodeError:
            return _json(clean_json(body))
    except (TypeError, ValueError, RecursionError) as error:
        text = (
            f"The request cannot be written as JSON: {error}. Look at what the conversation's tool"
            " calls and tools hold, and at extra=, metadata= and on_payload=."
        )
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text)) from None


def _json(body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _joined(*sources: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers, one of each name whatever its case; the last one of a name counts, but features of
    Anthropic's beta add up."""
    joined: dict[str, tuple[str, str]] = {
        "content-type": ("content-type", "application/json"),
        "accept": ("accept", "application/json"),
        "accept-encoding": ("accept-encoding", "identity"),
        "user-agent": ("user-agent", AGENT),
    }
    for source in sources:
        for name, value in source.items():
            key, value = name.lower(), str(value)
            if key == "anthropic-beta" and key in joined:
                features = [*joined[key][1].split(","), *value.split(",")]
                value = ",".join(dict.fromkeys(part.strip() for part in features if part.strip()))
            joined[key] = (name, value)
    return list(joined.values())


__all__ = ["LANES", "DirectProvider", "Lane", "ProviderError", "lane_for"]
