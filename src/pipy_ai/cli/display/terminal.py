"""Write to the terminal. Text from models is not trusted: its control characters are escaped."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, TextIO

from ...utils.text import format_table

CONTEXT_CHARS = 1000  # how much of a line decides whether its direction marks are shown
DUMB_TERMINALS = ("dumb", "unknown")
DIM, RESET = "\x1b[2m", "\x1b[0m"

# The flags of England, Scotland and Wales: a black flag and letters that are invisible elsewhere.
_FLAGS = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
_DIRECTION_MARKS = "\u061c\u200e\u200f"
_JOINERS = "\u034f\u200c\u200d"  # emoji of several people, Persian, the scripts of India
_VARIATION_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f"  # an emoji in color, Mongolian letters
# Characters that are shown escaped: control characters except newline and tab, marks that change
# the direction of text, what ends a line on some terminals, and what Unicode calls default
# ignorable: it is invisible, and could carry hidden text.
_SUSPICIOUS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_CONTEXTUAL = _DIRECTION_MARKS + _JOINERS + _VARIATION_SELECTORS
_ESCAPABLE = re.compile(f"\r\n|{_FLAGS}|[{_SUSPICIOUS}{_CONTEXTUAL}]")
_UNDECIDED = re.compile(f"(?:\r|\U0001f3f4[\U000e0000-\U000e007e]*|[{_CONTEXTUAL}]+)\\Z")
_IS_CONTEXTUAL = re.compile(f"[{_CONTEXTUAL}]").fullmatch
_IS_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u05ff\u0600-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
).search


def escape_controls(text: str, start: int = 0) -> str:
    """Return `text[start:]` with every character that could control a terminal made visible.

    So are characters that are invisible, except where writing needs them: joiners and selectors
    after letters and emoji, direction marks after or before a letter of Hebrew or Arabic, and the
    tags of flags. `\\r\\n` becomes a newline.
    """
    if _ESCAPABLE.search(text, start) is None:
        return text[start:]
    parts = []
    for match in _ESCAPABLE.finditer(text, start):
        parts += [text[start : match.start()], _escaped(match)]
        start = match.end()
    return "".join([*parts, text[start:]])


def _escaped(match: re.Match[str]) -> str:
    char, text, at = match[0], match.string, match.start()
    if len(char) > 1:  # a flag or the end of a line
        return "\n" if char == "\r\n" else char
    if _IS_CONTEXTUAL(char) and _is_in_place(char, text, at):
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0xA0 else f"<U+{code:04X}>"


def _is_in_place(char: str, text: str, at: int) -> bool:
    """Return whether an invisible character belongs to the characters beside it."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if char in _DIRECTION_MARKS:
        line = text[max(at - CONTEXT_CHARS, 0) : at].rpartition("\n")[2] + after
        return not _IS_CONTEXTUAL(before) and _IS_RIGHT_TO_LEFT(line) is not None
    if char == "\ufe0f" and after == "\u20e3":  # a digit as a keycap
        return True
    if not before or before.isascii() or before.isspace():
        return False
    if char in _JOINERS:
        return before == "\ufe0f" or not _IS_CONTEXTUAL(before)
    return not _IS_CONTEXTUAL(before)


class StreamEscaper:
    """Escape a text that arrives in pieces, as `escape_controls` would escape the whole of it."""

    def __init__(self) -> None:
        self._line = ""  # the end of what was returned, for the context
        self._held = ""  # its meaning depends on what follows

    def feed(self, text: str, final: bool = False) -> str:
        """Return what can be shown; with `final`, everything."""
        text = self._held + text
        undecided = None if final else _UNDECIDED.search(text)
        self._held = "" if undecided is None else undecided[0]
        text = text[: len(text) - len(self._held)]
        escaped = escape_controls(self._line + text, len(self._line))
        self._line = (self._line + text).rpartition("\n")[2][-CONTEXT_CHARS:]
        return escaped


def uses_styles(stream: TextIO) -> bool:
    """Return whether bold, dim and colored text may be written to the stream.

    `NO_COLOR` and `TERM=dumb` forbid it, `FORCE_COLOR` and `CLICOLOR_FORCE` demand it, otherwise
    the stream must be a terminal, and `CLICOLOR` not 0.
    """
    environment = os.environ
    if environment.get("NO_COLOR") or environment.get("TERM") in DUMB_TERMINALS:
        return False
    force = environment.get("FORCE_COLOR") or environment.get("CLICOLOR_FORCE")
    if force:
        return force.lower() not in ("0", "false")
    return environment.get("CLICOLOR") != "0" and stream.isatty() and not is_dumb()


def is_dumb() -> bool:
    """Return whether the terminal understands no escape sequences."""
    return os.environ.get("TERM", "" if os.name == "nt" else "dumb") in DUMB_TERMINALS


def can_encode(text: str, stream: TextIO) -> bool:
    """Return whether the stream's encoding has all characters of `text`."""
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def dimmed(text: str, stream: TextIO) -> str:
    """Return `text` with the escape sequences for dim text, if the stream may have them."""
    return f"{DIM}{text}{RESET}" if uses_styles(stream) else text


def discard_typed_ahead(fd: int) -> None:
    """Forget what was typed on a terminal and not read yet, so that it answers no question.

    Raises:
        OSError: The terminal is gone.
    """
    if os.name == "nt":
        import msvcrt

        while msvcrt.kbhit():  # type: ignore[attr-defined]
            msvcrt.getwch()  # type: ignore[attr-defined]
        return
    import termios

    try:
        termios.tcflush(fd, termios.TCIFLUSH)
    except termios.error as error:  # which is no OSError
        raise OSError(*error.args) from None


def write(text: str, stream: TextIO | None = None) -> None:
    """Write untrusted text and flush; characters that the stream cannot encode become `?`."""
    write_raw(escape_controls(text), stream)


def write_answer(text: str) -> None:
    """Write a model's text to stdout: as it is for a program, escaped on a terminal."""
    write_raw(escape_controls(text) if sys.stdout.isatty() else text)


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
        line = wrap(escape_controls(text), sys.stderr)
        write_raw(f"{dimmed(line, sys.stderr)}\n", sys.stderr)


def is_interactive() -> bool:
    """Return whether both stdout and stderr are terminals."""
    return sys.stdout.isatty() and sys.stderr.isatty()
