"""Calculate the cost of a request from the catalogue's prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..provider.request import Request
from ..provider.resolve import resolve
from ..provider.router import load_router_config
from ..registry.registry import calculate_cost
from ..registry.schema import Model
from ..types import Cost, Usage


def request_cost(request: Request, usage: Usage, response_model: str | None) -> Cost:
    """Return the cost of `usage` at the prices of the service tier that the request asks for.

    `response_model` is the model that the provider reports: a Router or a proxy may have used
    another one than requested.
    """
    if request.provider == "local":
        return Cost(total=0.0, source="provider")
    if request.route.kind == "router":
        return _router_cost(request, usage, response_model)
    if request.backend == "litellm_proxy" and not _is_requested_model(
        request.model_id, response_model
    ):
        return Cost()  # the proxy fell back to another model
    return calculate_cost(_catalogue_model(request), usage, _pricing_mode(request))


def price_function(request: Request) -> Callable[[Usage], float | None] | None:
    """Return a function from usage to US dollars, or None if the price is unknown.

    For a Router's model it has the prices of the first deployment.
    """
    if request.provider == "local":
        return lambda usage: 0.0
    model, mode = _catalogue_model(request), _pricing_mode(request)

    def price(usage: Usage) -> float | None:
        try:
            return calculate_cost(model, usage, mode).total
        except ValueError:  # the mode has no prices
            return None

    return None if price(Usage(input=1, output=1)) is None else price


def _catalogue_model(request: Request) -> Model:
    return Model.from_dict({**(request.record or {}), "id": request.model_id}, request.provider)


def _router_cost(request: Request, usage: Usage, response_model: str | None) -> Cost:
    config = load_router_config(request.route.api_base or None)
    names = [] if config is None else list(dict.fromkeys(config.deployments))
    for deployment in [resolve(name, quiet=True) for name in names]:
        model_id, record = deployment.model_id, deployment.record
        if record is not None and response_model in (model_id, model_id.rpartition("/")[2]):
            model = Model.from_dict({**record, "id": model_id}, deployment.provider)
            return calculate_cost(model, usage)
    return Cost()


def _is_requested_model(name: str, response_model: str | None) -> bool:
    """Return whether the model that a proxy reports is the one with this name."""
    return response_model in (None, name, resolve(name, quiet=True).route.model)


def _pricing_mode(request: Request) -> str | None:
    """Return the mode of the model whose parameters are all in the request, or None."""
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
