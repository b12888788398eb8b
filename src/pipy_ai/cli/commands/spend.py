"""`pipy spend`: add up the ledger, or the saved conversations."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ...utils.terminal_size import get_terminal_size
from ...utils.text import display_width
from ..args.common import add_json_option
from ..display.table import MAX_FIRST_WIDTH, print_table
from ..display.terminal import (
    dimmed,
    escape_controls,
    hint,
    warn,
    wrap,
    write_json,
    write_stderr,
)

if TYPE_CHECKING:
    from ...accounting.ledger import Spending

DESCRIPTION = (
    "Show spending from the ledger that PIPY_LEDGER=1 writes or, without one, from the saved"
    " conversations of ask and chat. The two are never added together, so nothing is counted twice."
)
EXAMPLES = """\
pipy spend
pipy spend --by day --since 2026-11
pipy spend --source history --json
"""
GUIDE = "cost.md"
# The color of a bar from this share of the cost on.
SHARE_COLORS = ((0.5, "red"), (0.2, "yellow"))
MIN_BAR_COLUMNS, MAX_BAR_COLUMNS = 8, 40

Item = tuple[str, str, str, "Spending"]  # UTC time, provider, model, tokens and cost
_GROUP_KEYS: dict[str, Callable[[str, str, str], str]] = {
    "model": lambda time, provider, model: f"{provider}/{model}",
    "provider": lambda time, provider, model: provider,
    "day": lambda time, provider, model: time[:10],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--by",
        choices=_GROUP_KEYS,
        default="model",
        help="group by model, provider or day in UTC (default: model)",
    )
    parser.add_argument(
        "--since",
        type=_parse_date,
        metavar="DATE",
        help="start at this date, e.g. 2026-11 or 2026-11-22",
    )
    parser.add_argument(
        "--source",
        choices=("ledger", "history"),
        help="ledger, or history for saved conversations (default: the ledger if there is one)",
    )
    parser.add_argument("--ledger", metavar="FILE", help="ledger file (default: $PIPY_LEDGER)")
    add_json_option(parser)


def _parse_date(text: str) -> str:
    if not re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", text):
        raise argparse.ArgumentTypeError(f"invalid date {text!r}: use YYYY, YYYY-MM or YYYY-MM-DD")
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    import os

    from ...accounting.ledger import Spending, read_ledger

    if arguments.ledger and arguments.source == "history":
        raise ValueError("use either --ledger or --source history")
    ledger = read_ledger(arguments.ledger)
    source = arguments.source or "ledger"
    if not (arguments.source or arguments.ledger or os.path.exists(ledger.path)):
        source = "history"
    totals: dict[str, Spending] = {}
    try:
        items = _ledger_items(arguments.ledger) if source == "ledger" else _history_items()
        for time, provider, model, spending in items:
            if arguments.since is None or (time >= arguments.since and time[:1].isdigit()):
                key = _GROUP_KEYS[arguments.by](time, provider, model)
                totals.setdefault(key, Spending()).merge(spending)
    except FileNotFoundError:
        warn(f"there is no ledger at {ledger.path}; set PIPY_LEDGER=1 to record spending")
        return 1
    if source == "history" and not totals and arguments.since is None:
        warn(
            f"there is no ledger at {ledger.path} and no saved conversation; set PIPY_LEDGER=1 to "
            "record spending"
        )
        return 1
    by_day = arguments.by == "day"
    ranked = sorted(totals.items(), key=lambda item: (0 if by_day else -item[1].usd, item[0]))
    if arguments.json:
        write_json(
            [
                {arguments.by: name, **_to_json(spending), "source": source}
                for name, spending in ranked
            ]
        )
        return 0
    label = f"from the ledger {ledger.path}"
    if source == "history":
        label = "from the saved conversations; PIPY_LEDGER=1 also records batches and Python"
    write_stderr(f"{dimmed(wrap(escape_controls(label), sys.stderr), sys.stderr)}\n")
    _print_spending(arguments.by, dict(ranked))
    return 0


def _ledger_items(path: str | None) -> Iterator[Item]:
    from ...accounting.ledger import Spending, read_ledger

    ledger = read_ledger(path)
    for entry in ledger:
        spending = Spending()
        input_tokens = entry.input + entry.cache_read + entry.cache_write
        spending.add(input_tokens, entry.output, entry.cost, entry.cache_read)
        yield entry.time, entry.provider, entry.model, spending
    if ledger.corrupted:
        warn(f"{ledger.path} has lines that could not be read: {ledger.corrupted}")


def _history_items() -> Iterator[Item]:
    """Yield the answers of saved conversations, also those that were undone: they cost money."""
    from ...accounting.ledger import Spending
    from ..conversations.files import list_conversation_ids
    from ..conversations.summary import format_utc, read_conversation_file, summarize_conversation

    for conversation_id in list_conversation_ids():
        data = read_conversation_file(conversation_id)
        for message in summarize_conversation(conversation_id, data)[1]:
            spending = Spending()
            spending.add_json(message)
            provider, model = (str(message.get(name) or "?") for name in ("provider", "model"))
            yield format_utc(message.get("timestamp")), provider, model, spending


def _print_spending(by: str, totals: dict[str, Spending]) -> None:
    """Print the table, on a terminal with bars of the cost, or of the tokens if all are free."""
    from ...accounting.ledger import spending_table

    header, rows, numbers = spending_table(by, totals)
    room, hidden = _bar_room(header, rows), ""
    if sys.stdout.isatty() and len(totals) > 1 and room < MIN_BAR_COLUMNS:
        fewer_columns = [[name, *others] for name, _, *others in (header, *rows)]
        fewer_room = _bar_room(fewer_columns[0], fewer_columns[1:])
        if fewer_room >= MIN_BAR_COLUMNS:
            room, hidden, (header, *rows) = fewer_room, header[1], fewer_columns
    if sys.stdout.isatty() and len(totals) > 1 and room >= MIN_BAR_COLUMNS:
        from ..display.bars import format_bars

        values = [spending.usd for spending in totals.values()]
        if not any(values):
            values = [float(spending.input + spending.output) for spending in totals.values()]
        bars = format_bars(values, min(room, MAX_BAR_COLUMNS), sys.stdout)
        header = [*header, ""]
        rows = [[*row, bar] for row, bar in zip(rows, [*bars, ""], strict=True)]
    colors = _colors(list(totals.values()))
    drop = [name for name in ("input", "output", "requests") if name != hidden]
    print_table(header, rows, numbers, drop=drop, colors=colors)
    if hidden:
        hint(f"columns hidden to fit the terminal: {hidden}")


def _bar_room(header: list[str], rows: list[list[str]]) -> int:
    """Return the columns of the screen that are left for bars; a long name is shortened."""
    first, *others = (max(map(display_width, column)) for column in zip(header, *rows, strict=True))
    room = get_terminal_size()[0] - sum(others) - 2 * len(header) - 1
    return room - (first if room - first >= MIN_BAR_COLUMNS else min(first, MAX_FIRST_WIDTH))


def _colors(spendings: list[Spending]) -> dict[tuple[int, str], str]:
    """Color the bars by their share of the cost, and costs that are incomplete."""
    total = sum(spending.usd for spending in spendings)
    colors = {}
    for row, spending in enumerate(spendings):
        share = spending.usd / total if total else 0
        colors[row, ""] = next((color for limit, color in SHARE_COLORS if share >= limit), "green")
        if spending.unpriced:
            colors[row, "cost"] = "yellow"
    return colors


def _to_json(spending: Spending) -> dict[str, float]:
    return {
        "requests": spending.requests,
        "input": spending.input,
        "output": spending.output,
        "usd": spending.usd,
        "unpriced": spending.unpriced,
    }
