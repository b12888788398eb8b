"""Calculate the cost of a request from the catalogue's prices."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from ..provider.credentials import openai_base_url
from ..provider.request import Request
from ..provider.resolve import resolve
from ..provider.router import load_router_config
from ..registry.names import LITELLM_PROVIDER_ALIASES
from ..registry.price_rules import STANDARD
from ..registry.registry import get_registry, usage_cost
from ..registry.schema import Model
from ..types import Cost, Usage

_DATE = re.compile(r"-(\d{8}|\d{4}-\d\d-\d\d)$")
_OPENAI_REGION = re.compile(r"https://([a-z]{2})\.api\.openai\.com(?:/|$)")


def request_cost(request: Request, usage: Usage, response_model: str | None) -> tuple[Cost, str]:
    """Return the cost of `usage`, and the reason if a tier, region or fee makes it unknown.

    `response_model` is the model that the provider reports: a Router or a proxy may have used
    another one than requested.
    """
    if request.provider == "local":
        return Cost(total=0.0, source="provider"), ""
    if request.route.kind == "router":
        return _router_cost(request, usage, response_model)
    model = _catalogue_model(request)
    if request.backend == "litellm_proxy":
        proxied_model = _proxied_model(request, model, response_model)
        if proxied_model is None:
            return Cost(), ""  # the proxy fell back to another model
        model = proxied_model
    if request.route.has_deployments:
        model = _deployed_model(request, model, response_model)
    return _pricing(request, model)(usage)


def price_function(request: Request) -> Callable[[Usage], float | None] | None:
    """Return a function from usage to US dollars, or None if the price is unknown.

    For a Router's model it has the prices of the first deployment.
    """
    if request.provider == "local":
        return lambda usage: 0.0

    pricing = _pricing(request, _catalogue_model(request))

    def price(usage: Usage) -> float | None:
        return pricing(usage)[0].total

    return None if price(Usage(input=1, output=1)) is None else price


def _pricing(request: Request, model: Model) -> Callable[[Usage], tuple[Cost, str]]:
    """Return a function that prices usage, at the tier and in the region of the request."""
    extra = request.options.extra or {}
    parameters = {**extra, **(extra.get("extra_body") or {})}
    tier, speed = (
        parameters.get("service_tier", parameters.get("serviceTier", request.service_tier)),
        parameters.get("speed"),
    )
    if speed not in (None, STANDARD):
        tier = speed
    region = parameters.get("inference_geo")
    if request.provider == "openai" and (
        match := _OPENAI_REGION.match(request.options.api_base or openai_base_url())
    ):
        region = match[1]
    return partial(
        usage_cost,
        model,
        requested_tier=None if tier is None else str(tier),
        requested_region=None if region is None else str(region),
    )


def _catalogue_model(request: Request) -> Model:
    record = {**(request.record or {}), "id": request.model_id}
    provider = request.provider
    if provider == "litellm_proxy" and "/" in request.model_id:  # the rules are the provider's
        provider, _, record["id"] = request.model_id.partition("/")
    return Model.from_dict(record, provider)


def _router_cost(request: Request, usage: Usage, response_model: str | None) -> tuple[Cost, str]:
    config = load_router_config(request.route.api_base or None)
    names = [] if config is None else list(dict.fromkeys(config.deployments))
    for name in names:
        try:
            deployment = resolve(name, quiet=True)
        except ValueError:  # a name that only LiteLLM has
            continue
        provider, model_id, record = deployment.provider, deployment.model_id, deployment.record
        if record is None or response_model is None:
            continue
        if response_model in (model_id, model_id.rpartition("/")[2]):
            return usage_cost(Model.from_dict({**record, "id": model_id}, provider), usage)
        if model := _reported_variant(f"{provider}/{model_id}", response_model):
            return usage_cost(model, usage)
    return Cost(), ""


def _proxied_model(request: Request, model: Model, response_model: str | None) -> Model | None:
    """Return the model that a proxy used: the requested one, one with another date, or None."""
    name = request.model_id
    if response_model in (None, name, name.partition("/")[2]):
        return model
    reported_model = _reported_variant(name, response_model)
    if reported_model and get_registry().override_record(f"litellm_proxy/{name}"):
        return model  # the user's own price
    return reported_model


def _deployed_model(request: Request, model: Model, response_model: str | None) -> Model:
    """Return the model that a deployment runs: that of the user's overrides, or of the response.

    The name of a deployment says little: `gpt-4` may run GPT-4o.
    """
    registry = get_registry()
    if not response_model or registry.override_record(request.model):
        return model
    name = response_model.lower()
    undated = _DATE.sub("", name)
    # Without the index of names, which takes 80 ms to load.
    for full_name in (f"azure/{name}", f"openai/{name}", f"azure/{undated}", f"openai/{undated}"):
        record = registry.record(full_name)
        if record is not None and record.get("cost"):
            return registry.model(full_name) or model
    return model


def _reported_variant(requested: str, response_model: str) -> Model | None:
    """Return the model that a response names if it is the requested one, perhaps with its date.

    Its own price applies: `gpt-4o-2024-05-13` costs more than `gpt-4o`.
    """
    provider = requested.partition("/")[0]
    prefix, _, model_id = response_model.partition("/")
    if not model_id or LITELLM_PROVIDER_ALIASES.get(prefix, prefix) != provider:
        model_id = response_model
    reported = f"{provider}/{model_id}"
    registry = get_registry()
    root_name = registry.name_index.root_name
    return registry.model(reported) if root_name(reported) == root_name(requested) else None
