"""What the lanes to remote providers share: who we are, what failed, what may be shown."""

from __future__ import annotations

import contextlib
import json
import os
import re

from pipy_ai import __version__

from ..errors import ProviderError, classify, redact
from .request import Preview, Request
from .router import router_config
from .wire.http import Call

AGENT = f"pipy-ai/{__version__}"
_SECRET = re.compile(r"KEY|TOKEN|SECRET|JWT|PASSWORD|_PAT$")
_AUTH = re.compile(r"auth|key|token|secret|cookie", re.IGNORECASE)


def failure(exc: Exception, request: Request, secret: str | None) -> ProviderError:
    """What an exception means, without any key."""
    error = exc.error if isinstance(exc, ProviderError) else classify(exc)
    error.provider = request.provider
    added = (request.options.extra or {}).get("extra_headers")
    headers = {**(request.options.headers or {}), **(added if isinstance(added, dict) else {})}
    secrets = [
        value.split()[-1]
        for name, value in headers.items()
        if isinstance(value, str) and value.strip() and _AUTH.search(name)
    ]
    if request.route.rule == "router":
        with contextlib.suppress(ProviderError):
            config = router_config(request.route.api_base or None)
            secrets += config.secrets() if config is not None else []
    if secret:
        secrets.append(secret)
    else:  # LiteLLM found one itself
        secrets += [value for name, value in os.environ.items() if _SECRET.search(name)]
    error.message = redact(error.message, secrets)
    return ProviderError(error)


def masked(call: Call, secret: str | None) -> Preview:
    """A request to look at; its key is masked, and so are those that the caller put in."""
    headers = {
        name: "***" if (secret and secret in value) or _AUTH.search(name) else value
        for name, value in call.headers
    }
    url = call.url.replace(secret, "***") if secret and len(secret) >= 8 else call.url
    return Preview(call.method, url, headers, json.loads(call.content))
