"""Tables that fit the terminal, and a pager for what is longer than its screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from ...utils.terminal_size import get_terminal_size
from ...utils.text import display_width, format_table, truncate
from . import terminal
from .status import hide_status

MIN_CELL_WIDTH = 12  # columns are shortened to this width before others are dropped
MAX_FIRST_WIDTH = 32  # the first column, which names the row, is not shortened below this
DEFAULT_PAGER = "less"


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[str] = (),
    drop: Sequence[str] = (),
    colors: Mapping[tuple[int, str], str] = MappingProxyType({}),
) -> None:
    """Print aligned columns on stdout, and in a pager what is longer than the screen.

    On a terminal, the header is bold and the table fits the width of the screen. If not even two
    columns fit, each row is printed as `name: value` lines.

    Args:
        header: The names of the columns.
        rows: The cells of each row.
        right: The columns that are aligned right. They are never shortened.
        drop: The columns to omit, in this order, if the table is too wide; then the others
            from the right. The first column always stays.
        colors: The colors of cells on a terminal, by the index of the row and the column's name.
    """
    cells = [[terminal.escape_controls(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        terminal.write_raw(format_table(header, cells, right) + "\n")
        return
    cells = [[" ".join(cell.split()) if "\n" in cell else cell for cell in row] for row in cells]
    widths = [max(map(display_width, column)) for column in zip(header, *cells, strict=True)]
    screen_width = _screen_size()[0] or sys.maxsize
    shown = fit_columns(header, widths, screen_width, right, drop)
    if len(shown) == 1 < len(header):
        write_paged("".join(_record_lines(header, cells)))
        return
    if sum(widths) + 2 * (len(widths) - 1) > screen_width:
        ellipsis = "…" if terminal.can_encode("…", sys.stdout) else "~"
        header_row, *cells = [
            [truncate(row[index], width).replace("…", ellipsis) for index, width in shown.items()]
            for row in (header, *cells)
        ]
    else:
        header_row = list(header)
    title, *lines = format_table(header_row, cells, right).split("\n")
    names = [header[index] for index in shown]
    for (row_index, name), color in colors.items():
        if name in names and (cell := cells[row_index][names.index(name)]):
            before, _, after = lines[row_index].rpartition(cell)
            colored_cell = terminal.colored(cell, color, sys.stdout)
            lines[row_index] = f"{before}{colored_cell}{after}"
    write_paged("".join(f"{line}\n" for line in [terminal.bold(title, sys.stdout), *lines]))
    if dropped := [name for index, name in enumerate(header) if index not in shown]:
        terminal.hint(f"columns hidden to fit the terminal: {', '.join(dropped)}")


def _record_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the first cell of each row, and below it the others with their names."""
    for name, *cells in rows:
        yield f"{terminal.bold(name, sys.stdout)}\n"
        for column, cell in zip(header[1:], cells, strict=True):
            if cell and column:
                yield terminal.wrap(f"  {column}: {cell}\n", sys.stdout)


def fit_columns(
    header: Sequence[str],
    widths: Sequence[int],
    screen_width: int,
    right: Collection[str] = (),
    drop: Sequence[str] = (),
) -> dict[int, int]:
    """Return the indexes of the columns that fit next to each other, with their widths.

    Example:
        >>> fit_columns(["id", "title", "cost"], [10, 40, 6], 40, right={"cost"})
        {0: 10, 1: 20, 2: 6}
        >>> fit_columns(["id", "title", "model"], [10, 40, 30], 60)
        {0: 10, 1: 23, 2: 23}
        >>> fit_columns(["id", "title", "cost"], [10, 40, 6], 20, right={"cost"}, drop=["title"])
        {0: 10, 2: 6}
    """
    shown = {index: min(width, screen_width) for index, width in enumerate(widths)}
    names = [*drop, *(name for name in reversed(header) if name not in drop)]
    droppable = [header.index(name) for name in names if header.index(name) > 0]
    while sum(shown.values()) + 2 * (len(shown) - 1) > screen_width:
        text_columns = (index for index in shown if header[index] not in right)
        shrinkable = [index for index in text_columns if shown[index] > _min_width(index, widths)]
        if shrinkable:
            shown[max(shrinkable, key=lambda index: shown[index])] -= 1
        elif droppable:
            shown.pop(droppable.pop(0), None)
            shown = {index: min(widths[index], screen_width) for index in shown}  # there is room
        else:
            return {0: max(screen_width, 1)}
    return shown


def _min_width(index: int, widths: Sequence[int]) -> int:
    return min(widths[index], MIN_CELL_WIDTH if index else MAX_FIRST_WIDTH)


def write_paged(text: str) -> None:
    """Write trusted text to stdout, through a pager if it is longer than the terminal's screen.

    The pager is `PIPY_PAGER`, else `PAGER`, else `less`. An empty value or `cat` means none.
    """
    hide_status()
    if not _needs_pager(text) or not _run_pager(text):
        terminal.write_raw(text)


def _needs_pager(text: str) -> bool:
    if not (terminal.use_pager and sys.stdout.isatty()) or terminal.is_dumb():
        return False
    if sys.stdin is None or not sys.stdin.isatty():  # no one might be there to quit the pager
        return False
    lines = _screen_size()[1]
    return bool(lines) and text.count("\n") >= lines


def _screen_size() -> tuple[int, int]:
    """Return the columns and lines of the terminal; 0 for what is unknown."""
    return get_terminal_size((0, 0))


def _run_pager(text: str) -> bool:
    """Show the text in the pager; return False if there is none."""
    import shlex
    import signal
    import subprocess

    command = os.environ.get("PIPY_PAGER", os.environ.get("PAGER", DEFAULT_PAGER)).strip()
    if command in ("", "cat"):
        return False
    # As git does: quit if it fits on one screen, keep colors, leave the text on the screen.
    environment = {"LESS": "FRX", "LV": "-c", **os.environ}
    try:
        pager = subprocess.Popen(shlex.split(command), stdin=subprocess.PIPE, env=environment)
    except (OSError, ValueError):  # it is not installed, or not a valid command line
        return False
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pager's
    try:
        pager.communicate(
            text.encode(sys.stdout.encoding or "ascii", sys.stdout.errors or "replace")
        )
    finally:
        signal.signal(signal.SIGINT, previous_handler)
    return True
