"""One row of the terminal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A row of the screen: its text, with escape sequences, and its width in columns."""

    text: str
    width: int
