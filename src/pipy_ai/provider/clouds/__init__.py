"""Clouds: hosts that need more than an address and a key.

One module for each. It is imported only when a request goes to that cloud, and so are the packages
that it needs for a login.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Literal, NamedTuple, Protocol

from ..endpoint import Endpoint
from ..request import Request
from ..wire import Wire


class CloudReport(NamedTuple):
    """What `pipy doctor` says of a cloud: what was found and where, or what is missing."""

    status: Literal["ok", "missing", "failed"]
    text: str
    advice: str = ""


class Cloud(Protocol):
    """One cloud: which API a model has there, its address, and the credentials."""

    title: str
    """The name of the cloud in messages."""

    def wire(self, request: Request) -> Wire | None:
        """Return the wire that carries a request; None: only LiteLLM can send it."""
        ...

    async def endpoint(self, request: Request, wire: Wire, preview: bool = False) -> Endpoint:
        """Return the address and the credentials for one attempt.

        A preview takes no token from a server, and placeholders instead of missing credentials.

        Raises:
            ProviderError: The address, the region, the project, the credentials or a package is
                missing (kind `missing_key` or `auth`, never retried). Raised before any request.
        """
        ...

    async def report(self) -> CloudReport | None:
        """Return what the environment has for this cloud; None: nothing refers to it."""
        ...


# The module of a cloud, which has a `CLOUD`, by LiteLLM's name of the provider.
_MODULES = {
    "azure": "azure",
    "azure_ai": "azure",
    "bedrock": "bedrock",
    "bedrock_mantle": "bedrock",
    "ollama_chat": "ollama",
    "vertex_ai": "vertex",
}


@cache
def cloud_for(backend: str) -> Cloud | None:
    """Return the cloud behind one of LiteLLM's provider names; None: an ordinary host."""
    if backend not in _MODULES:
        return None
    cloud: Cloud = import_module(f".{_MODULES[backend]}", __name__).CLOUD
    return cloud


def all_clouds() -> list[Cloud]:
    """Return all clouds; imports their modules."""
    names = {module: name for name, module in _MODULES.items()}  # one cloud may have two names
    return [cloud for name in names.values() if (cloud := cloud_for(name)) is not None]
