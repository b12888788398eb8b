"""Replace characters that the encoding of a stream lacks, as on a console with cp1252 or ASCII.

Lines, arrows and quotes become similar ASCII characters, all others `?`, or `\\u2713` on stderr.
"""

from __future__ import annotations

_SIMILAR = {  # of the same width, so that columns stay aligned
    "─": "-", "━": "-", "│": "|", "┼": "+", "▌": "|", "█": "#", "→": ">", "•": "*", "·": ".",
    "…": "~", "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "‘": "'", "’": "'", "“": '"',
    "”": '"', "„": '"', "×": "x", "≈": "~", "\u00a0": " ", "\u202f": " ",
}  # fmt: skip


def replace(error: UnicodeError) -> tuple[str, int]:
    """An error handler of Python: return what replaces the characters, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_SIMILAR.get(char, "?") for char in text), error.end


def escape(error: UnicodeError) -> tuple[str, int]:
    """An error handler of Python like `replace`, with `\\u2713` for what is not similar."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    escaped = [_SIMILAR.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text]
    return "".join(escaped), error.end
