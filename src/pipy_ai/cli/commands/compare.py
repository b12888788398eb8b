"""`pipy compare`: models ranked by what a request costs."""

from __future__ import annotations

import argparse

from ...registry import get_registry
from ...registry.registry import row_cost
from ...utils.text import format_usd
from ..args.catalogue import add_filter_options, add_token_options, find_model, query_models
from ..args.common import add_json_option, parse_count
from ..display.catalogue import show_price_date
from ..display.terminal import hint, write, write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("models", nargs="*", metavar="MODEL", help="these (default: all)")
    add_token_options(parser)
    add_filter_options(parser)
    parser.add_argument("--limit", type=parse_count, metavar="N", help="the first N only")
    parser.add_argument("--free", action="store_true", help="with those that list a price of 0")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Rank models by what a request costs."""
    registry = get_registry()
    rows = registry.rows()
    if arguments.models:
        models = [find_model(registry, name) for name in arguments.models]
        if None in models:
            return 1
        requested = {model.qualified_name for model in models if model is not None}
        matching = set(query_models(registry, arguments, include_all=True))
        names = [name for name in requested if name in matching]
    else:
        names = query_models(registry, arguments)
    tokens = (arguments.input, arguments.output, arguments.cached)
    if min(tokens) < 0 or arguments.cached > arguments.input:
        raise ValueError("token counts are not negative, and --cached is part of --input")
    costs = {name: row_cost(name, rows[name], *tokens) for name in names}
    unknown = sum(value is None for value in costs.values())
    free = sum(value == 0 for value in costs.values())
    include_free = arguments.free or arguments.models
    ranked = sorted(
        (value, name)
        for name, value in costs.items()
        if value is not None and (value > 0 or include_free)
    )
    ranked_count = len(ranked)
    if arguments.limit is not None:
        ranked = ranked[: arguments.limit]
    if arguments.json:
        write_json([{"model": name, "total": value} for value, name in ranked])
        return 0
    width = max((len(name) for _, name in ranked), default=0) + 1
    for value, name in ranked:
        write(f"{name + ':':<{width}}  {format_usd(value)}\n")
    omitted = []
    if ranked_count > len(ranked):
        omitted.append(f"{ranked_count - len(ranked)} dearer ones (--limit)")
    if free and not include_free:
        omitted.append(f"{free} with a price of 0, plans and free tiers (--free)")
    if unknown:
        omitted.append(f"{unknown} without a known price")
    if omitted:
        hint("not shown: " + ", ".join(omitted))
    show_price_date(registry)
    return 0 if ranked else 1
