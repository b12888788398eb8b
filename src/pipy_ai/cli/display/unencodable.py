"""Replace characters that the encoding of a stream lacks, as on a console with cp1252 or ASCII.

Lines, arrows and quotes become similar ASCII characters, all others `?`, or `\\u2713` on stderr.
"""

from __future__ import annotations

import codecs

REPLACE = "pipy-replace"  # names of error handlers, for `errors=`
ESCAPE = "pipy-escape"

_SIMILAR = {  # of the same width, so that columns stay aligned
    "─": "-", "━": "-", "│": "|", "┼": "+", "▌": "|", "█": "#", "→": ">", "•": "*", "·": ".",
    "…": "~", "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "‘": "'", "’": "'", "“": '"',
    "”": '"', "„": '"', "×": "x", "≈": "~", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip


def register_handlers() -> None:
    """Make the two error handlers known to Python."""
    codecs.register_error(REPLACE, _replace)
    codecs.register_error(ESCAPE, _escape)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_SIMILAR.get(char, "?") for char in text), error.end


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = [_SIMILAR.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text]
    return "".join(escaped), error.end
