"""Targets: files that others wrote: the rows of batches, results and templates."""

from __future__ import annotations

import atexit
import contextlib
import json
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipy_ai.batch.input import InputError, InputFile, fill_template
from pipy_ai.batch.results import ResultsFile
from pipy_ai.cli.args.schema import parse_schema, parse_shorthand
from pipy_ai.cli.args.templates import load_template
from pipy_ai.utils.encoding import decode_text

from .harness import target
from .values import changed, dump_json, some_json, some_text

_DIRECTORY = Path(tempfile.mkdtemp(prefix="pipy-fuzz-"))
atexit.register(shutil.rmtree, _DIRECTORY, ignore_errors=True)

_MESSAGES: list[Any] = [
    {"role": "system", "content": "s"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "hi"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
        ],
    },
    {
        "role": "assistant",
        "content": "a",
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "r"},
    {
        "role": "user",
        "content": [
            {
                "type": "file",
                "file": {"file_data": "data:text/plain;base64,AA==", "filename": "a.txt"},
            }
        ],
    },
]
_ROWS: tuple[Any, ...] = (
    {"prompt": "q", "id": 1},
    "q",
    {"messages": _MESSAGES, "id": "x"},
    {
        "context": {
            "system_prompt": "s",
            "messages": _MESSAGES,
            "tools": [
                {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object", "properties": {}},
                }
            ],
        }
    },
    {"messages": json.dumps(_MESSAGES), "custom_id": 7},
    {
        "custom_id": "c",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {
            "model": "gpt-5",
            "messages": _MESSAGES,
            "temperature": 1,
            "max_completion_tokens": 5,
            "reasoning_effort": "none",
            "n": 1,
            "stop": ["a"],
            "tool_choice": {"function": {"name": "f"}},
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"type": "object"}},
            },
        },
    },
    {
        "custom_id": "c",
        "url": "/v1/responses",
        "body": {
            "model": "gpt-5",
            "instructions": "i",
            "reasoning": {"effort": "low"},
            "metadata": {"a": "b"},
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "r"},
                {"type": "reasoning"},
            ],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        },
    },
)
_TEMPLATES = (None, "{prompt}", "{{ prompt }} {id} {x", '{"a": 1} {} {prmpt} { id }', "{\0}")
_ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")


def _damaged(rng: random.Random, data: bytes, depth: int = 1500) -> bytes:
    """Return bytes with a few changes: other bytes, a cut, a repeated part."""
    for _ in range(rng.choice((0, 0, 0, 1, 3))):
        at, kind = rng.randint(0, len(data)), rng.randrange(4)
        if kind == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at:]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[rng.randint(0, len(data)) :]
        else:
            data = (
                data[:at]
                + rng.choice((b"\0", b"\r", b"\n", b'"', b"\xff\xfe", b"[" * depth))
                + data[at:]
            )
    return data


def _encoded(rng: random.Random, text: str, depth: int = 1500) -> bytes:
    encoding = rng.choice(_ENCODINGS)
    return _damaged(
        rng,
        text.encode(
            encoding,
            rng.choice(("replace", "surrogatepass")) if encoding.startswith("utf") else "replace",
        ),
        depth,
    )


def _jsonl(rng: random.Random) -> str:
    lines = []
    for _ in range(rng.randint(0, 3)):
        row = rng.choice(_ROWS)
        kind = rng.random()
        if kind < 0.6:
            row = changed(rng, row, rng.randint(0, 3))
        elif kind < 0.7:
            row = some_json(rng)
        lines.append(dump_json(rng, row) if kind < 0.95 else some_text(rng))
    return rng.choice(("\n", "\r\n", "\n\n")).join(lines)


def _csv(rng: random.Random) -> str:
    cells = (
        "prompt",
        "id",
        "messages",
        "a",
        "",
        " ",
        "1",
        '"',
        '""',
        '"a,b"',
        '"x\ny"',
        "é",
        "\0",
        "[]",
    )
    delimiter = rng.choice((",", ";", "\t", "|", ",,", ""))
    lines = [
        delimiter.join(rng.choices(cells, k=rng.randint(0, 4))) for _ in range(rng.randint(0, 5))
    ]
    if rng.random() < 0.2:
        marks = (",", ";", "", '"', "|", chr(rng.randrange(1, 300)), "ab")
        lines.insert(0, f"sep={rng.choice(marks)}")
    return rng.choice(("\n", "\r\n", "\r")).join(lines) + rng.choice(("", "\n"))


@target
def batch_input(rng: random.Random) -> None:
    """A file of prompts is read, or refused with its name and the line."""
    suffix, make = rng.choice(
        ((".jsonl", _jsonl), (".csv", _csv), (".tsv", _csv), (".parquet", _csv))
    )
    path = _DIRECTORY / f"input{suffix}"
    path.write_bytes(_encoded(rng, make(rng)))
    rows = InputFile(path, rng.choice(_TEMPLATES), rng.choice((None, "s")))
    count = 0
    try:
        for row in rows:
            assert isinstance(row.id, str | int)
            assert row.line > 0
            count += 1
    except InputError as error:
        assert str(path) in str(error)
        if suffix == ".jsonl":
            assert " line " in str(error)
        _assert_readable(error)
    with contextlib.suppress(InputError):
        assert len(list(rows)) == count or count == 0


@target
def batch_template(rng: random.Random) -> None:
    """Braces of a template are columns, or stay as they are."""
    template = "".join(
        rng.choices(("{", "}", "{{", "}}", "a", "b", " ", ":", "\n", "é", "[", "0"), k=9)
    )
    row = {name: some_json(rng, 1) for name in ("a", "b", "ab", "é")}
    with contextlib.suppress(ValueError):
        assert isinstance(fill_template(template, row), str)
    assert fill_template(template.replace("{", ""), row) == template.replace("{", "")


@target
def batch_results(rng: random.Random) -> None:
    """A results file is read, repaired at its end only, or refused with its name and the line."""
    lines = []
    for number in range(rng.randint(0, 3)):
        record = {"id": number, "fingerprint": "f", "text": "é", "error": None, "message": {}}
        lines.append(json.dumps(changed(rng, record, 1) if rng.random() < 0.3 else record))
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    data = _damaged(rng, data)
    path = _DIRECTORY / "results.jsonl"
    path.write_bytes(data)
    try:
        with ResultsFile(path) as results:
            read = results.read_lines()
            assert len(read) <= data.count(b"\n") + 1
        kept = path.read_bytes()
        assert data.startswith(kept) or kept == data + b"\n"
    except InputError as error:
        assert str(path) in str(error)
        kept = path.read_bytes()
        assert data.startswith(kept) or kept == data + b"\n"


_YAML_PARTS = (
    "prompt: ",
    "system: ",
    "model: ",
    "schema: ",
    "options: ",
    "defaults: ",
    "attachments: ",
    "tools: ",
    "extract: ",
    "$input",
    "${x}",
    "$",
    "$$",
    "true",
    "null",
    "1",
    "2001-99-99",
    "2001-01-01",
    "0b",
    "0x",
    "1:99",
    ".inf",
    ".nan",
    "1e999",
    "a: b",
    "- x",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ", ",
    "&a ",
    "*a",
    "<<: ",
    "|",
    ">",
    "!!binary x",
    "!!python/object:os.system x",
    "!!timestamp x",
    "!!int x",
    "!!float x",
    "!!set ",
    "!!omap ",
    "!!pairs ",
    "? ",
    ": ",
    "\n",
    "\n",
    "\n  ",
    "\n  - ",
    "'",
    '"',
    "#",
    "%YAML 1.2",
    "---",
    "...",
    "é",
    "\t",
    "!!bool x",
    "!!null x",
    "0" * 5000,
    "!!str ",
    "=",
    "!!int '1_'",
    "!!float '.'",
)


def _assert_readable(error: Exception) -> None:
    """An error is a sentence for people, not what Python says of its own code."""
    text = str(error)
    for sign in ("object has no attribute", "NoneType", "Traceback", "recursion depth"):
        assert sign not in text, text


@target
def template(rng: random.Random) -> None:
    """A template is read and filled, or refused with its name."""
    text = "".join(rng.choices(_YAML_PARTS, k=rng.randint(0, 14)))
    path = _DIRECTORY / f"template{rng.choice(('.yaml', '.yaml', '.yml', '.md'))}"
    path.write_bytes(_encoded(rng, text, depth=20))  # PyYAML takes half a second for 1,000 levels
    try:
        loaded = load_template(str(path))
    except ValueError as error:
        assert str(path) in str(error)
        _assert_readable(error)
        return
    with contextlib.suppress(ValueError):
        prompt, system = loaded.render({}, "the input")
        assert isinstance(prompt, str)
        assert isinstance(system, str)


@target
def schema_argument(rng: random.Random) -> None:
    """The value of --schema is a schema, or an error in words."""
    parts = (
        "name",
        " ",
        "age int",
        ", ",
        ":",
        "?",
        "list[",
        "]",
        "str",
        "\n",
        "{",
        "}",
        "[]",
        "é",
        "1",
        "-",
        "tags list[str]",
        '{"type": "object"}',
        "\0",
        "{" * 2000,
        "list[" * 2000,
    )
    text = "".join(rng.choices(parts, k=rng.randint(0, 8)))
    parsers: tuple[Callable[[str], Any], ...] = (parse_schema, parse_shorthand)
    for parse in parsers:
        try:
            schema = parse(text)
        except ValueError as error:
            _assert_readable(error)
        else:
            assert isinstance(schema, dict)


@target
def text_encoding(rng: random.Random) -> None:
    """A text in a known encoding is decoded; other bytes are an error of decoding."""
    text = some_text(rng).replace("\0", "").encode("utf-8", "replace").decode()
    encoding = rng.choice(("utf-8-sig", "utf-16", "utf-32"))
    assert decode_text(text.encode(encoding)) == text
    with contextlib.suppress(UnicodeDecodeError):
        decode_text(_encoded(rng, text))
