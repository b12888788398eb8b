"""Providers registered by the user."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeAlias

from .base import Provider
from .deltas import Delta, Finish, Text
from .request import Request

ProviderFunction: TypeAlias = Callable[[Request], AsyncIterator[str | Delta | Sequence[Delta]]]


_lock = threading.Lock()


_providers: dict[str, Provider] = {}


class _FunctionProvider:
    """A provider made of one asynchronous generator; its return is the end of the answer."""

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
    instance: Any = provider
    if not hasattr(provider, "stream"):
        if not callable(provider):
            raise TypeError(f"a provider has a method stream, or is a function, not {provider!r}")
        instance = _FunctionProvider(api or name, provider)
    with _lock:
        _providers[name] = instance


def unregister_provider(name: str) -> None:
    """Forget a registered provider. A built-in one of that name serves again."""
    with _lock:
        _providers.pop(name, None)


def registered_provider(name: str) -> Provider | None:
    """The provider that was registered under a name."""
    with _lock:
        return _providers.get(name)
