"""What the lanes to remote providers share: who we are, what failed, what may be shown."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterable
from urllib.parse import quote

from ..errors import ProviderError
from ..failures import classify_exception
from .http.client import HTTPRequest
from .request import Preview, Request
from .router import load_router_config

_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|JWT|PASSWORD|_PAT$")
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)


def redacted_error(exc: Exception, request: Request, api_key: str | None) -> ProviderError:
    """What an exception means, without any key."""
    error = exc.error if isinstance(exc, ProviderError) else classify_exception(exc)
    error.provider = request.provider
    extra_headers = (request.options.extra or {}).get("extra_headers")
    headers = {
        **(request.options.headers or {}),
        **(extra_headers if isinstance(extra_headers, dict) else {}),
    }
    secrets = [
        value.split()[-1]
        for name, value in headers.items()
        if isinstance(value, str) and value.strip() and _SECRET_HEADER.search(name)
    ]
    if request.route.kind == "router":
        with contextlib.suppress(ProviderError):
            config = load_router_config(request.route.api_base or None)
            secrets += config.secrets() if config is not None else []
    if api_key:
        secrets.append(api_key)
    else:  # LiteLLM found one itself
        secrets += [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)]
    error.message = redact(error.message, secrets)
    return ProviderError(error)


def redacted_preview(http_request: HTTPRequest, api_key: str | None) -> Preview:
    """A request to look at; its key is masked, and so are those that the caller put in."""
    headers = {
        name: "***" if (api_key and api_key in value) or _SECRET_HEADER.search(name) else value
        for name, value in http_request.headers
    }
    url = (
        http_request.url.replace(api_key, "***")
        if api_key and len(api_key) >= 8
        else http_request.url
    )
    return Preview(http_request.method, url, headers, json.loads(http_request.content))


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` without these keys, as they are or as `repr` and URLs write them."""
    for secret in secrets:
        if len(secret) >= 8:  # a shorter one is no key, and stands in ordinary words
            for variant in {secret, repr(secret)[1:-1], quote(secret), quote(secret, safe="")}:
                text = text.replace(variant, "***")
    return text
