"""The wires that pipy-ai speaks itself: sending a prepared request, and reading what comes back.

A decoder is pure: server-sent events in, deltas out. It knows its wire's own sign that an answer
is complete, and keeps what the wire says: raw stop reason, ids, usage, signatures.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from ._base import Decoder
from .anthropic_messages import AnthropicMessagesDecoder
from .gemini import GeminiDecoder
from .openai_chat import OpenAIChatDecoder
from .openai_responses import OpenAIResponsesDecoder

__all__ = [
    "AnthropicMessagesDecoder",
    "Decoder",
    "GeminiDecoder",
    "OpenAIChatDecoder",
    "OpenAIResponsesDecoder",
    "decoder_for",
]


def decoder_for(url: str) -> Callable[[], Decoder] | None:
    """The decoder of the wire that a URL's path belongs to; None: a wire not spoken here."""
    path = urlsplit(url).path.rstrip("/")
    if path.endswith("/chat/completions"):
        return OpenAIChatDecoder
    if path.endswith("/v1/messages"):
        return AnthropicMessagesDecoder
    if path.endswith(":streamGenerateContent"):
        return GeminiDecoder
    if path.endswith("/responses"):
        return OpenAIResponsesDecoder
    return None
