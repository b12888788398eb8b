"""`pipy models`: list the catalogue's models, filtered and sorted."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from ...registry import get_registry
from ...registry.routing import RETIRED_PROVIDERS
from ...utils.text import format_count
from ..args.catalogue import (
    OLLAMA_PROVIDERS,
    add_filter_options,
    add_ollama_models,
    query_models,
)
from ..args.common import add_json_option, add_pager_option, parse_count
from ..display.catalogue import format_rate, show_price_date
from ..display.model_columns import COLUMNS, DEFAULT_COLUMNS, PRICE_COLUMNS
from ..display.model_order import sort_by_interest, usable_providers
from ..display.table import print_table
from ..display.terminal import escape_controls, hint, warn, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...live_models import LiveModel
    from ..display.model_columns import Row

DESCRIPTION = (
    "List the models of the catalogue: first those that you have a key for, then the newest ones of"
    " large vendors."
)
WAITS = "reading the catalogue"
EXAMPLES = """\
pipy models sonnet
pipy models --available --sort in
pipy models --capability reasoning --max-cost-input 1
pipy models --provider openai --modality pdf --json
pipy models --live anthropic            # the models that your key can use
"""
GUIDE = "models.md"
# Columns that are left out first where the terminal is narrow.
DROPPED_FIRST = ("output", "released", "status", "family", "cached", "context")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("words", nargs="*", metavar="WORD", help="words in the name")
    add_filter_options(parser)
    parser.add_argument(
        "--live",
        metavar="PROVIDER",
        help="list the models that your key can use, and those in the catalogue that it cannot",
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", help="sort by model, context, in, out, released, …"
    )
    parser.add_argument("--reverse", action="store_true", help="reverse the order")
    parser.add_argument("--limit", type=parse_count, metavar="N", help="show only the first N")
    parser.add_argument("--columns", metavar="A,B", help="columns to show, e.g. model,in,out")
    add_json_option(parser)
    add_pager_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.live:
        return _show_live_models(arguments)
    registry = get_registry()
    columns = _requested_columns(arguments)
    provider = arguments.provider
    if provider in OLLAMA_PROVIDERS and not add_ollama_models(registry, provider):
        return 1
    arguments.search = [*arguments.words, *(arguments.search or [])]
    names = query_models(registry, arguments)
    rows = registry.rows()
    if arguments.sort:
        names = _sort_names(names, rows, arguments.sort, arguments.reverse)
    else:
        names = sort_by_interest(names, rows, usable_providers(registry, names))
        names = names[::-1] if arguments.reverse else names
    total = len(names)
    if arguments.limit is not None:
        names = names[: arguments.limit]
    if arguments.json:
        write_json([_json_row(name, rows[name]) for name in names])
        return 0
    if columns is None and sys.stdout.isatty():
        columns = DEFAULT_COLUMNS
    _print_models(names, rows, columns)
    asked_for = " ".join((arguments.provider or "", *arguments.search))
    for provider in sorted(RETIRED_PROVIDERS.keys() & {name.partition("/")[0] for name in names}):
        if sys.stdout.isatty() or provider in asked_for:
            warn(RETIRED_PROVIDERS[provider])
    if not total:
        warn("no model matches these filters")
    elif sys.stdout.isatty():
        shown = f"{len(names):,} of " if len(names) < total else ""
        hint(f"{shown}{format_count(total, 'model')}; prices in $/1M tokens")
    if columns and PRICE_COLUMNS & set(columns):
        show_price_date(registry)
    return 0


def _requested_columns(arguments: argparse.Namespace) -> list[str] | None:
    """Return the columns of `--columns`, or None without it.

    Raises:
        ValueError: A column of `--columns` or `--sort` does not exist.
    """
    columns = [c.strip() for c in arguments.columns.split(",")] if arguments.columns else None
    for column in [*(columns or ()), *([arguments.sort] if arguments.sort else ())]:
        if column not in COLUMNS:
            raise ValueError(f"unknown column {column!r}; choose from {', '.join(COLUMNS)}")
    return columns


def _print_models(names: list[str], rows: dict[str, Row], columns: list[str] | None) -> None:
    """Print a table of the columns, or the names alone, one per line."""
    if columns is None:
        joined = "".join(names)
        if not (joined.isascii() and joined.isprintable()):
            names = [escape_controls(name) for name in names]
        sys.stdout.write("".join(f"{name}\n" for name in names))
        return
    body = [[_format_cell(c, COLUMNS[c](name, rows[name])) for c in columns] for name in names]
    drop = [name for name in DROPPED_FIRST if name in columns[1:]]
    print_table(columns, body, {"context", "output", *PRICE_COLUMNS}, drop)


def _sort_names(names: list[str], rows: dict[str, Row], column: str, reverse: bool) -> list[str]:
    """Sort by a column, then by name; unknown values come last even if `reverse` is true."""
    key = COLUMNS[column]
    known = [name for name in names if key(name, rows[name]) not in (None, "")]
    unknown = [name for name in names if key(name, rows[name]) in (None, "")]
    return sorted(known, key=lambda name: key(name, rows[name]), reverse=reverse) + unknown


def _json_row(name: str, row: Row) -> dict[str, Any]:
    list_columns = ("capabilities", "reads", "writes")
    cells = {column: read_value(name, row) for column, read_value in COLUMNS.items()}
    return {c: (v.split(",") if v else []) if c in list_columns else v for c, v in cells.items()}


def _format_cell(column: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if column in PRICE_COLUMNS:
        return format_rate(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _show_live_models(arguments: argparse.Namespace) -> int:
    """Print the models that a provider lists, compared with the catalogue."""
    from ... import PipyError, list_live_models

    try:
        models = list_live_models(arguments.live)
    except PipyError as error:
        warn(str(error))
        return 1
    words = [word.lower() for word in (*arguments.words, *(arguments.search or []))]
    models = [model for model in models if all(word in model.name.lower() for word in words)]
    models = models[: arguments.limit]
    if arguments.json:
        fields = ("name", "status", "listed_as", "created", "context", "output")
        write_json([{name: getattr(model, name) for name in fields} for model in models])
        return 0
    if not sys.stdout.isatty():
        names = [model.name for model in models if model.status != "missing"]
        sys.stdout.write("".join(f"{escape_controls(name)}\n" for name in names))
    elif models:
        body = [[_live_cell(model, column) for column in _LIVE_COLUMNS] for model in models]
        drop = ("created", "output", "context")
        print_table(_LIVE_COLUMNS, body, {"context", "output", "in", "out"}, drop)
    counts = Counter(model.status for model in models)
    usable = counts["both"] + counts["new"]
    hint(
        f"your key can use {format_count(usable, 'model')} ({counts['new']:,} not in the"
        f" catalogue); {counts['missing']:,} more in the catalogue, not available to your key"
    )
    return 0


_LIVE_COLUMNS = ("model", "status", "context", "output", "in", "out", "created")


def _live_cell(live: LiveModel, column: str) -> str:
    match column:
        case "model":
            return live.name
        case "in" | "out":
            price = live.model and (live.model.cost.input, live.model.cost.output)[column == "out"]
            return _format_cell(column, price)
        case "context" | "output":
            own = getattr(live, column)
            return _format_cell(column, own or (live.model and getattr(live.model.limits, column)))
        case _:
            return _format_cell(column, getattr(live, column))
