"""Parse incomplete or malformed JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from pydantic_core import from_json

from .surrogates import clean_json_surrogates, clean_surrogates


def parse_streaming_json(text: str) -> dict[str, Any]:
    """Parse a prefix of a JSON object. Always returns a dict, never raises.

    Example:
        >>> parse_streaming_json('{"city": "Par')
        {'city': 'Par'}
        >>> parse_streaming_json("")
        {}
    """
    try:
        value = from_json(text, allow_inf_nan=False, allow_partial="trailing-strings")
    except (ValueError, RecursionError):
        try:
            repaired = _repair(text)
            value = from_json(repaired, allow_inf_nan=False, allow_partial="trailing-strings")
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


# Models write raw newlines in strings and lone surrogates; strict JSON allows neither.
_CONTROLS_TO_SPACES = dict.fromkeys(range(32), " ")
_LONE_SURROGATE_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def _repair(text: str) -> str:
    return _LONE_SURROGATE_ESCAPE.sub(r"\\ufffd", text.translate(_CONTROLS_TO_SPACES))


_HUGE_NUMBER = re.compile(r"\d[eE]\+?\d{3}|\d{300}")


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not valid JSON")


def parse_arguments(raw: str) -> tuple[dict[str, Any], str | None]:
    """Parse the arguments of a tool call; return them and a problem, or None if valid.

    An empty text means no arguments. Raw control characters in strings are accepted.
    """
    if not raw.strip():
        return {}, None
    try:
        value = from_json(raw, allow_inf_nan=False)
        if _HUGE_NUMBER.search(raw):
            json.dumps(value, allow_nan=False)  # a number that is too large becomes infinite
    except (ValueError, RecursionError):
        try:
            value = clean_json_surrogates(
                json.loads(raw, strict=False, parse_constant=_reject_constant)
            )
            from_json(json.dumps(value, allow_nan=False))  # rejects deep nesting
        except (ValueError, RecursionError) as error:
            return {}, f"the arguments are not valid JSON: {error}"
    if not isinstance(value, dict):
        type_name = {list: "a list", str: "a string", type(None): "null"}.get(
            type(value), "a number"
        )
        return {}, f"the arguments are {type_name}, not a JSON object"
    return value, None


def clean_json(value: Any) -> Any:
    """Replace what JSON cannot represent: NaN and infinity by null, lone surrogates by U+FFFD.

    Example:
        >>> clean_json({"score": float("nan"), "ranks": [1, float("-inf")]})
        {'score': None, 'ranks': [1, None]}
    """
    if isinstance(value, str):
        return clean_surrogates(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean_json(key): clean_json(item) for key, item in value.items()}
    return value
