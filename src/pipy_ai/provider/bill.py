"""The cost of an answer, from the catalogue's prices and what the request asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..registry.cost import calculate_cost
from ..registry.schema import Model
from ..types import Cost, Usage
from .request import Request
from .resolve import resolve
from .router import router_config


def cost_of(request: Request, usage: Usage, answered: str | None) -> Cost:
    """What `usage` costs: at the prices of the service level that the request asked for.

    `answered` is the model that gave the answer, by the provider's word: a Router may have asked
    another one than was wanted.
    """
    if request.provider == "local":
        return Cost(total=0.0, source="provider")
    if request.route.rule == "router":
        return _behind_router(request, usage, answered)
    if request.backend == "litellm_proxy" and not _is_meant(request.model_id, answered):
        return Cost()  # another model took over
    return calculate_cost(_model(request), usage, _mode(request))


def pricing(request: Request) -> Callable[[Usage], float | None] | None:
    """What the usage of a request will cost, before it is sent; None: its price is not known.

    Behind a Router it is that of the first deployment.
    """
    if request.provider == "local":
        return lambda usage: 0.0
    model, mode = _model(request), _mode(request)

    def price(usage: Usage) -> float | None:
        try:
            return calculate_cost(model, usage, mode).total
        except ValueError:  # a mode without prices
            return None

    return None if price(Usage(input=1, output=1)) is None else price


def _model(request: Request) -> Model:
    return Model.from_dict({**(request.record or {}), "id": request.model_id}, request.provider)


def _behind_router(request: Request, usage: Usage, answered: str | None) -> Cost:
    config = router_config(request.route.api_base or None)
    found = {} if config is None else {name: resolve(name, True) for name in config.deployments}
    for one in found.values():
        names = (one.model_id, one.model_id.rpartition("/")[2])
        if answered in names and one.record is not None:
            model = Model.from_dict({**one.record, "id": one.model_id}, one.provider)
            return calculate_cost(model, usage)
    return Cost()


def _is_meant(name: str, answered: str | None) -> bool:
    """Whether the model that a proxy says has answered is the one that goes by `name`."""
    return answered in (None, name, resolve(name, True).route.model)


def _mode(request: Request) -> str | None:
    """The mode of the model whose parameters the request carries."""
    record, extra = request.record or {}, request.options.extra or {}
    said = {**extra, **(extra.get("extra_body") or {})}
    experimental = record.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, Mapping) else None
    for name, mode in (modes or {}).items() if isinstance(modes, Mapping) else ():
        provider = mode.get("provider") if isinstance(mode, Mapping) else None
        body = provider.get("body") if isinstance(provider, Mapping) else None
        if body and mode.get("cost") and all(said.get(key) == body[key] for key in body):
            return str(name)
    return None
