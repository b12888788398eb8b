"""Access tokens of Microsoft Entra ID: client credentials, and logins through `azure-identity`."""

from __future__ import annotations

import base64
import json
import logging
import time
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from ...errors import ErrorKind, ProviderError, error_info
from ...failures import classify_exception, classify_status
from ...utils.secrets import mask_tokens
from ..http.client import (
    CONNECTION_ERRORS,
    USER_AGENT,
    HTTPRequest,
    HTTPResponse,
    send_over_network,
)
from ..token_source import TokenFunction

DEFAULT_AUTHORITY = "https://login.microsoftonline.com"
CLIENT_VARIABLES = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
MAX_TOKEN_BYTES = 64 << 10
CLOCK_TOLERANCE_S = 300.0


def is_entra_token(key: str) -> bool:
    """Return whether a key is an access token, a JWT. Keys of Azure contain no dots.

    Example:
        >>> is_entra_token("eyJ0eXAi.eyJhdWQi.c2ln"), is_entra_token("0123456789abcdef")
        (True, False)
    """
    return key.startswith("eyJ") and key.count(".") == 2


def expiry(token: str) -> float | None:
    """Return when a token expires, in seconds since 1970; None: it does not say."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expires_at = claims["exp"]
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return float(expires_at) if isinstance(expires_at, int | float) else None


def check_expiry(token: str, source: str) -> None:
    """Reject a token that has expired.

    Raises:
        ProviderError: It expired more than some minutes ago, by the clock of this machine.
    """
    expires_at = expiry(token)
    if expires_at is not None and expires_at < time.time() - CLOCK_TOLERANCE_S:
        text = (
            f"The Entra token in {source} expired at {format_time(expires_at)}; it is now "
            f"{format_time(time.time())} by this machine's clock. Get a new one, or pass a function"
            " as api_key= that returns one."
        )
        raise ProviderError(error_info(ErrorKind.AUTH, text))


def format_time(seconds: float) -> str:
    """Return a time in UTC, like `2026-11-30 14:05 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


@lru_cache(maxsize=16)
def client_tokens(
    authority: str, tenant: str, client_id: str, client_secret: str, scope: str
) -> TokenFunction:
    """Return a function that logs an application in with its secret."""

    async def fetch() -> tuple[str, float]:
        url = f"{authority}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        fields = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scope,
        }
        headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("user-agent", USER_AGENT),
        ]
        request = HTTPRequest("POST", url, headers, urlencode(fields).encode())
        try:
            response = await send_over_network(request)
            try:
                body = await _read_body(response)
            finally:
                response.close()
        except CONNECTION_ERRORS as error:
            info = classify_exception(error)
            info.message = f"The login at {authority} failed: {info.message}"
            raise ProviderError(info) from None
        return _read_token(response.status, body, client_secret)

    return fetch


async def _read_body(response: HTTPResponse) -> str:
    body = b""
    while len(body) < MAX_TOKEN_BYTES and (chunk := await response.read()):
        body += chunk
    return body.decode("utf-8", "replace")


def _read_token(status: int, body: str, client_secret: str) -> tuple[str, float]:
    try:
        answer: Any = json.loads(body)
    except ValueError:
        answer = {}
    answer = answer if isinstance(answer, dict) else {}
    token, lifetime = answer.get("access_token"), answer.get("expires_in")
    if status == 200 and isinstance(token, str) and token:
        # Without a lifetime, the token serves one request.
        return token, time.time() + (lifetime if isinstance(lifetime, int | float) else 0)
    reason = str(answer.get("error_description") or answer.get("error") or "").partition("\n")[0]
    reason = reason.partition(" Trace ID")[0].strip().replace(client_secret, "***")
    kind = classify_status(status, "", None) if status == 429 or status >= 500 else ErrorKind.AUTH
    text = (
        f"Entra ID rejected the login with {', '.join(CLIENT_VARIABLES)} (HTTP {status})"
        f"{': ' + reason if reason else '.'}"
    )
    raise ProviderError(error_info(kind, text, status_code=status if status >= 500 else None))


@lru_cache(maxsize=16)
def identity_tokens(scope: str) -> TokenFunction:
    """Return a function that finds a login with `azure-identity`: `az login`, an identity, …"""

    def fetch() -> tuple[str, float]:
        from azure.identity import DefaultAzureCredential

        logging.getLogger("azure").addHandler(logging.NullHandler())  # otherwise it prints
        try:
            # A new credential each time: it would keep a token that the host has rejected.
            token = DefaultAzureCredential().get_token(scope)
        except Exception as error:
            reason = mask_tokens(str(error).partition("\n")[0])[:300].rstrip(".:")
            text = (
                "No key for Azure is set, and azure-identity found no login: run az login, set "
                f"AZURE_OPENAI_API_KEY, or pass api_key=. It reports: {reason}."
            )
            raise ProviderError(error_info(ErrorKind.AUTH, text)) from None
        return token.token, float(token.expires_on)

    return fetch
