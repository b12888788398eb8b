"""Read the fields of a response, whose types may differ from the API's documentation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ...utils.surrogates import clean_json_surrogates

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
    if type(value) is int:
        return value if 0 <= value <= _MAX_COUNT else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return int(value) if 0 <= value <= _MAX_COUNT else None  # false for NaN and infinity


def dump_part(part: dict[str, Any]) -> str | None:
    """Return a part of a response as JSON, for later requests to repeat.

    None: it holds NaN or infinity, so that no request could hold it.
    """
    try:
        return json.dumps(part, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return None


def load_part(text: str) -> dict[str, Any] | None:
    """Return a part that `dump_part` wrote; None if it is not a valid JSON object."""
    try:
        part = json.loads(text, parse_float=_finite_number, parse_constant=_finite_number)
    except (ValueError, RecursionError):
        return None
    return clean_json_surrogates(part) if isinstance(part, dict) else None


def _finite_number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a number of JSON")
    return number


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return an object; an empty one if the value is something else."""
    return value if isinstance(value, dict) else {}


def as_mappings(values: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list. Other items are ignored, so that the answer is not lost."""
    return (
        [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
    )
