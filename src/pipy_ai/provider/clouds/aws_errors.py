"""What to do about an error of AWS, by its name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz

MAX_CLOCK_DIFFERENCE_S = 240.0  # AWS accepts five minutes

_SIGNATURE = frozenset(
    {"IncompleteSignature", "InvalidSignatureException", "RequestExpired", "SignatureDoesNotMatch"}
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException"})
_UNKNOWN_KEY = frozenset({"InvalidClientTokenId", "UnrecognizedClientException"})


def error_advice(name: str, message: str, headers: Mapping[str, str]) -> str:
    """Return a sentence that says what to do, or an empty string.

    Args:
        name: the name of the error, such as `ExpiredTokenException`.
        message: its text.
        headers: of the response. Its `date` shows whether the clock is wrong.
    """
    if name in _SIGNATURE:
        difference = _clock_difference(headers)
        if abs(difference) > MAX_CLOCK_DIFFERENCE_S:
            direction = "slow" if difference > 0 else "fast"
            return (
                f"This computer's clock is {abs(difference) / 60:.0f} minutes {direction}: set it."
            )
        return "Check AWS_SECRET_ACCESS_KEY, and this computer's clock."
    if name in _EXPIRED:
        return "Log in again with `aws sso login`, or set a new AWS_SESSION_TOKEN and its key."
    if name in _UNKNOWN_KEY:
        return "Check AWS_ACCESS_KEY_ID and AWS_SESSION_TOKEN: they must belong together."
    if "on-demand throughput" in message:
        return "Put a geographic prefix before the model's id, such as us., eu. or global."
    return ""


def _clock_difference(headers: Mapping[str, str]) -> float:
    """Return by how many seconds the server's clock is ahead of this computer's."""
    parsed = parsedate_tz(headers.get("date", ""))
    return 0.0 if parsed is None else mktime_tz(parsed) - time.time()
