"""What can go wrong, in the words of the field.

A failed request raises nothing: it is a message whose `error` is an `ErrorInfo`. Who prefers
exceptions calls `message.raise_for_error()`, which raises one of:

    PipyError
    ├── AuthenticationError       auth           the key was refused
    │   └── MissingKeyError       missing_key    no key was found
    ├── NotFoundError             not_found      no such model or address
    ├── BadRequestError           bad_request    the provider refused the request
    │   └── ContextOverflowError  context_overflow   the prompt is longer than the window
    ├── RateLimitError            rate_limit     too many requests or tokens
    ├── QuotaError                quota          credit or plan used up
    ├── OverloadedError           overloaded     the provider is at its limit
    ├── ServerError               server         the provider failed
    ├── RequestTimeoutError       timeout        `timeout` or `idle_timeout` ran out
    ├── APIConnectionError        connection     the provider was not reached
    ├── IncompleteError           incomplete     the answer was cut off
    ├── ContentFilterError        content_filter the provider withheld the answer
    ├── AbortedError              aborted        somebody stopped it
    ├── BudgetError               budget         the caller's budget is spent
    └── InvalidOutputError        invalid_output the answer is not of the type that was asked for

Every one has `.error` (the `ErrorInfo`) and `.response` (the message with all text so far).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .utils.made import made
from .utils.overflow import says_overflow

if TYPE_CHECKING:
    from .types import AssistantMessage

MAX_MESSAGE = 4096  # characters of provider text that an error keeps


class ErrorKind(StrEnum):
    """The kinds of failure; compare with a plain string: `error.kind == "rate_limit"`."""

    AUTH = "auth"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_OVERFLOW = "context_overflow"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    INCOMPLETE = "incomplete"
    CONTENT_FILTER = "content_filter"
    ABORTED = "aborted"
    BUDGET = "budget"
    MISSING_KEY = "missing_key"
    INVALID_OUTPUT = "invalid_output"
    UNKNOWN = "unknown"


RETRYABLE = frozenset(
    {
        ErrorKind.RATE_LIMIT,
        ErrorKind.OVERLOADED,
        ErrorKind.SERVER,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION,
        ErrorKind.INCOMPLETE,
    }
)

# What another model may do better: the next of a sequence is asked.
FALLBACK = RETRYABLE | {
    ErrorKind.AUTH,
    ErrorKind.MISSING_KEY,
    ErrorKind.QUOTA,
    ErrorKind.NOT_FOUND,
    ErrorKind.CONTEXT_OVERFLOW,
}


class ErrorInfo(BaseModel):
    """What happened, and what the caller can do about it. Never holds a key.

    `retry_after` is in seconds. `retryable` says whether the same request may succeed later.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", defer_build=True
    )

    kind: ErrorKind = ErrorKind.UNKNOWN
    message: str = ""
    status_code: int | None = None
    provider: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    request_id: str | None = None


class PipyError(Exception):
    """A failed request, as an exception. See the tree at the top of `pipy_ai.errors`."""

    def __init__(self, error: ErrorInfo, response: AssistantMessage | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.response = response

    @property
    def kind(self) -> ErrorKind:
        """The kind of failure, as in `ErrorInfo.kind`."""
        return self.error.kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error, self.response)


class AuthenticationError(PipyError):
    """The provider refused the key."""


class MissingKeyError(AuthenticationError):
    """No key was given and none of the provider's variables is set."""


class NotFoundError(PipyError):
    """The provider knows no such model or address."""


class BadRequestError(PipyError):
    """The provider refused the request as it was."""


class ContextOverflowError(BadRequestError):
    """The prompt is longer than the model's context window."""


class RateLimitError(PipyError):
    """Too many requests or tokens in too short a time; see `error.retry_after` (s)."""


class QuotaError(PipyError):
    """The account's credit or plan is used up; waiting does not help."""


class OverloadedError(PipyError):
    """The provider has no capacity just now."""


class ServerError(PipyError):
    """The provider failed."""


class RequestTimeoutError(PipyError):
    """`timeout` or `idle_timeout` ran out."""


class APIConnectionError(PipyError):
    """The provider could not be reached, or the connection broke."""


class IncompleteError(PipyError):
    """The answer ended before the provider said that it was complete."""


class ContentFilterError(PipyError):
    """The provider withheld the answer, or the model refused."""


class AbortedError(PipyError):
    """The request was stopped by the caller."""


class BudgetError(PipyError):
    """The caller's budget does not cover the request."""


class InvalidOutputError(PipyError):
    """The answer is not what `output=` asked for; its text says what is wrong where."""


_EXCEPTIONS: dict[ErrorKind, type[PipyError]] = {
    ErrorKind.AUTH: AuthenticationError,
    ErrorKind.NOT_FOUND: NotFoundError,
    ErrorKind.BAD_REQUEST: BadRequestError,
    ErrorKind.CONTEXT_OVERFLOW: ContextOverflowError,
    ErrorKind.RATE_LIMIT: RateLimitError,
    ErrorKind.QUOTA: QuotaError,
    ErrorKind.OVERLOADED: OverloadedError,
    ErrorKind.SERVER: ServerError,
    ErrorKind.TIMEOUT: RequestTimeoutError,
    ErrorKind.CONNECTION: APIConnectionError,
    ErrorKind.INCOMPLETE: IncompleteError,
    ErrorKind.CONTENT_FILTER: ContentFilterError,
    ErrorKind.ABORTED: AbortedError,
    ErrorKind.BUDGET: BudgetError,
    ErrorKind.MISSING_KEY: MissingKeyError,
    ErrorKind.INVALID_OUTPUT: InvalidOutputError,
}


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` without these keys, as they are or as `repr` and URLs write them."""
    for secret in secrets:
        if len(secret) >= 8:  # a shorter one is no key, and stands in ordinary words
            for form in {secret, repr(secret)[1:-1], quote(secret), quote(secret, safe="")}:
                text = text.replace(form, "***")
    return text


def exception_for(error: ErrorInfo, response: AssistantMessage | None = None) -> PipyError:
    """The exception of the tree above that belongs to `error.kind`."""
    return _EXCEPTIONS.get(error.kind, PipyError)(error, response)


# --- Classification -------------------------------------------------------------------------
# By the exception's class, then its HTTP status, then its text. By class *name*, so that
# neither LiteLLM nor an HTTP library has to be imported to read an error.

_BY_CLASS: dict[str, ErrorKind] = {
    "LocalProtocolError": ErrorKind.BAD_REQUEST,  # an illegal header, say
    "ContextWindowExceededError": ErrorKind.CONTEXT_OVERFLOW,
    "ContentPolicyViolationError": ErrorKind.CONTENT_FILTER,
    "RouterRateLimitError": ErrorKind.OVERLOADED,  # every deployment rests
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
    "CancelledError": ErrorKind.CONNECTION,  # of a task of the backend's own
}

_BY_STATUS: dict[int, ErrorKind] = {
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

_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|out of credit"
    r"|billing_error|billing (hard )?limit|billing details|check your plan",
    re.IGNORECASE,
)
PROXY_KEY = "No connected db."  # LiteLLM's proxy, of a key that is not its master key
_PROXY_MODEL = "Invalid model name passed in model="  # and of a model that its file does not name
_OVERLOADED = re.compile(r"overloaded|over capacity|at capacity", re.IGNORECASE)
_CONNECTION = re.compile(
    r"connection (error|refused|reset|aborted)|peer closed connection|incomplete chunked read"
    r"|all connection attempts failed|name or service not known|cannot connect"
    r"|ended before a finish_reason",
    re.IGNORECASE,
)


class ProviderError(Exception):
    """What a provider raises to say exactly what went wrong; it becomes the message's `error`."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(error.message)
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error,)


def error_info(
    kind: ErrorKind,
    message: str,
    *,
    status_code: int | None = None,
    provider: str | None = None,
    retryable: bool | None = None,
    retry_after: float | None = None,
    request_id: str | None = None,
) -> ErrorInfo:
    """An `ErrorInfo` whose `retryable` follows from its kind unless it is given."""
    return made(
        ErrorInfo,
        kind=kind,
        message=message,
        status_code=status_code,
        provider=provider,
        retryable=kind in RETRYABLE if retryable is None else retryable,
        retry_after=retry_after,
        request_id=request_id,
    )


def classify_status(status: int | None, text: str) -> ErrorKind:
    """The kind of failure that an HTTP status and the provider's own words mean."""
    if status not in (401, 403, 404) and says_overflow(text):
        return ErrorKind.CONTEXT_OVERFLOW
    if "rate_limit_exceeded" in text and status in (None, 429):
        return ErrorKind.RATE_LIMIT
    if _QUOTA.search(text) and status in (None, 400, 402, 403, 429):
        return ErrorKind.QUOTA
    if status is None or status < 400:
        return ErrorKind.OVERLOADED if _OVERLOADED.search(text) else ErrorKind.UNKNOWN
    if status >= 500 and _OVERLOADED.search(text):
        return ErrorKind.OVERLOADED
    if status == 400 and PROXY_KEY in text:
        return ErrorKind.AUTH
    if status == 400 and _PROXY_MODEL in text:
        return ErrorKind.NOT_FOUND
    by_range = ErrorKind.SERVER if status >= 500 else ErrorKind.BAD_REQUEST
    return _BY_STATUS.get(status, by_range)


# What LiteLLM says of a name that begins with no provider's, in capitals and with its own advice.
_NO_PROVIDER = "LLM Provider NOT provided"
_NO_PROVIDER_TEXT = (
    "No provider goes by this name: pipy providers lists them. A server of your own is asked as"
    " hosted_vllm/<model>, with api_base."
)


def classify(exc: BaseException, provider: str | None = None) -> ErrorInfo:
    """Read any exception of a backend: its class, its HTTP status, its text."""
    # LiteLLM wraps failures within a stream in an exception that hides their class.
    inner = getattr(exc, "original_exception", None)
    source = inner if isinstance(inner, BaseException) else exc
    raw = str(source)
    text = clean_text(raw)
    status = getattr(source, "status_code", None)
    if not isinstance(status, int):
        status = None
    names = [cls.__name__ for cls in type(source).__mro__]
    kind = ErrorKind.UNKNOWN
    by_text = classify_status(None, raw)  # codes stand beside the sentence that people read
    # A refused connection reaches us as "status 500" of a server that was never reached.
    unreached = _CONNECTION.search(raw) and not _response_headers(source)
    if _NO_PROVIDER in raw:
        kind, text = ErrorKind.NOT_FOUND, _NO_PROVIDER_TEXT
    elif by_text in (ErrorKind.CONTEXT_OVERFLOW, ErrorKind.QUOTA):
        kind = by_text
    elif unreached:
        kind, status = ErrorKind.CONNECTION, None
    else:
        kind = next((_BY_CLASS[name] for name in names if name in _BY_CLASS), kind)
        if kind is ErrorKind.UNKNOWN:
            kind = classify_status(status, raw)
    if kind in (ErrorKind.CONNECTION, ErrorKind.TIMEOUT) and not _response_headers(source):
        status = None
    headers = _response_headers(source) or _response_headers(exc)
    if kind is ErrorKind.UNKNOWN and text and type(source).__module__ == "builtins":
        text = f"{type(source).__name__}: {text}"  # a KeyError says no more than its key
    if not text:
        broken = kind is ErrorKind.CONNECTION
        text = "The connection broke." if broken else f"{type(source).__name__} without a word"
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


_WAIT_IN_BODY = re.compile(
    r"\"retryDelay\":\s*\"(?P<delay>[\d.]+)s\""
    r"|(?:try again|retry)[a-z ]* in (?:(?P<m>\d+)m)?(?P<s>[\d.]+) ?(?P<ms>m?)s",
    re.IGNORECASE,
)


def retry_after_seconds(headers: Mapping[str, str], body: str = "") -> float | None:
    """How long the provider asks to wait (s), in any of its spellings; headers beat the body.

    `headers` have lower-case names. Nonsense (negative, infinite, past) counts as nothing said.
    """
    asked: list[float] = []
    now = time.time()
    if date := _http_date(headers.get("date", "")):
        now = date  # the provider's clock, not ours
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
            at = _http_date(value)
            if at is None:
                continue
            seconds = at - now
        if name == "x-ratelimit-reset" and seconds > 1e9:  # a Unix time, not a duration
            seconds = (seconds / 1000 if seconds > 1e11 else seconds) - now
        asked.append(seconds)
    if found := _WAIT_IN_BODY.search(body):
        if found["delay"]:
            asked.append(float(found["delay"]))
        else:
            seconds = float(found["s"]) * (0.001 if found["ms"] else 1.0)
            asked.append(seconds + 60 * int(found["m"] or 0))
    return next((seconds for seconds in asked if 0 <= seconds < 1e7), None)


def _http_date(value: str) -> float | None:
    if not value:  # where no more files can be opened, nor can modules
        return None
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


_WRAPPER = re.compile(r"^(?:litellm\.)?(?:\w+(?:Error|Exception|Timeout)\b[:\s-]*)+")


def clean_text(text: str) -> str:
    """The provider's own words out of an exception's text: no wrapper names, no `b'…'`."""
    text = text.strip()
    previous = None
    while previous != text:
        previous = text
        text = _WRAPPER.sub("", text).strip()
        text = re.sub(r"^litellm\.", "", text)
    start, end = text.find("{"), text.rfind("}")
    if 0 <= start < end:
        try:
            body = json.loads(text[start : end + 1])
        except ValueError:
            body = None
        found = _message_of(body)
        if found:
            text = found
    text = (text or previous or "").replace("\r\n", "\n")
    return text.partition("\nTraceback (most recent call last)")[0].rstrip()  # LiteLLM adds its own


def _message_of(body: Any) -> str | None:
    """The human sentence in a vendor's JSON error body."""
    if not isinstance(body, dict):
        return None
    error = body.get("error", body)
    if isinstance(error, str):
        return error
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return None
