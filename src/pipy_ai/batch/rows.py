"""Rows of a file as questions. Read lazily, and the same each time they are read."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..context import Prompt, ctx

_NAME = re.compile(r"\{([^{}\n]+)\}")
FORMATS = ".jsonl, .ndjson, .csv, .tsv or .parquet"
PARQUET_ROWS = 1024  # read at once

Columns = Mapping[str, Any]


class InputError(ValueError):
    """Something in the input that must be put right before anything is asked."""


@dataclass(frozen=True, slots=True)
class Question:
    """A row: its place (from 0), its id, what to ask, and digests of 8 bytes that tell the id and
    the question from others."""

    place: int
    id: str | int
    prompt: Prompt
    id_digest: int
    digest: int


@dataclass(frozen=True, slots=True)
class Questions:
    """The questions of a file; may be read any number of times.

    A row is asked its columns put into `template` where there is one, else its `prompt`, its
    `messages` (pi's or OpenAI's, a `system` message among them) or its `context`. Its id is its
    `id`, else its number, from 1.

    Raises, when it is read:
        InputError: a row is none, or has nothing to ask; the text says where.
    """

    path: Path
    template: str | None = None
    system: str | None = None

    def __iter__(self) -> Iterator[Question]:
        for place, row in enumerate(read(self.path)):
            given = row.get("id")
            identity = place + 1 if given is None or given == "" else given
            try:
                if not isinstance(identity, str | int):
                    identity = _words(identity)
                prompt, said = self._prompt(row)
            except ValueError as error:
                text = str(error).partition("\n")[0]
                raise InputError(f"{self.path}, row {place + 1}: {text}") from None
            yield Question(place, identity, prompt, digest(identity), digest(said))

    def _prompt(self, row: Columns) -> tuple[Prompt, Any]:
        """What to ask, and the part of the row that says so."""
        if self.template is not None:
            text = filled(self.template, row)
            return ctx(text, system=self.system), text
        if row.get("prompt") is not None:
            text = row["prompt"]
            text = _said(text)
            return ctx(text, system=self.system), text
        for name in ("messages", "context"):
            if row.get(name) is not None:
                said = row[name]
                said = json.loads(said) if isinstance(said, str) else said
                return _context(said, self.system), said
        known = ", ".join(map(str, row)) or "none"
        raise ValueError(
            f"no column prompt, messages or context; its columns are: {known}."
            ' --prompt-template "… {column} …" makes a prompt of others'
        )


def digest(value: Any) -> int:
    """Eight bytes that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def filled(template: str, row: Columns) -> str:
    """The template with each `{column}` replaced; other braces stay as they are.

    Raises:
        ValueError: it names a column that the row has not.

    Example:
        >>> from pipy_ai.batch.rows import filled
        >>> filled('{"a": 1} {name} {age}', {"name": "Ada", "age": 36})
        '{"a": 1} Ada 36'
    """

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in row:
            if not name.isidentifier():
                return found[0]
            known = ", ".join(map(str, row)) or "none"
            raise ValueError(f"no column {name!r}, which the template names; it has: {known}")
        return "" if row[name] is None else _said(row[name])

    return _NAME.sub(value, template)


def _said(value: Any) -> str:
    """A column as a text: JSON where it is of JSON's kinds, else, like a date, in its own words."""
    if not isinstance(value, bool | int | float | list | dict):
        return _words(value)
    return json.dumps(value, ensure_ascii=False, default=_words)


def _words(value: Any) -> str:
    """What JSON has no kind for. Parquet of older writers has texts as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _context(said: Any, system: str | None) -> Prompt:
    """A conversation in pi's words or OpenAI's."""
    from pydantic import ValidationError

    from ..types import Context

    if isinstance(said, list):
        said = {"messages": said}
    if not isinstance(said, dict) or not isinstance(said.get("messages"), list):
        raise ValueError("a context is an object with messages; messages are a list of them")
    messages = [_message(one) for one in said["messages"]]
    systems = [_system(one) for one in messages if one.get("role") in ("system", "developer")]
    rest = [one for one in messages if one.get("role") not in ("system", "developer")]
    try:
        context = Context.model_validate({**said, "messages": rest})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from None
    own = "\n\n".join([text for text in (context.system_prompt, *systems) if text])
    context.system_prompt = own or system
    return context


def _message(said: Any) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise ValueError("a message is an object with role and content")
    if said.get("tool_calls") or said.get("role") == "tool":
        raise ValueError("calls of tools are read in pi's form only (toolCall, toolResult)")
    content = said.get("content")
    if said.get("role") == "assistant" and isinstance(content, str):
        return {**said, "content": [{"type": "text", "text": content}]}
    return {**said, "content": [*map(_part, content)]} if isinstance(content, list) else said


def _system(said: dict[str, Any]) -> str:
    """The text of a system message, which may be in parts."""
    content = said.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    try:
        return "\n\n".join(part["text"] for part in parts)
    except (TypeError, KeyError):
        raise ValueError("a system message is a text, or a list of parts with text") from None


def _part(said: Any) -> Any:
    """OpenAI's word for an image; all else is as it is."""
    if isinstance(said, dict) and said.get("type") == "image_url":
        image = said.get("image_url")
        return {"type": "image", "url": image.get("url") if isinstance(image, dict) else image}
    return said


# === Files ===


def read(path: Path) -> Iterator[Columns]:
    """The rows of a file, as its suffix says how to read them.

    Raises:
        InputError: it is of no such kind, or a row is broken.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _read_lines(path)
    if suffix in (".csv", ".tsv"):
        return _read_table(path, "\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return _read_parquet(path)
    raise InputError(f"{path}: the input is a file {FORMATS}")


def _read_lines(path: Path) -> Iterator[Columns]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number}: it is no JSON ({error})") from None
            if isinstance(row, str):
                row = {"prompt": row}
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: it is no object, and no string")
            yield row


def _read_table(path: Path, delimiter: str) -> Iterator[Columns]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            names = table.fieldnames or ()
            if twice := [name for name in names if name and names.count(name) > 1]:
                raise InputError(f"{path}: two columns have the name {twice[0]!r}")
            for row in table:
                if None in row or None in row.values():
                    text = "it has not as many fields as the header"
                    raise InputError(f"{path}, line {table.line_num}: {text}")
                yield row
        except UnicodeDecodeError:
            raise InputError(f"{path}: it is not UTF-8 text; save or convert it as UTF-8") from None
        except csv.Error as error:
            raise InputError(f"{path}, line {table.line_num}: {error}") from None


def _read_parquet(path: Path) -> Iterator[Columns]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        text = "Parquet needs pyarrow: pip install 'pipy-ai[parquet]'"
        raise InputError(f"{path}: {text}") from None
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_ROWS):
                yield from batch.to_pylist()
    except (ArrowException, ValueError) as error:  # a time that Python has no kind for
        raise InputError(f"{path}: {error}") from None
