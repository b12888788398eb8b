"""Markdown on a terminal, while it is being written.

What is complete is printed once, and stays. The block that is still being written stands below
it and is drawn anew where it stands; of one that is taller than the screen only the end is seen
until it is complete, so that nothing unfinished gets into the scrollback.

`rich` loads after the first words were shown. The drawing is done in a thread of its own: it
never holds the answer up, and what it costs is a share of the time, not of the length.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from .terminal import put, safe

if TYPE_CHECKING:
    from .rendering import Renderer

FRAME = 0.03  # seconds between two drawings at least
SHARE = 4.0  # a drawing is followed by a rest this many times as long

# Terminals that fold rows anew when they become narrower; others cut them.
_FOLD = (
    "ALACRITTY_WINDOW_ID", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "TERM_PROGRAM", "TMUX",
    "VTE_VERSION", "WT_SESSION",
)  # fmt: skip


class Markdown:
    """One text: `feed` it, then `end` it. Errors of the terminal are raised by either."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._news, self._over = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="pipy-ai markdown", daemon=True)
        self._thread.start()

    def feed(self, text: str) -> None:
        """More of the text."""
        if self._failure is not None:
            raise self._failure
        self._pieces.append(text)
        self._news.set()

    def end(self) -> None:
        """There is no more; returns when all of it is printed."""
        self._over.set()
        self._news.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            page, over = Page(), False
            while not over:
                self._news.wait()
                self._news.clear()
                over = self._over.is_set()
                count = len(self._pieces)
                page.text += safe("".join(self._pieces[:count]))
                del self._pieces[:count]
                began = time.perf_counter()
                page.paint(over)
                self._over.wait(max(FRAME, SHARE * (time.perf_counter() - began)))
        except BaseException as error:  # a closed terminal, say: it is the caller's
            self._failure = error


@dataclass(frozen=True)
class Row:
    """One row of the screen: what is written, and how many columns it takes."""

    text: str
    width: int


class Page:
    """What is printed, and what is drawn below it. `text`, which is `safe`, is not printed yet."""

    def __init__(self) -> None:
        self.text: str = ""
        self._renderer: Renderer | None = None
        self._began = False  # whether anything is printed
        self._drawn: list[Row] = []
        self._columns = 0  # that the screen had; 0: nothing stands there yet

    def paint(self, final: bool) -> None:
        """Print what is complete, and draw the rest; or print all of it."""
        size = os.get_terminal_size(sys.stdout.fileno())
        columns, lines = max(size.columns or 80, 20), max(size.lines or 24, 3)  # 0: not known
        if self._renderer is None:
            self._first_words(columns)
            from .rendering import Renderer

            self._renderer = Renderer()
        done: list[Row] = []
        rest: list[Row] = []
        for block in self._renderer.blocks(self.text, final):
            rows = self._renderer.rows(block, columns - 1)
            if rows and self._began and not block.continues:
                rows.insert(0, Row("", 0))
            if block.complete:
                done += rows
                self._began = self._began or bool(rows)
            else:
                rest = rows[-(lines - 1) :]
        self.text = self._renderer.rest
        self._draw(done, rest, columns, lines)
        if final and self._columns:
            put("\n")
        sys.stdout.flush()

    def _first_words(self, columns: int) -> None:
        """Show the first words as they are, before anything loads."""
        if 2 * len(self.text) < columns and "\n" not in self.text and "\t" not in self.text:
            put(self.text)
            self._drawn, self._columns = [Row("", columns)], columns  # no row that follows is equal

    def _draw(self, done: list[Row], rest: list[Row], columns: int, lines: int) -> None:
        rows, drawn = [*done, *rest], self._drawn
        if not rows and not drawn:
            return
        rows = rows or [Row("", 0)]
        up, same = len(drawn) - 1, 0
        if columns >= self._columns:
            pairs = zip(drawn, rows, strict=False)
            same = min(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), len(rows))
        elif any(name in os.environ for name in _FOLD):
            up = sum(max(1, -(-row.width // columns)) for row in drawn) - 1
        if same == len(drawn):  # nothing that stands there has changed
            begin = "\n" if self._columns and same < len(rows) else ""
        else:
            same = min(same, len(rows) - 1)
            up = min(up - same, lines - 1)
            begin = "\r" + (f"\x1b[{up}A" if up > 0 else "")
        final = rows[same : len(done)]
        still = rows[max(same, len(done)) :]
        text = "\n".join(f"{row.text}\x1b[K" for row in final)
        if still:  # a character may be wider than is known: that is not to become a row
            between = "\n" if final else ""
            text += f"{between}\x1b[?7l" + "\n".join(f"{r.text}\x1b[K" for r in still) + "\x1b[?7h"
        if text or begin:
            put(f"{begin}{text}\x1b[J")
        self._drawn, self._columns = rest, columns
