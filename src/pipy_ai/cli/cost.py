"""`pipy cost`: what a request costs."""

from __future__ import annotations

import argparse

from ..registry import estimate_cost, get_registry
from ..utils.plain import money
from .catalogue import add_json, add_tokens, dated, found, plan
from .terminal import complain, write_json


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("model", help="provider/model, or the bare name of a model")
    add_tokens(command)
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """Estimate what a request costs."""
    registry = get_registry()
    model = found(registry, arguments.model)
    if model is None:
        return 1
    tokens = (arguments.input, arguments.output, arguments.cached)
    total = estimate_cost(model, *tokens)
    prompt = estimate_cost(model, arguments.input, 0, arguments.cached)
    output = None if total is None or prompt is None else total - prompt
    if arguments.json:
        write_json(
            {
                "model": model.qualified_name,
                "total": total,
                "input": prompt,
                "output": None if output is None else round(output, 12),
                "date": registry.date,
            }
        )
        return 0 if total is not None else 1
    if total is None or output is None or prompt is None:
        complain(f"the price of {model.qualified_name} is not known")
        return 1
    print(f"Estimated cost: {money(total)} ({money(prompt)} input + {money(output)} output)")
    if not total and not model.cost.input and not model.cost.output:
        complain(f"{model.provider} lists a price of 0: {plan(model.provider)}")
    dated(registry)
    return 0
