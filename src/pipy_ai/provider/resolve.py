"""From a model's name to the way that leads to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProviderError
from ..registry import Model, get_registry
from ..registry.names import LITELLM_NAMES
from ..registry.routing import Route, litellm_route, route
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


def resolve(model: str | Model) -> Resolved:
    """What a name, or a `Model` that may be made by hand, stands for.

    A name that the catalogue does not know is passed on to LiteLLM, with a warning.

    Raises:
        AmbiguousModelError: a bare name that several hosts have.
        ValueError: a bare name that nobody has.
    """
    registry = get_registry()
    if isinstance(model, Model):
        if not model.provider or not model.id:
            raise ValueError("a Model needs a provider and an id to be asked")
        host = registry.host(model.provider) or _host_of(model)
        way = route(host, model.id, model.raw) if host else litellm_route(model.qualified_name)
        return Resolved(model.provider, model.id, way, model.to_dict())
    provider, slash, identity = model.partition("/")
    if provider == "openai" and identity.startswith("responses/"):
        return _by_responses(identity.removeprefix("responses/"))
    full, guessed = registry.find(model)
    if full is not None:
        provider, _, identity = full.partition("/")
        record = registry.record(full)
        way = route(registry.host(provider) or {"id": provider}, identity, record)
        found = Resolved(provider, identity, way, record)
        if guessed:
            text = f"{model!r} is offered by {provider} alone, which is asked; write {full}"
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
    if not way.own_server:
        found.warnings.append(Warning(code="unknown_model", message=_unknown(model)))
    return found


def _unknown(model: str) -> str:
    return f"{get_registry().unknown(model)}; its limits and its price are not known"


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
    if config is None or name not in config.models:
        return None
    behind = config.models[name]
    try:
        found = resolve(behind)
    except ValueError:  # a bare name that LiteLLM knows, perhaps
        found = Resolved("litellm", behind, litellm_route(behind))
    found.warnings.clear()
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


def _host_of(model: Model) -> dict[str, Any] | None:
    """The provider that a model made by hand describes."""
    if not model.api and not model.npm:
        return None
    npm = model.npm or "@ai-sdk/openai-compatible"
    return {"id": model.provider, "npm": npm, "api": model.api, "env": model.env}
