"""Turn exceptions, HTTP statuses and error bodies into `ErrorInfo`."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

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
    424: ErrorKind.SERVER,  # Bedrock's ModelErrorException
    429: ErrorKind.RATE_LIMIT,
    451: ErrorKind.CONTENT_FILTER,  # StepFun
    498: ErrorKind.CONTENT_FILTER,  # Cohere
    503: ErrorKind.OVERLOADED,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}

# Classes that outweigh any text, because LiteLLM has classified the response.
_DECISIVE_CLASS_NAMES = frozenset(
    {
        "LocalProtocolError",
        "ContextWindowExceededError",
        "ContentPolicyViolationError",
        "RouterRateLimitError",
    }
)

# The text of LiteLLM's proxy if the key is not its master key.
PROXY_WRONG_KEY_TEXT = "No connected db."

# Patterns are compiled on first use: most requests do not fail.
_CONNECTION_PATTERN = (
    r"(?i)connection (error|refused|reset|aborted)|peer closed connection|incomplete chunked read"
    r"|all connection attempts failed|name or service not known|cannot connect"
    r"|ended before a finish_reason"
)


def classify_status(status: int | None, text: str, retry_after: float | None = None) -> ErrorKind:
    """Classify an error by the codes and texts of its body, then by its HTTP status.

    Args:
        status: The HTTP status; None inside a response.
        text: The body, or the text of an exception.
        retry_after: The delay that the provider asks for, in seconds. With one, a used-up quota is
            a rate limit.
    """
    return _kind_from_body(status, text, retry_after) or _kind_from_status(status)


def _kind_from_status(status: int | None) -> ErrorKind:
    if status is None or status < 400:
        return ErrorKind.UNKNOWN
    default_kind = ErrorKind.SERVER if status >= 500 else ErrorKind.BAD_REQUEST
    return _KIND_BY_STATUS.get(status, default_kind)


# The kinds that a body may give status 429. Anything else it names is a rate limit.
_KINDS_OF_429 = frozenset({ErrorKind.RATE_LIMIT, ErrorKind.QUOTA, ErrorKind.OVERLOADED})


def _kind_from_body(status: int | None, text: str, retry_after: float | None) -> ErrorKind | None:
    """Return the kind that the body of an error states, or None if it names no known one."""
    kind = _stated_kind(status, text, retry_after)
    return None if status == 429 and kind not in _KINDS_OF_429 else kind


def _stated_kind(status: int | None, text: str, retry_after: float | None) -> ErrorKind | None:
    from .error_body import parse_error_body
    from .error_rules import (
        KIND_BY_CODE,
        KIND_BY_GENERIC_CODE,
        LONG_QUOTA_NAME,
        PER_MINUTE_TEXT,
    )

    body = parse_error_body(text)
    if status in (402, 413):  # regardless of the body
        return _KIND_BY_STATUS[status]
    if any(re.search(LONG_QUOTA_NAME, name) for name in body.quota_names):
        return ErrorKind.QUOTA
    codes = [_code_spellings(code) for code in body.codes]
    if kind := _kind_from_codes(codes, KIND_BY_CODE):
        return kind
    if retry_after is None:
        retry_after = requested_delay({}, text)
    passes_soon = (
        retry_after is not None
        or any("resourceexhausted" in spellings for spellings in codes)  # Gemini's rate limits
        or any(re.search(PER_MINUTE_TEXT, text) for text in body.texts)
    )
    if kind := _kind_from_texts(status, body.texts, passes_soon):
        return kind
    kind = _kind_from_codes(codes, KIND_BY_GENERIC_CODE)
    if kind is None:
        all_codes = " ".join(spellings[0] for spellings in codes)
        if "ratelimit" in all_codes:
            return ErrorKind.RATE_LIMIT
        if "quotaexceeded" in all_codes:
            kind = ErrorKind.QUOTA
    return ErrorKind.RATE_LIMIT if kind is ErrorKind.QUOTA and passes_soon else kind


def _code_spellings(code: str) -> list[str]:
    """Return a code, and its first and last part if it has dots or `#`, without separators."""
    from .error_rules import normalize_code

    first, *others = re.split(r"[.#]", code)
    return [normalize_code(part) for part in (code, first, *others[-1:])]


def _kind_from_codes(
    codes: list[list[str]], kind_by_code: dict[str, ErrorKind]
) -> ErrorKind | None:
    kinds = {
        next((kind_by_code[name] for name in spellings if name in kind_by_code), None)
        for spellings in codes
    }
    return next((kind for kind in kind_by_code.values() if kind in kinds), None)


def _kind_from_texts(status: int | None, texts: list[str], passes_soon: bool) -> ErrorKind | None:
    from . import error_rules as rules

    text = "\n".join(re.sub(r"https?://\S+", "", text) for text in texts)[:_MAX_SEARCHED_CHARS]
    beginnings = text
    if status in (400, 422):  # these may quote the prompt; text about the account comes first
        text = re.sub(_QUOTED_PATTERN % 20, "", text)  # keep quoted names of parameters
        beginnings = "\n".join(
            line[:_BEGINNING_CHARS] for line in re.sub(_QUOTED_PATTERN % 1, "", text).split("\n")
        )

    def says(pattern: str) -> bool:
        return re.search(pattern, beginnings) is not None

    if status not in (404, 429) and re.search(rules.CONTENT_FILTER_TEXT, text):
        return ErrorKind.CONTENT_FILTER
    if status not in (401, 403, 404, 429) and is_overflow_message(text):
        return ErrorKind.CONTEXT_OVERFLOW
    key_text = rules.NAMED_KEY_TEXT if status in (400, 422) else rules.WRONG_KEY_TEXT
    if says(rules.UNPAID_TEXT):
        return ErrorKind.QUOTA
    if status not in (404, 429, 502, 503, 504) and says(key_text):
        return ErrorKind.AUTH
    if status in (None, 400, 403, 404, 422) and says(rules.UNKNOWN_MODEL_TEXT):
        return ErrorKind.NOT_FOUND
    if status == 404:
        return None
    if not passes_soon and says(rules.ALLOWANCE_TEXT):
        return ErrorKind.QUOTA
    if status not in (400, 401, 403, 422) and says(rules.OVERLOADED_TEXT):
        return ErrorKind.OVERLOADED
    if says(rules.RATE_LIMIT_TEXT) or (passes_soon and says(rules.ALLOWANCE_TEXT)):
        return ErrorKind.RATE_LIMIT
    return None


_MAX_EXCEPTION_CHARS = 64 << 10  # an exception may quote a whole body
_MAX_SEARCHED_CHARS = 8000  # some patterns take quadratic time
_MAX_DURATION_CHARS = 60
_QUOTED_PATTERN = r"""(?<!\w)(['"`])(?=[^'"`]{%d}).*?\1(?!\w)"""
_BEGINNING_CHARS = 100


# LiteLLM's error for a model name without a known provider, followed by its own advice.
_UNKNOWN_PROVIDER_TEXT = "LLM Provider NOT provided"

UNKNOWN_PROVIDER_MESSAGE = (
    "Unknown provider. pipy providers lists all of them. For your own "
    "server, use hosted_vllm/<model> with api_base."
)


def classify_exception(exc: BaseException, provider: str | None = None) -> ErrorInfo:
    """Classify an exception of a backend by its class, HTTP status and text."""
    # LiteLLM wraps exceptions during a stream in one of its own.
    original = getattr(exc, "original_exception", None)
    source = original if isinstance(original, BaseException) else exc
    raw = str(source)[:_MAX_EXCEPTION_CHARS]
    text = extract_provider_message(raw)
    status = getattr(source, "status_code", None)
    if not isinstance(status, int):
        status = None
    response_headers = exception_headers(source)
    headers = response_headers or exception_headers(exc)
    delay = requested_delay(headers, raw)
    kind = _kind_of_exception(source, raw, status, bool(response_headers), delay)
    if kind is ErrorKind.NOT_FOUND and _UNKNOWN_PROVIDER_TEXT in raw:
        text = UNKNOWN_PROVIDER_MESSAGE
    if kind in (ErrorKind.CONNECTION, ErrorKind.TIMEOUT) and not response_headers:
        status = None
    if kind is ErrorKind.UNKNOWN and text and type(source).__module__ == "builtins":
        text = f"{type(source).__name__}: {text}"  # the text of a KeyError is only its key
    if not text:
        is_connection_error = kind is ErrorKind.CONNECTION
        text = (
            "The connection broke."
            if is_connection_error
            else f"{type(source).__name__} without a message"
        )
    return error_info(
        kind,
        text,
        status_code=status,
        provider=provider,
        retry_after=retry_after_seconds(headers, raw),
        request_id=request_id_from_headers(headers),
    )


def _kind_of_exception(
    exc: BaseException, text: str, status: int | None, responded: bool, retry_after: float | None
) -> ErrorKind:
    if _UNKNOWN_PROVIDER_TEXT in text:
        return ErrorKind.NOT_FOUND
    class_names = [cls.__name__ for cls in type(exc).__mro__]
    decisive = next((name for name in class_names if name in _DECISIVE_CLASS_NAMES), None)
    if decisive is not None:
        return _KIND_BY_CLASS_NAME[decisive]
    if not responded and re.search(_CONNECTION_PATTERN, text):
        return ErrorKind.CONNECTION  # LiteLLM reports a refused connection as status 500
    # The system's errors quote no body; and if it cannot open files, nothing can be imported.
    if responded or not isinstance(exc, OSError):
        # LiteLLM's default status, 500, says nothing.
        stated_status = None if status == 500 and not responded else status
        if kind := _kind_from_body(stated_status, _without_class_names(text), retry_after):
            return kind
    by_class = (_KIND_BY_CLASS_NAME[name] for name in class_names if name in _KIND_BY_CLASS_NAME)
    return next(by_class, None) or _kind_from_status(status)


# Headers in which providers name a request, best first.
_REQUEST_ID_HEADERS = (
    "request-id",  # Anthropic
    "x-request-id",  # OpenAI and most others
    "apim-request-id",  # Azure
    "x-ms-request-id",
    "x-amzn-requestid",  # Bedrock
    "x-goog-request-id",
    "mistral-correlation-id",
    "x-kong-request-id",
    "x-debug-trace-id",  # Cohere
    "x-ds-trace-id",  # DeepSeek
    "x-generation-id",  # OpenRouter
    "nvcf-reqid",  # NVIDIA
    "msh-request-id",  # Moonshot AI
    "minimax-request-id",
    "x-log-id",  # Zhipu AI
)


def request_id_from_headers(headers: Mapping[str, str]) -> str | None:
    """Return the provider's id of a request, or None. Names of headers are in lower case."""
    return next((value for n in _REQUEST_ID_HEADERS if (value := headers.get(n))), None)


def exception_headers(exc: BaseException) -> dict[str, str]:
    """Return the headers of the response that an exception of an SDK holds, if any."""
    headers = getattr(exc, "litellm_response_headers", None)
    if not headers:
        headers = getattr(getattr(exc, "response", None), "headers", None)
    try:
        return {str(key).lower(): str(value) for key, value in dict(headers or {}).items()}
    except (TypeError, ValueError):
        return {}


# Headers in which providers say how long to wait, best first, with the seconds of their unit.
_RETRY_HEADERS = (
    ("retry-after-ms", 0.001),
    ("retry-after", 1.0),
    ("x-ratelimit-reset-after", 1.0),
    ("x-ratelimit-reset", 1.0),
)
# A delay in a body: a field such as Gemini's `retryDelay`, or a sentence.
_DELAY_FIELD_PATTERN = (
    r"""(?i)["'](?:retryDelay|retry_?after(?:_?seconds)?)\\*["']:\s*\\*["']?(\d+(?:\.\d+)?)s?\b"""
)
_DELAY_TEXT_PATTERN = (
    r"(?i)(?:(?:try again|retry\w{0,3}|resets?)[a-z ]{0,40} (?:in|after)|wait(?: for)?) (\d[\w. ]*)"
)
_DURATION_PATTERN = (
    r"(?i)(\d+(?:\.\d+)?) ?(ms|milli(?=s)|d|h|m|s)"
    r"(?:(?<=m)in(?:ute)?s?|(?<=s)ec(?:ond)?s?|(?<=h)(?:ou)?rs?|(?<=d)ays?|(?<=milli)seconds?)?"
    r"(?![a-z])"
)
_SECONDS_BY_UNIT = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

# When each limit of requests or tokens is reset, and what remains of it. They come with every
# response: only a limit that is used up counts.
_LIMIT_HEADERS = [
    header
    for limited in ("requests", "tokens", "input-tokens", "output-tokens")
    for header in (f"x-ratelimit-%s-{limited}", f"anthropic-ratelimit-{limited}-%s")
]


def retry_after_seconds(headers: Mapping[str, str], body: str = "") -> float | None:
    """Return the seconds to wait before a retry, as requested by the provider, or None.

    A header that asks for a delay takes precedence over the body, and the body over headers that
    say when a limit is reset. Names of headers are in lower case. Negative, past and infinite times
    are ignored.
    """
    now = provider_time(headers)
    delays = [parse_delay(headers.get(name, ""), now, scale) for name, scale in _RETRY_HEADERS]
    if match := re.search(_DELAY_FIELD_PATTERN, body):
        delays.append(float(match[1]))
    if match := re.search(_DELAY_TEXT_PATTERN, body):
        delays.append(_parse_duration(match[1]))
    resets = [
        parse_delay(headers.get(header % "reset", ""), now) or 0.0
        for header in _LIMIT_HEADERS
        if headers.get(header % "remaining", "0") == "0"
    ]
    delays.append(max(resets, default=0.0) or None)
    return next((delay for delay in delays if delay is not None and 0 <= delay < 1e7), None)


def provider_time(headers: Mapping[str, str]) -> float:
    """Return the Unix time of a response by the clock of the provider, or else by ours."""
    return _parse_http_date(headers.get("date", "")) or time.time()


def requested_delay(headers: Mapping[str, str], body: str = "") -> float | None:
    """Return the delay that a response explicitly asks for, or None.

    Unlike `retry_after_seconds`, ignore the headers that some hosts send with every response.
    """
    asking = {name: value for name, value in headers.items() if "ratelimit" not in name}
    return retry_after_seconds(asking, body)


def parse_delay(value: str, now: float, scale: float = 1.0) -> float | None:
    """Parse a number, a duration such as 1m12s, a Unix time or a date; return seconds from now."""
    value = value.strip()
    if not value:
        return None
    try:
        seconds = float(value) * scale
    except ValueError:
        if "," in value:  # the header came twice: obey both
            delays = [parse_delay(part, now, scale) for part in value.split(",")]
            numbers = [delay for delay in delays if delay is not None]
            if len(numbers) == len(delays):
                return max(numbers)
        if (duration := _parse_duration(value)) is not None:
            return duration
        retry_at = _parse_http_date(value) or _parse_iso_date(value)
        return None if retry_at is None else retry_at - now
    if 1e9 < seconds < math.inf:
        seconds = (seconds / 1000 if seconds > 1e11 else seconds) - now
    return seconds


def _parse_duration(value: str) -> float | None:
    """Parse a text that begins with a duration, such as `6m0s` or `20 ms`; return seconds."""
    total, end = None, 0
    value = value[:_MAX_DURATION_CHARS]
    for match in re.finditer(_DURATION_PATTERN, value):
        if value[end : match.start()].strip():
            break
        total = (total or 0.0) + float(match[1]) * _SECONDS_BY_UNIT[match[2].lower()]
        end = match.end()
    return total


def _parse_iso_date(value: str) -> float | None:
    from datetime import datetime

    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError):
        return None


def _parse_http_date(value: str) -> float | None:
    if not value:  # the import below fails if no file can be opened
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_EXCEPTION_PREFIX = r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)\b[:\s-]*)+"


def _without_class_names(text: str) -> str:
    """Remove the names of exceptions that precede a text."""
    text = text.strip()
    previous = None
    while previous != text:
        previous = text
        text = re.sub(_EXCEPTION_PREFIX, "", text).strip()
        text = re.sub(r"^litellm\.", "", text)
    return text or previous or ""


def extract_provider_message(text: str) -> str:
    """Extract the provider's message from the text of an exception."""
    text = _without_class_names(text)
    if "{" in text:
        from .error_body import error_message_from_body, find_document

        text = error_message_from_body(find_document(text)) or text
    text = text.replace("\r\n", "\n")
    return f"\n{text}".partition("\nTraceback (most recent call last)")[0].strip()  # by LiteLLM


def is_overflow_message(text: str) -> bool:
    """Whether an error text means that the prompt exceeds the context window.

    Example:
        >>> is_overflow_message("prompt is too long: 213462 tokens > 200000 maximum")
        True
        >>> is_overflow_message("Too many tokens, please wait before trying again.")
        False
    """
    from .error_rules import NOT_OVERFLOW_TEXT, OVERFLOW_TEXT

    is_overflow = re.search(OVERFLOW_TEXT, text) is not None
    return is_overflow and re.search(NOT_OVERFLOW_TEXT, text) is None


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
        is_other_limit = message.error.kind in ("rate_limit", "quota")
        return not is_other_limit and is_overflow_message(message.error.message)
    if message.error_message and is_overflow_message(message.error_message):
        return True
    if not context_window or message.usage.estimated:
        return False
    prompt_tokens = message.usage.input + message.usage.cache_read + message.usage.cache_write
    if message.stop_reason == "stop":
        return prompt_tokens > context_window
    window_full = prompt_tokens >= 0.99 * context_window
    return message.stop_reason == "length" and message.usage.output == 0 and window_full
