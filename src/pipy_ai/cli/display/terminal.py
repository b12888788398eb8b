"""Write to the terminal. Text from models is not trusted: its control characters are escaped."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, TextIO

from ...utils.text import format_table

DIM, RESET = "\x1b[2m", "\x1b[0m"

# Characters that are shown escaped: control characters except newline and tab, marks that change
# the direction of text, and characters that carry invisible text or end a line on some terminals.
_ESCAPES = {code: f"\\x{code:02x}" for code in chain(range(0x20), range(0x7F, 0xA0))}
for _code in chain(
    (0x061C, 0x200E, 0x200F), range(0x2028, 0x202F), range(0x2066, 0x206A), range(0xFFF9, 0xFFFC),
    range(0xE0000, 0xE0080),
):  # fmt: skip
    _ESCAPES[_code] = f"<U+{_code:04X}>"
del _ESCAPES[ord("\n")], _ESCAPES[ord("\t")]


def escape_controls(text: str) -> str:
    """Return `text` with every character that could control a terminal made visible."""
    return text.translate(_ESCAPES)


def write(text: str, stream: TextIO | None = None) -> None:
    """Write untrusted text and flush; characters that the stream cannot encode become `?`."""
    write_raw(escape_controls(text), stream)


def write_raw(text: str, stream: TextIO | None = None) -> None:
    """Write trusted text, which may contain escape sequences, and flush."""
    out = sys.stdout if stream is None else stream
    try:
        out.write(text)
    except UnicodeEncodeError:
        encoding = out.encoding or "ascii"
        out.write(text.encode(encoding, "replace").decode(encoding))
    out.flush()


def write_json(data: Any) -> None:
    """Print data as one line of ASCII JSON, which every terminal and encoding can show."""
    sys.stdout.write(json.dumps(data) + "\n")
    sys.stdout.flush()


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Print aligned columns on stdout; the last one is not padded."""
    write(
        format_table(header, [[escape_controls(cell) for cell in row] for row in rows], right)
        + "\n"
    )


def wrap(text: str, stream: TextIO, indent: int = 0) -> str:
    """Break `text` between words at the terminal's width, lines after the first indented.

    If the stream is not a terminal, the text is returned unchanged.
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
    """Return an error's message; of a file error, the file and the reason."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def warn(text: str) -> None:
    """Print one line on stderr. Errors of stderr itself are ignored."""
    write_stderr(wrap(escape_controls(f"pipy: {text}\n"), sys.stderr))


def write_stderr(text: str) -> None:
    """Write trusted text to stderr, if that is possible."""
    try:
        write_raw(text, sys.stderr)
    except OSError:
        detach(sys.stderr)


def detach(stream: TextIO) -> None:
    """Redirect a stream that cannot be written to the null device.

    Otherwise Python would try again at exit and end with code 120.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def hint(text: str) -> None:
    """Print a dim line on stderr if that is a terminal."""
    if sys.stderr.isatty():
        write_raw(f"{DIM}{wrap(escape_controls(text), sys.stderr)}{RESET}\n", sys.stderr)


def is_interactive() -> bool:
    """Return whether both stdout and stderr are terminals."""
    return sys.stdout.isatty() and sys.stderr.isatty()
