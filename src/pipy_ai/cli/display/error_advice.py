"""What usually helps after an error of a provider, by the kind of the error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...errors import ErrorKind
from ...failures import UNKNOWN_PROVIDER_MESSAGE

if TYPE_CHECKING:
    from ...registry.routing import Route
    from ...types import AssistantMessage


_CLOUD_ORIGIN = "your cloud credentials"


class _Credential(NamedTuple):
    """The API key of a request as text (never its value), and how to correct it."""

    origin: str
    advice: str
    is_missing: bool = False  # the request had none


# The message says what to do (provider/clouds/ollama.py).
_EXPLAINED_BY_OLLAMA = (
    ErrorKind.AUTH,
    ErrorKind.CONNECTION,
    ErrorKind.CONTEXT_OVERFLOW,
    ErrorKind.NOT_FOUND,
)


def error_advice(message: AssistantMessage, api_base: str | None = None) -> str:
    """Return one line about a provider's error: who sent it, whose key was used, what may help.

    Empty if there is nothing to add. `api_base` is the base URL that the user gave, if any.
    """
    error, provider = message.error, message.provider
    if error is None or provider in ("", "local"):
        return ""
    if provider in ("ollama", "ollama_chat") and error.kind in _EXPLAINED_BY_OLLAMA:
        return ""
    model = f"{provider}/{message.model}"
    match error.kind:
        case ErrorKind.AUTH:
            credential = _credential(provider, message.model, api_base)
            if error.status_code is None and credential.origin == _CLOUD_ORIGIN:
                return (
                    ""  # a setting is wrong, or the login has expired: the message says what to do
                )
            if error.status_code == 403:
                return (
                    f"{provider} denied access to {message.model} with {credential.origin}; check"
                    " the permissions and the region of that account"
                )
            return f"{provider} rejected {credential.origin}; {credential.advice}"
        case ErrorKind.QUOTA:
            credential = _credential(provider, message.model, api_base)
            owner = "" if credential.is_missing else f" for {credential.origin}"
            return (
                f"{provider} reports no credit or quota left{owner}; check the billing of that"
                " account, or use another model with -m"
            )
        case ErrorKind.RATE_LIMIT:
            credential = _credential(provider, message.model, api_base)
            owner = "" if credential.is_missing else f" with {credential.origin}"
            wait = f"{error.retry_after:g} s" if error.retry_after else "a moment"
            return (
                f"{provider} limits the rate of requests{owner}; wait {wait}, or name another"
                " model with --fallback"
            )
        case ErrorKind.NOT_FOUND if error.message == UNKNOWN_PROVIDER_MESSAGE:
            return _unknown_provider_advice(provider)
        case ErrorKind.NOT_FOUND:
            return _not_found_advice(provider, message.model, api_base)
        case ErrorKind.CONTEXT_OVERFLOW:
            return _overflow_advice(model)
        case ErrorKind.OVERLOADED | ErrorKind.SERVER:
            state = "is overloaded" if error.kind == ErrorKind.OVERLOADED else "failed"
            return f"{provider} {state}; try again later, or name another model with --fallback"
        case ErrorKind.CONTENT_FILTER if error.status_code is not None:
            return f"{provider} blocked the prompt; rephrase it, or use another model with -m"
        case ErrorKind.CONNECTION:
            return (
                f"{provider} did not answer; check the network"
                f"{' and --api-base' if api_base else ''}, or run pipy doctor --online"
            )
    return ""


def _unknown_provider_advice(provider: str) -> str:
    from ...registry import get_registry
    from ...utils.text import suggest

    suggestion = suggest(provider, get_registry().providers())
    return f"unknown provider {provider!r}; {suggestion}" if suggestion else ""


def _not_found_advice(provider: str, model_id: str, api_base: str | None) -> str:
    subject = f"{provider} found no model {model_id!r} at this address"
    if api_base or not _lists_models(provider):
        return f"{subject}; check the name{' and --api-base' if api_base else ''}"
    return f"{subject}; pipy models --provider {provider} lists its models"


def _overflow_advice(model: str) -> str:
    from .usage import context_window

    window = context_window(model)
    size = f" of {window:,} tokens" if window else ""
    return (
        f"the prompt exceeds the context window{size} of {model}; shorten it, or use a model with"
        " a larger one (pipy models --min-context N)"
    )


def _credential(provider: str, model_id: str, api_base: str | None) -> _Credential:
    """Return where the API key of a request came from. The key itself is not read."""
    from ...provider.credentials import is_own_url
    from ...registry.routing import CLOUD_LOGIN_BACKENDS, ENVIRONMENT

    route = _route(provider, model_id)
    if route is None:
        return _Credential("the request", "check its credentials")
    if route.kind == "router":
        return _Credential("the key in the Router's configuration", "check that file")
    if route.backend in CLOUD_LOGIN_BACKENDS:
        return _Credential(_CLOUD_ORIGIN, "check them with pipy doctor")
    variable, location = route.credential()
    if variable and api_base and not is_own_url(provider, route, api_base):
        return _Credential(
            f"the request, which had no API key: {variable} is only sent to {provider}",
            "for a server of your own, use -m hosted_vllm/MODEL and HOSTED_VLLM_API_KEY",
            is_missing=True,
        )
    if not variable:
        names = " or ".join(route.key_env)
        advice = f"set {names}, or run pipy keys set {provider}" if names else "check its address"
        return _Credential("the request, which had no API key", advice, is_missing=True)
    if location == ENVIRONMENT:
        return _Credential(
            f"the key from {variable}", f"check it, or unset it and run pipy keys set {provider}"
        )
    return _Credential(
        f"the key stored for {variable}", f"replace it with pipy keys set {provider}"
    )


def _route(provider: str, model_id: str) -> Route | None:
    from ...errors import PipyError
    from ...provider.registered import registered_provider
    from ...provider.resolve import resolve
    from ...provider.router import load_router_config
    from ...registry.routing import Route

    if provider == "faux" or registered_provider(provider) is not None:
        return None
    name = f"{provider}/{model_id}"
    try:
        router = load_router_config(None)
        if router is not None and (router.find_model(name) or name in router.models.values()):
            return Route(kind="router")
        return resolve(name, quiet=True).route
    except (ValueError, PipyError):
        return None


def _lists_models(provider: str) -> bool:
    from ...registry import get_registry

    return provider in get_registry().providers()
