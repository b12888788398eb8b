"""What every API module provides: a `Wire` with an encoder, a decoder and authentication."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..deltas import Delta
from ..prepare import PreparedRequest
from ..request import Request


@dataclass(frozen=True, slots=True)
class Wire:
    """One wire: how a request is written, and how its answer is read.

    `encode` gives the URL, the headers and the JSON body; the key comes with `sign`.
    """

    encode: Callable[[Request, PreparedRequest], tuple[str, dict[str, str], dict[str, Any]]]
    auth_headers: Callable[[str], dict[str, str]]
    decoder: Callable[[], Decoder]
    api: str


def bearer_header(api_key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"}


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

    def decode_body(self, body: str) -> list[Delta]:
        """The deltas of an answer that came as one JSON document instead of a stream."""
        ...
