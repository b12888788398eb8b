"""Choose the provider that answers a request."""

from __future__ import annotations

from functools import cache

from .base import Provider
from .registered import registered_provider
from .request import Request


def get_provider(name: str) -> Provider:
    """Return a provider by name: a registered one, a built-in one, or LiteLLM."""
    built_in = name if name in ("local", "faux") else "litellm"
    return registered_provider(name) or registered_provider(built_in) or _built_in(built_in)


@cache
def _built_in(name: str) -> Provider:
    match name:
        case "local":
            from .local import LocalProvider

            return LocalProvider()
        case "faux":
            from .faux import FauxProvider

            return FauxProvider()
        case _:
            from .litellm.provider import LiteLLMProvider

            return LiteLLMProvider()


def provider_for(request: Request) -> Provider:
    """Return the provider that answers a request.

    In this order: a registered provider, a built-in one, direct transport, LiteLLM.
    """
    name = request.provider
    if registered_provider(name) is not None or name in ("local", "faux"):
        return get_provider(name)
    from .direct import DirectProvider
    from .transport import direct_wire

    wire = direct_wire(request)
    return DirectProvider(wire) if wire is not None else get_provider("litellm")
