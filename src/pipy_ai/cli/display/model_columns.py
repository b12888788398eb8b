"""The columns of `pipy models`: how each value is read from a row of the index."""

from __future__ import annotations

from ...registry.index import (
    CONTEXT,
    FAMILY,
    FLAG_BITS,
    FLAGS,
    INPUT_FLAG_BITS,
    NAME,
    OUTPUT,
    OUTPUT_FLAG_BITS,
    PRICES,
    RELEASED,
    STATUS,
)
from ...registry.schema import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Row: TypeAlias = list[Any]


def _price_column(index: int) -> Callable[[str, Row], Any]:
    def read_price(_: str, row: Row) -> Any:
        prices = row[PRICES] if len(row) > PRICES else ()
        return prices[index] if len(prices) > index else None

    return read_price


def _flag_column(bits: dict[str, int]) -> Callable[[str, Row], str]:
    return lambda _, row: ",".join(word for word, bit in bits.items() if row[FLAGS] & bit)


# The columns of `--columns` and `--sort`; each function gets a model's name and its row.
COLUMNS: dict[str, Callable[[str, Row], Any]] = {
    "model": lambda name, _: name,
    "name": lambda _, row: row[NAME],
    "provider": lambda name, _: name.partition("/")[0],
    "family": lambda _, row: row[FAMILY],
    "context": lambda _, row: row[CONTEXT] or None,
    "output": lambda _, row: row[OUTPUT] or None,
    "in": _price_column(0),
    "out": _price_column(1),
    "cached": _price_column(2),
    "released": lambda _, row: row[RELEASED],
    "status": lambda _, row: row[STATUS] or "active",
    "capabilities": _flag_column({name: FLAG_BITS[name] for name in CAPABILITIES}),
    "reads": _flag_column(INPUT_FLAG_BITS),
    "writes": _flag_column(OUTPUT_FLAG_BITS),
}
DEFAULT_COLUMNS = ["model", "context", "output", "in", "out", "released"]
PRICE_COLUMNS = {"in", "out", "cached"}
