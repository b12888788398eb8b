"""The `Provider` protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from .deltas import Delta
from .request import Request


class Provider(Protocol):
    """What answers requests. `api` names the wire that it speaks (`message.api`).

    `stream` yields batches of deltas: all that one read from the wire gave. Its first batch, even
    an empty one, says that the request was accepted. It raises `ProviderError` for a failure that
    it understands; any other exception is classified. When it is cancelled or closed it must
    release its connection without waiting.
    """

    @property
    def api(self) -> str:
        """The name of the wire."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Sequence[Delta]]:
        """Answer `request`."""
        ...
