"""`pipy info`: all that is known of a model."""

from __future__ import annotations

import argparse
from typing import Any

from ..registry import Model, get_registry
from ..registry.routing import ENVIRONMENT, Route
from ..registry.schema import CAPABILITIES
from .catalogue import add_json, dated, found, json_route, plan, rate
from .terminal import complain, write, write_json


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("model", help="provider/model, or the bare name of a model")
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """Show one model."""
    registry = get_registry()
    model = found(registry, arguments.model)
    if model is None:
        return 1
    way = registry.route(model)
    if arguments.json:
        said = model.to_dict() | {"qualified_name": model.qualified_name, "host": model.provider}
        write_json(said | {"route": json_route(way), "date": registry.date})
        return 0
    lines = [
        ("Model", model.qualified_name),
        ("Name", model.name),
        ("Provider", model.provider),
        ("Context", _tokens(model.limits.context)),
        ("Max Input", _tokens(model.limits.input) if model.limits.input else ""),
        ("Max Output", _tokens(model.limits.output)),
        ("Cost", _cost_line(model)),
        *((f"Above {tier.size:,}", rates_line(tier)) for tier in model.cost.tiers),
        *((f"Mode {name}", rates_line(mode)) for name, mode in model.cost.modes.items()),
        ("Capabilities", _capabilities(model)),
        ("Thinking", _thinking(model)),
        ("Modalities", _modalities(model)),
        ("Knowledge Cutoff", model.knowledge_cutoff),
        ("Released", model.release_date),
        ("Status", model.status),
        ("Open Weights", "yes" if model.open_weights else ""),
        ("LiteLLM", way.model + (f" at {way.api_base}" if way.api_base else "")),
        ("Key", _key_line(way)),
        ("Prices of", registry.date),
    ]
    for label, value in lines:
        if value:
            write(f"{label}: {value}\n")
    if way.problem:
        complain(way.problem)
    dated(registry, quiet=True)
    return 0


def _tokens(count: int) -> str:
    return f"{count:,} tokens" if count else "unknown"


def _cost_line(model: Model) -> str:
    if model.cost.input is None and model.cost.output is None:
        return "unknown"
    if not model.cost.input and not model.cost.output:
        return f"$0 ({plan(model.provider)})"
    return rates_line(model.cost)


def rates_line(prices: Any) -> str:
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
        f"${rate(value)}/1M {label}"
        for field, label in labels.items()
        if (value := getattr(prices, field)) is not None
    )


def _capabilities(model: Model) -> str:
    known = [name for name in CAPABILITIES if getattr(model.capabilities, name)]
    return ", ".join(known) or "none"


def _thinking(model: Model) -> str:
    said = []
    for option in model.reasoning_options:
        kind = option.get("type")
        if kind == "effort":
            values = option.get("values")
            words = values if isinstance(values, list) else []
            said.append("effort " + "|".join(str(value) for value in words if value is not None))
        elif kind == "budget_tokens":
            least, most = option.get("min") or 0, option.get("max")
            said.append(f"budget {least:,}–{most:,}" if most else f"budget from {least:,}")
        elif kind == "toggle":
            said.append("on or off")
    return ", ".join(said)


def _modalities(model: Model) -> str:
    return f"{', '.join(model.modalities.input)} (input) → {', '.join(model.modalities.output)}"


def _key_line(way: Route) -> str:
    if way.problem:
        return ""
    missing = way.missing()
    if missing:
        return f"not set: {' and '.join(missing)}"
    variable, place = way.found()
    if not variable:
        return "none needed"
    return "set" if place == ENVIRONMENT else f"kept by pipy keys ({place})"
