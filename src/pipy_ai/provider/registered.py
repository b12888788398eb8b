"""Providers that the user registered."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

from .base import Provider
from .deltas import Delta, Finish, Text
from .request import Request

ProviderFunction: TypeAlias = Callable[[Request], AsyncIterator[str | Delta | Sequence[Delta]]]
"""An async generator function that answers a request: it yields text or deltas."""

_lock = threading.Lock()
_providers: dict[str, Provider] = {}


class _FunctionProvider:
    """A provider made from one asynchronous generator function.

    When the generator returns, the answer is complete.
    """

    def __init__(self, api: str, function: ProviderFunction) -> None:
        self.api = api
        self._function = function

    async def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        items = self._function(request)
        try:
            async for item in items:
                if isinstance(item, str):
                    yield (Text(item),)
                elif isinstance(item, Delta):
                    yield (item,)
                else:
                    yield item
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()
        yield (Finish(),)


def register_provider(
    name: str, provider: Provider | ProviderFunction, *, api: str | None = None
) -> None:
    """Send every request for a model `name/…` to `provider`.

    Args:
        name: The part of a model's name before the slash.
        provider: A `Provider`, or an asynchronous generator function that takes a `Request` and
            yields strings or deltas. When it returns, the answer is complete.
        api: The value of `message.api` if `provider` is a function. Default: `name`.

    Raises:
        ValueError: `name` is empty or contains a slash.
        TypeError: `provider` is neither a `Provider` nor a function.
    """
    if not name or "/" in name:
        raise ValueError(f"a provider's name must be one word without a slash, not {name!r}")
    instance = _as_provider(name, provider, api)
    with _lock:
        _providers[name] = instance


def _as_provider(name: str, provider: Any, api: str | None = None) -> Any:
    """Return a provider from one, or from a function.

    Raises:
        TypeError: It is neither.
    """
    if not hasattr(provider, "stream"):
        if not callable(provider):
            raise TypeError(
                f"a provider must be a function or have a method stream, not {provider!r}"
            )
        function: Any = provider
        return _FunctionProvider(api or name, function)
    if not hasattr(provider, "api"):
        raise TypeError(f"a provider needs an attribute api, and {provider!r} has none")
    return provider


def plugin_provider(name: str) -> Provider | None:
    """Return the provider that an installed plugin adds under a name, and register it; or None.

    The plugin's object is as for `register_provider`, or a class that makes one without arguments.
    """

    from ..utils.plugins import find_plugin

    def use(value: Any) -> Provider:
        provider: Provider = _as_provider(name, value() if isinstance(value, type) else value)
        return provider

    provider = find_plugin("providers", name, use)
    if provider is not None:
        register_provider(name, provider)
    return provider


def unregister_provider(name: str) -> None:
    """Remove a registered provider. A built-in provider of that name is used again."""
    with _lock:
        _providers.pop(name, None)


def registered_provider(name: str) -> Provider | None:
    """Return the provider registered under a name, or None."""
    with _lock:
        return _providers.get(name)
