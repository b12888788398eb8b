"""Turn exceptions, HTTP statuses and error bodies into `ErrorInfo`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import ErrorInfo, ErrorKind, error_info

if TYPE_CHECKING:
    from .types import AssistantMessage

# By class name, so that neither LiteLLM nor an HTTP library needs to be imported.
_KIND_BY_CLASS_NAME: dict[str, ErrorKind] = {
    "LocalProtocolError": ErrorKind.BAD_REQUEST,  # such as an invalid header
    "ContextWindowExceededError": ErrorKind.CONTEXT_OVERFLOW,
    "ContentPolicyViolationError": ErrorKind.CONTENT_FILTER,
    "RouterRateLimitError": ErrorKind.OVERLOADED,  # every deployment is cooling down
    "AuthenticationError": ErrorKind.AUTH,
    "PermissionDeniedError": ErrorKind.AUTH,
    "NotFoundError": ErrorKind.NOT_FOUND,
    "RateLimitError": ErrorKind.RATE_LIMIT,
    "PaymentRequiredError": ErrorKind.QUOTA,
    "Timeout": ErrorKind.TIMEOUT,
    "APITimeoutError": ErrorKind.TIMEOUT,
    "TimeoutException": ErrorKind.TIMEOUT,
    "TimeoutError": ErrorKind.TIMEOUT,
    "UnsupportedParamsError": ErrorKind.BAD_REQUEST,
    "APIConnectionError": ErrorKind.CONNECTION,
    "TransportError": ErrorKind.CONNECTION,
    "NetworkError": ErrorKind.CONNECTION,
    "ProxyError": ErrorKind.CONNECTION,
    "ConnectionError": ErrorKind.CONNECTION,
    "ProtocolError": ErrorKind.CONNECTION,
    "CancelledError": ErrorKind.CONNECTION,  # a task inside the backend
}

_KIND_BY_STATUS: dict[int, ErrorKind] = {
    400: ErrorKind.BAD_REQUEST,
    401: ErrorKind.AUTH,
    402: ErrorKind.QUOTA,
    403: ErrorKind.AUTH,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    409: ErrorKind.SERVER,
    413: ErrorKind.CONTEXT_OVERFLOW,
    422: ErrorKind.BAD_REQUEST,
    429: ErrorKind.RATE_LIMIT,
    503: ErrorKind.OVERLOADED,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}

# Patterns are compiled on first use: most requests do not fail.
_QUOTA_PATTERN = (
    r"(?i)insufficient_quota|exceeded your current quota|credit balance|out of credit"
    r"|billing_error|billing (hard )?limit|billing details|check your plan"
)

# Errors of LiteLLM's proxy: the key is not its master key; the model is not in its configuration.
PROXY_WRONG_KEY_TEXT = "No connected db."
_PROXY_UNKNOWN_MODEL_TEXT = "Invalid model name passed in model="

_OVERLOADED_PATTERN = r"(?i)overloaded|over capacity|at capacity"

_CONNECTION_PATTERN = (
    r"(?i)connection (error|refused|reset|aborted)|peer closed connection|incomplete chunked read"
    r"|all connection attempts failed|name or service not known|cannot connect"
    r"|ended before a finish_reason"
)


def classify_status(status: int | None, text: str) -> ErrorKind:
    """Classify an error by its HTTP status and text."""
    if status not in (401, 403, 404) and is_overflow_message(text):
        return ErrorKind.CONTEXT_OVERFLOW
    if "rate_limit_exceeded" in text and status in (None, 429):
        return ErrorKind.RATE_LIMIT
    if re.search(_QUOTA_PATTERN, text) and status in (None, 400, 402, 403, 429):
        return ErrorKind.QUOTA
    if status is None or status < 400:
        return ErrorKind.OVERLOADED if re.search(_OVERLOADED_PATTERN, text) else ErrorKind.UNKNOWN
    if status >= 500 and re.search(_OVERLOADED_PATTERN, text):
        return ErrorKind.OVERLOADED
    if status == 400 and PROXY_WRONG_KEY_TEXT in text:
        return ErrorKind.AUTH
    if status == 400 and _PROXY_UNKNOWN_MODEL_TEXT in text:
        return ErrorKind.NOT_FOUND
    default_kind = ErrorKind.SERVER if status >= 500 else ErrorKind.BAD_REQUEST
    return _KIND_BY_STATUS.get(status, default_kind)


# LiteLLM's error for a model name without a known provider, followed by its own advice.
_UNKNOWN_PROVIDER_TEXT = "LLM Provider NOT provided"

_UNKNOWN_PROVIDER_MESSAGE = (
    "No provider goes by this name: pipy providers lists them. A server of your own is asked as"
    " hosted_vllm/<model>, with api_base."
)


def classify_exception(exc: BaseException, provider: str | None = None) -> ErrorInfo:
    """Classify an exception of a backend by its class, HTTP status and text."""
    # LiteLLM wraps exceptions during a stream in one of its own.
    original = getattr(exc, "original_exception", None)
    source = original if isinstance(original, BaseException) else exc
    raw = str(source)
    text = extract_provider_message(raw)
    status = getattr(source, "status_code", None)
    if not isinstance(status, int):
        status = None
    class_names = [cls.__name__ for cls in type(source).__mro__]
    kind = ErrorKind.UNKNOWN
    kind_from_text = classify_status(None, raw)  # `raw` contains error codes that `text` lacks
    # LiteLLM reports a refused connection as status 500.
    never_connected = re.search(_CONNECTION_PATTERN, raw) and not _response_headers(source)
    if _UNKNOWN_PROVIDER_TEXT in raw:
        kind, text = ErrorKind.NOT_FOUND, _UNKNOWN_PROVIDER_MESSAGE
    elif kind_from_text in (ErrorKind.CONTEXT_OVERFLOW, ErrorKind.QUOTA):
        kind = kind_from_text
    elif never_connected:
        kind, status = ErrorKind.CONNECTION, None
    else:
        kind = next(
            (_KIND_BY_CLASS_NAME[name] for name in class_names if name in _KIND_BY_CLASS_NAME), kind
        )
        if kind is ErrorKind.UNKNOWN:
            kind = classify_status(status, raw)
    if kind in (ErrorKind.CONNECTION, ErrorKind.TIMEOUT) and not _response_headers(source):
        status = None
    headers = _response_headers(source) or _response_headers(exc)
    if kind is ErrorKind.UNKNOWN and text and type(source).__module__ == "builtins":
        text = f"{type(source).__name__}: {text}"  # the text of a KeyError is only its key
    if not text:
        is_connection_error = kind is ErrorKind.CONNECTION
        text = (
            "The connection broke."
            if is_connection_error
            else f"{type(source).__name__} without a word"
        )
    return error_info(
        kind,
        text,
        status_code=status,
        provider=provider,
        retry_after=retry_after_seconds(headers),
        request_id=headers.get("request-id") or headers.get("x-request-id"),
    )


def _response_headers(exc: BaseException) -> dict[str, str]:
    headers = getattr(exc, "litellm_response_headers", None)
    if not headers:
        headers = getattr(getattr(exc, "response", None), "headers", None)
    try:
        return {str(key).lower(): str(value) for key, value in dict(headers or {}).items()}
    except (TypeError, ValueError):
        return {}


_RETRY_DELAY_PATTERN = (
    r"(?i)\"retryDelay\":\s*\"(?P<delay>[\d.]+)s\""
    r"|(?:try again|retry)[a-z ]* in (?:(?P<m>\d+)m)?(?P<s>[\d.]+) ?(?P<ms>m?)s"
)


def retry_after_seconds(headers: Mapping[str, str], body: str = "") -> float | None:
    """Return the seconds to wait before a retry, as requested by the provider, or None.

    Headers take precedence over the body; their names are in lower case. Negative, past and
    infinite times are ignored.
    """
    delays: list[float] = []
    now = time.time()
    if date := _parse_http_date(headers.get("date", "")):
        now = date  # use the clock of the provider
    for name, scale in (
        ("retry-after-ms", 0.001),
        ("retry-after", 1.0),
        ("x-ratelimit-reset-after", 1.0),
        ("x-ratelimit-reset", 1.0),
    ):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) * scale
        except ValueError:
            retry_at = _parse_http_date(value)
            if retry_at is None:
                continue
            seconds = retry_at - now
        if name == "x-ratelimit-reset" and seconds > 1e9:  # a Unix time, not a duration
            seconds = (seconds / 1000 if seconds > 1e11 else seconds) - now
        delays.append(seconds)
    if match := re.search(_RETRY_DELAY_PATTERN, body):
        if match["delay"]:
            delays.append(float(match["delay"]))
        else:
            seconds = float(match["s"]) * (0.001 if match["ms"] else 1.0)
            delays.append(seconds + 60 * int(match["m"] or 0))
    return next((seconds for seconds in delays if 0 <= seconds < 1e7), None)


def _parse_http_date(value: str) -> float | None:
    if not value:  # the import below fails if no file can be opened
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_EXCEPTION_PREFIX = r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)\b[:\s-]*)+"


def extract_provider_message(text: str) -> str:
    """Extract the provider's message from the text of an exception."""
    text = text.strip()
    previous = None
    while previous != text:
        previous = text
        text = re.sub(_EXCEPTION_PREFIX, "", text).strip()
        text = re.sub(r"^litellm\.", "", text)
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        try:
            body = json.loads(text[start : end + 1])
        except ValueError:
            body = None
        message = error_message_from_body(body)
        if message:
            text = message
    text = (text or previous or "").replace("\r\n", "\n")
    return text.partition("\nTraceback (most recent call last)")[0].rstrip()  # added by LiteLLM


# Where vendors put the message in a JSON error body: as text, or in an object's `message` or `msg`.
_MESSAGE_FIELDS = ("error", "message", "detail", "errors")


def error_message_from_body(body: Any) -> str | None:
    """Return the human-readable message in a decoded JSON error body, or None.

    OpenRouter's `metadata.raw`, the text of the provider behind it, is appended.

    Example:
        >>> error_message_from_body({"error": {"message": "Slow down.", "code": 429}})
        'Slow down.'
        >>> error_message_from_body([{"detail": "Not found"}])
        'Not found'
    """
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, dict):
        return None
    for field in _MESSAGE_FIELDS:
        value = first.get(field)
        if isinstance(value, str) and value:
            return value
        if not isinstance(value, dict):
            continue
        message = value.get("message") or value.get("msg")
        if isinstance(message, str):
            metadata = value.get("metadata")
            upstream_text = metadata.get("raw") if isinstance(metadata, dict) else None
            if isinstance(upstream_text, str) and upstream_text not in message:
                return f"{message}: {upstream_text}"
            return message
    return None


_OVERFLOW_PATTERN = "(?i)" + (
    "|".join(
        (
            r"context[_ ]length[_ ]exceeded",
            r"model_context_window_exceeded",
            r"exceed_context_size",
            r"request_too_large",
            r"prompt is too long",
            r"prompt too long",
            r"prompt exceeds max length",
            r"input is too long",
            r"exceeds? the context window",
            r"maximum context length",
            r"exceeds (the )?model'?s maximum context length",
            r"context window (is )?exceed",
            r"input token count\b.*\bexceeds",
            r"maximum prompt length is",
            r"reduce the length of the messages",
            r"maximum allowed input length",
            r"is longer than the model'?s context length",
            r"exceeds the limit of \d",
            r"exceeds the available context size",
            r"greater than the context length",
            r"exceeded model token limit",
            r"too large for model with \d+",
            r"configured context size is",
            r"range of input length should be",
            r"too many tokens",
            r"token limit exceeded",
            r"input length and `?max_tokens`? exceed context limit",
        )
    )
)


# "Too many tokens, please wait" is a rate limit, not an overflow.
_RATE_LIMIT_PATTERN = (
    r"(?i)rate.?limit|too many requests|throttl|please wait|per minute|\btpm\b|quota"
)


def is_overflow_message(text: str) -> bool:
    """Whether an error text means that the prompt exceeds the context window.

    Example:
        >>> is_overflow_message("prompt is too long: 213462 tokens > 200000 maximum")
        True
        >>> is_overflow_message("Too many tokens, please wait before trying again.")
        False
    """
    is_overflow = re.search(_OVERFLOW_PATTERN, text) is not None
    return is_overflow and re.search(_RATE_LIMIT_PATTERN, text) is None


def is_context_overflow(message: AssistantMessage, context_window: int | None = None) -> bool:
    """Whether `message` failed or was truncated because the prompt exceeds the context window.

    Args:
        message: A response.
        context_window: The model's context window in tokens. It is needed to detect providers that
            truncate the prompt silently: more input than fits, or no space left for the output.

    Example:
        >>> from pipy_ai import assistant
        >>> is_context_overflow(assistant("Fine."))
        False
    """
    if message.error is not None:
        if message.error.kind == "context_overflow":
            return True
        return message.error.kind != "rate_limit" and is_overflow_message(message.error.message)
    if message.error_message and is_overflow_message(message.error_message):
        return True
    if not context_window or message.usage.estimated:
        return False
    prompt_tokens = message.usage.input + message.usage.cache_read + message.usage.cache_write
    if message.stop_reason == "stop":
        return prompt_tokens > context_window
    window_full = prompt_tokens >= 0.99 * context_window
    return message.stop_reason == "length" and message.usage.output == 0 and window_full
