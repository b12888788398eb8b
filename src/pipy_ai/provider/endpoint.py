"""`Endpoint`: where a request is sent, and how it is authenticated."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from ..errors import ErrorInfo
from ..utils.secrets import mask_url
from .http.client import HTTPRequest

Signer: TypeAlias = Callable[[HTTPRequest], Mapping[str, str]]


class Endpoint(NamedTuple):
    """The address and the authentication of one attempt.

    Attributes:
        headers: headers that carry the key or token, and others that the host needs.
        base_url: the address; None: that of the route, or the default of the API.
        sign: returns headers for the final bytes of the request. Called for every attempt.
        secrets: the key, the token and whatever else must not be shown.
        check_url: `pipy doctor --online` requests it to see whether the credentials are accepted;
            "": the host has no address that is free.
        explain: adds to an error of the host what to do about it.
        renew: discards a token that the host rejected, so that the next attempt gets a new one;
            None: there is no other one.
    """

    headers: Mapping[str, str]
    base_url: str | None = None
    sign: Signer | None = None
    secrets: tuple[str, ...] = ()
    renew: Callable[[], None] | None = None
    explain: Callable[[ErrorInfo], None] | None = None
    check_url: str = ""

    def __repr__(self) -> str:
        """Return the address alone."""
        return f"Endpoint(base_url={mask_url(self.base_url or '')!r})"


def secrets_identity(secrets: Iterable[str]) -> str:
    """Return the fingerprint of credentials."""
    text = "\0".join(sorted(secrets))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
