"""The line that `status` shows: drawn by a thread, erased before other output.

It is drawn and erased with carriage returns and blanks, which every terminal understands.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from ...utils.text import display_width, truncate
from . import terminal
from .echo import HiddenInput, is_foreground
from .suspension import SuspensionHandler

REDRAW_EVERY_S = 0.1
BRAILLE_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
ASCII_FRAMES = "|/-\\"
MIN_COLUMNS = 8  # a narrower terminal gets no status line


class StatusLine:
    """The status line while it is shown. A lock keeps other output apart."""

    def __init__(self, text: str | Callable[[], str]) -> None:
        self._text = text
        self._started = time.monotonic()
        self._fd = sys.stderr.fileno()
        self._input = HiddenInput(self._fd)  # what is typed would move the cursor
        self._frames = _spinner_frames(sys.stderr)
        self._lock = threading.RLock()  # a signal handler may interrupt its holder
        self._wake = threading.Event()
        self._width = 0  # of the line on the screen, 0 if it is erased
        self._stopped = False
        self._line_is_open = False  # whether other output stands in the middle of a line
        self._streams: list[tuple[str, TextIO, Any]] = []
        self._suspension = SuspensionHandler(self._before_suspension, self._lock.release)

    def start(self) -> None:
        """Draw the line and keep it up to date."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream.isatty():
                guarded = _GuardedStream(stream, self)
                self._streams.append((name, stream, guarded))
                setattr(sys, name, guarded)
        self._suspension.install()
        self._draw()
        threading.Thread(target=self._run, name="pipy-ai-status", daemon=True).start()

    def stop(self) -> None:
        """Erase the line for good."""
        self._wake.set()
        with self._lock:
            self._stopped = True
            self.erase()
            self._input.show()
        for name, stream, guarded in self._streams:
            if getattr(sys, name) is guarded:
                setattr(sys, name, stream)
        self._suspension.remove()

    def set_text(self, text: str | Callable[[], str]) -> None:
        """Change the text; it is drawn at once."""
        if text != self._text:
            self._text = text
            self._draw()

    def write(self, stream: TextIO, text: str) -> int:
        """Write other output in place of the line."""
        with self._lock:
            if text:
                self.erase()
                self._line_is_open = not text.endswith("\n")
            return stream.write(text)

    def erase(self) -> None:
        """Erase the line until it is drawn again."""
        with self._lock:
            if self._width:
                width = self._columns() - 1
                self._write_bytes(f"\r{' ' * width}\r")
                self._width = 0

    def _run(self) -> None:
        while not self._wake.wait(REDRAW_EVERY_S):
            self._draw()

    def _draw(self) -> None:
        with self._lock:
            if self._stopped or self._line_is_open or not is_foreground(self._fd):
                return
            self._input.hide()
            row = self._row()
            width = display_width(row)
            if row:
                padding = min(self._width, self._columns() - 1) - width  # of a longer row
                self._write_bytes(f"\r{row}{' ' * padding}")
            self._width = width

    def _row(self) -> str:
        """Return the spinner, the text and the seconds, in one row of the terminal."""
        columns = self._columns()
        if columns < MIN_COLUMNS:
            return ""
        seconds = time.monotonic() - self._started
        frame = self._frames[int(seconds / REDRAW_EVERY_S) % len(self._frames)]
        shows_elapsed = isinstance(self._text, str) and seconds >= 1  # a function counts itself
        text = self._text if isinstance(self._text, str) else self._text()
        text = " ".join(terminal.escape_controls(text).split())
        elapsed = f"  {int(seconds)} s" if shows_elapsed else ""
        encoding = sys.stderr.encoding or "ascii"
        text = text.encode(encoding, "replace").decode(encoding)
        text = truncate(text, columns - 1 - len(f"{frame} {elapsed}"))  # the last column would wrap
        return f"{frame} {text if self._frames == BRAILLE_FRAMES else _to_ascii(text)}{elapsed}"

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._fd).columns or 80
        except OSError:
            return 0

    def _write_bytes(self, text: str) -> None:
        """Write past the buffer of stderr, which has its own lock."""
        try:
            os.write(self._fd, text.encode(sys.stderr.encoding or "ascii", "replace"))
        except OSError:  # the terminal is gone
            self._stopped = True

    def _before_suspension(self) -> None:
        self._lock.acquire()  # the other thread draws nothing meanwhile
        self.erase()
        self._input.show()


class _GuardedStream:
    """A stream whose writing erases the status line first."""

    def __init__(self, stream: TextIO, line: StatusLine) -> None:
        self._stream = stream
        self._line = line

    def write(self, text: str) -> int:
        return self._line.write(self._stream, text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _spinner_frames(stream: TextIO) -> str:
    """Return the spinner's frames: braille patterns where the terminal has them."""
    if os.environ.get("TERM") == "linux":  # the console of Linux, whose font lacks them
        return ASCII_FRAMES
    try:
        f"{BRAILLE_FRAMES}…".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return ASCII_FRAMES
    return BRAILLE_FRAMES


def _to_ascii(text: str) -> str:
    return text.replace("…", "~")
