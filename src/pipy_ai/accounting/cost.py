"""Calculate the cost of a request from the catalogue's prices."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from ..provider.credentials import openai_base_url
from ..provider.request import Request
from ..provider.resolve import resolve
from ..provider.router import load_router_config
from ..registry.price_rules import STANDARD
from ..registry.registry import get_registry, usage_cost
from ..registry.schema import Model
from ..types import Cost, Usage

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
    if request.backend == "litellm_proxy" and not _is_requested_model(
        request.model_id, response_model
    ):
        return Cost(), ""  # the proxy fell back to another model
    return _pricing(request)(usage)


def price_function(request: Request) -> Callable[[Usage], float | None] | None:
    """Return a function from usage to US dollars, or None if the price is unknown.

    For a Router's model it has the prices of the first deployment.
    """
    if request.provider == "local":
        return lambda usage: 0.0

    pricing = _pricing(request)

    def price(usage: Usage) -> float | None:
        return pricing(usage)[0].total

    return None if price(Usage(input=1, output=1)) is None else price


def _pricing(request: Request) -> Callable[[Usage], tuple[Cost, str]]:
    """Return a function that prices usage, at the tier and in the region of the request."""
    extra = request.options.extra or {}
    parameters = {**extra, **(extra.get("extra_body") or {})}
    tier, speed = (
        parameters.get("service_tier", parameters.get("serviceTier")),
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
        _catalogue_model(request),
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
    for deployment in [resolve(name, quiet=True) for name in names]:
        model_id, record = deployment.model_id, deployment.record
        if record is not None and _is_same_model(deployment.provider, model_id, response_model):
            model = Model.from_dict({**record, "id": model_id}, deployment.provider)
            return usage_cost(model, usage)
    return Cost(), ""


def _is_requested_model(name: str, response_model: str | None) -> bool:
    """Return whether the model that a proxy reports is the one with this name."""
    if response_model in (None, name, resolve(name, quiet=True).route.model):
        return True
    provider, _, model_id = name.partition("/")
    return _is_same_model(provider, model_id, response_model)


def _is_same_model(provider: str, model_id: str, response_model: str | None) -> bool:
    """Return whether a response names this model, perhaps with its date."""
    if response_model is None:
        return False
    if response_model in (model_id, model_id.rpartition("/")[2]):
        return True
    name = f"{provider}/{response_model.removeprefix(f'{provider}/')}"
    base = get_registry().name_index.base_model(name)
    return base is not None and base.full_name == f"{provider}/{model_id}"
