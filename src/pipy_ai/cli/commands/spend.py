"""`pipy spend`: add up the ledger."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..args.common import add_json_option
from ..display.table import print_table
from ..display.terminal import warn, write_json

if TYPE_CHECKING:
    from ...accounting.ledger import LedgerEntry, Spending

DESCRIPTION = "Show what was spent, from the ledger that PIPY_LEDGER=1 keeps."

_GROUP_KEYS: dict[str, Callable[[LedgerEntry], str]] = {
    "model": lambda entry: f"{entry.provider}/{entry.model}",
    "provider": lambda entry: entry.provider,
    "day": lambda entry: entry.time[:10],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--by", choices=_GROUP_KEYS, default="model", help="one row for each (UTC days)"
    )
    parser.add_argument(
        "--since", type=_parse_date, metavar="DATE", help="like 2026-11 or 2026-11-22"
    )
    parser.add_argument("--ledger", metavar="FILE", help="default: where PIPY_LEDGER says")
    add_json_option(parser)


def _parse_date(text: str) -> str:
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", text):
        raise ValueError(text)
    return text


_parse_date.__name__ = "date"  # argparse uses it in its error message


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ...accounting.ledger import Spending, read_ledger, spending_table

    ledger = read_ledger(arguments.ledger)
    totals: dict[str, Spending] = {}
    try:
        for entry in ledger:
            if arguments.since is None or entry.time >= arguments.since:
                _add_entry(totals.setdefault(_GROUP_KEYS[arguments.by](entry), Spending()), entry)
    except FileNotFoundError:
        warn(f"there is no ledger at {ledger.path}; PIPY_LEDGER=1 begins one")
        return 1
    if ledger.corrupted:
        warn(f"{ledger.path} has lines that could not be read: {ledger.corrupted}")
    by_day = arguments.by == "day"
    ranked = sorted(totals.items(), key=lambda item: (0 if by_day else -item[1].usd, item[0]))
    if arguments.json:
        write_json([{arguments.by: name, **_to_json(spending)} for name, spending in ranked])
    else:
        print_table(*spending_table(arguments.by, dict(ranked)))
    return 0


def _add_entry(spending: Spending, entry: LedgerEntry) -> None:
    spending.add(entry.input + entry.cache_read + entry.cache_write, entry.output, entry.cost)


def _to_json(spending: Spending) -> dict[str, float]:
    return {
        "requests": spending.requests,
        "input": spending.input,
        "output": spending.output,
        "usd": spending.usd,
        "unpriced": spending.unpriced,
    }
