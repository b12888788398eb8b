"""Run a command in a pseudo-terminal and read its screen.

with Terminal("-m", "pipy_ai", "ask", "Hi", columns=80) as terminal:
    terminal.wait_for("answer")
    assert terminal.screen[0] == "answer"
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import Any

import pyte


def _as_in_a_shell() -> None:
    """Enable Ctrl-C in the child, even if the tests run in the background and ignore it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """Python with `arguments` in a pseudo-terminal, which is its controlling terminal."""

    def __init__(
        self, *arguments: str, columns: int = 80, rows: int = 24, env: dict[str, str] | None = None
    ) -> None:
        self._screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=0.5)
        self._screen.write_process_input = self.send  # answers queries for the cursor position
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._fd, slave = pty.openpty()
        self._size(columns, rows)
        given = {"PAGER": "cat", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})}
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=slave, stdout=slave, stderr=slave, env=os.environ | given, start_new_session=True,
            preexec_fn=_as_in_a_shell,
        )  # fmt: skip
        os.close(slave)

    def _size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns: int, rows: int) -> None:
        """Resize the window and notify the program."""
        self._screen.resize(rows, columns)
        self._size(columns, rows)

    def send(self, text: str) -> None:
        """Type or paste text while reading the program's output."""
        data = memoryview(text.encode("utf-8", "surrogateescape"))
        while data:
            readable, writable, _ = select.select([self._fd], [self._fd], [], 10)
            if writable:
                data = data[os.write(self._fd, data[:1024]) :]
            elif not readable or not self.read(0):
                raise AssertionError(f"nobody reads what is typed:\n{self.text}")

    def paste(self, text: str) -> None:
        """Paste text with bracketed paste."""
        self.send(f"\x1b[200~{text}\x1b[201~")

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.send("\x03")

    @property
    def screen(self) -> list[str]:
        """Return the rows of the screen without trailing blanks."""
        return [row.rstrip() for row in self._screen.display]

    @property
    def text(self) -> str:
        """Return the whole output, including what scrolled off the screen."""
        above = [self._row(line) for line in self._screen.history.top]
        return "\n".join([*above, *self.screen]).rstrip()

    def _row(self, line: Any) -> str:
        return "".join(line[x].data for x in range(self._screen.columns)).rstrip()

    def style(self, text: str) -> Any:
        """Return the character cell where `text` begins on the screen: `.bold`, `.fg`, …"""
        for y, row in enumerate(self._screen.display):
            if text in row:
                return self._screen.buffer[y][row.index(text)]
        raise AssertionError(f"{text!r} is not on the screen")

    def read(self, seconds: float) -> bool:
        """Read output for up to `seconds`; return False at the end."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Wait until `text` is on the screen or above it."""
        until = time.monotonic() + seconds
        while text not in self.text:
            if time.monotonic() > until or not self.read(0.2):
                raise AssertionError(f"{text!r} did not come:\n{self.text}")

    def wait(self, seconds: float = 60) -> int:
        """Wait for the command to end, and return its exit code."""
        until = time.monotonic() + seconds
        while self.read(0.2):
            assert time.monotonic() < until, f"it does not end:\n{self.text}"
        return self.process.wait(10)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)  # coverage saves its data
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        os.close(self._fd)
