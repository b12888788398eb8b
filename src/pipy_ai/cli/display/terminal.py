"""Write to the terminal. Text from models is not trusted: `characters` has what is escaped."""

from __future__ import annotations

import json
import os
import sys

from .characters import StreamEscaper as StreamEscaper
from .characters import escape_controls as escape_controls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

DUMB_TERMINALS = ("dumb", "unknown")
BOLD, DIM, RESET = "\x1b[1m", "\x1b[2m", "\x1b[0m"
COLORS = {"red": "\x1b[31m", "green": "\x1b[32m", "yellow": "\x1b[33m"}

quiet: bool = False  # `--quiet`: no status line and no hints
use_pager: bool = True  # `--no-pager` sets it to False


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


def bold(text: str, stream: TextIO) -> str:
    """Return `text` with the escape sequences for bold text, if the stream may have them."""
    return f"{BOLD}{text}{RESET}" if text and uses_styles(stream) else text


def colored(text: str, color: str, stream: TextIO) -> str:
    """Return `text` in one of `COLORS`, if the stream may have styles."""
    return f"{COLORS[color]}{text}{RESET}" if text and uses_styles(stream) else text


def discard_typed_ahead(fd: int) -> None:
    """Discard typed input that was not read yet, so that it does not answer the next question.

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


def read_answer(keyboard: TextIO) -> str:
    """Read the line that answers a question.

    It is empty if the terminal is closed or the user did not press Enter: there is no answer then.
    Ctrl-C works even if it arrives just before the wait begins.

    Raises:
        OSError: The terminal is gone.
    """
    if os.name != "nt":
        import select

        while not select.select([keyboard], [], [], 0.2)[0]:
            pass
    line = keyboard.readline()
    return line if line.endswith("\n") else ""


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


def wrap(text: str, stream: TextIO, indent: int = 0) -> str:
    """Break `text` between words at the terminal's width, lines after the first indented.

    On a narrow terminal they are not indented. If the stream is not a terminal, the text is
    returned unchanged.
    """
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # no terminal, or closed
        return text
    if columns < 10 or max(map(len, text.split("\n"))) < columns:
        return text
    indent = indent if indent + 20 < columns else 0
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
    """Return an error's message; of a file error, the file, the reason and advice."""
    if isinstance(error, OSError):
        from ...utils.file_errors import describe_os_error

        return describe_os_error(error)
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
    """Print a dim line on stderr if that is a terminal, unless `--quiet` is given."""
    if sys.stderr.isatty() and not quiet:
        line = wrap(escape_controls(text), sys.stderr)
        write_raw(f"{dimmed(line, sys.stderr)}\n", sys.stderr)


def reset() -> None:
    """Undo `--quiet` and `--no-pager`; `cli.main` calls it after each command."""
    global quiet, use_pager
    quiet, use_pager = False, True


def is_quiet() -> bool:
    """Return whether `--quiet` was given."""
    return quiet


def is_interactive() -> bool:
    """Return whether both stdout and stderr are terminals."""
    return sys.stdout.isatty() and sys.stderr.isatty()
