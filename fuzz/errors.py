"""Targets: responses with an error status, errors inside a stream, and `Retry-After`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from pipy_ai.errors import ErrorInfo, ErrorKind
from pipy_ai.failures import classify_exception, requested_delay, retry_after_seconds
from pipy_ai.provider.exchange import error_from_response
from pipy_ai.provider.wires._parsing import MalformedResponseError, error_from_payload, parse_object

from .harness import target
from .replies import MemoryResponse, run
from .values import ODD_NUMBERS, changed, dump_json, pieces, some_json, some_text

_DATA = Path(__file__).parents[1] / "tests" / "data" / "error_responses.json"
_BODIES = [row["body"] for row in json.loads(_DATA.read_text(encoding="utf-8"))]
_STATUSES = (301, 400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 429, 429, 500, 502, 503)
_KINDS_OF_429 = {ErrorKind.RATE_LIMIT, ErrorKind.QUOTA, ErrorKind.OVERLOADED}
_FIELDS = (
    "error", "message", "code", "type", "status", "details", "metadata", "raw", "errors", "detail",
    "retryDelay", "retry_after", "quotaId", "violations", "innererror", "base_resp", "title",
)  # fmt: skip
_WORDS = (
    "rate limit", "Please try again in", "20s", "1m", "3 days", "9" * 400, "ms", "wait for",
    "insufficient balance", "prompt is too long", "context_length_exceeded", "invalid api key",
    "overloaded", "content management policy", "model not found", "{'", "{", "}", '"', "\\",
    "litellm.RateLimitError: ", "Error code: 429 - ", "https://", "per minute", "daily", "quota",
    "'", "\n", "   ", "<title>", "</title>", "no", "api key", "input", "exceeds", "limit",
)  # fmt: skip
_HEADERS = (
    "retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-reset-after", "date",
    "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests", "x-should-retry", "request-id",
    "anthropic-ratelimit-tokens-reset", "llm_provider-retry-after", "location", "content-type",
)  # fmt: skip
_DELAYS = (
    "0", "1", "20", "-1", "1e400", "nan", "inf", "1_0", "6m0s", "20 ms", "1h2m3s", "1e10", "1e13",
    "Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 99 Oct 99999 07:28:00 GMT", "0001-01-01T00:00:00",
    "9999-12-31T23:59:59-23:59", "2026-11-29T10:00:00Z", "٣", "false", "true", "9" * 400, "",
    "Mon, 01 Jan 0001 00:00:00 +2359", "1 Jan 0 0:0:0", "00:00", ",", 
    "Thu, 1 Jan 1970 00:00:00 -9999",
)  # fmt: skip


def _words(rng: random.Random) -> str:
    words = [rng.choice(_WORDS) for _ in range(rng.randint(1, 12))]
    if rng.random() < 0.1:
        words *= rng.choice((10, 100))
    return rng.choice(("", " ")).join(words)


def _value(rng: random.Random) -> Any:
    kind = rng.randrange(5)
    if kind == 0:
        return some_json(rng)
    if kind == 1:
        return rng.choice(ODD_NUMBERS)
    if kind == 2:
        return {rng.choice(_FIELDS): _words(rng), rng.choice(_FIELDS): some_json(rng, 1)}
    if kind == 3:
        return json.dumps({rng.choice(_FIELDS): _words(rng)})  # JSON inside a text
    return _words(rng)


def _document(rng: random.Random) -> Any:
    return changed(rng, rng.choice(_BODIES), rng.randint(0, 3), _value)


def _body(rng: random.Random) -> str:
    kind = rng.randrange(8)
    if kind < 4:
        document = _document(rng)
        return document if isinstance(document, str) else dump_json(rng, document)
    if kind == 4:
        depth = rng.choice((5, 9, 150, 250, 450, 900, 980, 3000))
        opening, closing = rng.choice((('{"error":', "}"), ("[", "]"), ('{"error":[', "]}")))
        return opening * depth + json.dumps(_words(rng)) + closing * depth
    if kind == 5:
        return some_text(rng)
    text = rng.choice(("", "<html><title>", "Error code: 429 - ", "{'error': ")) + _words(rng)
    return text[: rng.randint(0, len(text))] if rng.random() < 0.3 else text


def _headers(rng: random.Random) -> dict[str, str]:
    names = [rng.choice(_HEADERS) for _ in range(rng.randint(0, 4))]
    return {name: rng.choice(_DELAYS) for name in names}


def _check(error: ErrorInfo, status: int | None) -> None:
    assert error.kind is not ErrorKind.UNKNOWN, error
    assert error.message, error
    assert error.retry_after is None or 0 <= error.retry_after < 1e7
    assert status != 429 or error.kind in _KINDS_OF_429, error
    error.model_dump_json()


@target
def error_responses(rng: random.Random) -> None:
    """Responses with an error status: a 429 stays a limit, whatever headers and body say."""
    status, body, headers = rng.choice(_STATUSES), _body(rng), _headers(rng)
    data = body.encode("utf-8", "surrogatepass")
    response: Any = MemoryResponse(pieces(rng, data), headers)
    response.status = status
    error = run(error_from_response(response)).error
    _check(error, status)


@target
def error_events(rng: random.Random) -> None:
    """Errors inside a stream or a document of status 200."""
    text = dump_json(rng, {"error": _document(rng)})
    text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")  # as it arrives
    try:
        payload = parse_object(text)["error"]
    except MalformedResponseError:
        return
    code = payload.get("code") if isinstance(payload, dict) else None
    _check(error_from_payload(payload).error, 429 if code == 429 else None)


class RateLimitError(Exception):
    """An exception such as LiteLLM raises for status 429."""

    status_code = 429


@target
def error_exceptions(rng: random.Random) -> None:
    """Exceptions of LiteLLM that quote a body of status 429."""
    exception = RateLimitError(_body(rng))
    headers: Any = _headers(rng) if rng.random() < 0.8 else some_json(rng)
    exception.litellm_response_headers = headers  # type: ignore[attr-defined]
    _check(classify_exception(exception, "p"), 429)


@target
def retry_delays(rng: random.Random) -> None:
    """Delays in headers and bodies are None, or seconds that can be waited."""
    headers, body = _headers(rng), _body(rng)
    for name in headers:
        if rng.random() < 0.3:
            headers[name] = some_text(rng)
    for delay in (retry_after_seconds(headers, body), requested_delay(headers, body)):
        assert delay is None or 0 <= delay < 1e7
