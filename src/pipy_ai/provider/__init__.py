"""What stands behind the API: providers, and the deltas that they speak.

A provider of your own is one asynchronous generator of strings (or deltas):

    from pipy_ai import complete
    from pipy_ai.provider import register_provider

    async def parrot(request):
        yield "You said: "
        yield request.context.messages[-1].content

    register_provider("parrot", parrot)
    complete("parrot/any", "Hi").text    # "You said: Hi"
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import ErrorInfo, ErrorKind, ProviderError
from .deltas import (
    Delta,
    Finish,
    RedactedThinking,
    ResponseInfo,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from .engine import Provider
from .request import Request

if TYPE_CHECKING:
    from .litellm_transport import LiteLLMProvider as LiteLLMProvider

__all__ = [
    "Delta",
    "ErrorInfo",
    "ErrorKind",
    "Finish",
    "LiteLLMProvider",
    "Provider",
    "ProviderError",
    "RedactedThinking",
    "Request",
    "ResponseInfo",
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

ProviderFunction: TypeAlias = Callable[[Request], AsyncIterator[str | Delta | Sequence[Delta]]]

_lock = threading.Lock()
_providers: dict[str, Provider] = {}


class _FunctionProvider:
    """A provider made of one asynchronous generator; its return is the end of the answer."""

    def __init__(self, api: str, function: ProviderFunction) -> None:
        self.api = api
        self._function = function

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        source = self._function(request)
        try:
            async for item in source:
                if isinstance(item, str):
                    yield (Text(item),)
                elif isinstance(item, Delta):
                    yield (item,)
                else:
                    yield item
        finally:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
        yield (Finish(),)


def register_provider(
    name: str, provider: Provider | ProviderFunction, *, api: str | None = None
) -> None:
    """Answer every model `name/…` with `provider`.

    Args:
        name: What stands before the slash in a model's name.
        provider: A `Provider`, or an asynchronous generator function that takes a `Request` and
            yields strings or deltas; when it returns, the answer is complete.
        api: What `message.api` says, for a function; its name by default.

    Raises:
        ValueError: `name` is empty or holds a slash.
        TypeError: `provider` is neither of the two.
    """
    if not name or "/" in name:
        raise ValueError(f"a provider's name is one word without a slash, not {name!r}")
    registered: Any = provider
    if not hasattr(provider, "stream"):
        if not callable(provider):
            raise TypeError(f"a provider has a method stream, or is a function, not {provider!r}")
        registered = _FunctionProvider(api or name, provider)
    with _lock:
        _providers[name] = registered


def unregister_provider(name: str) -> None:
    """Forget a registered provider. A built-in one of that name serves again."""
    with _lock:
        _providers.pop(name, None)


def registered(name: str) -> Provider | None:
    """The provider that was registered under a name."""
    with _lock:
        return _providers.get(name)


def get_provider(name: str) -> Provider:
    """A provider by its name: a registered one, a built-in one, or LiteLLM."""
    with _lock:
        found = _providers.get(name)
        if found is not None:
            return found
        built_in: Provider
        if name == "local":
            from .local import LocalProvider

            built_in = LocalProvider()
        elif name == "faux":
            from .faux import FauxProvider

            built_in = FauxProvider()
        else:
            from .litellm_transport import LiteLLMProvider

            name, built_in = "litellm", LiteLLMProvider()
            if "litellm" in _providers:
                return _providers["litellm"]
        return _providers.setdefault(name, built_in)


def provider_for(request: Request) -> Provider:
    """The provider that answers a request: a registered one, a built-in one, a direct lane where
    one carries it, or LiteLLM."""
    name = request.provider
    if registered(name) is not None or name in ("local", "faux"):
        return get_provider(name)
    from .direct import DirectProvider, lane_for

    lane = lane_for(request)
    return DirectProvider(lane) if lane is not None else get_provider("litellm")


def __getattr__(name: str) -> Any:
    if name == "LiteLLMProvider":
        from .litellm_transport import LiteLLMProvider

        return LiteLLMProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
