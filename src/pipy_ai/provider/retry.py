"""Decide whether, and after how long, a failed request is retried."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..types import AssistantMessage
from ..utils.log import logger

BACKOFF_BASE_S = 0.5  # longest wait before the first retry; it doubles with each one
MAX_BACKOFF_S = 8.0  # longest wait before any retry
_MAX_DOUBLINGS = 10

# Called with the failed message and the seconds until the retry, also for fallbacks.
retry_listeners: list[Callable[[AssistantMessage, float], None]] = []


def backoff_limit(retries: int) -> float:
    """Return the longest wait in seconds after `retries` earlier retries, before jitter.

    Example:
        >>> [backoff_limit(retries) for retries in range(6)]
        [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    """
    return min(MAX_BACKOFF_S, BACKOFF_BASE_S * 2.0 ** min(retries, _MAX_DOUBLINGS))


def retry_delay(
    retry_after: float | None,
    retries: int,
    jitter: Callable[[float, float], float] = random.uniform,
) -> float:
    """Return the seconds to wait before the next attempt.

    The provider's `Retry-After` takes precedence; without it, the wait is random up to the
    exponential limit ("full jitter"), so that clients do not return at the same moment.
    """
    return jitter(0.0, backoff_limit(retries)) if retry_after is None else retry_after


def retry_after_too_long(message: AssistantMessage, max_delay_ms: float) -> bool:
    """Return whether the provider asks for a longer wait than the caller allows.

    If so, add the reason to the error message of `message`.
    """
    error = message.error
    if error is None or (error.retry_after or 0.0) * 1000 <= max_delay_ms:
        return False
    error.message += (
        f" The provider asks to wait {error.retry_after:g} s, longer than"
        f" max_retry_delay_ms={max_delay_ms:.15g} allows."
    )
    message.error_message = error.message
    return True


def notify_listeners(message: AssistantMessage, delay: float) -> None:
    """Notify the listeners that a request is retried after `delay` seconds."""
    for listener in retry_listeners:
        listener(message, delay)


def report_retry(message: AssistantMessage, delay: float) -> None:
    """Notify the listeners that a request is retried after `delay` seconds, and log why."""
    notify_listeners(message, delay)
    name = f"{message.provider}/{message.model}"
    logger.info("retry %s in %.3gs after %s", name, delay, outcome(message))


def outcome(message: AssistantMessage) -> str:
    """Return the kind of error with its HTTP status, or the stop reason, for log lines.

    The text of an error is left out, because it may quote the prompt.
    """
    error = message.error
    if error is None:
        return str(message.stop_reason)
    return str(error.kind) + ("" if error.status_code is None else f" ({error.status_code})")
