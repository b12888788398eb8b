"""`pipy spend`: what was spent, from the ledger."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from .catalogue import add_json
from .terminal import complain, table, write_json

if TYPE_CHECKING:
    from ..ledger import LedgerEntry, Spending

DESCRIPTION = "Show what was spent, from the ledger that PIPY_LEDGER=1 keeps."

_BY: dict[str, Callable[[LedgerEntry], str]] = {
    "model": lambda entry: f"{entry.provider}/{entry.model}",
    "provider": lambda entry: entry.provider,
    "day": lambda entry: entry.time[:10],
}


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("--by", choices=_BY, default="model", help="one row for each (UTC days)")
    command.add_argument("--since", type=_date, metavar="DATE", help="like 2026-11 or 2026-11-22")
    command.add_argument("--ledger", metavar="FILE", help="default: where PIPY_LEDGER says")
    add_json(command)


def _date(text: str) -> str:
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", text):
        raise ValueError(text)
    return text


_date.__name__ = "date"  # what argparse calls it in its complaint


def run(arguments: argparse.Namespace) -> int:
    """Add the ledger up."""
    from ..ledger import Spending, read_ledger, spending_rows

    ledger = read_ledger(arguments.ledger)
    found: dict[str, Spending] = {}
    try:
        for entry in ledger:
            if arguments.since is None or entry.time >= arguments.since:
                _add(found.setdefault(_BY[arguments.by](entry), Spending()), entry)
    except FileNotFoundError:
        complain(f"there is no ledger at {ledger.path}; PIPY_LEDGER=1 begins one")
        return 1
    if ledger.corrupted:
        complain(f"{ledger.path} has lines that could not be read: {ledger.corrupted}")
    by_day = arguments.by == "day"
    ranked = sorted(found.items(), key=lambda item: (0 if by_day else -item[1].usd, item[0]))
    if arguments.json:
        write_json([{arguments.by: name, **asdict(one)} for name, one in ranked])
    else:
        table(*spending_rows(arguments.by, dict(ranked)))
    return 0


def _add(one: Spending, entry: LedgerEntry) -> None:
    one.add(entry.input + entry.cache_read + entry.cache_write, entry.output, entry.cost)
