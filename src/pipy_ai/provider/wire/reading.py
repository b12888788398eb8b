"""What the decoders share: JSON as providers send it, and the failures they report."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

from ...errors import ErrorKind, ProviderError, classify_status, error_info
from .proxied import own_words

DONE = "[DONE]"  # what ends a stream of OpenAI's
_SPACE = re.compile(r"\s*")


def parse(data: str) -> dict[str, Any]:
    """One JSON object of a stream.

    Raises:
        ProviderError: it is none.
    """
    try:
        value = from_json(data)
    except ValueError:
        try:
            value = json.loads(data)  # takes halves of surrogate pairs, which the other does not
        except (ValueError, RecursionError):
            raise unreadable(data) from None
    if not isinstance(value, dict):
        raise unreadable(data)
    return value


class Unreadable(ProviderError):
    """What came is not what the wire says it should be."""


def unreadable(data: str) -> Unreadable:
    """What to raise for something that is not what the wire says it should be."""
    shown = data if len(data) <= 80 else data[:80] + "…"
    page = data.lstrip().startswith("<")
    text = "a web page, not an answer" if page else "something that cannot be read"
    hint = "Is api_base right?" if page else "Ask again."
    text = f"The provider sent {text}: {shown!r}. {hint}"
    return Unreadable(error_info(ErrorKind.SERVER, text))


def documents(data: str) -> list[str]:
    """The JSON documents of an event that holds one behind the other; empty: it does not."""
    found: list[str] = []
    end = 0
    while (begin := _SPACE.match(data, end).end()) < len(data):  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
        if data.startswith(DONE, begin):
            end = begin + len(DONE)
        else:
            try:
                _, end = json.JSONDecoder().raw_decode(data, begin)
            except (ValueError, RecursionError):
                return []
        found.append(data[begin:end])
    return found


# The words of the vendors for what an HTTP status says elsewhere.
_STATUS = {
    "authentication_error": 401,
    "permission_error": 403,
    "billing_error": 402,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "invalid_request_error": 400,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "unauthenticated": 401,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "invalid_argument": 400,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "internal": 500,
}


def reported(error: Any) -> ProviderError:
    """What to raise for an `error` that stands inside a stream or a document."""
    if not isinstance(error, dict):
        error = {"message": str(error)}
    text = error.get("message")
    text = text if isinstance(text, str) and text else json.dumps(error)
    status: int | None = None
    for name in ("code", "status", "type", "status_code"):
        word = error.get(name)
        if isinstance(word, int) and 400 <= word < 600:
            status = word
            break
        if isinstance(word, str) and word.isdigit() and 400 <= int(word) < 600:
            status = int(word)
            break
        if isinstance(word, str) and status is None:
            status = _STATUS.get(word.lower())
    kind = classify_status(status, json.dumps(error))
    if kind is ErrorKind.UNKNOWN:
        kind = ErrorKind.SERVER
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if isinstance(raw, str) and raw not in text:
        text = f"{text}: {raw}"
    return ProviderError(error_info(kind, own_words(text), status_code=status))


def integer(value: Any) -> int | None:
    """A token count, or None when there is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
