"""Write the answers of a batch next to the columns of its CSV input."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from ..utils.atomic import AtomicWriter
from ..utils.file_errors import name_file
from .formats import csv_dialect, read_rows
from .input import InputFile
from .results import ResultsFile

CSV_SUFFIXES = (".csv", ".tsv")
ANSWER_COLUMNS = ("answer", "error", "model", "input_tokens", "output_tokens", "cost")


def results_path(output: Path) -> Path:
    """Return the file of results from which a CSV file is made: `out.csv.jsonl`."""
    return output.with_name(f"{output.name}.jsonl")


def write_csv(output: Path, input_file: InputFile, results: ResultsFile) -> None:
    """Write each row of the input with its answer; rows that are not answered have empty cells.

    With structured output, each field of the answers is a column as well.

    Raises:
        OSError: The file cannot be written. It keeps its old content.
    """
    delimiter, encoding = csv_dialect(input_file.path)
    if output.suffix.lower() != input_file.path.suffix.lower():
        delimiter = "\t" if output.suffix.lower() == ".tsv" else ","
    input_columns = [str(name) for name in next((row for _, row in read_rows(input_file.path)), {})]
    fields = _field_names(input_file, results)
    names = _distinct([*ANSWER_COLUMNS, *fields], input_columns)
    with name_file(output), AtomicWriter(output, mode=0o600) as file:
        text = TextIOWrapper(file, encoding, "replace", newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow([*input_columns, *names])
        for columns, record in _answered_rows(input_file, results):
            cells = [columns.get(name, "") for name in input_columns]
            writer.writerow([*cells, *_answer_cells(record, fields)])
        text.detach()  # which flushes it; the file is still open


def _answered_rows(
    input_file: InputFile, results: ResultsFile
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield the columns of each row, and the record of its answer or an empty one."""
    lines = results.read_lines()
    with results.path.open("rb") as file:
        for row, (_, columns) in zip(input_file, read_rows(input_file.path), strict=False):
            line = lines.get(row.id_digest)
            record: dict[str, Any] = {}
            if line is not None:
                file.seek(line.offset)
                record = json.loads(file.readline())
            yield dict(columns), record


def _field_names(input_file: InputFile, results: ResultsFile) -> list[str]:
    """Return the fields of structured answers, in the order of their first occurrence."""
    names: dict[str, None] = {}
    for _, record in _answered_rows(input_file, results):
        if isinstance(parsed := record.get("parsed"), dict):
            names.update(dict.fromkeys(parsed))
    return list(names)


def _answer_cells(record: dict[str, Any], fields: list[str]) -> list[str]:
    error, usage, parsed = record.get("error"), record.get("usage") or {}, record.get("parsed")
    values = [
        record.get("text"),
        f"{error['kind']}: {error['message']}" if error else None,
        record.get("model"),
        usage.get("input"),
        usage.get("output"),
        record.get("cost"),
        *(parsed.get(name) if isinstance(parsed, dict) else None for name in fields),
    ]
    return ["" if value is None else _cell(value) for value in values]


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _distinct(names: list[str], taken: list[str]) -> list[str]:
    """Return the names, with the prefix `answer_` for those that are taken."""
    used = list(taken)
    for name in names:
        while name in used:
            name = f"answer_{name}"
        used.append(name)
    return used[len(taken) :]
