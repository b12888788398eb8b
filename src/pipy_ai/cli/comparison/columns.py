"""Draw several answers side by side while they arrive.

Below the finished part of the screen, a region shows the end of each answer and is redrawn in
place. At the end it is replaced by the whole answers.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

from ...utils.text import display_width, truncate
from ..display.row import Row
from ..display.terminal import DIM, RESET, StreamEscaper, can_encode, escape_controls, write_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..display.rendering import Renderer

BOLD = "\x1b[1m"
MIN_FRAME_S = 0.08  # minimum time between two drawings
IDLE_RATIO = 4.0  # after a drawing, wait this many times as long as it took
CHUNK_CHARS = 500
MAX_FRAME_CHUNKS = 100  # of text that are rendered for one drawing
FIXED_ROWS = 4  # the names, the rule, the states and the cursor's row
SPINNER = "|/-\\"


@dataclass
class _Column:
    """One answer: its text, the rows of it that are final, and its unfinished end."""

    name: str
    chunks: list[str] = field(default_factory=list)
    state: str = "waiting"
    error: str = ""
    ended_s: float | None = None
    rows: list[Row] = field(default_factory=list)
    pending_rows: list[Row] = field(default_factory=list)
    renderer: Renderer | None = None
    escaper: StreamEscaper = field(default_factory=StreamEscaper)
    pending_text: str = ""
    read_count: int = 0  # how many chunks are in `rows` and `pending_text`
    unread_chars: int = 0  # of the others

    @property
    def is_laid_out(self) -> bool:
        """Whether all text that arrived is in the rows."""
        return self.read_count == len(self.chunks)

    def lay_out(self, width: int, final: bool) -> None:
        """Render what arrived since the last call, or the beginning of it if that is a lot."""
        from ..display.rendering import MAX_PENDING_CHARS, Renderer

        if self.renderer is None:
            self.renderer = Renderer()
        end = len(self.chunks)
        if not final and self.unread_chars <= MAX_PENDING_CHARS:  # more is not parsed
            end = min(self.read_count + MAX_FRAME_CHUNKS, end)
        new_text = "".join(self.chunks[self.read_count : end])
        self.read_count = end
        self.unread_chars -= len(new_text)
        self.pending_text += self.escaper.feed(new_text, final)
        self.pending_rows = []
        for block in self.renderer.split_blocks(self.pending_text, final):
            is_complete, block.complete = block.complete, False  # so that long lines are folded
            rows = self.renderer.render_rows(block, width)
            if rows and (self.rows or self.pending_rows) and not block.continues:
                rows.insert(0, Row("", 0))
            if is_complete:
                self.rows += rows
            else:
                self.pending_rows += rows
        self.pending_text = self.renderer.unfinished_text

    def reset(self) -> None:
        """Forget the layout, because the width has changed."""
        self.rows, self.pending_rows, self.pending_text = [], [], ""
        self.renderer, self.escaper, self.read_count = None, StreamEscaper(), 0
        self.unread_chars = sum(map(len, self.chunks))

    def last_rows(self, count: int) -> list[Row]:
        """Return the last `count` rows."""
        missing = max(count - len(self.pending_rows), 0)
        return [*(self.rows[-missing:] if missing else []), *self.pending_rows][-count:]


class LiveColumns:
    """Columns of text on the terminal: call `add_text` and `end`, while `run` draws them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._columns = [_Column(escape_controls(name)) for name in names]
        self._started = time.monotonic()
        self._changed = asyncio.Event()
        self._drawn_rows = self._drawn_columns = self._frame = 0
        has_lines = can_encode("│─┼", sys.stdout)
        self._gap, self._line, self._crossing = (
            (" │ ", "─", "─┼─") if has_lines else (" | ", "-", "-+-")
        )

    def add_text(self, index: int, text: str) -> None:
        """Add text to a column."""
        pieces = [text[n : n + CHUNK_CHARS] for n in range(0, len(text), CHUNK_CHARS)]
        self._columns[index].chunks += pieces
        self._columns[index].unread_chars += len(text)
        self.set_state(index, "answering")

    def set_state(self, index: int, state: str) -> None:
        """Set what the last line of a column says."""
        self._columns[index].state = state
        self._changed.set()

    def end(self, index: int, error: str) -> None:
        """End a column, with the message of the error if there is one."""
        column = self._columns[index]
        column.ended_s = time.monotonic() - self._started
        column.error = error
        self.set_state(index, "failed" if error else "done")

    async def run(self) -> None:
        """Draw until every column has ended. A thread renders, so that no request waits for it."""
        while any(c.ended_s is None or not c.is_laid_out for c in self._columns):
            started = time.monotonic()
            self._changed.clear()
            await asyncio.to_thread(self._draw)
            if not all(column.is_laid_out for column in self._columns):
                continue
            pause_s = max(MIN_FRAME_S, IDLE_RATIO * (time.monotonic() - started))
            try:
                await asyncio.wait_for(self._changed.wait(), 0.2)
            except TimeoutError:
                continue
            await asyncio.sleep(pause_s)
        await asyncio.to_thread(self._draw, True)

    def _draw(self, final: bool = False) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        columns, lines = max(size.columns or 80, 20), max(size.lines or 24, FIXED_ROWS + 2)
        start = f"\x1b[{self._drawn_rows}A\r" if self._drawn_rows else "\r"
        if self._drawn_columns not in (0, columns):  # the terminal has wrapped rows again
            start = "\x1b[H\x1b[J"
            for column in self._columns:
                column.reset()
        self._drawn_columns = columns
        count = len(self._columns)
        width = max((columns - 1 - len(self._gap) * (count - 1)) // count, 1)
        for column in self._columns:
            column.lay_out(width, final)
        if final:
            cells = [self._final_rows(column, width) for column in self._columns]
        else:
            cells = [column.last_rows(lines - FIXED_ROWS) for column in self._columns]
        rows = [
            _joined(
                [_styled(column.name, width, BOLD) for column in self._columns], width, self._gap
            ),
            _joined([Row(self._line * width, width)] * count, width, self._crossing),
            *(_joined(row, width, self._gap) for row in zip_longest(*cells, fillvalue=Row("", 0))),
        ]
        if not final:
            self._frame += 1
            rows.append(
                _joined(
                    [_styled(self._state(column), width, DIM) for column in self._columns],
                    width,
                    self._gap,
                )
            )
        body = "\n".join(f"{row}\x1b[K" for row in rows)
        ending = "\n" if final else ""
        write_raw(f"{start}\x1b[?7l{body}\n\x1b[J{ending}\x1b[?7h")
        self._drawn_rows = len(rows)

    def _final_rows(self, column: _Column, width: int) -> list[Row]:
        rows = column.rows + column.pending_rows
        if column.error:
            from textwrap import wrap

            lines = wrap(escape_controls(column.error), width)
            rows = [*rows, *(Row(line, display_width(line)) for line in lines)]
        return rows

    def _state(self, column: _Column) -> str:
        seconds = column.ended_s
        if seconds is not None:
            return f"{column.state} after {seconds:.1f} s"
        spinner = SPINNER[self._frame % len(SPINNER)]
        return f"{spinner} {column.state}, {time.monotonic() - self._started:.1f} s"


def _styled(text: str, width: int, style: str) -> Row:
    shown = truncate(text, width)
    return Row(f"{style}{shown}{RESET}", display_width(shown))


def _joined(cells: Sequence[Row], width: int, gap: str) -> str:
    """Join the cells of one row of the screen."""
    *left, last = cells
    padded = [cell.text + " " * max(width - cell.width, 0) for cell in left]
    return gap.join([*padded, last.text])
