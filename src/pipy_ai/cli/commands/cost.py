"""`pipy cost`: estimate the cost of a request."""

from __future__ import annotations

import argparse

from ...registry import estimate_cost, get_registry
from ...utils.text import format_usd
from ..args.catalogue import add_token_options, find_model
from ..args.common import add_json_option
from ..display.catalogue import show_price_date, zero_price_label
from ..display.terminal import warn, write_json

EXAMPLES = """\
pipy cost sonnet --input 10k --output 2k
pipy cost openai/gpt-5 --input 1M --cached 900k
pipy cost haiku --input 500 --output 100 --json
"""
GUIDE = "cost.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model name or part of it")
    add_token_options(parser)
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    registry = get_registry()
    model = find_model(registry, arguments.model)
    if model is None:
        return 1
    tokens = (arguments.input, arguments.output, arguments.cached)
    total_cost = estimate_cost(model, *tokens)
    input_cost = estimate_cost(model, arguments.input, 0, arguments.cached)
    output_cost = None if total_cost is None or input_cost is None else total_cost - input_cost
    if arguments.json:
        write_json(
            {
                "model": model.qualified_name,
                "total": total_cost,
                "input": input_cost,
                "output": None if output_cost is None else round(output_cost, 12),
                "date": registry.date,
            }
        )
        return 0 if total_cost is not None else 1
    if total_cost is None or output_cost is None or input_cost is None:
        warn(f"the price of {model.qualified_name} is unknown")
        return 1
    parts = f"{format_usd(input_cost)} input + {format_usd(output_cost)} output"
    print(f"Estimated cost: {format_usd(total_cost)} ({parts})")
    if not total_cost and not model.cost.input and not model.cost.output:
        warn(f"{model.provider} lists a price of 0: {zero_price_label(model.provider)}")
    show_price_date(registry)
    return 0
