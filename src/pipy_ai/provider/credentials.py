"""Find the API key of a request. A key is sent to its own provider only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from ..errors import ErrorKind, ProviderError, error_info
from ..registry.keystore import KEYRING
from ..registry.routing import CLOUD_LOGIN_BACKENDS, Route
from ..types import Warning
from ..utils import event_loop as loops
from ..utils.extras import install_command
from ..utils.secrets import subscription_problem
from .request import Request

DEFAULT_OPENAI_URL = "https://api.openai.com/v1"
PLACEHOLDER_KEY = "none"  # sent where no key is needed, so that LiteLLM does not look for one

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
OLLAMA_BACKEND = "ollama_chat"
_OPENAI_PROVIDERS = frozenset({"openai", "text-completion-openai"})


async def aresolve_api_key(request: Request) -> str | None:
    """`resolve_api_key` that calls the function of a token, and asks the keyring in a thread.

    The system's keyring may prompt.
    """
    if (fetch := key_function(request)) is not None:
        from .token_source import token_source

        return permitted_key(await token_source(fetch).token(), request)
    if request.options.api_key is None and request.route.credential()[1] == KEYRING:
        return await loops.run_in_thread("pipy-ai-keyring", lambda: resolve_api_key(request))
    return resolve_api_key(request)


def key_function(request: Request) -> Callable[[], Any] | None:
    """Return the function that the caller passed as `api_key`, if it is one."""
    api_key = request.options.api_key
    return None if api_key is None or isinstance(api_key, SecretStr) else api_key


def key_renewal(request: Request, token: str | None) -> Callable[[], None] | None:
    """Return a function that discards this token; None: `api_key` is not a function."""
    if (fetch := key_function(request)) is None:
        return None
    from .token_source import token_source

    return partial(token_source(fetch).renew, token)


def resolve_api_key(request: Request, placeholder: str | None = None) -> str | None:
    """Return the key of a request; None: LiteLLM may find one.

    In this order: the option `api_key`, the provider's environment variables, `pipy keys`.

    Args:
        placeholder: used instead of a key that is required and missing.

    Raises:
        ProviderError: The provider requires a key and there is none (kind `missing_key`), or it
            is the token of a subscription that excludes other applications (kind `auth`).
    """
    given = request.options.api_key
    if isinstance(given, SecretStr):
        if api_key := given.get_secret_value().strip():
            return permitted_key(api_key, request)
    elif given is not None:
        return placeholder or PLACEHOLDER_KEY  # only `aresolve_api_key` calls a function
    route, base_url = request.route, request.options.api_base
    if route.kind == "router":
        return None
    if route.backend in CLOUD_LOGIN_BACKENDS:
        _check_cloud_address(request)
        return None
    is_addressed = request.provider in _OPENAI_PROVIDERS or route.backend == OLLAMA_BACKEND
    base_url = base_url or (route.api_base if is_addressed else None) or None
    if base_url is not None and not is_own_url(request.provider, route, base_url):
        if route.backend in _OWN_LOGINS:
            raise _unsent_login_error(request, base_url)
        warn_of_unsent_key(request, base_url)
        return PLACEHOLDER_KEY
    if key := route.api_key():
        return permitted_key(key, request)
    if (route.token_env or route.login_env) and route.credential()[0]:
        return None  # LiteLLM reads the token or login
    logins = AZURE_LOGINS | {"azure_ad_token"}
    if route.has_deployments and not logins.isdisjoint(request.options.extra or {}):
        return None
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


def use_placeholder_key(request: Request) -> None:
    """Let a request do without credentials: the replay of a recording needs none."""
    update = {"api_key": SecretStr(PLACEHOLDER_KEY)}
    request.options = request.options.model_copy(update=update)


def permitted_key(api_key: str, request: Request) -> str:
    """Return a key that is not the token of a consumer subscription.

    Raises:
        ProviderError: It is one (kind `auth`).
    """
    if problem := subscription_problem(api_key):
        text = f"The key is not accepted: {problem}."
        raise ProviderError(error_info(ErrorKind.AUTH, text, provider=request.provider))
    return api_key


def check_headers(request: Request, *sources: Mapping[str, Any] | None) -> None:
    """Reject the token of a consumer subscription in the caller's headers.

    Raises:
        ProviderError: There is one (kind `auth`).
    """
    for headers in sources:
        for value in (headers or {}).values():
            permitted_key(str(value), request)


def is_own_url(provider: str, route: Route, url: str) -> bool:
    """Return whether the provider's key may be sent to an address."""
    if provider in _OPENAI_PROVIDERS:
        return is_openai_url(url)
    if route.backend == OLLAMA_BACKEND:  # its key is that of Ollama's cloud
        from ..registry.ollama_address import may_have_key, server_url

        return may_have_key(server_url(url))
    if route.is_self_hosted:
        return True  # its key is meant for the user's own servers at any address
    from ..registry import get_registry
    from ..registry.trust import is_own_address

    return is_own_address(url, provider, route, get_registry().providers())


# Fields of `extra` with LiteLLM's arguments for logins at Azure. It sends requests with them.
AZURE_LOGINS = frozenset(
    {
        "azure_ad_token_provider", "azure_password", "azure_scope", "azure_username", "client_id",
        "client_secret", "tenant_id",
    }
)  # fmt: skip
# Fields of `extra` that hold the user's credentials for a cloud, and where to send them.
_AWS_CREDENTIALS = (("aws_access_key_id", "aws_secret_access_key"), ("aws_bearer_token_bedrock",))
_CLOUD_CREDENTIALS = {
    "bedrock": _AWS_CREDENTIALS,
    "bedrock_mantle": _AWS_CREDENTIALS,
    "vertex_ai": (("vertex_credentials",),),
}
_OWN_LOGINS = frozenset({"gigachat"})  # LiteLLM reads their tokens regardless of the key
_CLOUD_ADDRESSES = ("aws_bedrock_runtime_endpoint", "aws_sts_endpoint")


def _check_cloud_address(request: Request) -> None:
    """Reject an address that is not the cloud's: LiteLLM would send the login's token to it.

    Raises:
        ProviderError: The address is not the cloud's, and no credentials are given for it.
    """
    from ..registry.trust import is_cloud_address

    extra = request.options.extra or {}
    given = {name for name, value in extra.items() if str(value or "").strip()}
    if any(given.issuperset(names) for names in _CLOUD_CREDENTIALS[request.route.backend]):
        return
    for url in filter(None, [request.options.api_base, *map(extra.get, _CLOUD_ADDRESSES)]):
        if not is_cloud_address(str(url), request.route.backend):
            raise _unsent_login_error(request, str(url))


def _unsent_login_error(request: Request, url: str) -> ProviderError:
    text = (
        f"The credentials of {request.provider} are not sent to {_scheme_and_host(url)[1] or url},"
        " which is not one of its addresses: pass api_key=."
    )
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))


def warn_of_unsent_key(request: Request, url: str) -> None:
    """Warn that the key of the environment is not sent to an address."""
    variable = request.route.credential()[0]
    _, host = _scheme_and_host(url)
    if not variable or host in _LOOPBACK_HOSTS:
        return
    text = f"{variable} is not sent to {host}, which is not {request.provider}'s: pass api_key="
    if all(warning.message != text for warning in request.warnings):
        request.warnings.append(Warning(code="key_not_sent", message=text))


def is_openai_url(url: str) -> bool:
    """Return whether an address is OpenAI's own or the one set in the environment."""
    scheme, host = _scheme_and_host(url)
    default_scheme, default_host = _scheme_and_host(openai_base_url())
    if host == default_host:
        return scheme in ("https", default_scheme)
    return scheme == "https" and host.endswith(".openai.com")


def _scheme_and_host(url: str) -> tuple[str, str]:
    """Return scheme and host in lower case, or empty strings for an invalid URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or ""
    except ValueError:
        return "", ""


def missing_key_error(
    provider: str, variables: Sequence[str], can_be_stored: bool = False
) -> ProviderError:
    """Return the error of a missing key, or of a missing variable that belongs to it.

    `can_be_stored` adds the hint to `pipy keys`.
    """
    steps = [f"set {' and '.join(variables)}"] if variables else []
    steps += [f"run pipy keys set {provider}"] if variables and can_be_stored else []
    steps += ["or pass api_key=" if steps else "pass api_key="]
    text = f"No API key for {provider}: {', '.join(steps)}."
    return ProviderError(error_info(ErrorKind.MISSING_KEY, text, provider=provider))


def missing_package_error(
    provider: str, package: str, extra: str, advice: str = ""
) -> ProviderError:
    """Return the error of a request that needs a package of an extra that is not installed.

    `advice` says how the request could do without the package.
    """
    text = (
        f"This request to {provider} needs {package}, which is not installed:"
        f" {install_command(extra)}{advice and f', or {advice}'}"
    )
    return ProviderError(error_info(ErrorKind.MISSING_KEY, text, provider=provider))


def openai_base_url() -> str:
    """Return OpenAI's address: that of the environment, or the default."""
    variables = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
    return next(filter(None, map(os.environ.get, variables)), DEFAULT_OPENAI_URL)


def uses_default_openai_url(request: Request) -> bool:
    """Return whether a request for OpenAI goes to OpenAI's own address."""
    return not request.options.api_base and openai_base_url() == DEFAULT_OPENAI_URL
