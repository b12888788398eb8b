"""Read the body of an error response: its codes, its texts, and the delay it asks for.

Providers, gateways and proxies nest errors in many ways. Only the fields below are read, so that a
prompt that is quoted elsewhere in the body is not taken for the provider's words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

_CODE_FIELDS = frozenset(
    {"code", "type", "status", "reason", "error_code", "errorCode", "err_code", "error_type",
     "__type", "Code"}
)  # fmt: skip
_DELAY_FIELDS = ("retryDelay", "retry_after", "retryAfter", "retry_after_seconds")
_QUOTA_NAME_FIELDS = frozenset({"quotaId", "quotaMetric", "quota_limit"})  # of Google
_TEXT_FIELDS = (
    "error", "message", "msg", "detail", "errors", "error_msg", "error_message", "errorMessage",
    "error_description", "status_msg", "Message", "ErrorMsg", "title",
)  # fmt: skip
_MESSAGE_FIELDS = (*_TEXT_FIELDS, "base_resp", "Response", "Error")  # MiniMax, Tencent
_CONTAINERS = (
    *_MESSAGE_FIELDS, "details", "metadata", "raw", "innererror", "inner_error", "violations",
)  # fmt: skip
_MAX_DEPTH = 8
_MAX_ITEMS = 20  # of a list
MAX_BODY_CHARS = 64 << 10
_MAX_TEXT_CHARS = 2000  # what explains an error comes first
_MESSAGE_NAMES = frozenset(_MESSAGE_FIELDS) - {"title"}
_MAX_CHARS_BEHIND = 4  # a quote, a bracket and a full stop
_MAX_PAGE_CHARS, _MAX_TITLE_CHARS = 8000, 200


@dataclass
class ErrorBody:
    """The contents of an error response: codes, Google's quota names, texts; outermost first."""

    codes: list[str] = field(default_factory=list)
    quota_names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def add(self, value: Any, depth: int = 0) -> None:
        """Add the codes and texts of a decoded JSON value; JSON inside a text is decoded too."""
        if depth > _MAX_DEPTH:
            return
        if isinstance(value, str):
            document = wrapped_document(value)
            if document is None:
                self.texts.append(value[:_MAX_TEXT_CHARS])
                if " " not in value:
                    self.codes.append(value)
                return
            prefix = value.partition("{")[0].strip(" [\n")
            if prefix:
                self.texts.append(prefix[:_MAX_TEXT_CHARS])
            value = document
        if isinstance(value, list):
            for item in value[:_MAX_ITEMS]:
                self.add(item, depth + 1)
        if not isinstance(value, dict):
            return
        for name in _CODE_FIELDS & value.keys():
            if isinstance(value[name], str | int):
                self.codes.append(str(value[name]))
        for name in _QUOTA_NAME_FIELDS & value.keys():
            self.quota_names.append(str(value[name]))
        for name in _CONTAINERS:
            if name in value:
                self.add(value[name], depth + 1)


def parse_error_body(text: str) -> ErrorBody:
    """Parse a body, or the text of an exception that contains one; of a web page, the title."""
    body = ErrorBody()
    if text.lstrip().startswith("<"):
        title = page_title(text)
        body.texts = [title] if title else []
    else:
        body.add(text)
    return body


def wrapped_document(text: str) -> Any:
    """Return the error document in a text, or None. A quoted document is not the error.

    Clients and gateways put text before a document, such as "Error code: 400 - ", never after it.
    """
    document = find_document(text)
    first = document[0] if isinstance(document, list) and document else document
    is_error = isinstance(first, dict) and not _MESSAGE_NAMES.isdisjoint(first)
    ends_text = len(text) - text.rfind("}") <= _MAX_CHARS_BEHIND
    return document if text.lstrip().startswith(("{", "[")) or (is_error and ends_text) else None


def filtered_categories(results: Any) -> str:
    """Return what Azure's content filter found, such as `hate, jailbreak`.

    Example:
        >>> filtered_categories({"hate": {"filtered": True, "severity": "high"}, "profanity": {}})
        'hate'
    """
    if not isinstance(results, dict):
        return ""
    found = (n for n, v in results.items() if isinstance(v, dict) and v.get("filtered") is True)
    return ", ".join(str(name)[:40] for name in found)


def page_title(text: str) -> str:
    """Return the title of a web page, or an empty string. A pattern would take quadratic time."""
    beginning = text[:_MAX_PAGE_CHARS]
    lower = beginning.lower()
    start = lower.find("<title>")
    end = lower.find("</title>", start)
    return beginning[start + 7 : end].strip()[:_MAX_TITLE_CHARS] if 0 <= start < end else ""


def shortened(error: Any, depth: int = 0) -> Any:
    """Return an error without values that are too long or too deeply nested to search.

    An event of a stream may be far longer than the part of an error body that is read.
    """
    if isinstance(error, str):
        return error[:_MAX_TEXT_CHARS]
    if not isinstance(error, dict | list):
        return error
    if depth > _MAX_DEPTH:
        return None
    if isinstance(error, list):
        return [shortened(item, depth + 1) for item in error[:_MAX_ITEMS]]
    return {
        name: shortened(error[name], depth + 1)
        for name in (*_CONTAINERS, *_CODE_FIELDS, *_QUOTA_NAME_FIELDS, *_DELAY_FIELDS)
        if name in error
    }


def find_document(text: str) -> Any:
    """Return the JSON object or list in a text, or None. A `repr` of a dict is decoded too."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end:
        return None
    document = text[start : end + 1]
    try:
        return json.loads(document)
    except (ValueError, RecursionError):
        pass
    try:  # a list of objects, as Gemini sends it, or several lines of a stream
        return json.loads(f"[{document}]")
    except (ValueError, RecursionError):
        pass
    if not document.startswith("{'"):
        return None
    from ast import literal_eval  # the OpenAI SDK prints bodies as Python

    try:
        return literal_eval(document)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def error_message_from_body(body: Any) -> str | None:
    """Return the human-readable message in a decoded JSON error body, or None.

    The text of the provider behind a gateway, such as OpenRouter's `metadata.raw`, is appended.

    Example:
        >>> error_message_from_body({"error": {"message": "Slow down.", "code": 429}})
        'Slow down.'
        >>> error_message_from_body([{"detail": "Not found"}])
        'Not found'
    """
    return _message(body, 0)


def _message(body: Any, depth: int) -> str | None:
    if depth > _MAX_DEPTH:
        return None
    if isinstance(body, list):
        return next((text for item in body if (text := _message(item, depth + 1))), None)
    if not isinstance(body, dict):
        return None
    messages: list[str] = []
    for name in _MESSAGE_FIELDS:
        value = body.get(name)
        message = value if isinstance(value, str) else _message(value, depth + 1)
        if message:
            messages.append(message)
    message = next((text for text in messages if " " in text), next(iter(messages), None))
    if message and message.startswith("{"):  # a body that a client or gateway passed on as text
        message = _message(find_document(message), depth + 1) or message
    metadata = body.get("metadata")
    upstream = metadata.get("raw") if isinstance(metadata, dict) else None
    if message and isinstance(upstream, str) and upstream not in message:
        upstream = _message(find_document(upstream), depth + 1) or upstream
        return f"{message}: {upstream}"
    details = body.get("innererror") or body.get("inner_error")  # of Azure
    if message and isinstance(details, dict):
        results = details.get("content_filter_result") or details.get("content_filter_results")
        if categories := filtered_categories(results):
            return f"{message} (filtered: {categories})"
    return message
