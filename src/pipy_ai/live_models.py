"""The models that a key can use: a provider's own list, compared with the catalogue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ._requests import build_request
from .errors import ErrorKind, ProviderError, error_info, exception_for
from .options import Options
from .provider.direct import DirectProvider
from .provider.request import Request
from .provider.transport import direct_wire
from .provider.wire import Wire
from .registry import Model, get_registry
from .utils.event_loop import run_blocking

TIMEOUT_S = 60.0  # for all pages of a list

_ID_FIELDS = ("id", "name", "model", "modelId", "inferenceProfileId")
_CONTEXT_FIELDS = (
    "context_length", "context_window", "max_context_length", "max_input_tokens", "inputTokenLimit",
    "max_model_len",
)  # fmt: skip
_OUTPUT_FIELDS = ("max_tokens", "outputTokenLimit", "max_completion_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model of a provider, and whether the provider, the catalogue or both list it."""

    name: str
    """The full name, `provider/model`."""
    status: Literal["both", "new", "missing"]
    """`both` list it; it is `new` and not in the catalogue; or the provider's list is `missing` it,
    so the key cannot use it."""
    listed_as: str | None = None
    """The name of the model in the catalogue; that of the base model for a dated or regional
    variant. None: it is not listed."""
    created: str | None = None
    """When the model was created (`YYYY-MM-DD`), if the provider says so."""
    context: int | None = None
    """The context window in tokens, if the provider names it."""
    output: int | None = None
    """The maximum length of an answer in tokens, if the provider names it."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The entry of the provider's list."""

    @property
    def model(self) -> Model | None:
        """The model's entry in the catalogue."""
        return None if self.listed_as is None else get_registry().get(self.listed_as)


def list_live_models(
    provider: str, *, api_key: str | Callable[[], Any] | None = None, api_base: str | None = None
) -> list[LiveModel]:
    """List the models that a key can use, and those of the catalogue that it cannot.

    All pages of the provider's list are read. Azure and Vertex AI have no list of the models that
    an account can use.

    Args:
        provider: The name of a provider, as in the catalogue.
        api_key: The API key. None: as for requests.
        api_base: The base URL of the server. None: as for requests.

    Returns:
        The models by name: those of the provider's list, and those that only the catalogue has
        (`status="missing"`).

    Raises:
        PipyError: The provider has no list, the key is missing, or the request failed.
        ValueError: There is no such provider.

    Example:
        >>> from pipy_ai import list_live_models
        >>> for model in list_live_models("anthropic"):  # doctest: +SKIP
        ...     print(model.name, model.status)
    """
    counting = alist_live_models(provider, api_key=api_key, api_base=api_base)
    return run_blocking(counting, "alist_live_models")


async def alist_live_models(
    provider: str, *, api_key: str | Callable[[], Any] | None = None, api_base: str | None = None
) -> list[LiveModel]:
    """List the models that a key can use. The async version of `list_live_models`."""
    options: Options = {"api_key": api_key, "api_base": api_base}
    listed = get_registry().query(provider=provider) if _is_listed(provider) else []
    if not listed and api_base is None and not _is_listed(provider):
        get_registry().check_provider(provider)  # raises with suggestions
    try:
        async with asyncio.timeout(TIMEOUT_S):
            entries = await _fetch(provider, listed, options)
    except TimeoutError:
        text = f"{provider} did not send its list of models within {TIMEOUT_S:g} s. Try again."
        raise exception_for(error_info(ErrorKind.TIMEOUT, text, provider=provider)) from None
    except ProviderError as failure:
        raise exception_for(failure.error) from None
    return _compare(provider, entries, listed)


def _is_listed(provider: str) -> bool:
    return provider in get_registry().providers()


async def _fetch(provider: str, listed: Iterable[str], options: Options) -> list[dict[str, Any]]:
    """Return the entries of the provider's list, over the first of its APIs that has one.

    Raises:
        ProviderError: None has.
    """
    problem: ProviderError | None = None
    for request, wire in _routes(provider, listed, options):
        try:
            return await DirectProvider(wire).list_models(request)
        except ProviderError as error:
            if error.error.status_code not in (404, 405) and error.error.status_code is not None:
                raise
            problem = problem or error
    if problem is None:
        text = f"{provider} has no list of models that pipy-ai can read."
        problem = ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=provider))
    raise problem


def _routes(provider: str, listed: Iterable[str], options: Options) -> list[tuple[Request, Wire]]:
    """Return a request and a wire for each API of the provider's models."""
    routes: dict[str, tuple[Request, Wire]] = {}
    for name in [*listed] or [f"{provider}/model"]:
        request = build_request(name, "Hi", None, options)
        if (wire := direct_wire(request)) is not None:
            routes.setdefault(wire.api, (request, wire))
    return list(routes.values())


def _compare(
    provider: str, entries: Iterable[Mapping[str, Any]], listed: Iterable[str]
) -> list[LiveModel]:
    registry, names, models = get_registry(), set(listed), dict[str, LiveModel]()
    for entry in entries:
        model_id = next((text for n in _ID_FIELDS if (text := _text(entry.get(n)))), "")
        name = f"{provider}/{model_id.removeprefix('models/')}"
        if not model_id or name in models:
            continue
        found = registry.get(name)
        listed_as = None if found is None else found.base_model or found.qualified_name
        models[name] = LiveModel(
            name,
            "new" if listed_as is None else "both",
            listed_as,
            _date(entry),
            _first_number(entry, _CONTEXT_FIELDS),
            _first_number(entry, _OUTPUT_FIELDS),
            entry,
        )
    # Providers list dated models, and often not the aliases of the newest ones.
    root_name = registry.name_index.root_name
    aliases = {root_name(name) for name in models} | {m.listed_as for m in models.values()}
    for name in names - models.keys():
        models[name] = LiveModel(name, "both" if name in aliases else "missing", name)
    return [models[name] for name in sorted(models)]


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _first_number(entry: Mapping[str, Any], names: Iterable[str]) -> int | None:
    values = (entry.get(name) for name in names)
    return next((value for value in values if type(value) is int and value > 0), None)


def _date(entry: Mapping[str, Any]) -> str | None:
    """Return the day on which a model was created: seconds since 1970, or an ISO date."""
    value = entry.get("created") or entry.get("created_at") or entry.get("modified_at")
    if type(value) is int and 0 < value < 1 << 33:
        return datetime.fromtimestamp(value, UTC).date().isoformat()
    text = _text(value)[:10]
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError:
        return None
