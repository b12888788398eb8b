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
from itertools import takewhile
from typing import TYPE_CHECKING

from .row import Row
from .terminal import escape_controls, write_raw

if TYPE_CHECKING:
    from .rendering import Renderer

MIN_FRAME_S = 0.03  # seconds between two drawings at least
IDLE_RATIO = 4.0  # a drawing is followed by a rest this many times as long

# Terminals that fold rows anew when they become narrower; others cut them.
_REFLOWING_TERMINALS = (
    "ALACRITTY_WINDOW_ID", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "TERM_PROGRAM", "TMUX",
    "VTE_VERSION", "WT_SESSION",
)  # fmt: skip


class LiveMarkdown:
    """One text: `feed` it, then `end` it. Errors of the terminal are raised by either."""

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._updated, self._ended = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run_painter, name="pipy-ai markdown", daemon=True
        )
        self._thread.start()

    def feed(self, text: str) -> None:
        """More of the text."""
        if self._failure is not None:
            raise self._failure
        self._chunks.append(text)
        self._updated.set()

    def end(self) -> None:
        """There is no more; returns when all of it is printed."""
        self._ended.set()
        self._updated.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run_painter(self) -> None:
        try:
            page, ended = Page(), False
            while not ended:
                self._updated.wait()
                self._updated.clear()
                ended = self._ended.is_set()
                count = len(self._chunks)
                page.pending_text += escape_controls("".join(self._chunks[:count]))
                del self._chunks[:count]
                started = time.perf_counter()
                page.paint(ended)
                self._ended.wait(max(MIN_FRAME_S, IDLE_RATIO * (time.perf_counter() - started)))
        except BaseException as error:  # a closed terminal, say: it is the caller's
            self._failure = error


class Page:
    """What is printed, and what is drawn below it. `text`, which is `safe`, is not printed yet."""

    def __init__(self) -> None:
        self.pending_text: str = ""
        self._renderer: Renderer | None = None
        self._has_printed = False  # whether anything is printed
        self._drawn_rows: list[Row] = []
        self._drawn_columns = 0  # that the screen had; 0: nothing stands there yet

    def paint(self, final: bool) -> None:
        """Print what is complete, and draw the rest; or print all of it."""
        size = os.get_terminal_size(sys.stdout.fileno())
        columns, lines = max(size.columns or 80, 20), max(size.lines or 24, 3)  # 0: not known
        if self._renderer is None:
            self._print_first_words(columns)
            from .rendering import Renderer

            self._renderer = Renderer()
        complete_rows: list[Row] = []
        pending_rows: list[Row] = []
        for block in self._renderer.split_blocks(self.pending_text, final):
            rows = self._renderer.render_rows(block, columns - 1)
            if rows and self._has_printed and not block.continues:
                rows.insert(0, Row("", 0))
            if block.complete:
                complete_rows += rows
                self._has_printed = self._has_printed or bool(rows)
            else:
                pending_rows = rows[-(lines - 1) :]
        self.pending_text = self._renderer.unfinished_text
        self._draw(complete_rows, pending_rows, columns, lines)
        if final and self._drawn_columns:
            write_raw("\n")
        sys.stdout.flush()

    def _print_first_words(self, columns: int) -> None:
        """Show the first words as they are, before anything loads."""
        if (
            2 * len(self.pending_text) < columns
            and "\n" not in self.pending_text
            and "\t" not in self.pending_text
        ):
            write_raw(self.pending_text)
            # No later row equals this one, so the line is redrawn.
            self._drawn_rows, self._drawn_columns = [Row("", columns)], columns

    def _draw(
        self, complete_rows: list[Row], pending_rows: list[Row], columns: int, lines: int
    ) -> None:
        rows, drawn = [*complete_rows, *pending_rows], self._drawn_rows
        if not rows and not drawn:
            return
        rows = rows or [Row("", 0)]
        rows_up, unchanged = len(drawn) - 1, 0
        if columns >= self._drawn_columns:
            pairs = zip(drawn, rows, strict=False)
            unchanged = min(
                sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)), len(rows)
            )
        elif any(name in os.environ for name in _REFLOWING_TERMINALS):
            rows_up = sum(max(1, -(-row.width // columns)) for row in drawn) - 1
        if unchanged == len(drawn):  # nothing that stands there has changed
            prefix = "\n" if self._drawn_columns and unchanged < len(rows) else ""
        else:
            unchanged = min(unchanged, len(rows) - 1)
            rows_up = min(rows_up - unchanged, lines - 1)
            prefix = "\r" + (f"\x1b[{rows_up}A" if rows_up > 0 else "")
        final_rows = rows[unchanged : len(complete_rows)]
        redrawn_rows = rows[max(unchanged, len(complete_rows)) :]
        text = "\n".join(f"{row.text}\x1b[K" for row in final_rows)
        if redrawn_rows:  # a character may be wider than is known: that is not to become a row
            separator = "\n" if final_rows else ""
            text += (
                f"{separator}\x1b[?7l"
                + "\n".join(f"{r.text}\x1b[K" for r in redrawn_rows)
                + "\x1b[?7h"
            )
        if text or prefix:
            write_raw(f"{prefix}{text}\x1b[J")
        self._drawn_rows, self._drawn_columns = pending_rows, columns
