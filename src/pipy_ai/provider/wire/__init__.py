"""The wires that pipy-ai speaks itself: sending a prepared request, and reading what comes back.

A decoder is pure: server-sent events in, deltas out. It knows its wire's own sign that an answer
is complete, and keeps what the wire says: raw stop reason, ids, usage, signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from urllib.parse import urlsplit

from ..deltas import Delta
from .anthropic_messages import AnthropicMessages
from .gemini import Gemini
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

__all__ = [
    "AnthropicMessages",
    "Decoder",
    "Gemini",
    "OpenAIChat",
    "OpenAIResponses",
    "decoder_for",
]


class Decoder(Protocol):
    """Reads one answer."""

    api: str  # what `message.api` says
    done: bool  # whether nothing more can come

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event.

        Raises:
            ProviderError: the provider reports a failure, or what it sent cannot be read.
        """
        ...

    def decode_whole(self, body: str) -> list[Delta]:
        """The deltas of an answer that came as one JSON document instead of a stream."""
        ...


def decoder_for(url: str) -> Callable[[], Decoder] | None:
    """The decoder of the wire that a URL's path belongs to; None: a wire not spoken here."""
    path = urlsplit(url).path.rstrip("/")
    if path.endswith("/chat/completions"):
        return OpenAIChat
    if path.endswith("/v1/messages"):
        return AnthropicMessages
    if path.endswith(":streamGenerateContent"):
        return Gemini
    if path.endswith("/responses"):
        return OpenAIResponses
    return None
