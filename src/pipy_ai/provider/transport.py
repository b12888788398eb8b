"""Choose the transport and the wire of a request: sent by pipy-ai itself, or by LiteLLM."""

from __future__ import annotations

import os

from ..types import DocumentContent, ImageContent, UserContent
from .clouds import cloud_for
from .content import is_remote_file
from .profiles import backend_for
from .request import Request
from .wire import Wire
from .wires import backend_wire

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


def wire_for(request: Request) -> Wire:
    """Return the wire whose rules apply to a request, whichever transport sends it."""
    return direct_wire(request) or backend_wire(request)


def direct_wire(request: Request) -> Wire | None:
    """Return the wire that carries a request; None: LiteLLM carries it."""
    transport = request.options.transport or os.environ.get("PIPY_TRANSPORT", "").strip() or "auto"
    route = request.route
    if transport == "litellm" or route.kind == "router":
        return None
    if route.problem and not request.options.api_base:
        return None
    cloud = cloud_for(request.backend)
    wire = backend_wire(request) if cloud is None else cloud.wire(request)
    if wire is None or (cloud is None and not _is_reachable(request, wire)):
        return None
    return None if _obstacle(request, wire) else wire


def advice_without_litellm(request: Request) -> str:
    """Return what to change so that a request does not need LiteLLM; "": nothing would help."""
    transport = request.options.transport or os.environ.get("PIPY_TRANSPORT", "").strip()
    if transport == "litellm" or request.route.kind == "router":
        return ""
    cloud = cloud_for(request.backend)
    wire = backend_wire(request) if cloud is None else cloud.wire(request)
    return "" if wire is None else _obstacle(request, wire)


def _obstacle(request: Request, wire: Wire) -> str:
    """Return what to change in a request that the wire of its host cannot carry, else ""."""
    names = (request.options.extra or {}).keys() - wire.settings
    for name in sorted(names):
        is_litellms = name in LITELLM_ONLY_OPTIONS or name.startswith("litellm_")
        if is_litellms or not wire.accepts_extra({name}):
            return f"leave out {name!r} in extra="
    if any(_needs_download(part, request, wire) for part in _content_parts(request)):
        return "pass the data of files instead of URLs"  # which LiteLLM downloads
    return ""


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
