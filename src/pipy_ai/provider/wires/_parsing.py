"""Shared by the decoders: parsing providers' JSON, and the errors that they report."""

from __future__ import annotations

import json
import random
import re
from typing import Any

from pydantic_core import from_json

from ...errors import ErrorKind, ProviderError, error_info
from ...failures import classify_status, retry_after_seconds
from ._litellm_proxy import unwrap_error_message

DONE_SENTINEL = "[DONE]"  # ends a Chat Completions stream
MAX_MALFORMED_CHARS = 4096
_MAX_DOCUMENTS = 100  # in one event
_MAX_NESTING = 200  # also the limit of from_json
_MARK = random.getrandbits(60)
_SEPARATOR = f",{_MARK},"
_WHITESPACE = re.compile(r"\s*")

# The exceptions of a decoder when a field has the wrong type.
MALFORMED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def parse_object(data: str) -> dict[str, Any]:
    """Parse one JSON object of a stream.

    Raises:
        MalformedResponseError: It is not a JSON object.
    """
    try:
        value = from_json(data)
    except ValueError:
        try:
            value = json.loads(data)  # accepts lone surrogates, unlike from_json
        except (ValueError, RecursionError):
            raise MalformedResponseError(data) from None
        if _is_nested_deeper(value, _MAX_NESTING):
            raise MalformedResponseError(data) from None
    if not isinstance(value, dict):
        raise MalformedResponseError(data)
    return value


def parse_objects(texts: list[str]) -> list[dict[str, Any]] | None:
    """Parse JSON objects at once, which takes less time than one after the other.

    None: one of them cannot be parsed in this way, so that each needs `parse_object`.
    """
    # The separator is unpredictable: with a known one, three texts that are not JSON on their own
    # could be three objects together.
    try:
        values: list[Any] = from_json(f"[{_SEPARATOR.join(texts)}]")
    except ValueError:
        return None
    objects, marks = values[::2], values[1::2]
    is_valid = len(objects) == len(texts) and marks == [_MARK] * len(marks)
    return objects if is_valid and {*map(type, objects)} == {dict} else None


def _is_nested_deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return False
        level = [
            child
            for container in containers
            for child in (container.values() if isinstance(container, dict) else container)
        ]
    return True


class MalformedResponseError(ProviderError):
    """The response is not in the format of the API. `data` is the beginning of it."""

    def __init__(self, data: str) -> None:
        self.data = data[:MAX_MALFORMED_CHARS]
        super().__init__(error_info(ErrorKind.SERVER, self.describe(self.data)))

    @staticmethod
    def describe(data: str) -> str:
        """Return the message. Secrets must be removed first, because the data is truncated."""
        excerpt = data if len(data) <= 80 else data[:80] + "…"
        is_html = data.lstrip().startswith("<")
        text = "a web page, not a response" if is_html else "data that cannot be read"
        hint = "Check api_base." if is_html else "Try again."
        return f"The provider sent {text}: {excerpt!r}. {hint}"


def split_documents(data: str) -> list[str]:
    """Split an event of several JSON documents; empty: it holds one, or too many."""
    parts: list[str] = []
    end = 0
    decoder = json.JSONDecoder()
    while (start := _WHITESPACE.match(data, end).end()) < len(data):  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
        if len(parts) == _MAX_DOCUMENTS:
            return []
        if data.startswith(DONE_SENTINEL, start):
            end = start + len(DONE_SENTINEL)
        else:
            try:
                _, end = decoder.raw_decode(data, start)
            except (ValueError, RecursionError):
                return []
        parts.append(data[start:end])
    return parts


def with_filters(reason: str, parts: Any) -> str:
    """Add what Azure's content filter found in the parts of a response to a finish reason.

    Example:
        >>> hate = {"hate": {"filtered": True, "severity": "high"}}
        >>> with_filters("content_filter", [{"content_filter_results": hate}])
        'content_filter: hate'
    """
    from ...error_body import filtered_categories

    parts = parts if isinstance(parts, list) else []
    results = (part.get("content_filter_results") for part in parts if isinstance(part, dict))
    categories = ", ".join(filter(None, map(filtered_categories, results)))
    return f"{reason}: {categories}" if categories else reason


# The HTTP status that an error type stands for.
_STATUS_BY_ERROR_TYPE = {
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
    # Amazon Bedrock, inside a stream
    "validationexception": 400,
    "accessdeniedexception": 403,
    "modeltimeoutexception": 408,
    "modelerrorexception": 424,
    "modelstreamerrorexception": 424,
    "throttlingexception": 429,
    "internalserverexception": 500,
    "serviceunavailableexception": 503,
}


_SUCCESS_CODES = frozenset({"none", "", "0", "200", "20000", "ok", "success"})


def reported_error(document: dict[str, Any]) -> Any | None:
    """Return the error that a document without content reports, or None.

    Not all hosts put it into `error`: MiniMax has `base_resp`, SiliconFlow and DashScope have
    `code` and `message`, Qianfan `error_code`, iFlow `status` and `msg`, Cloudflare `errors`.
    """
    if document.get("error"):
        return document["error"]
    base = document.get("base_resp")
    codes = [document.get("code"), document.get("error_code")]
    codes += [base.get("status_code")] if isinstance(base, dict) else []
    if "error" in (document.get("object"), document.get("type")) or document.get("errors"):
        return document
    if any(str(code).lower() not in _SUCCESS_CODES for code in codes):
        return document
    stated = [code for code in codes if code is not None]
    known_fields = {"object", "choices", "content", "usage", "type", "id"}
    if stated or known_fields & document.keys():
        return None
    if not {"status", "detail"} & document.keys():  # a text may be a title or a keep-alive
        return None
    from ...error_body import error_message_from_body

    return document if error_message_from_body(document) else None


def error_from_payload(error: Any) -> ProviderError:
    """Return the exception of an `error` inside a stream or a document."""
    from ...error_body import MAX_BODY_CHARS, error_message_from_body, shortened

    if not isinstance(error, dict):
        error = {"message": error if isinstance(error, str) else json.dumps(error)}
    status: int | None = None
    for name in ("code", "status", "type", "status_code"):
        value = error.get(name)
        if isinstance(value, int) and 400 <= value < 600:
            status = value
            break
        if isinstance(value, str) and re.fullmatch("[45][0-9][0-9]", value):
            status = int(value)
            break
        if isinstance(value, str) and status is None:
            status = _STATUS_BY_ERROR_TYPE.get(value.lower())
    body = json.dumps(error, ensure_ascii=False)
    if len(body) > MAX_BODY_CHARS:
        error = shortened(error)
        body = json.dumps(error, ensure_ascii=False)[:MAX_BODY_CHARS]
    text = error_message_from_body({"error": error}) or body
    kind = classify_status(status, body)
    if kind is ErrorKind.UNKNOWN:
        kind = ErrorKind.SERVER
    text = unwrap_error_message(text)
    retry_after = retry_after_seconds({}, body)
    return ProviderError(error_info(kind, text, status_code=status, retry_after=retry_after))
