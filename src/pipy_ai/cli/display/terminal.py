"""Printing what a model wrote, which is not to be trusted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, TextIO

from ...utils.text import format_table

DIM, RESET = "\x1b[2m", "\x1b[0m"

# Control characters but newline and tab, the marks that turn text around, and those that carry
# text nobody sees or end a line on some terminals, are shown by name.
_ESCAPES = {code: f"\\x{code:02x}" for code in chain(range(0x20), range(0x7F, 0xA0))}
for _code in chain(
    (0x061C, 0x200E, 0x200F), range(0x2028, 0x202F), range(0x2066, 0x206A), range(0xFFF9, 0xFFFC),
    range(0xE0000, 0xE0080),
):  # fmt: skip
    _ESCAPES[_code] = f"<U+{_code:04X}>"
del _ESCAPES[ord("\n")], _ESCAPES[ord("\t")]


def escape_controls(text: str) -> str:
    """`text` with everything that could command a terminal made visible."""
    return text.translate(_ESCAPES)


def write(text: str, stream: TextIO | None = None) -> None:
    """Write model text at once; characters that the stream cannot encode become `?`."""
    write_raw(escape_controls(text), stream)


def write_raw(text: str, stream: TextIO | None = None) -> None:
    """Write text of our own, which may command the terminal."""
    out = sys.stdout if stream is None else stream
    try:
        out.write(text)
    except UnicodeEncodeError:
        encoding = out.encoding or "ascii"
        out.write(text.encode(encoding, "replace").decode(encoding))
    out.flush()


def write_json(data: Any) -> None:
    """One line of JSON on stdout: pure ASCII, so no terminal and no encoding stumbles over it."""
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Aligned columns on stdout; the last one is not padded."""
    write(
        format_table(header, [[escape_controls(cell) for cell in row] for row in rows], right)
        + "\n"
    )


def wrap(text: str, stream: TextIO, indent: int = 0) -> str:
    """`text` broken between words where a terminal would break it within one.

    Lines after the first are indented. What is no terminal gets it as it is.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # no terminal, or closed
        return text
    if columns <= indent + 20 or max(map(len, text.split("\n"))) < columns:
        return text
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line, *words = paragraph.split(" ")
        for word in words:
            if len(line) + 1 + len(word) < columns:
                line += f" {word}"
            else:
                lines.append(line)
                line = " " * indent + word
        lines.append(line)
    return "\n".join(lines)


def format_error(error: BaseException) -> str:
    """An error in words: of a file, its name and what is wrong with it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def warn(text: str) -> None:
    """One line on stderr; where nobody can be told, the work goes on."""
    write_stderr(wrap(escape_controls(f"pipy: {text}\n"), sys.stderr))


def write_stderr(text: str) -> None:
    """Write text of our own on stderr, if it can be written there."""
    try:
        write_raw(text, sys.stderr)
    except OSError:
        detach(sys.stderr)


def detach(stream: TextIO) -> None:
    """Let go of what could not be written: Python would try again at exit, and end with 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def hint(text: str) -> None:
    """A line beside the point, on a terminal only."""
    if sys.stderr.isatty():
        write_raw(f"{DIM}{wrap(escape_controls(text), sys.stderr)}{RESET}\n", sys.stderr)


def is_interactive() -> bool:
    """Whether somebody sees both the answer and what is said beside it."""
    return sys.stdout.isatty() and sys.stderr.isatty()
