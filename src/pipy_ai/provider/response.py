"""What a message keeps of its HTTP response: id of the request, rate limits, headers and body.

The headers are parsed once, when the message is complete.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from ..failures import parse_delay, provider_time, request_id_from_headers
from ..types import AssistantMessage, RateLimit, RawResponse
from ..utils.construct import construct_unchecked

R = TypeVar("R")

MAX_LIMITS = 32  # more than any provider has
_UPSTREAM_PREFIX = "llm_provider-"  # marks headers of the provider behind a LiteLLM proxy

# x-ratelimit-remaining-tokens and the like; Mistral's ratelimitbysize and Together's x-tokenlimit.
_PREFIXED = (
    r"(?:x-)?(ratelimit|ratelimitbysize|tokenlimit)-(limit|remaining|reset)(?:-([a-z-]{1,48}))?"
)
# anthropic-ratelimit-tokens-remaining, x-trial-endpoint-call-remaining
_SUFFIXED = (
    r"(?:anthropic-ratelimit-([a-z-]{1,48})|x-(?:trial-)?endpoint-(call))-(limit|remaining|reset)"
)
# "default";r=50;t=30, of the IETF's draft
_STRUCTURED = r'"([a-z-]{1,48})"((?:\s*;\s*[a-z]+=[^;,]*)+)'
_STRUCTURED_PARTS = {"q": "limit", "r": "remaining", "t": "reset"}
_PERIODS = ("second", "minute", "hour", "day", "month")
_RENAMED = {"req": "requests", "call": "requests", "default": "requests", "api": "requests"}


class ResponseCapture:
    """The response to one attempt. `status` is 0 until its head has arrived."""

    __slots__ = ("body", "headers", "keep_body", "status", "url")

    def __init__(self, url: str = "", *, keep_body: bool = False) -> None:
        self.url: str = url
        self.keep_body: bool = keep_body
        self.status: int = 0
        self.headers: Mapping[str, str] = {}
        self.body: bytearray | None = None

    def attach(self, response: R) -> R:
        """Take the head of an `HTTPResponse`; return the response, or one that keeps its body."""
        source: Any = response
        self.status, self.headers = source.status, source.headers
        if not self.keep_body:
            return response
        self.body = bytearray()
        return cast("R", _KeptResponse(source, self.body))

    def describe(self, message: AssistantMessage, keep: bool) -> None:
        """Set the fields of a message that come from the response."""
        message.request_id = request_id_from_headers(unprefixed(self.headers))
        message.rate_limits = rate_limits_from_headers(self.headers)
        if keep:
            message.raw = construct_unchecked(
                RawResponse,
                status=self.status,
                headers=dict(self.headers),
                body=None if self.body is None else bytes(self.body),
            )


class _KeptResponse:
    """A response that copies its body while it is read."""

    def __init__(self, response: Any, body: bytearray) -> None:
        self._response, self._body = response, body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    async def read(self) -> bytes:
        data: bytes = await self._response.read()
        self._body += data
        return data


def unprefixed(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers, with those of the provider behind a LiteLLM proxy under their own names."""
    return {n.removeprefix(_UPSTREAM_PREFIX): value for n, value in headers.items()} | dict(headers)


def rate_limits_from_headers(headers: Mapping[str, str]) -> dict[str, RateLimit]:
    """Return the limits that headers describe, by name. Names of headers are in lower case.

    Example:
        >>> headers = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59"}
        >>> rate_limits_from_headers(headers)
        {'requests': RateLimit(limit=60, remaining=59)}
    """
    relevant = {n: v for n, v in headers.items() if "limit" in n or "endpoint-call" in n}
    if not relevant:
        return {}
    sent_at = provider_time(headers)
    limits: dict[str, dict[str, int]] = {}

    def add(name: str, part: str, value: str) -> None:
        number = _reset_at(value, sent_at) if part == "reset" else _count(value)
        if number is not None and (name in limits or len(limits) < MAX_LIMITS):
            limits.setdefault(name, {})["reset_at" if part == "reset" else part] = number

    for header, value in unprefixed(relevant).items():
        if match := re.fullmatch(_PREFIXED, header):
            subject = "requests" if match[1] == "ratelimit" else "tokens"
            add(_limit_name(match[3] or "", subject), match[2], value)
        elif match := re.fullmatch(_SUFFIXED, header):
            add(_limit_name(match[1] or match[2], "requests"), match[3], value)
        elif header in ("ratelimit", "ratelimit-policy"):
            for item in re.finditer(_STRUCTURED, value):
                _add_structured(item, add)
    return {
        name: construct_unchecked(RateLimit, **fields)
        for name, fields in limits.items()
        if fields.keys() & {"limit", "remaining"}
    }


def _add_structured(item: re.Match[str], add: Callable[[str, str, str], None]) -> None:
    name = _limit_name(item[1], "requests")
    for parameter in item[2].split(";"):
        key, _, value = parameter.strip().partition("=")
        if key in _STRUCTURED_PARTS:
            add(name, _STRUCTURED_PARTS[key], value)


def _limit_name(text: str, subject: str) -> str:
    """Return the name of a limit, such as `tokens_minute`."""
    words = [_RENAMED.get(word, word) for word in text.split("-") if word]
    if not words or words[0] in _PERIODS:
        words.insert(0, subject)
    return "_".join(words)


def _count(value: str) -> int | None:
    match = re.match(r"\s*(\d{1,18})(?![\d:])", value)
    return int(match[1]) if match else None


def _reset_at(value: str, sent_at: float) -> int | None:
    """Return when a limit is reset, in milliseconds by our clock."""
    delay = parse_delay(value, sent_at)
    if delay is None or not -1e7 < delay < 1e8:
        return None
    return round((time.time() + delay) * 1000)
