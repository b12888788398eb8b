"""Printing what a model wrote, which is not to be trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Sequence
from itertools import chain
from typing import Any, TextIO

from ..utils.plain import aligned

DIM, PLAIN = "\x1b[2m", "\x1b[0m"

# Control characters but newline and tab, and the marks that turn text around, are shown by name.
_UNSAFE = {code: f"\\x{code:02x}" for code in chain(range(0x20), range(0x7F, 0xA0))}
for _code in chain((0x061C, 0x200E, 0x200F), range(0x202A, 0x202F), range(0x2066, 0x206A)):
    _UNSAFE[_code] = f"<U+{_code:04X}>"
del _UNSAFE[ord("\n")], _UNSAFE[ord("\t")]


def safe(text: str) -> str:
    """`text` with everything that could command a terminal made visible."""
    return text.translate(_UNSAFE)


def write(text: str, stream: TextIO | None = None) -> None:
    """Write model text at once; characters that the stream cannot encode become `?`."""
    put(safe(text), stream)


def put(text: str, stream: TextIO | None = None) -> None:
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


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> None:
    """Aligned columns on stdout; the last one is not padded."""
    write(aligned(header, [[safe(cell) for cell in row] for row in rows], right) + "\n")


def complain(text: str) -> None:
    """One line on stderr."""
    write(f"pipy: {text}\n", sys.stderr)
