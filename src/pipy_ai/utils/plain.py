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
    widths = [max(map(cells, column)) for column in zip(header, *rows, strict=True)]
    widths[-1] = widths[-1] if header[-1] in right else 0
    return "\n".join(
        "  ".join(
            _padded(cell, width, name in right)
            for name, cell, width in zip(header, row, widths, strict=True)
        )
        for row in (header, *rows)
    )


def _padded(text: str, width: int, right: bool) -> str:
    spaces = " " * (width - cells(text))
    return spaces + text if right else text + spaces


def cells(text: str) -> int:
    """The columns that `text` takes on a terminal: two for each Chinese character, say.

    Example:
        >>> cells("cost"), cells("東京")
        (4, 4)
    """
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    marks = sum(category(letter) in ("Mn", "Me", "Cf") for letter in text)
    return len(text) - marks + sum(east_asian_width(letter) in "WF" for letter in text)


def cut(text: str, width: int) -> str:
    """`text`, ended by `…` where it would take more columns of a terminal than `width`.

    Example:
        >>> cut("What is 2+2?", 8), cut("東京タワー", 8)
        ('What is…', '東京タ…')
    """
    if len(text) <= width and cells(text) <= width:
        return text
    kept = text[: max(width - 1, 0)]
    while kept and cells(kept) >= width:
        kept = kept[:-1]
    return f"{kept}…"


def money(dollars: float) -> str:
    """Dollars with as many digits as matter: `$12.50`, `$0.0375`, `$0.00000123`."""
    if dollars == 0 or dollars >= 1:
        return f"${dollars:,.2f}"
    digits = f"{dollars:.{3 - _exponent(dollars)}f}".rstrip("0")
    return f"${digits}" + "0" * max(0, 2 - len(digits.partition(".")[2]))


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2]) + 1


def why(error: Exception) -> str:
    """What an exception says, without the number that the system has for it.

    Example:
        >>> why(OSError("[Errno 111] Connection refused"))
        'Connection refused'
    """
    said = str(getattr(error, "strerror", None) or error)
    return (said.partition("] ")[2] if said.startswith("[Errno ") else said) or type(error).__name__
