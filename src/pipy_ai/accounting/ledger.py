"""The ledger: a file of JSON lines, one for each request.

    PIPY_LEDGER=1              # write to ledger.jsonl in the data directory; or a path
    with budget(ledger="spend.jsonl"): ...

It contains names, counts, dollars and times, but no prompts or answers. Each line is appended with
a single write, so that several processes may share a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from ..usage import UsageTotals
from ..utils.paths import data_path

LEDGER_FILENAME = "ledger.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LedgerEntry:
    """A request: end time (UTC, ISO 8601), model, tokens, cost in US dollars, duration.

    The counts are those of `Usage`. `cost` is None if it is unknown; `source` is where it comes
    from. `error` is the kind of the error.
    """

    time: str
    """When the request ended: UTC, ISO 8601."""
    provider: str
    """The provider."""
    model: str
    """The id of the model."""
    input: int = 0
    """Tokens of the prompt, without cached ones."""
    output: int = 0
    """Tokens of the answer."""
    cache_read: int = 0
    """Tokens read from the cache."""
    cache_write: int = 0
    """Tokens written to the cache."""
    estimated: bool = False
    """Whether the numbers are estimated."""
    cost: float | None = None
    """US dollars. None: unknown."""
    source: str = "unknown"
    """Where the cost comes from: `provider`, `catalog` or `unknown`."""
    stop_reason: str | None = None
    """Why the answer ended."""
    error: str | None = None
    """The kind of the error. None: there was none."""
    duration_ms: float | None = None
    """Milliseconds."""

    def __repr__(self) -> str:
        from ..reprs import dataclass_repr

        return dataclass_repr(self)


Spending = UsageTotals  # the public name


def spending_table(
    key_name: str, spending_by_key: Mapping[str, Spending]
) -> tuple[list[str], list[list[str]], tuple[str, ...]]:
    """A table's header, its rows with a total, and the columns that are numbers."""
    numbers = ("requests", "input", "output", "cost")
    total = Spending()
    for spending in spending_by_key.values():
        total.merge(spending)
    rows = [
        [
            name,
            f"{spending.requests:,}",
            f"{spending.input:,}",
            f"{spending.output:,}",
            spending.cost,
        ]
        for name, spending in [*spending_by_key.items(), ("total", total)]
    ]
    return [key_name, *numbers], rows, numbers


def ledger_path() -> str | None:
    """Return the path of the ledger that `PIPY_LEDGER` enables, or None."""
    setting = os.environ.get("PIPY_LEDGER", "").strip()
    if setting in ("", "0"):
        return None
    return (
        os.path.join(data_path(), LEDGER_FILENAME)
        if setting == "1"
        else os.path.expanduser(setting)
    )


def append_entry(path: str, entry: LedgerEntry) -> None:
    """Append a line with a single write.

    Raises:
        OSError: The line, or a part of it, could not be written. A part is not removed, as another
            process may have added its line; `Ledger` counts it in `corrupted`.
    """
    record = {name: getattr(entry, name) for name in _FIELD_TYPES}
    line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
    from ..utils.atomic import append_line, make_private_dir, open_private

    is_ours = os.path.dirname(path) == data_path()  # the user may have made it a link
    opener = open_private if is_ours else lambda name, flags: os.open(name, flags, 0o600)
    try:
        append_line(path, line, opener)
    except FileNotFoundError:
        make_private_dir(os.path.dirname(path))
        append_line(path, line, opener)


class Ledger:
    """The entries of a ledger. Can be iterated repeatedly; the file is read each time.

    `corrupted` is the number of lines that could not be read in the last iteration.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: str = os.path.expanduser(path)
        self.corrupted: int = 0

    def __repr__(self) -> str:
        return f"Ledger({self.path!r})"

    def __iter__(self) -> Iterator[LedgerEntry]:
        self.corrupted = 0
        with open(self.path, "rb") as file:
            for line in file:
                entry = _parse_entry(line)
                if entry is not None:
                    yield entry
                elif line.strip():
                    self.corrupted += 1


def read_ledger(path: str | os.PathLike[str] | None = None) -> Ledger:
    """Return the entries of a ledger.

    Args:
        path: The ledger's file. By default the one of `PIPY_LEDGER`, or `ledger.jsonl` in the data
            directory.

    Raises:
        FileNotFoundError: There is no such file (raised when the ledger is iterated).

    Example:
        >>> import tempfile
        >>> from pipy_ai import budget, complete, read_ledger
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with budget(ledger=f"{folder}/spend.jsonl"):
        ...         _ = complete("faux/echo", "Hello")
        ...     ledger = read_ledger(f"{folder}/spend.jsonl")
        ...     print([(entry.model, entry.output) for entry in ledger], ledger.corrupted)
        [('echo', 2)] 0
    """
    return Ledger(path or ledger_path() or os.path.join(data_path(), LEDGER_FILENAME))


_TYPES_BY_ANNOTATION: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float | None": (float, int, type(None)),
    "str | None": (str, type(None)),
}
_FIELD_TYPES = {field.name: _TYPES_BY_ANNOTATION[str(field.type)] for field in fields(LedgerEntry)}
_REQUIRED_FIELDS = ("time", "provider", "model")
_MAX_COST_USD = 1e15  # a larger number is an error


def _parse_entry(line: bytes) -> LedgerEntry | None:
    """Parse a line, or return None if it is not an entry. Fields of newer versions are ignored."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not all(name in record for name in _REQUIRED_FIELDS):
        return None
    values = {name: record[name] for name in _FIELD_TYPES if name in record}
    if not all(isinstance(value, _FIELD_TYPES[name]) for name, value in values.items()):
        return None
    if not 0 <= (values.get("cost") or 0) < _MAX_COST_USD:  # also rejects NaN
        return None
    return LedgerEntry(**values)
