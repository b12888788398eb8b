"""`pipy models`: the catalogue, filtered and sorted."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..registry import get_registry
from .catalogue import add_filters, add_json, count, dated, filtered, rate
from .columns import COLUMNS, PRICED, SHOWN, Row
from .terminal import complain, note, safe, table, write_json


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add_filters(command)
    command.add_argument("--sort", metavar="COLUMN", help="model, context, in, out, released, …")
    command.add_argument("--reverse", action="store_true", help="the other way round")
    command.add_argument("--limit", type=count, metavar="N", help="the first N only")
    command.add_argument("--columns", metavar="A,B", help="a table of these, e.g. model,in,out")
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """List models."""
    registry = get_registry()
    columns = [c.strip() for c in arguments.columns.split(",")] if arguments.columns else None
    for column in [*(columns or ()), *([arguments.sort] if arguments.sort else ())]:
        if column not in COLUMNS:
            raise ValueError(f"unknown column {column!r}; one of {', '.join(COLUMNS)}")
    names = filtered(registry, arguments)
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
        columns = SHOWN
    if columns is None:
        sys.stdout.write("".join(f"{safe(name)}\n" for name in names))
    else:
        body = [[_cell(c, COLUMNS[c](name, rows[name])) for c in columns] for name in names]
        table(columns, body, {"context", "output", *PRICED})
    if not found:
        complain("no model passes these filters")
    elif sys.stdout.isatty():
        shown = f"{len(names)} of {found}" if len(names) < found else str(found)
        note(f"{shown} models; prices in $/1M tokens")
    if columns and PRICED & set(columns):
        dated(registry)
    return 0


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
    if column in PRICED:
        return rate(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
