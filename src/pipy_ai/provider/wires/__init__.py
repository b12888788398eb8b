"""The APIs that pipy-ai implements itself, one module each.

A module builds one `Wire`: how its requests are encoded and how its responses are decoded. Encoders
and decoders are pure. A decoder knows the API's own signal that a response is complete, and keeps
the stop reason, ids, usage and signatures unchanged.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ..apis import OPENAI_RESPONSES
from ..credentials import uses_default_openai_url
from ..profiles import backend_for
from ..request import Request
from ..wire import Wire
from . import anthropic_messages, gemini, openai_chat, openai_responses

WIRES: dict[str, Wire] = {
    module.WIRE.api: module.WIRE
    for module in (openai_chat, openai_responses, anthropic_messages, gemini)
}


def wire_for(request: Request) -> Wire:
    """Return the wire of the API of the request's model, for either transport."""
    route = request.route
    if route.kind != "router" and (
        route.responses_api == "always"
        or (route.responses_api == "own" and uses_default_openai_url(request))
    ):
        return WIRES[OPENAI_RESPONSES]
    return WIRES[backend_for(request.backend).api_for(request.model_id)]


def wire_for_url(url: str) -> Wire | None:
    """Return the wire that a URL belongs to; None: an API that is not implemented here."""
    path = urlsplit(url).path.rstrip("/")
    return next((wire for wire in WIRES.values() if path.endswith(wire.url_suffix)), None)
