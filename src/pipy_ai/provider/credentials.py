"""Reading a provider's key. A key goes to its own provider only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..errors import ErrorKind, ProviderError, error_info
from ..registry.keystore import KEYRING
from ..registry.routing import CLOUD_LOGIN_BACKENDS
from ..utils import event_loop as loops
from .request import Request

PLACEHOLDER_KEY = "none"  # said to servers that want none, so that no backend looks for another one

_EMPTY_SECRET = SecretStr("")
_OPENAI_PROVIDERS = frozenset({"openai", "text-completion-openai"})


async def aresolve_api_key(request: Request) -> str | None:
    """`key_for`, in a thread when the key is in the system's keyring, which may ask its user."""
    if request.options.api_key is None and request.route.credential()[1] == KEYRING:
        return await loops.run_in_thread("pipy-ai-keyring", lambda: resolve_api_key(request))
    return resolve_api_key(request)


def resolve_api_key(request: Request, placeholder: str | None = None) -> str | None:
    """The key for a request: the option, else the provider's variables, else what `pipy keys` keeps
    for them. None: not known here.

    `missing` is what to use instead of a key that is needed and not there.

    Raises:
        ProviderError: the provider needs a key and there is none (kind `missing_key`).
    """
    if api_key := (request.options.api_key or _EMPTY_SECRET).get_secret_value().strip():
        return api_key
    route, base_url = request.route, request.options.api_base
    if route.backend in CLOUD_LOGIN_BACKENDS or route.kind == "router":
        return None
    base_url = (
        base_url or (route.api_base if request.provider in _OPENAI_PROVIDERS else None) or None
    )
    if (
        request.provider in _OPENAI_PROVIDERS
        and base_url is not None
        and not is_openai_url(base_url)
    ):
        return PLACEHOLDER_KEY
    if key := route.api_key():
        return key
    if route.is_self_hosted or (route.kind != "litellm" and base_url is not None):
        return PLACEHOLDER_KEY
    if route.kind == "litellm":
        return None
    if placeholder is not None:
        return placeholder
    if route.problem:  # no key that could be set would help
        raise ProviderError(
            error_info(ErrorKind.BAD_REQUEST, route.problem, provider=request.provider)
        )
    raise missing_key_error(
        request.provider, route.missing_variables(), can_be_stored=bool(route.key_env)
    )


def is_openai_url(url: str) -> bool:
    """Whether an address is OpenAI's own, or the one that its variable names."""
    host = urlsplit(url).hostname or ""
    configured_host = urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname
    return host == "api.openai.com" or host.endswith(".openai.com") or host == configured_host


def missing_key_error(
    provider: str, variables: Sequence[str], can_be_stored: bool = False
) -> ProviderError:
    """What to raise when a key, or a variable that belongs to it, is not set; `keep`: whether
    `pipy keys` could keep it."""
    store_hint = f" or run pipy keys set {provider}" if can_be_stored else ""
    hint = f"set {' and '.join(variables)}{store_hint}, or " if variables else ""
    hint += "pass api_key="
    text = f"No key for {provider}: {hint}."
    return ProviderError(error_info(ErrorKind.MISSING_KEY, text, provider=provider))


def uses_default_openai_url(request: Request) -> bool:
    """Whether a request of OpenAI's goes to OpenAI's own address."""
    overrides = (
        request.options.api_base,
        *map(os.environ.get, ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
    )
    return not any(overrides)
