"""Render Markdown on a terminal while it is being written.

Complete blocks are printed once and never touched again. The block that is still growing is
drawn below them and redrawn in place. If it is taller than the screen, only its end is drawn until
it is complete, so nothing unfinished gets into the scrollback.

`rich` is imported after the first words were shown. A thread of its own draws: drawing never delays
the answer, and its cost is a share of the elapsed time, whatever the length of the text.
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

MIN_FRAME_S = 0.03  # minimum time between two drawings
IDLE_RATIO = 4.0  # after a drawing, wait this many times as long as it took

# Terminals that set one of these wrap rows again when they become narrower; others cut them off.
_REFLOWING_TERMINALS = (
    "ALACRITTY_WINDOW_ID", "KITTY_WINDOW_ID", "KONSOLE_VERSION", "TERM_PROGRAM", "TMUX",
    "VTE_VERSION", "WT_SESSION",
)  # fmt: skip


class LiveMarkdown:
    """A display of one text: call `feed`, then `end`. Both raise errors of the terminal."""

    def __init__(self) -> None:
        self._chunks: list[str] = []
        self._updated, self._ended = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run_painter, name="pipy-ai markdown", daemon=True
        )
        self._thread.start()

    def feed(self, text: str) -> None:
        """Add text."""
        if self._failure is not None:
            raise self._failure
        self._chunks.append(text)
        self._updated.set()

    def end(self) -> None:
        """Print the rest and wait until it is printed."""
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
        except BaseException as error:  # for example a closed terminal; the caller gets it
            self._failure = error


class Page:
    """The part of a text that is printed, and the rows that are drawn below it.

    `pending_text` is the part that is not printed yet, with control characters escaped.
    """

    def __init__(self) -> None:
        self.pending_text: str = ""
        self._renderer: Renderer | None = None
        self._has_printed = False
        self._drawn_rows: list[Row] = []
        self._drawn_columns = 0  # the screen's width when they were drawn; 0: nothing is drawn

    def paint(self, final: bool) -> None:
        """Print the complete blocks and draw the rest; with `final`, print everything."""
        size = os.get_terminal_size(sys.stdout.fileno())
        columns, lines = max(size.columns or 80, 20), max(size.lines or 24, 3)  # 0: unknown
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
        """Print the first words as they are, before `rich` is imported."""
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
        if unchanged == len(drawn):  # nothing that is on the screen has changed
            prefix = "\n" if self._drawn_columns and unchanged < len(rows) else ""
        else:
            unchanged = min(unchanged, len(rows) - 1)
            rows_up = min(rows_up - unchanged, lines - 1)
            prefix = "\r" + (f"\x1b[{rows_up}A" if rows_up > 0 else "")
        final_rows = rows[unchanged : len(complete_rows)]
        redrawn_rows = rows[max(unchanged, len(complete_rows)) :]
        text = "\n".join(f"{row.text}\x1b[K" for row in final_rows)
        if redrawn_rows:  # without line wrap: a character may be wider than we count
            separator = "\n" if final_rows else ""
            text += (
                f"{separator}\x1b[?7l"
                + "\n".join(f"{r.text}\x1b[K" for r in redrawn_rows)
                + "\x1b[?7h"
            )
        if text or prefix:
            write_raw(f"{prefix}{text}\x1b[J")
        self._drawn_rows, self._drawn_columns = pending_rows, columns
