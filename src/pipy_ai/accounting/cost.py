"""The cost of an answer, from the catalogue's prices and what the request asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite

from ..provider.request import Request
from ..provider.resolve import resolve
from ..provider.router import load_router_config
from ..registry.registry import calculate_cost
from ..registry.schema import Model
from ..types import Cost, Usage


def request_cost(request: Request, usage: Usage, response_model: str | None) -> Cost:
    """What `usage` costs: at the prices of the service level that the request asked for.

    `answered` is the model that gave the answer, by the provider's word: a Router may have asked
    another one than was wanted.
    """
    if request.provider == "local":
        return Cost(total=0.0, source="provider")
    if request.route.kind == "router":
        return _router_cost(request, usage, response_model)
    if request.backend == "litellm_proxy" and not _is_requested_model(
        request.model_id, response_model
    ):
        return Cost()  # another model took over
    return calculate_cost(_catalogue_model(request), usage, _pricing_mode(request))


def price_function(request: Request) -> Callable[[Usage], float | None] | None:
    """What the usage of a request will cost, before it is sent; None: its price is not known.

    Behind a Router it is that of the first deployment.
    """
    if request.provider == "local":
        return lambda usage: 0.0
    model, mode = _catalogue_model(request), _pricing_mode(request)

    def price(usage: Usage) -> float | None:
        try:
            return calculate_cost(model, usage, mode).total
        except ValueError:  # a mode without prices
            return None

    return None if price(Usage(input=1, output=1)) is None else price


def _catalogue_model(request: Request) -> Model:
    return Model.from_dict({**(request.record or {}), "id": request.model_id}, request.provider)


def _router_cost(request: Request, usage: Usage, response_model: str | None) -> Cost:
    config = load_router_config(request.route.api_base or None)
    resolved_deployments = (
        {} if config is None else {name: resolve(name, True) for name in config.deployments}
    )
    for deployment in resolved_deployments.values():
        model_names = (deployment.model_id, deployment.model_id.rpartition("/")[2])
        if response_model in model_names and deployment.record is not None:
            model = Model.from_dict(
                {**deployment.record, "id": deployment.model_id}, deployment.provider
            )
            return calculate_cost(model, usage)
    return Cost()


def _is_requested_model(name: str, response_model: str | None) -> bool:
    """Whether the model that a proxy says has answered is the one that goes by `name`."""
    return response_model in (None, name, resolve(name, True).route.model)


def _pricing_mode(request: Request) -> str | None:
    """The mode of the model whose parameters the request carries."""
    record, extra = request.record or {}, request.options.extra or {}
    parameters = {**extra, **(extra.get("extra_body") or {})}
    experimental = record.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, Mapping) else None
    for name, mode in (modes or {}).items() if isinstance(modes, Mapping) else ():
        mode_provider = mode.get("provider") if isinstance(mode, Mapping) else None
        mode_body = mode_provider.get("body") if isinstance(mode_provider, Mapping) else None
        if (
            mode_body
            and mode.get("cost")
            and all(parameters.get(key) == mode_body[key] for key in mode_body)
        ):
            return str(name)
    return None


def valid_cost(cost: object) -> float | None:
    """What a provider says an answer cost, if it is an amount of money."""
    is_valid = isinstance(cost, int | float) and isfinite(cost) and cost >= 0
    return float(cost) if is_valid else None  # type: ignore[arg-type]
