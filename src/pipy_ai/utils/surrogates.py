"""Replace lone surrogates: halves of a UTF-16 pair, which UTF-8 cannot encode."""

from __future__ import annotations

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def has_surrogates(text: str) -> bool:
    """Whether `text` contains any surrogate, lone or paired."""
    return not text.isascii() and _SURROGATE.search(text) is not None


def clean_surrogates(text: str) -> str:
    """Join surrogate pairs; replace lone surrogates with U+FFFD.

    Example:
        >>> clean_surrogates("\\ud83d\\ude00 and \\ud83d") == "\\U0001f600 and \\ufffd"
        True
    """
    if not has_surrogates(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def clean_json_surrogates(value: Any) -> Any:
    """Apply `clean_surrogates` to every string in a JSON value, including keys."""
    if isinstance(value, str):
        return clean_surrogates(value)
    if isinstance(value, list):
        return [clean_json_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {
            clean_json_surrogates(key): clean_json_surrogates(item) for key, item in value.items()
        }
    return value
