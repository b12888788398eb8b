"""JSON that is still being written, or was written badly."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

from .surrogates import clean_json_surrogates


def parse_streaming_json(text: str) -> dict[str, Any]:
    """The best object that a prefix of a JSON text gives. Always a dict, never raises.

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


# Models write raw newlines inside strings and halves of surrogate pairs; strict JSON has neither.
_CONTROLS_TO_SPACES = dict.fromkeys(range(32), " ")
_LONE_SURROGATE_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def _repair(text: str) -> str:
    return _LONE_SURROGATE_ESCAPE.sub(r"\\ufffd", text.translate(_CONTROLS_TO_SPACES))


_HUGE_NUMBER = re.compile(r"\d[eE]\+?\d{3}|\d{300}")


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def parse_arguments(raw: str) -> tuple[dict[str, Any], str | None]:
    """The final arguments of a tool call, and what is wrong with them (None: nothing).

    No text at all means no arguments. Raw control characters in strings are forgiven.
    """
    if not raw.strip():
        return {}, None
    try:
        value = from_json(raw, allow_inf_nan=False)
        if _HUGE_NUMBER.search(raw):
            json.dumps(value, allow_nan=False)  # a number too large for one is infinite
    except (ValueError, RecursionError):
        try:
            value = clean_json_surrogates(
                json.loads(raw, strict=False, parse_constant=_reject_constant)
            )
            from_json(json.dumps(value, allow_nan=False))  # not too deep, nothing infinite
        except (ValueError, RecursionError) as error:
            return {}, f"the arguments are not valid JSON: {error}"
    if not isinstance(value, dict):
        type_name = {list: "a list", str: "a string", type(None): "null"}.get(
            type(value), "a number"
        )
        return {}, f"the arguments are {type_name}, not a JSON object"
    return value, None
