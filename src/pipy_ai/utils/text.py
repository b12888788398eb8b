"""Format text for display: tables, dollars, errors."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


def format_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], right_aligned: Collection[str] = ()
) -> str:
    """Format a table. Columns named in `right_aligned` are right-aligned; the last is not padded.

    Example:
        >>> print(format_table(["model", "cost"], [["a/b", "$1.00"]], {"cost"}))
        model   cost
        a/b    $1.00
    """
    widths = [max(map(display_width, column)) for column in zip(header, *rows, strict=True)]
    widths[-1] = widths[-1] if header[-1] in right_aligned else 0
    return "\n".join(
        "  ".join(
            _pad(cell, width, name in right_aligned)
            for name, cell, width in zip(header, row, widths, strict=True)
        )
        for row in (header, *rows)
    )


def _pad(text: str, width: int, align_right: bool) -> str:
    padding = " " * (width - display_width(text))
    return padding + text if align_right else text + padding


def display_width(text: str) -> int:
    """Return the width of `text` in terminal columns: two for a Chinese character, for example.

    Example:
        >>> display_width("cost"), display_width("東京")
        (4, 4)
    """
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    zero_width = sum(category(char) in ("Mn", "Me", "Cf") for char in text)
    return len(text) - zero_width + sum(east_asian_width(letter) in "WF" for letter in text)


def truncate(text: str, width: int) -> str:
    """Truncate `text` to `width` columns of a terminal, ending in `…`.

    Example:
        >>> truncate("What is 2+2?", 8), truncate("東京タワー", 8)
        ('What is…', '東京タ…')
    """
    if len(text) <= width and display_width(text) <= width:
        return text
    prefix = text[: max(width - 1, 0)]
    while prefix and display_width(prefix) >= width:
        prefix = prefix[:-1]
    return f"{prefix}…"


def format_usd(dollars: float) -> str:
    """Format dollars with their significant digits: `$12.50`, `$0.0375`, `$0.00000123`."""
    if dollars == 0 or dollars >= 1:
        return f"${dollars:,.2f}"
    digits = f"{dollars:.{3 - _exponent(dollars)}f}".rstrip("0")
    return f"${digits}" + "0" * max(0, 2 - len(digits.partition(".")[2]))


def format_count(number: int, singular: str, plural: str = "") -> str:
    """Format a number with its noun; by default, the plural is the singular with an `s`.

    Example:
        >>> format_count(1, "row"), format_count(2000, "row"), format_count(0, "entry", "entries")
        ('1 row', '2,000 rows', '0 entries')
    """
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def _exponent(value: float) -> int:
    return int(f"{value:e}".partition("e")[2]) + 1


def suggest(word: str, candidates: Iterable[str], count: int = 1) -> str:
    """Return `did you mean …?` with the closest of the candidates, or an empty string.

    Example:
        >>> suggest("modle", ["model", "system"])
        'did you mean model?'
        >>> suggest("--log", ["--xl", "--usage"])  # the dashes do not make them alike
        ''
    """
    from difflib import get_close_matches

    names = {name.lstrip("-/"): name for name in candidates}
    matches = get_close_matches(word.lstrip("-/"), names, count)
    return did_you_mean([names[match] for match in matches])


def did_you_mean(names: Sequence[str]) -> str:
    """Return `did you mean …?` with these names, or an empty string.

    Example:
        >>> did_you_mean(["gpt-5", "gpt-5-mini"])
        'did you mean gpt-5 or gpt-5-mini?'
    """
    return f"did you mean {' or '.join(names)}?" if names else ""


def error_text(error: Exception) -> str:
    """Return the message of an exception without `[Errno …]`.

    Example:
        >>> error_text(OSError("[Errno 111] Connection refused"))
        'Connection refused'
    """
    text = str(getattr(error, "strerror", None) or error)
    return (text.partition("] ")[2] if text.startswith("[Errno ") else text) or type(error).__name__
