"""Bars of block characters, or of `#` if the encoding lacks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from .terminal import can_encode

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def format_bars(values: Sequence[float], width: int, stream: TextIO) -> list[str]:
    """Return a bar for each value; that of the largest has `width` columns.

    Example:
        >>> import io
        >>> format_bars([4, 2, 0.1, 0], 8, io.TextIOWrapper(io.BytesIO(), "utf-8"))
        ['████████', '████', '▎', '']
        >>> format_bars([4, 2, 0.1, 0], 8, io.TextIOWrapper(io.BytesIO(), "ascii"))
        ['########', '####', '#', '']
    """
    largest = max(values, default=0)
    if largest <= 0 or width < 1:
        return [""] * len(values)
    shares = [max(value, 0) / largest * width for value in values]
    if not can_encode(_EIGHTHS, stream):
        return ["#" * max(round(share), int(share > 0)) for share in shares]
    return [_block_bar(share) for share in shares]


def _block_bar(columns: float) -> str:
    eighths = max(round(columns * 8), int(columns > 0))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
