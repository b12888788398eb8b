"""The prompt of `pipy chat` on a terminal without escape sequences, such as the shell in Emacs."""

from __future__ import annotations

import os
import select
import sys

from ..display.terminal import discard_typed_ahead, hint, write

READ_BYTES = 65536


class DumbLineEditor:
    """Read messages a line at a time. A backslash at the end of a line begins another one."""

    def read(self, *, edit_typed_ahead: bool) -> str:
        """Read a message.

        Args:
            edit_typed_ahead: Discard what was typed before the prompt, which is told. Otherwise it
                acts as if it were typed now.

        Raises:
            EOFError: Ctrl-D was pressed.
        """
        if edit_typed_ahead:
            _discard_typed_ahead()
        write("> ")
        lines: list[str] = []
        while True:
            line = sys.stdin.readline()
            if not line:
                raise EOFError
            lines.append(line.removesuffix("\n"))
            if not lines[-1].endswith("\\"):
                return "\n".join(lines)
            lines[-1] = lines[-1][:-1]


def _discard_typed_ahead() -> None:
    fd = sys.stdin.fileno()
    while os.name != "nt" and select.select([fd], [], [], 0)[0]:
        line = os.read(fd, READ_BYTES)
        if not line:
            return
        hint(f"not sent: {line.decode('utf-8', 'replace').rstrip()}")
    discard_typed_ahead(fd)
