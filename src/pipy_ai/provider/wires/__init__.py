"""The APIs that pipy-ai implements itself, one module each.

A module builds one `Wire`: how its requests are encoded and how its responses are decoded. Encoders
and decoders are pure. A decoder knows the API's own signal that a response is complete, and keeps
the stop reason, ids, usage and signatures unchanged. A module is imported when a request needs it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from urllib.parse import urlsplit

from ..apis import (
    ANTHROPIC,
    BEDROCK,
    COHERE_CHAT,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
)
from ..credentials import uses_default_openai_url
from ..profiles import backend_for
from ..request import Request
from ..wire import Wire

_MODULES = {
    ANTHROPIC: "anthropic_messages",
    BEDROCK: "bedrock_converse",
    COHERE_CHAT: "cohere_chat",
    GEMINI: "gemini",
    OLLAMA_CHAT: "ollama_chat",
    OPENAI_CHAT: "openai_chat",
    OPENAI_RESPONSES: "openai_responses",
}
APIS = tuple(_MODULES)


@cache
def load_wire(api: str) -> Wire:
    """Return the wire of an API by its name, one of `APIS`."""
    wire: Wire = import_module(f".{_MODULES[api]}", __name__).WIRE
    return wire


def backend_wire(request: Request) -> Wire:
    """Return the wire of the API behind the request's backend, as LiteLLM reaches it."""
    route, backend = request.route, backend_for(request.backend)
    # Of Azure, LiteLLM hands over only chunks of Chat Completions, which it makes of Responses.
    if (
        route.kind != "router"
        and not route.has_deployments
        and (
            route.responses_api == "always"
            or (route.responses_api == "own" and uses_default_openai_url(request))
        )
    ):
        return load_wire(OPENAI_RESPONSES)
    return load_wire(backend.api_for(request.model_id))


def wire_for_url(url: str) -> Wire | None:
    """Return the wire that a URL belongs to; None: an API that is not implemented here."""
    path = urlsplit(url).path.rstrip("/")
    return next((wire for wire in map(load_wire, APIS) if path.endswith(wire.url_suffix)), None)
