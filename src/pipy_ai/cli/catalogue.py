"""`pipy models`, `info`, `cost`, `compare`, `providers`: looking things up. Nothing heavy loads."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Callable, Iterable
from typing import Any

from ..registry import Model, estimate_cost, get_registry
from ..registry.registry import ModelRegistry, row_cost
from ..registry.routing import Route, route
from ..registry.schema import CAPABILITIES
from ..registry.store import (
    CONTEXT,
    FAMILY,
    FLAG,
    FLAG_IN,
    FLAG_OUT,
    FLAGS,
    NAME,
    OUTPUT,
    PRICES,
    RELEASED,
    STATUS,
)
from .terminal import DIM, PLAIN, complain, safe, table, write, write_json

OLD = 60  # days after which prices are worth a warning

Row = list[Any]


def _price_at(which: int) -> Callable[[str, Row], Any]:
    def price(_: str, row: Row) -> Any:
        prices = row[PRICES] if len(row) > PRICES else ()
        return prices[which] if len(prices) > which else None

    return price


def _words(bits: dict[str, int]) -> Callable[[str, Row], str]:
    return lambda _, row: ",".join(word for word, bit in bits.items() if row[FLAGS] & bit)


# What `--columns` and `--sort` know: how a column is read from a row of the index.
COLUMNS: dict[str, Callable[[str, Row], Any]] = {
    "model": lambda name, _: name,
    "name": lambda _, row: row[NAME],
    "provider": lambda name, _: name.partition("/")[0],
    "family": lambda _, row: row[FAMILY],
    "context": lambda _, row: row[CONTEXT] or None,
    "output": lambda _, row: row[OUTPUT] or None,
    "in": _price_at(0),
    "out": _price_at(1),
    "cached": _price_at(2),
    "released": lambda _, row: row[RELEASED],
    "status": lambda _, row: row[STATUS] or "active",
    "capabilities": _words({name: FLAG[name] for name in CAPABILITIES}),
    "reads": _words(FLAG_IN),
    "writes": _words(FLAG_OUT),
}
_SHOWN = ["model", "context", "output", "in", "out", "released"]
_PRICES = {"in", "out", "cached"}


def models(arguments: argparse.Namespace) -> int:
    """List models."""
    registry = get_registry()
    columns = [c.strip() for c in arguments.columns.split(",")] if arguments.columns else None
    for column in [*(columns or ()), *([arguments.sort] if arguments.sort else ())]:
        if column not in COLUMNS:
            raise ValueError(f"unknown column {column!r}; one of {', '.join(COLUMNS)}")
    names = _filtered(registry, arguments)
    rows = registry.rows()
    if arguments.sort:
        names = _sorted(names, rows, arguments.sort, arguments.reverse)
    elif arguments.reverse:
        names.reverse()
    found = len(names)
    if arguments.limit is not None:
        names = names[: arguments.limit]
    if arguments.json:
        write_json([_json_row(name, rows[name]) for name in names])
        return 0
    if columns is None and sys.stdout.isatty():
        columns = _SHOWN
    if columns is None:
        sys.stdout.write("".join(f"{safe(name)}\n" for name in names))
    else:
        body = [[_cell(c, COLUMNS[c](name, rows[name])) for c in columns] for name in names]
        table(columns, body, {"context", "output", *_PRICES})
    if not found:
        complain("no model passes these filters")
    elif sys.stdout.isatty():
        shown = f"{len(names)} of {found}" if len(names) < found else str(found)
        _note(f"{shown} models; prices in $/1M tokens")
    if columns and _PRICES & set(columns):
        _dated(registry)
    return 0


def _filtered(
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


def _sorted(names: list[str], rows: dict[str, Row], column: str, reverse: bool) -> list[str]:
    """By a column, then by name; what is not known comes last either way."""
    key = COLUMNS[column]
    known = [name for name in names if key(name, rows[name]) not in (None, "")]
    unknown = [name for name in names if key(name, rows[name]) in (None, "")]
    return sorted(known, key=lambda name: key(name, rows[name]), reverse=reverse) + unknown


def _json_row(name: str, row: Row) -> dict[str, Any]:
    listed = ("capabilities", "reads", "writes")
    cells = {column: read(name, row) for column, read in COLUMNS.items()}
    return {c: (v.split(",") if v else []) if c in listed else v for c, v in cells.items()}


def _cell(column: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if column in _PRICES:
        return rate(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


# --- One model ------------------------------------------------------------------------------


def info(arguments: argparse.Namespace) -> int:
    """Show one model."""
    registry = get_registry()
    model = _found(registry, arguments.model)
    if model is None:
        return 1
    way = registry.route(model)
    if arguments.json:
        said = model.to_dict() | {"qualified_name": model.qualified_name, "host": model.provider}
        write_json(said | {"route": _json_route(way), "date": registry.date})
        return 0
    lines = [
        ("Model", model.qualified_name),
        ("Name", model.name),
        ("Provider", model.provider),
        ("Context", _tokens(model.limits.context)),
        ("Max Input", _tokens(model.limits.input) if model.limits.input else ""),
        ("Max Output", _tokens(model.limits.output)),
        ("Cost", _cost_line(model)),
        *((f"Above {tier.size:,}", _rates_line(tier)) for tier in model.cost.tiers),
        *((f"Mode {name}", _rates_line(mode)) for name, mode in model.cost.modes.items()),
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
    _dated(registry, quiet=True)
    return 0


def _found(registry: ModelRegistry, name: str) -> Model | None:
    model = registry.get(name)
    if model is None:
        complain(registry.unknown(name))
    return model


def _tokens(count: int) -> str:
    return f"{count:,} tokens" if count else "unknown"


def _cost_line(model: Model) -> str:
    if model.cost.input is None and model.cost.output is None:
        return "unknown"
    if not model.cost.input and not model.cost.output:
        return f"$0 ({_plan(model.provider)})"
    return _rates_line(model.cost)


def _plan(provider: str) -> str:
    """What a price of 0 means."""
    return "part of a plan" if "plan" in provider or "coding" in provider else "free"


def _rates_line(prices: Any) -> str:
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
    if not way.keys or (way.key_optional and not way.key()):
        return "none needed"
    return "set"


def _json_route(way: Route) -> dict[str, Any]:
    return {
        "rule": way.rule,
        "litellm": way.model,
        "api_base": way.api_base or None,
        "keys": list(way.keys),
        "needs": list(way.needs),
        "missing": way.missing(),
        "problem": way.problem or None,
    }


# --- Money ----------------------------------------------------------------------------------


def cost(arguments: argparse.Namespace) -> int:
    """Estimate what a request costs."""
    registry = get_registry()
    model = _found(registry, arguments.model)
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
        complain(f"{model.provider} lists a price of 0: {_plan(model.provider)}")
    _dated(registry)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Rank models by what a request costs."""
    registry = get_registry()
    rows = registry.rows()
    if arguments.models:
        found = [_found(registry, name) for name in arguments.models]
        if None in found:
            return 1
        chosen = {model.qualified_name for model in found if model is not None}
        passing = set(_filtered(registry, arguments, every=True))
        names = [name for name in chosen if name in passing]
    else:
        names = _filtered(registry, arguments)
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
        _note("not shown: " + ", ".join(left))
    _dated(registry)
    return 0 if ranked else 1


def money(dollars: float) -> str:
    """Dollars with as many digits as matter: `$12.50`, `$0.0375`, `$0.00000123`."""
    if dollars == 0 or dollars >= 1:
        return f"${dollars:,.2f}"
    digits = f"{dollars:.{3 - _exponent(dollars)}f}".rstrip("0")
    return f"${digits}" + "0" * max(0, 2 - len(digits.partition(".")[2]))


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2]) + 1


def rate(dollars: float) -> str:
    """A price per million tokens, without the sign, to a hundredth of a cent."""
    if dollars < 1:
        return money(dollars)[1:]
    whole, _, part = f"{dollars:,.4f}".partition(".")
    return f"{whole}.{part.rstrip('0').ljust(2, '0')}"


# --- Providers ------------------------------------------------------------------------------


def providers(arguments: argparse.Namespace) -> int:
    """List providers, the variables of their keys, and whether one is set."""
    registry = get_registry()
    counts: dict[str, int] = {}
    for full in registry.query():
        provider = full.partition("/")[0]
        counts[provider] = counts.get(provider, 0) + 1
    entries = []
    for name, host in sorted(registry.hosts().items()):
        way = route(host, "")
        if (way.problem and not arguments.all) or name not in counts:
            continue
        is_set = bool(way.key()) and not way.missing()
        if arguments.available and not is_set:
            continue
        entries.append((name, host, way, is_set, counts[name]))
    if arguments.json:
        write_json(
            [
                {"provider": name, "name": host.get("name"), "models": count, "key_set": is_set}
                | _json_route(way)
                for name, host, way, is_set, count in entries
            ]
        )
        return 0
    body = [
        [name, str(count), "yes" if is_set else "no", _variables(way)]
        for name, _, way, is_set, count in entries
    ]
    table(["provider", "models", "set", "variables"], body, {"models"})
    if not entries:
        complain("no provider's key is set; pipy providers lists the variables")
    return 0


def _variables(way: Route) -> str:
    if way.problem:
        return way.problem
    keys = " or ".join(way.keys)
    said = " and ".join([keys, *way.needs] if keys else way.needs)
    return f"{said} (optional)" if way.key_optional else said


# --- Notes ----------------------------------------------------------------------------------


def _note(text: str) -> None:
    """A line beside the point, on a terminal only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"{DIM}{text}{PLAIN}\n")


def _dated(registry: ModelRegistry, quiet: bool = False) -> None:
    """Say how old the prices are; loudly when they are too old."""
    date = registry.date
    try:
        age = (datetime.date.today() - datetime.date.fromisoformat(date)).days
    except ValueError:
        age = OLD + 1
    if age > OLD:
        complain(f"prices are of {date or 'an unknown date'}; pipy sync brings them up to date")
    elif not quiet:
        _note(f"prices of {date}")


def columns() -> Iterable[str]:
    """What `--columns` and `--sort` take."""
    return COLUMNS
