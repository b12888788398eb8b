"""Resolve a model's name to its provider, record and route."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProviderError
from ..registry import Model, get_registry
from ..registry.names import LITELLM_PROVIDER_ALIASES, BaseName, clean_name
from ..registry.routing import (
    SELF_HOSTED_BACKENDS,
    Route,
    azure_ai_route,
    build_route,
    litellm_route,
)
from ..types import Warning
from ..utils.text import did_you_mean
from .router import load_router_config

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from ..utils.dataclass import dataclass, field


@dataclass(slots=True)
class ResolvedModel:
    """A model: its provider, its id there, its record in the catalogue, and its route."""

    provider: str
    model_id: str
    route: Route
    record: Mapping[str, Any] | None = None
    warnings: list[Warning] = field(default_factory=list)
    api_base: str | None = None  # only for a custom `Model`


def resolve(model: str | Model, quiet: bool = False) -> ResolvedModel:
    """Resolve a name, or a `Model` that may be custom.

    A name that is not in the catalogue goes to LiteLLM, with a warning unless `quiet`.

    Raises:
        AmbiguousModelError: Several providers offer the bare name.
        ValueError: No provider offers the bare name, or a misspelled provider unless `quiet`.
    """
    if isinstance(model, Model):
        return _resolve_custom_model(model)
    model = clean_name(model)
    provider, slash, model_id = model.partition("/")
    if provider in SELF_HOSTED_BACKENDS and model_id:
        return _resolve_self_hosted_model(provider, model_id)
    if provider in ("openai", "azure", "azure_ai") and model_id.startswith("responses/"):
        return _resolve_responses_model(provider, model_id.removeprefix("responses/"), quiet)
    registry = get_registry()
    full_name, is_guess = registry.resolve_name(model)
    if full_name is not None:
        record, base = registry.record_or_base(full_name)
        if base is not None:
            return _resolve_variant(provider if slash else "", full_name, record or {}, base)
        resolved = _resolve_catalogue_model(full_name)
        if is_guess:
            text = f"{model!r} was sent to {resolved.provider}, which offers it; write {full_name}"
            resolved.warnings.append(Warning(code="model_guessed", message=text))
        return resolved
    if not slash or not provider or not model_id:
        raise ValueError(registry.unknown_model_message(model))
    if not quiet and (similar := registry.similar_name(model)):
        raise ValueError(f"unknown provider {provider!r}; {did_you_mean([similar])}")
    return _resolve_unknown_model(provider, model_id, quiet)


def _resolve_self_hosted_model(provider: str, model_id: str) -> ResolvedModel:
    """Resolve a model of a self-hosted server, whose names are not in the catalogue."""
    registry = get_registry()
    name = f"{provider}/{model_id}"
    # `ollama/qwen3:8b` may have a record of its own, or that of `ollama/qwen3`.
    record = registry.override_record(name) or registry.override_record(name.partition(":")[0])
    resolved = ResolvedModel(provider, model_id, litellm_route(name), record)
    if provider == "litellm_proxy" and record is None:
        proxied, base = registry.record_or_base(model_id)
        resolved.record = _proxied_record(proxied)
        if base is not None:
            resolved.warnings.append(_variant_warning(model_id, base))
    return resolved


def _proxied_record(record: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the record for a model behind a proxy that `pipy config` has set up.

    Reasoning options are omitted: the proxy converts LiteLLM's low, medium or high.
    """
    if record is None:
        return None
    return {name: value for name, value in record.items() if name != "reasoning_options"}


def _resolve_responses_model(provider: str, model_id: str, quiet: bool) -> ResolvedModel:
    """Resolve `openai/responses/…`, LiteLLM's name of a model on OpenAI's Responses API."""
    resolved = resolve(f"{provider}/{model_id}", quiet)
    resolved.route.responses_api = "always"
    resolved.route.model = f"{provider}/responses/{model_id}"
    return resolved


def _resolve_catalogue_model(full_name: str) -> ResolvedModel:
    registry = get_registry()
    provider, _, model_id = full_name.partition("/")
    record = registry.record(full_name) or {}
    host = registry.provider_record(provider)
    if host is None and not (record.get("provider") or {}).get("api"):
        # The model is in the user's own list, and only LiteLLM knows its provider.
        model_route = litellm_route(full_name)
    else:
        model_route = build_route(host or {"id": provider}, model_id, record)
    return ResolvedModel(provider, model_id, model_route, record)


def _resolve_variant(
    provider: str, full_name: str, record: Mapping[str, Any], base: BaseName
) -> ResolvedModel:
    """Resolve an unlisted variant of a listed model; `provider` is as the user wrote it."""
    provider_id, _, model_id = full_name.partition("/")
    model_route = _unlisted_route(provider or provider_id, provider_id, model_id, record)
    warning = _variant_warning(full_name, base)
    return ResolvedModel(provider_id, model_id, model_route, record, [warning])


def _variant_warning(full_name: str, base: BaseName) -> Warning:
    price = "its limits and price" if base.same_price else "its limits; its price is unknown"
    text = f"{full_name} is not in the catalogue; it is treated as {base.full_name}, with {price}"
    return Warning(code="base_model", message=text)


def _unlisted_route(
    provider: str, provider_id: str, model_id: str, record: Mapping[str, Any] | None = None
) -> Route:
    """Return the route to a model that the catalogue does not list.

    `provider` is the user's name of the provider, `provider_id` that of the catalogue, if any.
    """
    host = get_registry().provider_record(provider_id) if provider_id else None
    litellm_name = f"{provider}/{model_id}"
    if host is None:
        return litellm_route(litellm_name)
    model_route = build_route(host, model_id, record)
    if model_route.kind == "cloud" and provider_id != provider:
        return litellm_route(litellm_name)  # LiteLLM's provider name includes more than ours
    return model_route


def _resolve_unknown_model(provider: str, model_id: str, quiet: bool) -> ResolvedModel:
    """Resolve a full name that is not in the catalogue."""
    registry = get_registry()
    name = f"{provider}/{model_id}"
    if provider == "azure_ai" and (foundry := _resolve_foundry_model(name)) is not None:
        return foundry
    is_known = registry.provider_record(provider) is not None
    provider_id = provider if is_known else LITELLM_PROVIDER_ALIASES.get(provider, "")
    is_host = bool(provider_id) and registry.provider_record(provider_id) is not None
    model_route = _unlisted_route(provider, provider_id, model_id)
    resolved = ResolvedModel(provider_id if is_host else provider, model_id, model_route)
    if not model_route.is_self_hosted and not quiet:
        # The user chooses names on a cloud or behind LiteLLM, so no similar ones are suggested.
        with_suggestions = model_route.kind not in ("cloud", "litellm")
        reason = registry.unknown_model_message(name, with_suggestions)
        text = f"{reason}; its limits and price are unknown"
        if model_route.has_deployments:
            text = f"{reason}; its price is that of the model that answers, its limits are unknown"
        resolved.warnings.append(Warning(code="unknown_model", message=text))
    return resolved


def _resolve_foundry_model(name: str) -> ResolvedModel | None:
    """Resolve LiteLLM's name of a model on Azure Foundry, if the catalogue lists it for Azure."""
    registry, model_id = get_registry(), name.partition("/")[2]
    full_name, _ = registry.resolve_name(f"azure/{model_id}")
    if full_name is None:
        return None
    record = {"base_model": full_name, **(registry.record_or_base(full_name)[0] or {})}
    return ResolvedModel("azure_ai", model_id, azure_ai_route(name, record), record)


def _resolve_custom_model(model: Model) -> ResolvedModel:
    """Resolve a `Model`, whose fields take precedence over the catalogue's provider record."""
    if not model.provider or not model.id:
        raise ValueError("a Model needs a provider and an id")
    host = get_registry().provider_record(model.provider)
    record = model.to_dict()
    provider_fields = record.get("provider")
    provider_fields = dict(provider_fields) if isinstance(provider_fields, dict) else {}
    if host is None and (model.api or model.npm):
        npm = model.npm or "@ai-sdk/openai-compatible"
        host = {"id": model.provider, "npm": npm, "api": model.api, "env": model.env}
    if host is None:
        return ResolvedModel(model.provider, model.id, litellm_route(model.qualified_name), record)
    for name in ("npm", "shape"):
        value = getattr(model, name)
        if value and value != host.get(name):
            provider_fields[name] = value
    record["provider"] = provider_fields
    default_api = provider_fields.get("api") or host.get("api") or ""
    resolved = ResolvedModel(model.provider, model.id, build_route(host, model.id, record), record)
    if model.api and model.api != default_api:
        resolved.api_base = model.api  # takes effect like the option `api_base`
    return resolved


def resolve_router_model(
    name: str, config_path: str | os.PathLike[str] | None
) -> ResolvedModel | None:
    """Resolve a model of the Router's configuration; None if it has no such name.

    If the file is invalid, the request fails with that error, because the name may be in the
    file.
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
    except ValueError:  # a bare name that only LiteLLM may recognize
        resolved = ResolvedModel("litellm", backing_model, litellm_route(backing_model))
    model_route = resolved.route
    model_route.kind, model_route.model = "router", name
    model_route.api_base = "" if config_path is None else os.fspath(config_path)
    model_route.required_env, model_route.parameters, model_route.problem = (), {}, ""
    return resolved


def _split_name(name: str) -> tuple[str, str]:
    provider, slash, model_id = name.partition("/")
    return (provider, model_id) if slash else ("litellm", name)
