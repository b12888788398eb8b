"""What the commands over the catalogue share. Nothing heavy loads."""

from __future__ import annotations

import argparse
import datetime
from typing import Any

from ..registry import Model
from ..registry.registry import ModelRegistry
from ..registry.routing import Route
from ..utils.plain import money
from .terminal import complain, note

OLD = 60  # days after which prices are worth a warning


def add_json(command: argparse.ArgumentParser) -> None:
    """For programs."""
    command.add_argument("--json", action="store_true", help="print JSON")


def add_tokens(command: argparse.ArgumentParser) -> None:
    """What a request amounts to."""
    command.add_argument("--input", type=count, required=True, metavar="N", help="input tokens")
    command.add_argument("--output", type=count, default=0, metavar="N", help="output tokens")
    command.add_argument(
        "--cached", type=count, default=0, metavar="N", help="input tokens that are cached"
    )


def add_filters(command: argparse.ArgumentParser) -> None:
    """Which models."""
    only = command.add_argument_group("filters")
    only.add_argument("--provider", help="models.dev's name, e.g. anthropic")
    only.add_argument("--capability", help="reasoning, tool_call, structured_output, …")
    only.add_argument("--modality", help="what it reads: text, image, audio, video, pdf")
    only.add_argument("--output-modality", metavar="MODALITY", help="what it writes")
    only.add_argument("--min-context", type=count, metavar="N", help="tokens")
    only.add_argument("--min-output", type=count, metavar="N", help="tokens")
    only.add_argument("--max-cost-input", type=float, metavar="X", help="$/1M tokens")
    only.add_argument("--max-cost-output", type=float, metavar="X", help="$/1M tokens")
    only.add_argument("--status", help="active, alpha, beta, deprecated, removed")
    only.add_argument("--available", action="store_true", help="whose key is set")
    only.add_argument("--open-weights", action="store_true", help="with public weights")
    only.add_argument("--released-after", metavar="DATE", help="like 2026-01")
    only.add_argument("--search", action="append", metavar="WORD", help="in its names")
    only.add_argument("--all", action="store_true", help="embedding, speech and image models, too")


def count(text: str) -> int:
    """A number of tokens or lines: `12000`, `12_000`, `12k`, `1.5M`."""
    unit = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    number = float((text if unit == 1 else text[:-1]).replace(",", "")) * unit
    if not 0 <= number < 1e15:
        raise ValueError("out of range")
    return int(number)


def filtered(
    registry: ModelRegistry, arguments: argparse.Namespace, every: bool = False
) -> list[str]:
    return registry.query(
        provider=arguments.provider,
        capability=arguments.capability,
        modality=arguments.modality,
        output_modality=arguments.output_modality,
        min_context=arguments.min_context,
        min_output=arguments.min_output,
        max_cost_input=arguments.max_cost_input,
        max_cost_output=arguments.max_cost_output,
        status=arguments.status,
        available=True if arguments.available else None,
        open_weights=True if arguments.open_weights else None,
        released_after=arguments.released_after,
        search=" ".join(arguments.search) if arguments.search else None,
        chat=None if arguments.all or every else True,
    )


def found(registry: ModelRegistry, name: str) -> Model | None:
    model = registry.get(name)
    if model is None:
        complain(registry.unknown(name))
    return model


def plan(provider: str) -> str:
    """What a price of 0 means."""
    return "part of a plan" if "plan" in provider or "coding" in provider else "free"


def json_route(way: Route) -> dict[str, Any]:
    return {
        "rule": way.rule,
        "litellm": way.model,
        "api_base": way.api_base or None,
        "keys": list(way.keys),
        "needs": list(way.needs),
        "missing": way.missing(),
        "problem": way.problem or None,
    }


def rate(dollars: float) -> str:
    """A price per million tokens, without the sign, to a hundredth of a cent."""
    if dollars < 1:
        return money(dollars)[1:]
    whole, _, part = f"{dollars:,.4f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


def dated(registry: ModelRegistry, quiet: bool = False) -> None:
    """Say how old the prices are; loudly when they are too old."""
    date = registry.date
    try:
        age = (datetime.date.today() - datetime.date.fromisoformat(date)).days
    except ValueError:
        age = OLD + 1
    if age > OLD:
        complain(f"prices are of {date or 'an unknown date'}; pipy sync brings them up to date")
    elif not quiet:
        note(f"prices of {date}")
