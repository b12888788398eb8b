"""Read the fields of a response, whose types may differ from the API's documentation."""

from __future__ import annotations

from typing import Any

_MAX_COUNT = 10**15  # of tokens, or of xAI's ticks


def content_text(value: Any) -> str:
    """Return a piece of content; empty if the field is missing, null or empty.

    Raises:
        TypeError: It is not text. Content must not be lost silently.
    """
    if isinstance(value, str):
        return value
    if not value:
        return ""
    raise TypeError(f"content of type {type(value).__name__}")


def optional_text(value: Any) -> str | None:
    """Return a text; None if the field is missing, empty or not text."""
    return value if isinstance(value, str) and value else None


def optional_id(value: Any) -> str | None:
    """Return an identifier, which some hosts send as a number; None: it has none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) <= _MAX_COUNT else None
    return optional_text(value)


def optional_index(value: Any) -> int | None:
    """Return the number of a content block; None if it is not one."""
    return value if isinstance(value, int) else None


def token_count(value: Any) -> int | None:
    """Return a token count; None if the value is not a plausible number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return int(value) if 0 <= value <= _MAX_COUNT else None  # false for NaN and infinity
