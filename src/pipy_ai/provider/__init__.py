"""Providers, and the deltas that they yield.

To add a provider, register one asynchronous generator function of strings or deltas:

    from pipy_ai import complete
    from pipy_ai.provider import register_provider

    async def parrot(request):
        yield "You said: "
        yield request.context.messages[-1].content

    register_provider("parrot", parrot)
    complete("parrot/any", "Hi").text    # "You said: Hi"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ErrorInfo, ErrorKind, ProviderError
from .base import Provider
from .deltas import (
    AudioData,
    CitationReport,
    Delta,
    Finish,
    ImageData,
    Omitted,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    ServerToolOutput,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from .registered import register_provider, unregister_provider
from .request import Request
from .select import get_provider, provider_for

if TYPE_CHECKING:
    from .litellm.provider import LiteLLMProvider as LiteLLMProvider

__all__ = [
    "AudioData",
    "CitationReport",
    "Delta",
    "ErrorInfo",
    "ErrorKind",
    "Finish",
    "ImageData",
    "LiteLLMProvider",
    "Omitted",
    "Provider",
    "ProviderError",
    "RedactedThinking",
    "Request",
    "ResponseInfo",
    "ServerToolFragment",
    "ServerToolOutput",
    "Text",
    "TextSignature",
    "Thinking",
    "ThinkingSignature",
    "ToolFragment",
    "UsageReport",
    "get_provider",
    "provider_for",
    "register_provider",
    "unregister_provider",
]


def __getattr__(name: str) -> Any:
    if name == "LiteLLMProvider":
        from .litellm.provider import LiteLLMProvider

        return LiteLLMProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
