"""`McpError` and the texts of errors from MCP servers."""

from __future__ import annotations

import unicodedata
from typing import Any

from ..utils.surrogates import clean_surrogates

MAX_REASON_CHARS = 2000
_JOINERS = "\u200c\u200d"  # writing and emoji need them


class McpError(ConnectionError):
    """An MCP server could not be started or reached, or does not follow the protocol."""


def clean_text(text: Any, limit: int) -> str:
    """Return text from a server without invisible and control characters, and not longer."""
    cleaned = "".join(
        char
        for char in clean_surrogates(str(text)[: 2 * limit])
        if char in "\n\t" or char in _JOINERS or unicodedata.category(char)[0] != "C"
    ).strip()
    if len(cleaned) <= limit:
        return cleaned
    return f"{cleaned[:limit]} […]"


def describe_reason(error: BaseException) -> str:
    """Return one line about an error; of a group, about its first."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no {error.filename!r}"
    text = clean_text(error, MAX_REASON_CHARS)
    return text or type(error).__name__
