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

from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .utils.construct import construct_unchecked

if TYPE_CHECKING:
    from .types import AssistantMessage

MAX_MESSAGE_CHARS = 4096  # characters of provider text that an error keeps


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

# What another model may do better: the next of a sequence is asked.
FALLBACK_KINDS = RETRYABLE_KINDS | {
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
    """The exception of the tree above that belongs to `error.kind`."""
    return _EXCEPTION_BY_KIND.get(error.kind, PipyError)(error, response)


# --- Classification -------------------------------------------------------------------------
# By the exception's class, then its HTTP status, then its text. By class *name*, so that
# neither LiteLLM nor an HTTP library has to be imported to read an error.


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
    return construct_unchecked(
        ErrorInfo,
        kind=kind,
        message=message,
        status_code=status_code,
        provider=provider,
        retryable=kind in RETRYABLE_KINDS if retryable is None else retryable,
        retry_after=retry_after,
        request_id=request_id,
    )
