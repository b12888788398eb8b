"""The prompt of `pipy chat` on a terminal without escape sequences, such as the shell in Emacs."""

from __future__ import annotations

import os
import select
import signal
import sys

from ..display.terminal import discard_typed_ahead, hint, write
from .interrupt import sigint_handled_by

READ_BYTES = 65536
NEXT_LINE_S = 0.05  # between two lines that are pasted or sent at once


class DumbLineEditor:
    """Read messages a line at a time.

    A backslash at the end of a line begins another one, and lines that come at once are one
    message.
    """

    def __init__(self) -> None:
        self._ended = False  # Ctrl-D followed the last message

    def read(self, *, edit_typed_ahead: bool) -> str:
        """Read a message.

        Args:
            edit_typed_ahead: Discard what was typed before the prompt, and print it. Otherwise it
                acts as if it were typed now.

        Raises:
            EOFError: Ctrl-D was pressed.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._ended:
            raise EOFError
        # Before the prompt is shown: the user may press Ctrl-C as soon as it is.
        with sigint_handled_by(signal.default_int_handler):
            try:
                if edit_typed_ahead:
                    _discard_typed_ahead()
                write("> ")
                return self._read_lines()
            except KeyboardInterrupt:
                write("\n")
                raise

    def _read_lines(self) -> str:
        lines: list[str] = []
        continued = True
        while continued or _is_readable(NEXT_LINE_S):
            line = sys.stdin.readline()
            if not line and continued:
                raise EOFError
            if not line:
                self._ended = True
                break
            line = line.removesuffix("\n")
            continued = line.endswith("\\")
            lines.append(line[:-1] if continued else line)
        return "\n".join(lines)


def _is_readable(seconds: float) -> bool:
    """Return whether there is input; on Windows, where `select` takes only sockets, False."""
    return os.name != "nt" and bool(select.select([sys.stdin.fileno()], [], [], seconds)[0])


def _discard_typed_ahead() -> None:
    fd = sys.stdin.fileno()
    while _is_readable(0):
        line = os.read(fd, READ_BYTES)
        if not line:
            return
        hint(f"not sent: {line.decode('utf-8', 'replace').rstrip()}")
    discard_typed_ahead(fd)
