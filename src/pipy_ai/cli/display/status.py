"""The status line: one line on the terminal while a command waits.

    show_status("waiting for claude-sonnet-4-5")
    …
    hide_status()

It has a spinner, a text and the seconds since the command began to wait, or those until and since a
retry. It is erased before anything else is written to stdout or stderr, and drawn again below what
was written if that ended its line. There is none unless stderr is a terminal that can move the
cursor, and none while stdout is a pipe, whose reader may draw on the same terminal.
"""

from __future__ import annotations

import os
import sys
import time

from . import terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...types import AssistantMessage
    from .status_line import StatusLine

_line: StatusLine | None = None


def show_status(text: str | Callable[[], str]) -> None:
    """Show the status line, or change its text.

    Args:
        text: What the command waits for, or a function that returns it each time the line is drawn,
            with seconds of its own, for example those that are left.
    """
    global _line
    if _line is not None:
        _line.set_text(text)
    elif _is_possible():
        from .status_line import StatusLine

        _line = StatusLine(text)
        _line.start()


def set_status(text: str) -> None:
    """Change the text of the status line if it is shown. May be called from any thread."""
    line = _line
    if line is not None:
        line.set_text(text)


def hide_status() -> None:
    """Erase the status line. `show_status` shows it again, and counts the seconds from there."""
    global _line
    if _line is not None:
        _line.stop()
        _line = None  # only now, so that it is stopped again after a Ctrl-C


reset = hide_status  # what `cli.main` calls after each command


def show_request_status(model: str) -> None:
    """Show that a request waits for a model, and why and when it is sent again if it failed."""
    from ...provider.retry import retry_listeners

    if _show_retry not in retry_listeners:
        retry_listeners.append(_show_retry)
    show_status(f"waiting for {model}")


def _show_retry(message: AssistantMessage, delay_s: float) -> None:
    """Change the text of the status line, if it is shown. Called from the thread of requests."""
    if _line is not None:
        _line.set_text(retry_text(message, delay_s))


def retry_text(message: AssistantMessage, delay_s: float) -> Callable[[], str]:
    """Return a function that describes why a request is retried, and in how many seconds.

    After the retry, it has the seconds since then.
    """
    retry_at, error = time.monotonic() + delay_s, message.error
    reason = "no answer"
    if error is not None:
        reason = str(error.status_code or f"{error.kind} error".replace("_", " "))

    def text() -> str:
        seconds = round(retry_at - time.monotonic())
        if seconds > 0:
            return f"{reason}, retrying in {seconds} s"
        return f"retrying after {reason}" + (f", {-seconds} s" if seconds else "")

    return text


def _is_possible() -> bool:
    """Return whether a status line can be shown without disturbing other programs."""
    if terminal.quiet or terminal.is_dumb() or not (sys.stderr.isatty() and sys.stdout is not None):
        return False
    if os.name == "nt" and not os.environ.get("WT_SESSION"):  # the old console
        return False
    if sys.stdout.isatty():
        return True
    import stat

    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))
