"""`pipy info`: show the catalogue's data of a model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ...registry import Model, get_registry
from ...registry.routing import ENVIRONMENT, Route
from ...registry.schema import CAPABILITIES
from ..args.catalogue import find_model
from ..args.common import add_json_option
from ..display.catalogue import format_rate, route_to_dict, show_price_date, zero_price_label
from ..display.terminal import escape_controls, warn, wrap, write, write_json

WAITS = "reading the catalogue"
EXAMPLES = """\
pipy info sonnet
pipy info openai/gpt-5
pipy info gemini-2.5-pro --json
"""
GUIDE = "models.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model name or part of it")
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    registry = get_registry()
    model = find_model(registry, arguments.model)
    if model is None:
        return 1
    route = registry.route(model)
    if arguments.json:
        data = model.to_dict() | {"qualified_name": model.qualified_name, "host": model.provider}
        write_json(data | {"route": route_to_dict(route), "date": registry.date})
        return 0
    lines = [
        ("Model", model.qualified_name),
        ("Name", model.name),
        ("Provider", model.provider),
        ("Context", _format_tokens(model.limits.context)),
        ("Max Input", _format_tokens(model.limits.input) if model.limits.input else ""),
        ("Max Output", _format_tokens(model.limits.output)),
        ("Cost", _format_cost(model)),
        *((f"Above {tier.size:,}", format_rates(tier)) for tier in model.cost.tiers),
        *((f"Mode {name}", format_rates(mode)) for name, mode in model.cost.modes.items()),
        ("Capabilities", _format_capabilities(model)),
        ("Thinking", _format_thinking(model)),
        ("Modalities", _format_modalities(model)),
        ("Knowledge Cutoff", model.knowledge_cutoff),
        ("Released", model.release_date),
        ("Status", model.status),
        ("Open Weights", "yes" if model.open_weights else ""),
        ("LiteLLM", route.model + (f" at {route.api_base}" if route.api_base else "")),
        ("Key", _format_key_state(route)),
        ("Prices as of", registry.date),
    ]
    for label, value in lines:
        if value:
            write(wrap(escape_controls(f"{label}: {value}\n"), sys.stdout, 2))
    if route.problem:
        warn(route.problem)
    show_price_date(registry, quiet=True)
    return 0


def _format_tokens(count: int) -> str:
    return f"{count:,} tokens" if count else "unknown"


def _format_cost(model: Model) -> str:
    if model.cost.input is None and model.cost.output is None:
        return "unknown"
    if not model.cost.input and not model.cost.output:
        return f"$0 ({zero_price_label(model.provider)})"
    return format_rates(model.cost)


def format_rates(prices: Any) -> str:
    labels = {
        "input": "input",
        "output": "output",
        "cache_read": "cached",
        "cache_write": "cache write",
        "reasoning": "thinking",
        "input_audio": "audio in",
        "output_audio": "audio out",
    }
    return ", ".join(
        f"${format_rate(value)}/1M {label}"
        for field, label in labels.items()
        if (value := getattr(prices, field)) is not None
    )


def _format_capabilities(model: Model) -> str:
    supported = [name for name in CAPABILITIES if getattr(model.capabilities, name)]
    return ", ".join(supported) or "none"


def _format_thinking(model: Model) -> str:
    descriptions = []
    for option in model.reasoning_options:
        kind = option.get("type")
        if kind == "effort":
            values = option.get("values")
            levels = values if isinstance(values, list) else []
            descriptions.append(
                "effort " + "|".join(str(value) for value in levels if value is not None)
            )
        elif kind == "budget_tokens":
            minimum, maximum = option.get("min") or 0, option.get("max")
            descriptions.append(
                f"budget {minimum:,}–{maximum:,}" if maximum else f"budget from {minimum:,}"
            )
        elif kind == "toggle":
            descriptions.append("on or off")
    return ", ".join(descriptions)


def _format_modalities(model: Model) -> str:
    return f"{', '.join(model.modalities.input)} (input) → {', '.join(model.modalities.output)}"


def _format_key_state(route: Route) -> str:
    if route.problem:
        return ""
    missing = route.missing_variables()
    if missing:
        return f"not set: {' and '.join(missing)}"
    variable, location = route.credential()
    if not variable:
        return "none needed"
    return "set" if location == ENVIRONMENT else f"stored with pipy keys ({location})"
