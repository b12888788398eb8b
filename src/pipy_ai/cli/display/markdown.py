"""Render Markdown on a terminal while it is being written.

Complete blocks are printed once and never touched again. The block that is still growing is
drawn below them and redrawn in place. If it is taller than the screen, only its end is drawn until
it is complete, so nothing unfinished gets into the scrollback.

The renderer is imported after the first words were shown. A thread of its own draws: drawing never
delays the answer, and its cost is a share of the elapsed time, whatever the length of the text.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from .row import Row
from .terminal import StreamEscaper, write_raw

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
            page, escaper, ended = Page(), StreamEscaper(), False
            while not ended:
                self._updated.wait()
                self._updated.clear()
                ended = self._ended.is_set()
                count = len(self._chunks)
                page.pending_text += escaper.feed("".join(self._chunks[:count]), ended)
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
        columns, lines = max(size.columns or 80, 2), max(size.lines or 24, 3)  # 0: unknown
        if self._renderer is None:
            self._print_first_words(columns)
            from .rendering import Renderer

            self._renderer = Renderer()
        complete_rows: list[Row] = []
        pending_rows: list[Row] = []
        for block in self._renderer.split_blocks(self.pending_text, final):
            rows = self._renderer.render_rows(block, columns - 1)
            if rows and (self._has_printed or pending_rows) and not block.continues:
                rows.insert(0, Row("", 0))
            if block.complete:
                complete_rows += rows
                self._has_printed = self._has_printed or bool(rows)
            else:
                pending_rows += rows
        self.pending_text = self._renderer.unfinished_text
        self._draw(complete_rows, pending_rows[-(lines - 1) :], columns, lines)
        if final and self._drawn_columns:
            write_raw("\n")
        sys.stdout.flush()

    def _print_first_words(self, columns: int) -> None:
        """Print the first words as they are, before the renderer is imported."""
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
        drawn = self._drawn_rows
        if not complete_rows and not pending_rows:
            if not drawn:
                return
            pending_rows = [Row("", 0)]  # what is drawn is not text, such as a list marker
        rows = [*complete_rows, *pending_rows]
        rows_up, unchanged = len(drawn) - 1, 0
        if columns >= self._drawn_columns:
            unchanged = _count_unchanged(drawn, complete_rows, pending_rows, columns)
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
        text = "\n".join(_row_text(row, columns) for row in final_rows)
        if redrawn_rows:  # without line wrap: a character may be wider than we count
            separator = "\n" if final_rows else ""
            text += (
                f"{separator}\x1b[?7l"
                + "\n".join(_row_text(row, columns) for row in redrawn_rows)
                + "\x1b[?7h"
            )
        if text or prefix:
            written_rows = redrawn_rows or final_rows
            is_below_erased = written_rows and _wraps(written_rows[-1], columns)
            write_raw(f"{prefix}{text}" if is_below_erased else f"{prefix}{text}\x1b[J")
        self._drawn_rows, self._drawn_columns = pending_rows, columns


def _count_unchanged(
    drawn: list[Row], complete_rows: list[Row], pending_rows: list[Row], columns: int
) -> int:
    """Return how many rows need not be drawn again."""
    count = 0
    for old, new in zip(drawn, [*complete_rows, *pending_rows], strict=False):
        # The end of a pending row is cut off if the terminal counts it as wider than we do.
        is_whole = new.text.isascii() or 2 * new.width < columns
        if old != new or (count < len(complete_rows) and not is_whole):
            break
        count += 1
    return count


def _row_text(row: Row, columns: int) -> str:
    """Return what draws a row over an old one."""
    # After a row that fills the screen's width, erasing would take its last character.
    return f"\x1b[J{row.text}" if _wraps(row, columns) else f"{row.text}\x1b[K"


def _wraps(row: Row, columns: int) -> bool:
    """Return whether the terminal may wrap a row. A tab does not erase what it skips, either."""
    return row.width >= columns or "\t" in row.text
