"""`Row`: tell whether a line fits the terminal's width."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One row of the screen: what is written, and how many columns it takes."""

    text: str
    width: int
