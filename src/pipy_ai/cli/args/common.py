"""Options and values that several commands share."""

from __future__ import annotations

import argparse
from math import isfinite


def add_json_option(parser: argparse._ActionsContainer) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_quiet_option(parser: argparse._ActionsContainer) -> None:
    """Add `--quiet`, which `cli.main` applies."""
    parser.add_argument("-q", "--quiet", action="store_true", help="hide the status line and hints")


def add_pager_option(parser: argparse.ArgumentParser) -> None:
    """Add `--no-pager`, which `cli.main` applies."""
    parser.add_argument(
        "--no-pager", action="store_true", help="do not use a pager (also: PAGER=cat)"
    )


def split_assignment(flag: str, text: str) -> tuple[str, str]:
    """Split `NAME=VALUE`, the value of the option `flag`, into the name and the value.

    Raises:
        ValueError: There is no `=`, or nothing before it.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ValueError(f"{flag} {text}: expected NAME=VALUE")
    return name, value


def parse_number(text: str) -> float:
    """Parse a number, with or without decimals.

    Raises:
        argparse.ArgumentTypeError: The text is not a finite number.
    """
    try:
        number = float(text)
        if not isfinite(number):
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"invalid number {text!r}: use, for example, 2 or 0.5"
        ) from None
    return number


def parse_count(text: str) -> int:
    """Parse a whole number: `12000`, `12_000`, `12k`, `1.5M`.

    Raises:
        argparse.ArgumentTypeError: The text is not such a number.
    """
    unit = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    try:
        number = float((text if unit == 1 else text[:-1]).replace(",", "")) * unit
        if not 0 <= number < 1e15 or abs(number - round(number)) > 1e-6:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"invalid number {text!r}: use, for example, 12000, 12k or 1.5M"
        ) from None
    return round(number)
