"""Remove API keys and other secrets from errors, previews and log lines."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from ..errors import ProviderError
from ..failures import classify_exception
from ..utils.secrets import is_secret_header, is_secret_parameter, is_secret_variable
from .http.client import HTTPRequest
from .request import Preview, Request
from .router import load_router_config
from .wires._parsing import MalformedResponseError

MASK = "***"
MIN_SECRET_CHARS = 8  # anything shorter is not a key, and may occur in ordinary text


def redacted_error(exc: Exception, request: Request, api_key: str | None) -> ProviderError:
    """Classify an exception and remove every secret from its message."""
    error = exc.error if isinstance(exc, ProviderError) else classify_exception(exc)
    error.provider = request.provider
    secrets = _request_secrets(request, api_key)
    if isinstance(exc, MalformedResponseError):
        error.message = exc.describe(redact(exc.data, secrets))
    error.message = redact(error.message, secrets)
    error.request_id = redact(error.request_id, secrets) if error.request_id else None
    return ProviderError(error)


def response_redactor(request: Request, api_key: str | None) -> Callable[[str], str]:
    """Return a function that removes the secrets of a request from texts of its response."""

    def remove_secrets(text: str) -> str:
        return redact(text, [*_header_secrets(request), api_key or ""])

    return remove_secrets


def _header_secrets(request: Request) -> list[str]:
    """Return the values of secret headers, and their parts: a token, or cookies."""
    extra_headers = (request.options.extra or {}).get("extra_headers")
    headers = {
        **(request.options.headers or {}),
        **(extra_headers if isinstance(extra_headers, dict) else {}),
    }
    return [
        part
        for name, value in headers.items()
        if isinstance(value, str) and is_secret_header(name)
        for part in (value.strip(), *re.split(r"[\s;,]+(?:[^\s=;,]+=)?", f" {value}"))
    ]


def _url_secrets(url: str) -> list[str]:
    """Return the password and the secret parameters of an address."""
    try:
        parts = urlsplit(url)
        password = unquote(parts.password or "")
    except ValueError:
        return []
    values = [value for name, value in parse_qsl(parts.query) if is_secret_parameter(name)]
    return [password, *values]


def _request_secrets(request: Request, api_key: str | None) -> list[str]:
    secrets = _header_secrets(request) + _url_secrets(request.options.api_base or "")
    if request.route.kind == "router":
        with contextlib.suppress(ProviderError):
            config = load_router_config(request.route.api_base or None)
            secrets += config.secrets() if config is not None else []
    if api_key:
        secrets.append(api_key)
    else:  # LiteLLM may have read one from the environment
        secrets += [value for name, value in os.environ.items() if is_secret_variable(name)]
    return secrets


def redacted_preview(http_request: HTTPRequest, api_key: str | None) -> Preview:
    """Convert a request to a `Preview` with the API key and all secret headers masked."""
    headers = {
        name: MASK if (api_key and api_key in value) or is_secret_header(name) else value
        for name, value in http_request.headers
    }
    url = redact(http_request.url, [api_key or "", *_url_secrets(http_request.url)])
    return Preview(http_request.method, url, headers, json.loads(http_request.content))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Mask every secret in `text`, also as JSON, HTML, URLs and `repr` write it.

    A text that was cut may end with the beginning of a secret, which is masked too.
    """
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARS:
            for variant in _spellings(secret):
                text = text.replace(variant, MASK)
            text = _mask_cut_secret(text, secret)
    return text


def _mask_cut_secret(text: str, secret: str) -> str:
    end = text.rstrip("…'\" .")
    for length in range(min(len(secret) - 1, len(end)), MIN_SECRET_CHARS - 1, -1):
        if end.endswith(secret[:length]):
            return end[:-length] + MASK + text[len(end) :]
    return text


@functools.lru_cache(maxsize=64)
def _spellings(secret: str) -> tuple[str, ...]:
    """Return the forms in which a secret may stand in a text, the longest first."""
    as_html = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    as_json = json.dumps(secret)[1:-1]
    unicode_json = json.dumps(secret, ensure_ascii=False)[1:-1]
    forms = {
        secret,
        as_json,
        unicode_json,
        as_json.replace("/", "\\/"),
        unicode_json.replace("/", "\\/"),
        as_html,
        as_html.replace('"', "&quot;").replace("'", "&#x27;"),
        repr(secret)[1:-1],
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
    }
    return tuple(sorted(forms, key=len, reverse=True))
