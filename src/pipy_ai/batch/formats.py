"""Read the rows of JSONL, CSV and Parquet files, each with its line number."""

from __future__ import annotations

import csv
import json
import re
import sys
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from ..utils.encoding import MARK_BYTES, detect_encoding

SUPPORTED_FORMATS = ".jsonl, .ndjson, .csv, .tsv or .parquet"
JSONL_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_BATCH_ROWS = 1024
DELIMITERS = ",;\t|"  # Excel writes semicolons where a comma is the decimal separator
_SEPARATOR_LINE = re.compile(r"sep=(.)\n?")  # Excel's own header
_QUOTED = re.compile(r'"[^"]*"')

Columns: TypeAlias = Mapping[str, Any]
NumberedRow: TypeAlias = tuple[int, Columns]


class InputError(ValueError):
    """The input or results file is invalid; nothing was sent."""


def row_unit(path: Path) -> str:
    """Return the unit of row numbers: `line`, or `row` for a format without lines."""
    return "row" if path.suffix.lower() == ".parquet" else "line"


def read_rows(path: Path) -> Iterator[NumberedRow]:
    """Read the rows of a file, with the number of the line where each begins.

    The suffix determines the format. Empty rows are skipped.

    Raises:
        InputError: The format is not supported, or a row is malformed.
    """
    suffix = path.suffix.lower()
    if suffix in JSONL_SUFFIXES:
        return _read_jsonl(path)
    if suffix in (".csv", ".tsv"):
        return _read_csv(path, "\t" if suffix == ".tsv" else None)
    if suffix == ".parquet":
        return _read_parquet(path)
    raise InputError(f"{path}: unsupported input format; use {SUPPORTED_FORMATS}")


def csv_dialect(path: Path) -> tuple[str, str]:
    """Return the delimiter of a CSV or TSV file, and the encoding for a file like it.

    The encoding is UTF-8, with a byte order mark if the file has one.
    """
    if path.suffix.lower() == ".tsv":
        delimiter: str | None = "\t"
    else:
        delimiter = None
    encoding = _encoding(path)
    with path.open(encoding=encoding) as file:
        delimiter = _read_head(file, delimiter)[2]
    return delimiter, "utf-8" if encoding == "utf-8" else "utf-8-sig"


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return detect_encoding(file.read(MARK_BYTES))


def _read_jsonl(path: Path) -> Iterator[NumberedRow]:
    encoding = _encoding(path)
    file: Any = (  # of bytes, json.loads decodes UTF-8 and skips a byte order mark
        path.open("rb")
        if encoding.startswith("utf-8")
        else path.open(encoding=encoding, newline="\n")
    )
    with file:
        for number, line in _numbered_lines(file, path, encoding):
            if not line.strip() or line.strip() == BOM_UTF8:
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                text = f"not valid JSON ({error.msg} at column {error.colno})"
                raise InputError(f"{path}, line {number}: {text}") from None
            except RecursionError:
                raise InputError(f"{path}, line {number}: the row is nested too deeply") from None
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not valid JSON ({error})") from None
            if isinstance(row, str):
                row = {"prompt": row}
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: a row must be an object or a string")
            yield number, row


def _numbered_lines(file: Any, path: Path, encoding: str) -> Iterator[tuple[int, Any]]:
    """Yield the lines of a file with their numbers."""
    number = 0
    try:
        for line in file:
            number += 1
            yield number, line
    except UnicodeDecodeError:
        # Text is decoded ahead of its lines.
        name = encoding.upper()
        text = f"from line {number + 1} on: the file begins as {name} but continues differently"
        raise InputError(f"{path}, {text}") from None


def _read_csv(path: Path, delimiter: str | None) -> Iterator[NumberedRow]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        with path.open(encoding=_encoding(path)) as file:  # any line break, also within fields
            yield from _csv_rows(path, file, delimiter)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save or convert it as UTF-8") from None


def _csv_rows(path: Path, file: TextIO, delimiter: str | None) -> Iterator[NumberedRow]:
    head, skipped, delimiter = _read_head(file, delimiter)
    reader = csv.reader(chain(head, file), delimiter=delimiter, strict=True)
    header: list[str] = []
    start = skipped + 1
    try:
        for fields in reader:
            number, start = start, skipped + reader.line_num + 1
            if not any(map(str.strip, fields)):  # spreadsheets write rows of delimiters
                continue
            if not header:
                header = _parse_header(fields, path)
                continue
            if len(fields) < len(header) or any(map(str.strip, fields[len(header) :])):
                raise InputError(
                    f"{path}, line {number}: it has {len(fields)} fields, and the header has"
                    f" {len(header)}"
                )
            columns = zip(header, fields, strict=False)
            yield number, {name: value for name, value in columns if name}
    except csv.Error as error:
        number = skipped + reader.line_num
        if "end of data" in str(error):
            text = f"{path}, line {start}: a quote in this row is never closed"
        elif number > start:
            text = f"{path}, line {number}, in the row that starts at line {start}: {error}"
        else:
            text = f"{path}, line {number}: {error}"
        raise InputError(text) from None


def _read_head(file: TextIO, delimiter: str | None) -> tuple[list[str], int, str]:
    """Return the lines of the header, how many lines are before them, and the delimiter."""
    lines, skipped = [file.readline()], 0
    if match := _SEPARATOR_LINE.fullmatch(lines[0]):
        lines, skipped, delimiter = [file.readline()], 1, delimiter or match[1]
    while lines[-1] and (not lines[-1].strip() or sum(line.count('"') for line in lines) % 2):
        lines.append(file.readline())
    header = _QUOTED.sub("", "".join(lines))
    lines.append(file.readline())
    first_row = _QUOTED.sub("", lines[-1])

    def likelihood(mark: str) -> tuple[int, bool]:
        return header.count(mark), first_row.count(mark) == header.count(mark)

    return lines, skipped, delimiter or max(DELIMITERS, key=likelihood)


def _parse_header(fields: list[str], path: Path) -> list[str]:
    names = [name.strip() for name in fields]
    while not names[-1]:
        names.pop()
    if duplicates := [name for name in names if name and names.count(name) > 1]:
        raise InputError(f"{path}: two columns are named {duplicates[0]!r}")
    return names


def _read_parquet(path: Path) -> Iterator[NumberedRow]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        from ..utils.extras import install_command

        text = f"Parquet needs pyarrow: {install_command('parquet')}"
        raise InputError(f"{path}: {text}") from None
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for record_batch in file.iter_batches(PARQUET_BATCH_ROWS):
                for row in record_batch.to_pylist():
                    number += 1
                    yield number, row
    except (ArrowException, ValueError) as error:  # ValueError: e.g. a date beyond Python's range
        raise InputError(f"{path}: {error}") from None
