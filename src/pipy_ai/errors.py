"""Kinds of errors, `ErrorInfo`, and the exceptions.

A failed request does not raise: it returns a message whose `error` is an `ErrorInfo`. To get an
exception, call `message.raise_for_error()`, which raises one of:

    PipyError
    ├── AuthenticationError       auth           the API key was rejected
    │   └── MissingKeyError       missing_key    no API key was found
    ├── NotFoundError             not_found      no such model or address
    ├── BadRequestError           bad_request    the provider rejected the request
    │   └── ContextOverflowError  context_overflow   the prompt exceeds the context window
    ├── RateLimitError            rate_limit     too many requests or tokens
    ├── QuotaError                quota          credit or plan is used up
    ├── OverloadedError           overloaded     the provider has no capacity
    ├── ServerError               server         the provider failed
    ├── RequestTimeoutError       timeout        `timeout` or `idle_timeout` was exceeded
    ├── APIConnectionError        connection     the provider could not be reached
    ├── IncompleteError           incomplete     the response ended early
    ├── ContentFilterError        content_filter the provider withheld the response
    ├── AbortedError              aborted        the request was aborted
    ├── BudgetError               budget         the caller's budget is spent
    └── InvalidOutputError        invalid_output the answer is not of the requested type

All have `.error` (the `ErrorInfo`) and `.response` (the message with all content so far).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .utils.construct import construct_unchecked
from .utils.surrogates import clean_surrogates

if TYPE_CHECKING:
    from .types import AssistantMessage

MAX_MESSAGE_CHARS = 4096  # longer messages of providers are truncated


class ErrorKind(StrEnum):
    """The kind of an error. It compares equal to a string: `error.kind == "rate_limit"`."""

    AUTH = "auth"
    """The provider rejected the API key."""
    NOT_FOUND = "not_found"
    """There is no such model or address."""
    BAD_REQUEST = "bad_request"
    """The provider rejected the request as invalid."""
    CONTEXT_OVERFLOW = "context_overflow"
    """The prompt exceeds the model's context window."""
    RATE_LIMIT = "rate_limit"
    """Too many requests or tokens in a period of time."""
    QUOTA = "quota"
    """The account's credit or plan is used up."""
    OVERLOADED = "overloaded"
    """The provider has no capacity at the moment."""
    SERVER = "server"
    """The provider failed."""
    TIMEOUT = "timeout"
    """`timeout` or `idle_timeout` was exceeded."""
    CONNECTION = "connection"
    """The provider could not be reached, or the connection broke."""
    INCOMPLETE = "incomplete"
    """The response ended before the provider marked it as complete."""
    CONTENT_FILTER = "content_filter"
    """The provider withheld the response, or the model refused."""
    ABORTED = "aborted"
    """The caller aborted the request."""
    BUDGET = "budget"
    """The request would exceed the caller's budget."""
    MISSING_KEY = "missing_key"
    """No API key was found, or a package that the request needs is not installed."""
    INVALID_OUTPUT = "invalid_output"
    """The answer does not match `output=`."""
    UNKNOWN = "unknown"
    """Anything else."""


RETRYABLE_KINDS = frozenset(
    {
        ErrorKind.RATE_LIMIT,
        ErrorKind.OVERLOADED,
        ErrorKind.SERVER,
        ErrorKind.TIMEOUT,
        ErrorKind.CONNECTION,
        ErrorKind.INCOMPLETE,
    }
)

# Errors after which the next of several models is tried.
FALLBACK_KINDS = RETRYABLE_KINDS | {
    ErrorKind.AUTH,
    ErrorKind.MISSING_KEY,
    ErrorKind.QUOTA,
    ErrorKind.NOT_FOUND,
    ErrorKind.CONTEXT_OVERFLOW,
}


class ErrorInfo(BaseModel):
    """The reason why a request failed. Never contains an API key.

    `retry_after` is in seconds. `retryable` is true if the same request may succeed later.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", defer_build=True
    )

    kind: ErrorKind = ErrorKind.UNKNOWN
    """The kind of the error."""
    message: str = ""
    """What happened and what to do; often the provider's own text."""
    status_code: int | None = None
    """The HTTP status. None: there was no HTTP response."""
    provider: str | None = None
    """The provider that the request was sent to."""
    retryable: bool = False
    """Whether the same request may succeed later."""
    retry_after: float | None = None
    """Seconds to wait before a retry, if the provider asks for a wait."""
    request_id: str | None = None
    """The provider's id of the request, for contacting its support."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import model_args

        return model_args(self)

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


MAX_REASON_CHARS = 300  # of an error in a warning


class UncheckedErrorWarning(UserWarning):
    """The text of a failed message was read, but its error never was. Issued once per message."""


def warn_unchecked(error: ErrorInfo, message: AssistantMessage) -> None:
    """Issue an `UncheckedErrorWarning` for the caller of the property that calls this."""
    import warnings

    what = "the text of an incomplete answer" if message._joined_text else "the text"
    # Python prints it as it is, on a terminal too: one line, without control characters.
    text = "".join(char if char.isprintable() else " " for char in str(error))
    reason = " ".join(text.split())[:MAX_REASON_CHARS]
    warnings.warn(
        f"{what} was read, but the request failed ({reason}). Check message.error, call"
        " message.raise_for_error(), or pass raise_on_error=True.",
        UncheckedErrorWarning,
        stacklevel=3,
    )


class PipyError(Exception):
    """The base class of all exceptions for failed requests; see `pipy_ai.errors`."""

    def __init__(self, error: ErrorInfo, response: AssistantMessage | None = None) -> None:
        super().__init__(error.message)
        self.error = error
        self.response = response

    @property
    def kind(self) -> ErrorKind:
        """The kind of the error, as in `ErrorInfo.kind`."""
        return self.error.kind

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error, self.response)


class AuthenticationError(PipyError):
    """The provider rejected the API key."""


class MissingKeyError(AuthenticationError):
    """No API key was given, and none of the provider's environment variables is set."""


class NotFoundError(PipyError):
    """There is no such model or address."""


class BadRequestError(PipyError):
    """The provider rejected the request as invalid."""


class ContextOverflowError(BadRequestError):
    """The prompt exceeds the model's context window."""


class RateLimitError(PipyError):
    """Too many requests or tokens in a period of time; see `error.retry_after` (s)."""


class QuotaError(PipyError):
    """The account's credit or plan is used up. Retrying does not help."""


class OverloadedError(PipyError):
    """The provider has no capacity at the moment."""


class ServerError(PipyError):
    """The provider failed."""


class RequestTimeoutError(PipyError):
    """`timeout` or `idle_timeout` was exceeded."""


class APIConnectionError(PipyError):
    """The provider could not be reached, or the connection broke."""


class IncompleteError(PipyError):
    """The response ended before the provider marked it as complete."""


class ContentFilterError(PipyError):
    """The provider withheld the response, or the model refused."""


class AbortedError(PipyError):
    """The caller aborted the request."""


class BudgetError(PipyError):
    """The request would exceed the caller's budget."""


class InvalidOutputError(PipyError):
    """The answer does not match `output=`. The message lists the problems."""


_EXCEPTION_BY_KIND: dict[ErrorKind, type[PipyError]] = {
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


def exception_for(error: ErrorInfo, response: AssistantMessage | None = None) -> PipyError:
    """Return the exception for `error.kind`."""
    return _EXCEPTION_BY_KIND.get(error.kind, PipyError)(error, response)


class ProviderError(Exception):
    """Raised by a provider whose request failed; its `error` becomes that of the message."""

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
    """Build an `ErrorInfo`. By default `retryable` depends on the kind."""
    return construct_unchecked(
        ErrorInfo,
        kind=kind,
        message=clean_surrogates(message),
        status_code=status_code,
        provider=provider,
        retryable=kind in RETRYABLE_KINDS if retryable is None else retryable,
        retry_after=retry_after,
        request_id=request_id,
    )
