"""Test the classification of errors by text, status and token counts."""

from __future__ import annotations

import time

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, StopReason, Usage
from pipy_ai.failures import classify_status, is_context_overflow, retry_after_seconds

TEXTS = [
    "prompt is too long: 213462 tokens > 200000 maximum",
    '413 {"error":{"type":"request_too_large","message":"Request exceeds the size limit"}}',
    "Input is too long for requested model",
    "Your input exceeds the context window of this model. Please adjust your input and try again.",
    "This model's maximum context length is 128000 tokens. However, you sent 130000",
    "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
    "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
    "Please reduce the length of the messages or completion.",
    "This endpoint's maximum context length is 40960 tokens.",
    "the request exceeds the available context size, try increasing it",
    "request (5031 tokens) exceeds the available context size (2048 tokens)",
    "tokens to keep from the initial prompt is greater than the context length",
    "prompt token count of 150000 exceeds the limit of 128000",
    "invalid params, context window exceeds limit",
    "Your request exceeded model token limit: 262144",
    "Prompt contains 150000 tokens; too large for model with 131072 maximum context length",
    "The prompt exceeds max length",
    "input (70000 tokens) is longer than the model's context length (65536 tokens)",
    "Range of input length should be [1, 129024]",
    "prompt too long; exceeded max context length by 4 tokens",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
]  # fmt: skip
OTHERS = [
    "Too many tokens, please wait before trying again.",
    "Rate limit reached for gpt-5 on tokens per min (TPM): Limit 30000, Used 30000.",
    "ThrottlingException: Too many tokens",
    "Invalid API key",
    "The server is overloaded",
]


@pytest.mark.parametrize("text", TEXTS)
def test_every_vendors_overflow_message_is_recognized(text: str) -> None:
    assert classify_status(400, text) == "context_overflow"
    assert is_context_overflow(failed("unknown", text))


@pytest.mark.parametrize("text", OTHERS)
def test_other_errors_are_not_overflows(text: str) -> None:
    assert classify_status(429, text) != "context_overflow"
    assert not is_context_overflow(failed("rate_limit", text))
    assert not is_context_overflow(failed("unknown", text))


def failed(kind: str, text: str) -> AssistantMessage:
    error = ErrorInfo.model_validate({"kind": kind, "message": text})
    return AssistantMessage(stop_reason=StopReason.ERROR, error=error, error_message=text)


@pytest.mark.parametrize(
    ("stop", "prompt", "output", "window", "overflow"),
    [
        ("stop", 9000, 5, 8192, True),  # it was cut silently
        ("stop", 8000, 5, 8192, False),
        ("length", 8150, 0, 8192, True),  # no room was left
        ("length", 8150, 5, 8192, False),
        ("length", 4000, 0, 8192, False),
        ("stop", 9000, 5, None, False),
    ],
)
def test_overflow_by_token_counts(
    stop: str, prompt: int, output: int, window: int | None, overflow: bool
) -> None:
    usage = Usage(input=prompt - 100, cache_read=100, output=output)
    message = AssistantMessage(stop_reason=StopReason(stop), usage=usage)
    assert is_context_overflow(message, window) == overflow
    message.usage.estimated = True
    assert not is_context_overflow(message, window)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (429, "You exceeded your current quota, please check your plan", "quota"),
        (429, "insufficient_quota", "quota"),
        (402, "Payment required", "quota"),
        (400, "Your credit balance is too low", "quota"),
        (500, "Overloaded", "overloaded"),
        (502, "<html>bad gateway</html>", "server"),
        (409, "conflict", "server"),
        (422, "unprocessable", "bad_request"),
        (401, "maximum context length", "auth"),
    ],
)
def test_error_kind_by_status_and_text(status: int, text: str, kind: str) -> None:
    assert classify_status(status, text) == kind


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "7"}, "", 7.0),
        ({"retry-after": "1.5"}, "", 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, "", 1.5),
        ({"retry-after": "Sun, 22 Nov 2026 12:00:30 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"},
         "", 30.0),
        ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT", "date": "Sun, 22 Nov 2026 12:00:00 GMT"},
         "", None),
        ({"x-ratelimit-reset-after": "12"}, "", 12.0),
        ({"x-ratelimit-reset": "12"}, "", 12.0),
        ({"retry-after": "3"}, "Please try again in 20s.", 3.0),
        ({}, "Please try again in 6m2.5s.", 362.5),
        ({}, "Please try again in 250ms.", 0.25),
        ({}, '{"details": [{"retryDelay": "34s"}]}', 34.0),
        ({"retry-after": "-1"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "1e999"}, "", None),
        ({"retry-after": "soon"}, "", None),
        ({}, "", None),
    ],
)  # fmt: skip
def test_retry_after_formats(headers: dict[str, str], body: str, seconds: float | None) -> None:
    assert retry_after_seconds(headers, body) == seconds


@pytest.mark.parametrize("scale", [1, 1000])
def test_retry_after_as_a_unix_time(scale: int) -> None:
    seconds = retry_after_seconds({"x-ratelimit-reset": str((time.time() + 60) * scale)}, "")
    assert seconds == pytest.approx(60, abs=5)


def test_overflow_is_recognized_by_the_error_message_alone() -> None:
    message = AssistantMessage(error_message="prompt is too long: 213462 tokens > 200000 maximum")
    assert is_context_overflow(message)
