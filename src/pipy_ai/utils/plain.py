"""Plain text for people: aligned columns, dollars."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


def aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()
) -> str:
    """A table as text; the columns named in `right` stand at the right, the last is not padded.

    Example:
        >>> print(aligned(["model", "cost"], [["a/b", "$1.00"]], {"cost"}))
        model   cost
        a/b    $1.00
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    widths[-1] = widths[-1] if header[-1] in right else 0
    pads = [str.rjust if name in right else str.ljust for name in header]
    return "\n".join(
        "  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True))
        for row in (header, *rows)
    )


def money(dollars: float) -> str:
    """Dollars with as many digits as matter: `$12.50`, `$0.0375`, `$0.00000123`."""
    if dollars == 0 or dollars >= 1:
        return f"${dollars:,.2f}"
    digits = f"{dollars:.{3 - _exponent(dollars)}f}".rstrip("0")
    return f"${digits}" + "0" * max(0, 2 - len(digits.partition(".")[2]))


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2]) + 1
