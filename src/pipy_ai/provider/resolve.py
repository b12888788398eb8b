"""From a model's name to the way that leads to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ProviderError
from ..registry import Model, get_registry
from ..registry.names import LITELLM_PROVIDER_ALIASES
from ..registry.routing import SELF_HOSTED_BACKENDS, Route, build_route, litellm_route
from ..types import Warning
from .router import load_router_config


@dataclass(slots=True)
class ResolvedModel:
    """A model: who serves it, its id there, its record in the catalogue, the way to it."""

    provider: str
    model_id: str
    route: Route
    record: Mapping[str, Any] | None = None
    warnings: list[Warning] = field(default_factory=list)
    api_base: str | None = None  # of a model made by hand


def resolve(model: str | Model, quiet: bool = False) -> ResolvedModel:
    """What a name, or a `Model` that may be made by hand, stands for.

    A name that the catalogue does not know is passed on to LiteLLM, with a warning unless `quiet`.

    Raises:
        AmbiguousModelError: a bare name that several hosts have.
        ValueError: a bare name that nobody has.
    """
    registry = get_registry()
    if isinstance(model, Model):
        return _resolve_custom_model(model)
    provider, slash, model_id = model.partition("/")
    if provider in SELF_HOSTED_BACKENDS and model_id:  # whose names are the user's own
        model_route = litellm_route(model)
        record = registry.override_record(model)
        if provider == "litellm_proxy":
            record = record or _proxied_record(registry.record(model_id))
        return ResolvedModel(provider, model_id, model_route, record)
    if provider == "openai" and model_id.startswith("responses/"):
        return _resolve_responses_model(model_id.removeprefix("responses/"))
    full_name, is_guess = registry.resolve_name(model)
    if full_name is not None:
        provider, _, model_id = full_name.partition("/")
        record = registry.record(full_name) or {}
        host = registry.provider_record(provider)
        if host is None and not (record.get("provider") or {}).get("api"):
            model_route = litellm_route(
                full_name
            )  # of the user's own list; only LiteLLM knows the provider
        else:
            model_route = build_route(host or {"id": provider}, model_id, record)
        resolved = ResolvedModel(provider, model_id, model_route, record)
        if is_guess:
            text = f"{model!r} is asked of {provider}, which offers it; write {full_name}"
            resolved.warnings.append(Warning(code="model_guessed", message=text))
        return resolved
    if not slash or not provider or not model_id:
        raise ValueError(registry.unknown_model_message(model))
    provider_id = (
        provider
        if registry.provider_record(provider)
        else LITELLM_PROVIDER_ALIASES.get(provider, "")
    )
    host = registry.provider_record(provider_id) if provider_id else None
    model_route = build_route(host, model_id) if host else litellm_route(model)
    if model_route.kind == "cloud" and provider_id != provider:
        model_route = litellm_route(model)  # LiteLLM's own spelling tells it more than ours would
    resolved = ResolvedModel(provider_id if host else provider, model_id, model_route)
    if not model_route.is_self_hosted and not quiet:
        with_suggestions = model_route.kind not in (
            "cloud",
            "litellm",
        )  # names there are the user's own
        text = f"{registry.unknown_model_message(model, with_suggestions)}; its limits and its price are not known"
        resolved.warnings.append(Warning(code="unknown_model", message=text))
    return resolved


def _proxied_record(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """What is known of a model that a proxy calls by its full name, as `pipy config` has it do. How
    much it thinks is told in LiteLLM's words, low, medium or high, which the proxy translates."""
    if record is None:
        return None
    return {name: value for name, value in record.items() if name != "reasoning_options"}


def _resolve_custom_model(model: Model) -> ResolvedModel:
    """What a `Model` says of itself counts more than what the catalogue says of its provider."""
    if not model.provider or not model.id:
        raise ValueError("a Model needs a provider and an id to be asked")
    host = get_registry().provider_record(model.provider)
    record = model.to_dict()
    provider_fields = record.get("provider")
    provider_fields = dict(provider_fields) if isinstance(provider_fields, dict) else {}
    if host is None and (model.api or model.npm):
        npm = model.npm or "@ai-sdk/openai-compatible"
        host = {"id": model.provider, "npm": npm, "api": model.api, "env": model.env}
    if host is None:
        return ResolvedModel(model.provider, model.id, litellm_route(model.qualified_name), record)
    provider_fields |= {
        n: v for n in ("npm", "shape") if (v := getattr(model, n)) and v != host.get(n)
    }
    record["provider"] = provider_fields
    default_api = provider_fields.get("api") or host.get("api") or ""
    resolved = ResolvedModel(model.provider, model.id, build_route(host, model.id, record), record)
    if model.api and model.api != default_api:
        resolved.api_base = model.api  # as if it were given with the request
    return resolved


def resolve_router_model(
    name: str, config_path: str | os.PathLike[str] | None
) -> ResolvedModel | None:
    """A model of the Router's configuration, if there is one and the name is in it.

    A broken file is told as the answer's error: nobody can know whether it has the name.
    """
    try:
        config = load_router_config(config_path)
    except ProviderError as exc:
        model_route = litellm_route(name)
        model_route.problem = exc.error.message
        return ResolvedModel(*_split_name(name), model_route)
    backing_model = None if config is None else config.find_model(name)
    if backing_model is None:
        return None
    try:
        resolved = resolve(backing_model, quiet=True)
    except ValueError:  # a bare name that LiteLLM knows, perhaps
        resolved = ResolvedModel("litellm", backing_model, litellm_route(backing_model))
    resolved.route.kind, resolved.route.model = "router", name
    resolved.route.api_base = "" if config_path is None else os.fspath(config_path)
    resolved.route.required_env, resolved.route.parameters, resolved.route.problem = (), {}, ""
    return resolved


def _split_name(name: str) -> tuple[str, str]:
    provider, slash, model_id = name.partition("/")
    return (provider, model_id) if slash else ("litellm", name)


def _resolve_responses_model(model_id: str) -> ResolvedModel:
    """LiteLLM's way to ask for OpenAI's Responses API."""
    resolved = resolve(f"openai/{model_id}")
    resolved.route.responses_api = "always"
    resolved.route.model = f"openai/responses/{model_id}"
    return resolved
