"""Read prompts from JSONL, CSV and Parquet files, lazily and repeatably."""

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

_PLACEHOLDER = re.compile(r"\{([^{}\n]+)\}")
SUPPORTED_FORMATS = ".jsonl, .ndjson, .csv, .tsv or .parquet"
PARQUET_BATCH_ROWS = 1024

Columns = Mapping[str, Any]


class InputError(ValueError):
    """The input or results file is invalid; nothing was sent."""


@dataclass(frozen=True, slots=True)
class InputRow:
    """A row with its index (from 0), its id, its prompt, and 8-byte digests of the last two."""

    index: int
    id: str | int
    prompt: Prompt
    id_digest: int
    prompt_digest: int


@dataclass(frozen=True, slots=True)
class InputFile:
    """The prompts of a file. May be iterated any number of times.

    The prompt of a row is `template` filled with its columns, if there is a template; otherwise its
    column `prompt`, `messages` (in the form of pi-ai or OpenAI, with or without a `system` message)
    or `context`. The id of a row is its column `id`, or its number, counted from 1.

    Raises (when iterated):
        InputError: A row is malformed or has no prompt. The message names the file and the row.
    """

    path: Path
    template: str | None = None
    system: str | None = None

    def __iter__(self) -> Iterator[InputRow]:
        for index, row in enumerate(read_rows(self.path)):
            id_value = row.get("id")
            row_id = index + 1 if id_value is None or id_value == "" else id_value
            try:
                if not isinstance(row_id, str | int):
                    row_id = _plain_text(row_id)
                prompt, source = self._prompt_and_source(row)
            except ValueError as error:
                text = str(error).partition("\n")[0]
                raise InputError(f"{self.path}, row {index + 1}: {text}") from None
            yield InputRow(index, row_id, prompt, digest(row_id), digest(source))

    def _prompt_and_source(self, row: Columns) -> tuple[Prompt, Any]:
        """Return the prompt of a row, and the value that it was made from."""
        if self.template is not None:
            text = fill_template(self.template, row)
            return ctx(text, system=self.system), text
        if row.get("prompt") is not None:
            text = _column_text(row["prompt"])
            return ctx(text, system=self.system), text
        for name in ("messages", "context"):
            if row.get(name) is not None:
                value = row[name]
                source = json.loads(value) if isinstance(value, str) else value
                return _parse_conversation(source, self.system), source
        columns = ", ".join(map(str, row)) or "none"
        raise ValueError(
            f"no column prompt, messages or context; its columns are: {columns}."
            ' --prompt-template "… {column} …" makes a prompt of others'
        )


def digest(value: Any) -> int:
    """Return an 8-byte digest of a JSON value as an integer."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "big")


def fill_template(template: str, row: Columns) -> str:
    """Replace each `{column}` of a template with the row's value. Other braces are kept.

    Raises:
        ValueError: The template names a column that the row does not have.

    Example:
        >>> from pipy_ai.batch.input import fill_template
        >>> fill_template('{"a": 1} {name} {age}', {"name": "Ada", "age": 36})
        '{"a": 1} Ada 36'
    """

    def substitute(match: re.Match[str]) -> str:
        name = match[1]
        if name not in row:
            if not name.isidentifier():
                return match[0]
            columns = ", ".join(map(str, row)) or "none"
            raise ValueError(f"no column {name!r}, which the template names; it has: {columns}")
        return "" if row[name] is None else _column_text(row[name])

    return _PLACEHOLDER.sub(substitute, template)


def _column_text(value: Any) -> str:
    """Return a column as text: JSON for numbers, booleans, lists and objects, otherwise `str()`."""
    if not isinstance(value, bool | int | float | list | dict):
        return _plain_text(value)
    return json.dumps(value, ensure_ascii=False, default=_plain_text)


def _plain_text(value: Any) -> str:
    """Convert a value that JSON has no type for. Older Parquet writers store strings as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _parse_conversation(data: Any, system: str | None) -> Prompt:
    """Return the context of a conversation in the form of pi-ai or OpenAI.

    Raises:
        ValueError: The conversation is malformed.
    """
    from pydantic import ValidationError

    from ..types import Context

    if isinstance(data, list):
        data = {"messages": data}
    if not isinstance(data, dict) or not isinstance(data.get("messages"), list):
        raise ValueError("a context is an object with messages; messages are a list of them")
    messages = [_normalize_message(item) for item in data["messages"]]
    system_texts = [
        _system_text(message)
        for message in messages
        if message.get("role") in ("system", "developer")
    ]
    other_messages = [
        message for message in messages if message.get("role") not in ("system", "developer")
    ]
    try:
        context = Context.model_validate({**data, "messages": other_messages})
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        raise ValueError(f"{location}: {first['msg']}") from None
    system_prompt = "\n\n".join([text for text in (context.system_prompt, *system_texts) if text])
    context.system_prompt = system_prompt or system
    return context


def _normalize_message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise ValueError("a message is an object with role and content")
    if message.get("tool_calls") or message.get("role") == "tool":
        raise ValueError("calls of tools are read in pi's form only (toolCall, toolResult)")
    content = message.get("content")
    if message.get("role") == "assistant" and isinstance(content, str):
        return {**message, "content": [{"type": "text", "text": content}]}
    return (
        {**message, "content": [*map(_normalize_part, content)]}
        if isinstance(content, list)
        else message
    )


def _system_text(message: dict[str, Any]) -> str:
    """Return the text of a system message, which may be a list of parts."""
    content = message.get("content") or ""
    parts = [{"text": content}] if isinstance(content, str) else content
    try:
        return "\n\n".join(part["text"] for part in parts)
    except (TypeError, KeyError):
        raise ValueError("a system message is a text, or a list of parts with text") from None


def _normalize_part(part: Any) -> Any:
    """Convert OpenAI's image part; return any other part unchanged."""
    if isinstance(part, dict) and part.get("type") == "image_url":
        image = part.get("image_url")
        return {"type": "image", "url": image.get("url") if isinstance(image, dict) else image}
    return part


def read_rows(path: Path) -> Iterator[Columns]:
    """Read the rows of a file. The suffix determines its format.

    Raises:
        InputError: The format is not supported, or a row is malformed.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        return _read_jsonl(path)
    if suffix in (".csv", ".tsv"):
        return _read_csv(path, "\t" if suffix == ".tsv" else ",")
    if suffix == ".parquet":
        return _read_parquet(path)
    raise InputError(f"{path}: the input is a file {SUPPORTED_FORMATS}")


def _read_jsonl(path: Path) -> Iterator[Columns]:
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


def _read_csv(path: Path, delimiter: str) -> Iterator[Columns]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            names = reader.fieldnames or ()
            if duplicates := [name for name in names if name and names.count(name) > 1]:
                raise InputError(f"{path}: two columns have the name {duplicates[0]!r}")
            for row in reader:
                if None in row or None in row.values():
                    text = "it has not as many fields as the header"
                    raise InputError(f"{path}, line {reader.line_num}: {text}")
                yield row
        except UnicodeDecodeError:
            raise InputError(f"{path}: it is not UTF-8 text; save or convert it as UTF-8") from None
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {error}") from None


def _read_parquet(path: Path) -> Iterator[Columns]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        text = "Parquet needs pyarrow: pip install 'pipy-ai[parquet]'"
        raise InputError(f"{path}: {text}") from None
    try:
        with parquet.ParquetFile(path) as file:
            for record_batch in file.iter_batches(PARQUET_BATCH_ROWS):
                yield from record_batch.to_pylist()
    except (ArrowException, ValueError) as error:  # ValueError: e.g. a date beyond Python's range
        raise InputError(f"{path}: {error}") from None
