"""The size of the terminal, without importing `shutil`, which would cost every command 2 ms."""

from __future__ import annotations

import contextlib
import os
import sys


def get_terminal_size(fallback: tuple[int, int] = (80, 24)) -> tuple[int, int]:
    """Return the columns and lines of the terminal, as `shutil.get_terminal_size` does."""
    columns, lines = _from_environment("COLUMNS"), _from_environment("LINES")
    if columns <= 0 or lines <= 0:
        size = os.terminal_size(fallback)
        if sys.__stdout__ is not None:
            with contextlib.suppress(ValueError, OSError):  # it is closed, or not a terminal
                size = os.get_terminal_size(sys.__stdout__.fileno())
        columns = columns if columns > 0 else size.columns or fallback[0]
        lines = lines if lines > 0 else size.lines or fallback[1]
    return columns, lines


def _from_environment(name: str) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return 0
