"""The `Provider` protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from .deltas import Delta
from .request import Request


class Provider(Protocol):
    """Answers requests. `api` is the name of its API (`message.api`)."""

    @property
    def api(self) -> str:
        """The name of the API."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Send a request and yield its answer in batches of deltas, one batch for each read.

        The first batch, which may be empty, means that the provider accepted the request. On
        cancellation or `aclose()`, release the connection without waiting.

        Raises:
            ProviderError: A failure that the provider has classified. Any other exception is
                classified by its type, status and text.
        """
        ...
