"""`pipy compare`: models ranked by what a request costs."""

from __future__ import annotations

import argparse

from ..registry import get_registry
from ..registry.registry import row_cost
from ..utils.plain import money
from .catalogue import add_filters, add_json, add_tokens, count, dated, filtered, found
from .terminal import note, write, write_json


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("models", nargs="*", metavar="MODEL", help="these (default: all)")
    add_tokens(command)
    add_filters(command)
    command.add_argument("--limit", type=count, metavar="N", help="the first N only")
    command.add_argument("--free", action="store_true", help="with those that list a price of 0")
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """Rank models by what a request costs."""
    registry = get_registry()
    rows = registry.rows()
    if arguments.models:
        models = [found(registry, name) for name in arguments.models]
        if None in models:
            return 1
        chosen = {model.qualified_name for model in models if model is not None}
        passing = set(filtered(registry, arguments, every=True))
        names = [name for name in chosen if name in passing]
    else:
        names = filtered(registry, arguments)
    tokens = (arguments.input, arguments.output, arguments.cached)
    if min(tokens) < 0 or arguments.cached > arguments.input:
        raise ValueError("token counts are not negative, and --cached is part of --input")
    costs = {name: row_cost(name, rows[name], *tokens) for name in names}
    unknown = sum(value is None for value in costs.values())
    free = sum(value == 0 for value in costs.values())
    keep_free = arguments.free or arguments.models
    ranked = sorted(
        (value, name)
        for name, value in costs.items()
        if value is not None and (value > 0 or keep_free)
    )
    count = len(ranked)
    if arguments.limit is not None:
        ranked = ranked[: arguments.limit]
    if arguments.json:
        write_json([{"model": name, "total": value} for value, name in ranked])
        return 0
    width = max((len(name) for _, name in ranked), default=0) + 1
    for value, name in ranked:
        write(f"{name + ':':<{width}}  {money(value)}\n")
    left = []
    if count > len(ranked):
        left.append(f"{count - len(ranked)} dearer ones (--limit)")
    if free and not keep_free:
        left.append(f"{free} with a price of 0, plans and free tiers (--free)")
    if unknown:
        left.append(f"{unknown} without a known price")
    if left:
        note("not shown: " + ", ".join(left))
    dated(registry)
    return 0 if ranked else 1
