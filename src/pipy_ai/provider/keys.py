"""Reading a provider's key. A key goes to its own provider only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..errors import ErrorKind, ProviderError, error_info
from ..registry.keystore import KEYRING
from ..registry.routing import LOGINS
from . import loop as loops
from .request import Request

NO_KEY = "none"  # said to servers that want none, so that no backend looks for another one

_EMPTY = SecretStr("")
_OPENAI = frozenset({"openai", "text-completion-openai"})


async def find_key(request: Request) -> str | None:
    """`key_for`, in a thread when the key is in the system's keyring, which may ask its user."""
    if request.options.api_key is None and request.route.found()[1] == KEYRING:
        return await loops.in_thread("pipy-ai-keyring", lambda: key_for(request))
    return key_for(request)


def key_for(request: Request, missing: str | None = None) -> str | None:
    """The key for a request: the option, else the provider's variables, else what `pipy keys` keeps
    for them. None: not known here.

    `missing` is what to use instead of a key that is needed and not there.

    Raises:
        ProviderError: the provider needs a key and there is none (kind `missing_key`).
    """
    if given := (request.options.api_key or _EMPTY).get_secret_value().strip():
        return given
    way, base = request.route, request.options.api_base
    if way.backend in LOGINS or way.rule == "router":
        return None
    base = base or (way.api_base if request.provider in _OPENAI else None) or None
    if request.provider in _OPENAI and base is not None and not is_openai(base):
        return NO_KEY
    if key := way.key():
        return key
    if way.own_server or (way.rule != "litellm" and base is not None):
        return NO_KEY
    if way.rule == "litellm":
        return None
    if missing is not None:
        return missing
    if way.problem:  # no key that could be set would help
        raise ProviderError(
            error_info(ErrorKind.BAD_REQUEST, way.problem, provider=request.provider)
        )
    raise missing_key(request.provider, way.missing(), keep=bool(way.keys))


def is_openai(base: str) -> bool:
    """Whether an address is OpenAI's own, or the one that its variable names."""
    host = urlsplit(base).hostname or ""
    named = urlsplit(os.environ.get("OPENAI_BASE_URL", "")).hostname
    return host == "api.openai.com" or host.endswith(".openai.com") or host == named


def missing_key(provider: str, variables: Sequence[str], keep: bool = False) -> ProviderError:
    """What to raise when a key, or a variable that belongs to it, is not set; `keep`: whether
    `pipy keys` could keep it."""
    kept = f" or run pipy keys set {provider}" if keep else ""
    said = f"set {' and '.join(variables)}{kept}, or " if variables else ""
    said += "pass api_key="
    text = f"No key for {provider}: {said}."
    return ProviderError(error_info(ErrorKind.MISSING_KEY, text, provider=provider))
