"""The columns of `pipy models`: how each is read from a row of the index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
SHOWN = ["model", "context", "output", "in", "out", "released"]
PRICED = {"in", "out", "cached"}
