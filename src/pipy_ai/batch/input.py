"""Read prompts from JSONL, CSV and Parquet files, lazily and repeatably."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

from ..context import ctx
from ..utils.text import truncate
from .formats import Columns, InputError, read_rows, row_unit
from .openai_format import is_request_line, parse_conversation, parse_request_line
from .row import RowRequest

__all__ = ["InputError", "InputFile", "InputRow", "digest", "fill_template", "id_digest"]

# `{column}` or `{{ column }}`, in one line
_PLACEHOLDER = re.compile(r"\{\{([^{}\n]+)\}\}|\{([^{}\n]+)\}")
# Braces that hold something other than a column: JSON, CSS, code, a quantifier, an ellipsis.
_LITERAL = re.compile(r"[\"'\[]|.*[:;=]|[\d\s,]*$|\s*(\.\.\.|…)\s*$")
_SIMILAR = 0.75  # of difflib's ratio, at which braces hold a misspelled column rather than code


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row with its index (from 0), its line, its id, its request, and 8-byte digests of these."""

    index: int
    line: int  # where it begins; the row's number in a format without lines
    id: str | int
    request: RowRequest
    id_digest: int
    prompt_digest: int
    custom_id: str | None = None


@dataclass(frozen=True, slots=True)
class InputFile:
    """The prompts of a file. May be iterated any number of times.

    The prompt of a row is `template` filled with its columns, if there is a template; otherwise its
    column `prompt`, `messages` (in the form of pi-ai or OpenAI, with or without a `system` message)
    or `context`, or the `body` of a line of OpenAI's Batch API. The id of a row is its column `id`
    or `custom_id`, or its number, counted from 1.

    Raises (when iterated):
        InputError: A row is malformed or has no prompt. The message names the file and the line.
    """

    path: Path
    template: str | None = None
    system: str | None = None
    limit: int | None = None  # only the first rows

    def __iter__(self) -> Iterator[InputRow]:
        unit = row_unit(self.path)
        for index, (number, row) in enumerate(islice(read_rows(self.path), self.limit)):
            try:
                row_id = _row_id(row, index)
                request, source = self._request_and_source(row)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                text = str(error).partition("\n")[0]
                if not isinstance(error, ValueError):
                    text = f"malformed row ({type(error).__name__}: {text})"
                raise InputError(f"{self.path}, {unit} {number}: {text}") from None
            custom_id = row.get("custom_id")
            yield InputRow(
                index, number, row_id, request, id_digest(row_id), digest(source), custom_id
            )

    @property
    def unit(self) -> str:
        """The unit of `InputRow.line`: `line` or `row`."""
        return row_unit(self.path)

    def _request_and_source(self, row: Columns) -> tuple[RowRequest, Any]:
        """Return the request of a row, and the value that it was made from."""
        if self.template is not None:
            text = fill_template(self.template, row)
            return RowRequest(ctx(text, system=self.system)), text
        if row.get("prompt") is not None:
            text = _column_text(row["prompt"])
            return RowRequest(ctx(text, system=self.system)), text
        if is_request_line(row):
            return parse_request_line(row, self.system), row["body"]
        for name in ("messages", "context"):
            if row.get(name) is not None:
                value = row[name]
                source = _parse_json(value, name) if isinstance(value, str) else value
                return RowRequest(parse_conversation(source, self.system)), source
        for name in ("prompt", "messages", "context"):
            if name in row:
                raise ValueError(f"its {name} is null")
        columns = ", ".join(map(str, row)) or "none"
        raise ValueError(
            f"no column prompt, messages or context; its columns are: {columns}."
            ' --prompt-template "… {column} …" makes a prompt from other columns'
        )


def _parse_json(text: str, column: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        value = truncate(repr(text), 60)
        raise ValueError(f"{column} must be a list of messages, or its JSON, not {value}") from None


def _row_id(row: Columns, index: int) -> str | int:
    for name in ("id", "custom_id"):
        value = row.get(name)
        if value is not None and value != "":
            is_plain = isinstance(value, str | int) and not isinstance(value, bool)
            return value if is_plain else _column_text(value)
    return index + 1


def id_digest(row_id: Any) -> int:
    """Return the digest of an id. `1` and `"1"` are the same: CSV has no numbers."""
    return digest(str(row_id))


def digest(value: Any) -> int:
    """Return an 8-byte digest of a JSON value as an integer."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def fill_template(template: str, row: Columns) -> str:
    """Replace each `{column}` or `{{ column }}` of a template with the row's value.

    Other braces are kept, e.g. those of JSON.

    Raises:
        ValueError: The template names a column that the row does not have.

    Example:
        >>> from pipy_ai.batch.input import fill_template
        >>> fill_template('{"a": 1} {name} {{ age }}', {"name": "Ada", "age": 36})
        '{"a": 1} Ada 36'
    """

    def substitute(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in row:
            stripped = name.strip()
            if stripped not in row:
                if problem := _column_problem(stripped, tuple(map(str, row))):
                    raise ValueError(problem)
                return match[0]
            name = stripped
        return "" if row[name] is None else _column_text(row[name])

    return _PLACEHOLDER.sub(substitute, template)


@lru_cache  # of every row
def _column_problem(text: str, columns: tuple[str, ...]) -> str:
    """Return an error text if the braces name a column that the row does not have, else ""."""
    from difflib import get_close_matches

    folded = {column.casefold(): column for column in columns}
    matches = get_close_matches(text.casefold(), folded, 1, _SIMILAR)
    if not matches and (_LITERAL.match(text) or not text):
        return ""
    advice = f"it has: {', '.join(columns) or 'none'}"
    if matches:
        advice = f"did you mean {folded[matches[0]]!r}?"
    return f"the template uses a column {text!r} that the row does not have; {advice}"


def _column_text(value: Any) -> str:
    """Return a column as text: JSON for numbers, booleans, lists and objects, otherwise `str()`."""
    if not isinstance(value, bool | int | float | list | dict):
        return _plain_text(value)
    return json.dumps(value, ensure_ascii=False, default=_plain_text)


def _plain_text(value: Any) -> str:
    """Convert a value that JSON has no type for. Older Parquet writers store strings as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
