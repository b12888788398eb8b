"""From a model's name to the way that leads to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProviderError
from ..registry import Model, get_registry
from ..registry.names import LITELLM_NAMES
from ..registry.routing import OWN_SERVERS, Route, litellm_route, route
from ..types import Warning
from .router import router_config


@dataclass(slots=True)
class Resolved:
    """A model: who serves it, its id there, its record in the catalogue, the way to it."""

    provider: str
    model_id: str
    route: Route
    record: Mapping[str, Any] | None = None
    warnings: list[Warning] = field(default_factory=list)
    api_base: str | None = None  # of a model made by hand


def resolve(model: str | Model, quiet: bool = False) -> Resolved:
    """What a name, or a `Model` that may be made by hand, stands for.

    A name that the catalogue does not know is passed on to LiteLLM, with a warning unless `quiet`.

    Raises:
        AmbiguousModelError: a bare name that several hosts have.
        ValueError: a bare name that nobody has.
    """
    registry = get_registry()
    if isinstance(model, Model):
        return _by_hand(model)
    provider, slash, identity = model.partition("/")
    if provider in OWN_SERVERS and identity:  # whose names are the user's own
        way = litellm_route(model)
        record = registry.override(model)
        if provider == "litellm_proxy":
            record = record or _behind_proxy(registry.record(identity))
        return Resolved(provider, identity, way, record)
    if provider == "openai" and identity.startswith("responses/"):
        return _by_responses(identity.removeprefix("responses/"))
    full, guessed = registry.find(model)
    if full is not None:
        provider, _, identity = full.partition("/")
        record = registry.record(full) or {}
        host = registry.host(provider)
        if host is None and not (record.get("provider") or {}).get("api"):
            way = litellm_route(full)  # of the user's own list; only LiteLLM knows the provider
        else:
            way = route(host or {"id": provider}, identity, record)
        found = Resolved(provider, identity, way, record)
        if guessed:
            text = f"{model!r} is asked of {provider}, which offers it; write {full}"
            found.warnings.append(Warning(code="model_guessed", message=text))
        return found
    if not slash or not provider or not identity:
        raise ValueError(registry.unknown(model))
    known = provider if registry.host(provider) else LITELLM_NAMES.get(provider, "")
    host = registry.host(known) if known else None
    way = route(host, identity) if host else litellm_route(model)
    if way.rule == "cloud" and known != provider:
        way = litellm_route(model)  # LiteLLM's own spelling tells it more than ours would
    found = Resolved(known if host else provider, identity, way)
    if not way.own_server and not quiet:
        guess = way.rule not in ("cloud", "litellm")  # names there are the user's own
        text = f"{registry.unknown(model, guess)}; its limits and its price are not known"
        found.warnings.append(Warning(code="unknown_model", message=text))
    return found


def _behind_proxy(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is known of a model that a proxy calls by its full name, as `pipy config` has it do. How
    much it thinks is told in LiteLLM's words, low, medium or high, which the proxy translates."""
    if record is None:
        return None
    return {name: value for name, value in record.items() if name != "reasoning_options"}


def _by_hand(model: Model) -> Resolved:
    """What a `Model` says of itself counts more than what the catalogue says of its provider."""
    if not model.provider or not model.id:
        raise ValueError("a Model needs a provider and an id to be asked")
    host = get_registry().host(model.provider)
    record = model.to_dict()
    own = record.get("provider")
    own = dict(own) if isinstance(own, dict) else {}
    if host is None and (model.api or model.npm):
        npm = model.npm or "@ai-sdk/openai-compatible"
        host = {"id": model.provider, "npm": npm, "api": model.api, "env": model.env}
    if host is None:
        return Resolved(model.provider, model.id, litellm_route(model.qualified_name), record)
    own |= {n: v for n in ("npm", "shape") if (v := getattr(model, n)) and v != host.get(n)}
    record["provider"] = own
    usual = own.get("api") or host.get("api") or ""
    found = Resolved(model.provider, model.id, route(host, model.id, record), record)
    if model.api and model.api != usual:
        found.api_base = model.api  # as if it were given with the request
    return found


def by_router(name: str, config_path: str | os.PathLike[str] | None) -> Resolved | None:
    """A model of the Router's configuration, if there is one and the name is in it.

    A broken file is told as the answer's error: nobody can know whether it has the name.
    """
    try:
        config = router_config(config_path)
    except ProviderError as broken:
        way = litellm_route(name)
        way.problem = broken.error.message
        return Resolved(*_split(name), way)
    behind = None if config is None else config.match(name)
    if behind is None:
        return None
    try:
        found = resolve(behind, quiet=True)
    except ValueError:  # a bare name that LiteLLM knows, perhaps
        found = Resolved("litellm", behind, litellm_route(behind))
    found.route.rule, found.route.model = "router", name
    found.route.api_base = "" if config_path is None else os.fspath(config_path)
    found.route.needs, found.route.parameters, found.route.problem = (), {}, ""
    return found


def _split(name: str) -> tuple[str, str]:
    provider, slash, identity = name.partition("/")
    return (provider, identity) if slash else ("litellm", name)


def _by_responses(identity: str) -> Resolved:
    """LiteLLM's way to ask for OpenAI's Responses API."""
    found = resolve(f"openai/{identity}")
    found.route.responses = "always"
    found.route.model = f"openai/responses/{identity}"
    return found
