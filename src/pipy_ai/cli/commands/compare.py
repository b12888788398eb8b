"""`pipy compare`: rank models by the cost of a request."""

from __future__ import annotations

import argparse

from ...registry import get_registry
from ...registry.catalogue import ModelRegistry
from ...registry.registry import row_cost
from ...utils.text import format_usd
from ..args.catalogue import add_filter_options, add_token_options, find_model, query_models
from ..args.common import add_json_option, parse_count
from ..display.catalogue import show_price_date
from ..display.terminal import hint, write, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="these (default: all)")
    add_token_options(parser)
    add_filter_options(parser)
    parser.add_argument("--limit", type=parse_count, metavar="N", help="the first N only")
    parser.add_argument("--free", action="store_true", help="with those that list a price of 0")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    registry = get_registry()
    names = _select(registry, arguments)
    if names is None:
        return 1
    tokens = (arguments.input, arguments.output, arguments.cached)
    if min(tokens) < 0 or arguments.cached > arguments.input:
        raise ValueError("token counts are not negative, and --cached is part of --input")
    rows = registry.rows()
    costs = {name: row_cost(name, rows[name], *tokens) for name in names}
    include_free = bool(arguments.free or arguments.models)
    ranked = _rank(costs, include_free)
    shown = ranked if arguments.limit is None else ranked[: arguments.limit]
    if arguments.json:
        write_json([{"model": name, "total": cost} for cost, name in shown])
        return 0
    width = max((len(name) for _, name in shown), default=0) + 1
    for cost, name in shown:
        write(f"{name + ':':<{width}}  {format_usd(cost)}\n")
    _print_omitted(costs, len(ranked) - len(shown), include_free)
    show_price_date(registry)
    return 0 if shown else 1


def _select(registry: ModelRegistry, arguments: argparse.Namespace) -> list[str] | None:
    """Return the names of the models to compare; None if a named one does not exist."""
    if not arguments.models:
        return query_models(registry, arguments)
    models = [find_model(registry, name) for name in arguments.models]
    if None in models:
        return None
    requested = {model.qualified_name for model in models if model is not None}
    matching = set(query_models(registry, arguments, include_all=True))
    return [name for name in requested if name in matching]


def _rank(costs: dict[str, float | None], include_free: bool) -> list[tuple[float, str]]:
    """Return costs and names, the cheapest first, without the unknown costs."""
    return sorted(
        (cost, name)
        for name, cost in costs.items()
        if cost is not None and (cost > 0 or include_free)
    )


def _print_omitted(costs: dict[str, float | None], cut_off: int, include_free: bool) -> None:
    """Print how many models are not shown, and why; `cut_off` is the number over the limit."""
    free = sum(cost == 0 for cost in costs.values())
    unknown = sum(cost is None for cost in costs.values())
    omitted = []
    if cut_off:
        omitted.append(f"{cut_off} dearer ones (--limit)")
    if free and not include_free:
        omitted.append(f"{free} with a price of 0, plans and free tiers (--free)")
    if unknown:
        omitted.append(f"{unknown} without a known price")
    if omitted:
        hint("not shown: " + ", ".join(omitted))
