"""Remove API keys and other secrets from errors, previews and log lines."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from urllib.parse import quote

from ..errors import ProviderError
from ..failures import classify_exception
from ..utils.secrets import is_secret_header, is_secret_variable
from .http.client import HTTPRequest
from .request import Preview, Request
from .router import load_router_config

MASK = "***"
MIN_SECRET_CHARS = 8  # anything shorter is not a key, and may occur in ordinary text


def redacted_error(exc: Exception, request: Request, api_key: str | None) -> ProviderError:
    """Classify an exception and remove every secret from its message."""
    error = exc.error if isinstance(exc, ProviderError) else classify_exception(exc)
    error.provider = request.provider
    error.message = redact(error.message, _request_secrets(request, api_key))
    return ProviderError(error)


def _request_secrets(request: Request, api_key: str | None) -> list[str]:
    extra_headers = (request.options.extra or {}).get("extra_headers")
    headers = {
        **(request.options.headers or {}),
        **(extra_headers if isinstance(extra_headers, dict) else {}),
    }
    secrets = [
        value.split()[-1]
        for name, value in headers.items()
        if isinstance(value, str) and value.strip() and is_secret_header(name)
    ]
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
    url = http_request.url
    if api_key and len(api_key) >= MIN_SECRET_CHARS:
        url = url.replace(api_key, MASK)
    return Preview(http_request.method, url, headers, json.loads(http_request.content))


def redact(text: str, secrets: Iterable[str]) -> str:
    """Mask every secret in `text`, also in the forms that `repr` and URL quoting give it."""
    for secret in secrets:
        if len(secret) >= MIN_SECRET_CHARS:
            for variant in {secret, repr(secret)[1:-1], quote(secret), quote(secret, safe="")}:
                text = text.replace(variant, MASK)
    return text
