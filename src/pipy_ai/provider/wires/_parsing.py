"""What the decoders share: JSON as providers send it, and the failures they report."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic_core import from_json

from ...errors import ErrorKind, ProviderError, error_info
from ...failures import classify_status, error_message_from_body
from ._litellm_proxy import unwrap_error_message

# Parameters of OpenAI, which LiteLLM translates for other APIs.
OPENAI_ONLY_FIELDS = frozenset(
    {
        "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs",
        "max_completion_tokens", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "reasoning_effort", "response_format", "service_tier", "top_logprobs",
        "verbosity", "web_search_options",
    }
)  # fmt: skip
DONE_SENTINEL = "[DONE]"  # what ends a stream of OpenAI's
_WHITESPACE = re.compile(r"\s*")


def parse_object(data: str) -> dict[str, Any]:
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
            raise malformed(data) from None
    if not isinstance(value, dict):
        raise malformed(data)
    return value


class MalformedResponseError(ProviderError):
    """What came is not what the wire says it should be."""


def malformed(data: str) -> MalformedResponseError:
    """What to raise for something that is not what the wire says it should be."""
    excerpt = data if len(data) <= 80 else data[:80] + "…"
    is_html = data.lstrip().startswith("<")
    text = "a web page, not an answer" if is_html else "something that cannot be read"
    hint = "Is api_base right?" if is_html else "Ask again."
    text = f"The provider sent {text}: {excerpt!r}. {hint}"
    return MalformedResponseError(error_info(ErrorKind.SERVER, text))


def split_documents(data: str) -> list[str]:
    """The JSON documents of an event that holds one behind the other; empty: it does not."""
    parts: list[str] = []
    end = 0
    while (start := _WHITESPACE.match(data, end).end()) < len(data):  # type: ignore[union-attr]  # ty: ignore[missing-union-attribute]
        if data.startswith(DONE_SENTINEL, start):
            end = start + len(DONE_SENTINEL)
        else:
            try:
                _, end = json.JSONDecoder().raw_decode(data, start)
            except (ValueError, RecursionError):
                return []
        parts.append(data[start:end])
    return parts


# The words of the vendors for what an HTTP status says elsewhere.
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
}


def error_from_payload(error: Any) -> ProviderError:
    """What to raise for an `error` that stands inside a stream or a document."""
    if not isinstance(error, dict):
        error = {"message": str(error)}
    text = error_message_from_body({"error": error}) or json.dumps(error)
    status: int | None = None
    for name in ("code", "status", "type", "status_code"):
        value = error.get(name)
        if isinstance(value, int) and 400 <= value < 600:
            status = value
            break
        if isinstance(value, str) and value.isdigit() and 400 <= int(value) < 600:
            status = int(value)
            break
        if isinstance(value, str) and status is None:
            status = _STATUS_BY_ERROR_TYPE.get(value.lower())
    kind = classify_status(status, json.dumps(error))
    if kind is ErrorKind.UNKNOWN:
        kind = ErrorKind.SERVER
    return ProviderError(error_info(kind, unwrap_error_message(text), status_code=status))


def token_count(value: Any) -> int | None:
    """A token count, or None when there is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
