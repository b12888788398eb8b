"""Direct transport: requests that pipy-ai builds and sends itself, without LiteLLM."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..types import DocumentContent, ImageContent, UserContent
from ..utils.surrogates import clean_json_surrogates
from .content import is_remote_file
from .credentials import PLACEHOLDER_KEY, aresolve_api_key, resolve_api_key
from .deltas import Delta
from .exchange import stream_deltas
from .http.client import USER_AGENT, HTTPRequest
from .prepare import accepted_extra, merge_headers, merge_tools, prepare_request
from .profiles import backend_for
from .redaction import redacted_error, redacted_preview, response_redactor
from .request import Preview, Request
from .tool_definitions import restore_tool_names
from .wire import Wire
from .wires import wire_for

__all__ = ["DirectProvider", "direct_wire"]

# Parameters in `extra` that only LiteLLM understands, in addition to all named `litellm_…`.
LITELLM_ONLY_OPTIONS = frozenset(
    {
        "allowed_openai_params", "api_base", "api_key", "api_type", "api_version", "base_url",
        "cache", "caching", "client", "context_window_fallback_dict", "cooldown_time",
        "custom_llm_provider", "drop_params", "extra_query", "fallbacks", "input_cost_per_token",
        "max_retries", "mock_response", "mock_timeout", "model_list", "no-log", "num_retries",
        "organization", "output_cost_per_token", "preset_cache_key", "request_timeout",
        "ssl_verify", "stream_timeout", "supports_system_message", "timeout",
    }
)  # fmt: skip
# Fields that hold settings: the caller's are merged with ours.
_MERGED_FIELDS = frozenset(
    {
        "chat_template_kwargs", "generationConfig", "metadata", "output_config", "reasoning",
        "stream_options", "text", "toolConfig",
    }
)  # fmt: skip
_DEFAULT_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": USER_AGENT,
}


def direct_wire(request: Request) -> Wire | None:
    """Return the wire that carries a request; None: LiteLLM carries it."""
    transport = request.options.transport or os.environ.get("PIPY_TRANSPORT", "").strip() or "auto"
    route, extra = request.route, request.options.extra or {}
    if transport == "litellm" or route.kind == "router":
        return None
    if route.problem and not request.options.api_base:
        return None
    wire = wire_for(request)
    if not _is_reachable(request, wire):
        return None
    if any(name in LITELLM_ONLY_OPTIONS or name.startswith("litellm_") for name in extra):
        return None
    if not wire.accepts_extra(extra):
        return None
    if any(_needs_download(part, request, wire) for part in _content_parts(request)):
        return None  # LiteLLM downloads files that the API does not accept by URL
    return wire


def _is_reachable(request: Request, wire: Wire) -> bool:
    """Return whether pipy-ai implements the host's API and knows its address."""
    backend = backend_for(request.backend)
    has_address = request.options.api_base or request.route.api_base or backend.has_default_url
    return wire.api in backend.direct and bool(has_address)


def _content_parts(request: Request) -> list[UserContent]:
    return [
        part
        for message in request.context.messages
        if isinstance(message.content, list)
        for part in message.content
        if isinstance(part, ImageContent | DocumentContent)
    ]


def _needs_download(part: UserContent, request: Request, wire: Wire) -> bool:
    """Return whether a part is a URL and the API accepts only its data."""
    match part:
        case ImageContent():
            return not wire.image_urls and is_remote_file(part)
        case DocumentContent():
            omitted = request.accepts_documents is False
            return not wire.document_urls and not omitted and is_remote_file(part)
        case _:
            return False


class DirectProvider:
    """Sends requests over one wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.api: str = wire.api

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """See `Provider`."""
        api_key = await aresolve_api_key(request)
        request.redact = response_redactor(request, api_key)
        try:
            http_request = self._build_http_request(request, api_key)
            batches = stream_deltas(http_request, self._wire, request.profile)
            try:
                async for deltas in batches:
                    if request.tool_names:
                        restore_tool_names(deltas, request)
                    yield deltas
            finally:
                await batches.aclose()
        except Exception as exc:
            raise redacted_error(exc, request, api_key) from None

    async def preview(self, request: Request) -> Preview:
        """Return the request that would be sent; see `pipy_ai.preview`."""
        api_key = resolve_api_key(request, placeholder=PLACEHOLDER_KEY)
        return redacted_preview(self._build_http_request(request, api_key, preview=True), api_key)

    def _build_http_request(
        self, request: Request, api_key: str | None, preview: bool = False
    ) -> HTTPRequest:
        prepared = prepare_request(request, self._wire, preview)
        encoded = self._wire.encode(request, prepared)
        if encoded.idle_timeout and "idle_timeout" not in request.options.model_fields_set:
            update = {"idle_timeout": encoded.idle_timeout}
            request.options = request.options.model_copy(update=update)
        extra = accepted_extra(request, self._wire)
        extra_headers = extra.pop("extra_headers", None) or {}
        body = {name: value for name, value in encoded.body.items() if value is not None}
        for name, value in (extra | (extra.pop("extra_body", None) or {})).items():
            current = body.get(name)
            if name == "tools":
                body[name] = merge_tools(request, current, value)
            elif name in _MERGED_FIELDS and isinstance(value, dict) and isinstance(current, dict):
                body[name] = {**current, **value}
            else:
                body[name] = value
        if request.options.on_payload is not None:
            body = request.options.on_payload(body) or body
        auth_headers = self._wire.auth_headers(api_key or PLACEHOLDER_KEY)
        if request.route.key_header:
            auth_headers = {request.route.key_header: f"Bearer {api_key or PLACEHOLDER_KEY}"}
        headers = merge_headers(
            _DEFAULT_HEADERS, auth_headers, encoded.headers, extra_headers, prepared.headers
        )
        return HTTPRequest("POST", encoded.url, list(headers.items()), _encode_body(body))


def _encode_body(body: Any) -> bytes:
    """Return the body as JSON.

    Raises:
        ProviderError: It holds a value that JSON cannot represent.
    """
    try:
        try:
            return _dump_json(body)
        except UnicodeEncodeError:
            return _dump_json(clean_json_surrogates(body))
    except (TypeError, ValueError, RecursionError) as error:
        text = (
            f"The request cannot be written as JSON: {error}. Check the tool calls and "
            "tools of the conversation, extra=, metadata= and on_payload=."
        )
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text)) from None


def _dump_json(body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()
