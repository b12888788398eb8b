"""Test the classification of errors by text, status and token counts."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, StopReason, Usage
from pipy_ai.failures import (
    classify_exception,
    classify_status,
    is_context_overflow,
    requested_delay,
    retry_after_seconds,
)

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
    assert not is_context_overflow(failed("quota", TEXTS[0]))
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


def body(message: str, **fields: object) -> str:
    return json.dumps({"error": {"message": message, **fields}})


CURRENT_QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "Invalid API key provided", "auth"),
        (400, "The api_key provided is invalid", "auth"),
        (400, "API key is missing", "auth"),
        (400, "Invalid key", "auth"),
        (400, "Invalid token", "auth"),
        (400, "Could not validate credentials", "auth"),
        (400, "Unauthorized: API token is invalid", "auth"),
        (500, "Authentication failed: invalid api key", "auth"),
        (400, "API Key not found. Please pass a valid API key.", "auth"),
        (403,
         "Generative Language API has not been used in project 1 before or it is disabled.",
         "auth"),
        (401, "no credits", "quota"),
        (403, "This key has reached its limit", "quota"),
        (403, "Your API key has exceeded its spend limit", "quota"),
        (403, "Monthly spend limit reached", "quota"),
        (400, "Your account has insufficient funds", "quota"),
        (400, "You have run out of credits.", "quota"),
        (400, "Not enough credits", "quota"),
        (429, "Insufficient quota", "quota"),
        (429, "Quota exceeded", "quota"),
        (429, "You have exceeded your monthly quota", "quota"),
        (403, "You've exceeded the rate limit, please slow down", "rate_limit"),
        (500, "Account balance not enough", "quota"),
        (500, "您的账户余额不足", "quota"),
        (403, "账户已欠费，请充值", "quota"),
        (429, "您的账户已达到速率限制，请您控制请求频率", "rate_limit"),
        (429, "当前模型访问量过大，请您稍后再试", "overloaded"),
        (400, "Your balance is negative. Please top up.", "quota"),
        (400, "Account suspended due to unpaid invoices", "quota"),
        (403, "Payment overdue", "quota"),
        (403, "Your trial has expired. Please upgrade.", "quota"),
        (403, "Free trial ended", "quota"),
        (400, "Prepaid balance exhausted", "quota"),
        (429, "Workspace spend limit reached: $10.00", "quota"),
        (400,
         "You're out of extra usage. Add more at claude.ai/settings/usage and keep going.",
         "quota"),
        (429, "You've hit your monthly spend limit", "quota"),
        (429, "The service is overloaded, please retry later", "overloaded"),
        (500, "The server is currently overloaded", "overloaded"),
        (500, "Server is busy, please try again later", "overloaded"),
        (503, "No available capacity", "overloaded"),
        (500, "Model is at capacity", "overloaded"),
        (429, "Too many concurrent requests", "rate_limit"),
        (503, "Rate limited by provider", "rate_limit"),
        (400, "Your input was rejected by the moderation system", "content_filter"),
        (400, "Content blocked by safety filters", "content_filter"),
        (400, "The content is flagged as unsafe", "content_filter"),
        (400, "Your request was flagged by our content moderation", "content_filter"),
        (400, "Request blocked due to content policy", "content_filter"),
        (403, "The prompt was blocked because it violates our Terms of Service", "content_filter"),
        (400, "Sensitive content detected", "content_filter"),
        (400, "The response was blocked by guardrails", "content_filter"),
        (400, "内容审核不通过", "content_filter"),
        (400, "Usage policy violation", "content_filter"),
        (400, "The prompt contains sensitive words", "content_filter"),
        (500,
         "<400> Algo.DataInspectionFailed: Input data may contain inappropriate content.",
         "content_filter"),
        (400, "Input tokens exceed the limit of 131072", "context_overflow"),
        (400, "context limit exceeded", "context_overflow"),
        (400, "The input length 200000 exceeds the maximum length 131072", "context_overflow"),
        (400, "Prompt length 140000 exceeds limit of 131072 tokens", "context_overflow"),
        (400,
         "Requested token count exceeds the model's maximum context length of 131072 tokens.",
         "context_overflow"),
        (400, "the prompt is too large: 200000 tokens", "context_overflow"),
        (400, "Input is too large. Reduce the number of tokens.", "context_overflow"),
        (500, "prompt is too long: 204548 tokens > 199999 maximum", "context_overflow"),
        (400,
         "The model returned the following errors: Input is too long for requested model.",
         "context_overflow"),
        (400,
         "The model returned the following errors: prompt is too long: 210000 > 200000",
         "context_overflow"),
        (400, "model `foo` not found, try pulling it first", "not_found"),
        (400, "Model gpt-x does not exist", "not_found"),
        (400, "Invalid model: gpt-x", "not_found"),
        (400, "The provided model identifier is invalid.", "not_found"),
        (403, "Model access denied", "auth"),
        (400, "max_tokens must be less than 8192", "bad_request"),
        (400, "messages.1.content: unexpected `tool_use_id`", "bad_request"),
        (400,
         "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens",
         "bad_request"),
        (400, "`temperature` and `top_p` cannot both be specified for this model.", "bad_request"),
        (400,
         "This model's maximum context length is 8192 tokens, max_tokens too large",
         "context_overflow"),
        (400, "Function name is invalid: balance check failed", "bad_request"),
        (400, "image exceeds 5 MB maximum", "bad_request"),
    ],
)  # fmt: skip
def test_further_wordings(status: int, text: str, kind: str) -> None:
    assert classify_status(status, body(text)) == kind
    assert classify_status(status, json.dumps({"detail": text})) == kind
    assert classify_status(status, f"Error code: {status} - {body(text)}") == kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        # The prompt is quoted.
        (400, body(f"Invalid value for messages[0].content: '{CURRENT_QUOTA}'"), "bad_request"),
        (400, body(f"messages: text blocks must be non-empty, got {'x' * 80} {CURRENT_QUOTA}"),
         "bad_request"),
        (400, body(f'Invalid content "my API key is not valid: {CURRENT_QUOTA}"'), "bad_request"),
        (400, body("Invalid type: " + CURRENT_QUOTA, code="invalid_type"), "bad_request"),
        (422, json.dumps({"detail": [{"msg": "Field required", "input": CURRENT_QUOTA}]}),
         "bad_request"),
        (400, json.dumps({"error": {"message": "No."}, "request": {"prompt": CURRENT_QUOTA}}),
         "bad_request"),
        # The words of another kind.
        (400, body("The max_tokens quota parameter must be positive"), "bad_request"),
        (400, body("tool 'get_rate_limit' has no properties"), "bad_request"),
        (400, body("Unexpected token invalid in JSON at position 3"), "bad_request"),
        (400, body("The request violates the schema of tool x"), "bad_request"),
        (400, body("This model does not support tools"), "bad_request"),
        (400, body("temperature is not supported with this model"), "bad_request"),
        (404, body("Too many requests to /quota"), "not_found"),
        (500, body("Internal server error"), "server"),
        (502, "<html><title>Bad gateway</title>insufficient balance quota</html>", "server"),
        (429, body("Too many tokens, please wait before trying again."), "rate_limit"),
        (429, body("Token limit exceeded. Please try again later."), "rate_limit"),
        (429, body("Slow down. See https://host.example/settings/billing/quota"), "rate_limit"),
        (429, body("Quota exceeded for requests per minute"), "rate_limit"),
        (429, body(CURRENT_QUOTA + " Please retry in 12s."), "rate_limit"),
        (403, body("You do not have permission to use this model"), "auth"),
        # A code outweighs words.
        (429, body("Add credits to your balance", code="rate_limit_exceeded"), "rate_limit"),
        (400, body("Something about a rate limit", code="insufficient_balance"), "quota"),
        (400, body("No.", code="insufficient_permissions"), "bad_request"),
        (500, body("No.", code="hour_quota_exceeded"), "quota"),
        (429, body("No.", code="user_ratelimit_hit"), "rate_limit"),
        # Gateways say what the host behind them said.
        (502, body('upstream: {"error": {"code": "insufficient_balance"}}'), "quota"),
        (400, "Error code: 400 - {'error': {'code': 'invalid_api_key'}}", "auth"),
        (400, body("x", details=[[[[[[[[[[[["insufficient balance"]]]]]]]]]]]]), "bad_request"),
        (400, "{" * 5000 + "}" * 5000, "bad_request"),
        (400, body("Invalid API parameter, please check the documentation."), "bad_request"),
        (400, body("Invalid user message at index 3: content must be a string"), "bad_request"),
        (400, body("Error while downloading https://x.com/a.png. Upstream status code: 401"
                   " Unauthorized"), "bad_request"),
        (400, body("Unable to download the file: authentication required for URL"), "bad_request"),
        (400, body("image URL has expired: token expired"), "bad_request"),
        (400, body("Failed to parse grammar: invalid token"), "bad_request"),
        (400, body('Invalid tool arguments: {"type": "invalid_api_key"}'), "bad_request"),
        (400, body('Failed to parse messages: {"role":"user","code":"insufficient_balance"}'),
         "bad_request"),
        (400, body("Each tool_use block must have a matching model tool_result: id not found"),
         "bad_request"),
        (400, body("Model does not support image input; URL not found"), "bad_request"),
        (400, body("Too many tools: input exceeds the limit of 128"), "bad_request"),
    ],
)  # fmt: skip
def test_words_of_other_kinds(status: int, text: str, kind: str) -> None:
    assert classify_status(status, text) == kind


@pytest.mark.parametrize(
    "text",
    ["retry " * 10_000, "'" * 60_000, "' " * 30_000, "model " * 10_000, "input token count " * 4000,
     "quota " * 10_000, "no " * 20_000 + "balance", '{"error": ' * 5000 + "1" + "}" * 5000,
     '{"message": "' * 3000 + '"}' * 3000, "<html><title>" + " " * 50_000, "<title>" * 9000,
     " 'aaaaaaaaaaaaaaaaaaaaaaaa" * 2500, "try again in " + "1" * 60_000, "http://" * 9000],
)  # fmt: skip
def test_long_bodies_take_no_time(text: str) -> None:
    started_at = time.process_time()
    assert classify_status(400, text)
    assert classify_status(429, json.dumps({"error": {"message": text}}))
    retry_after_seconds({"retry-after": text, "x-ratelimit-reset-requests": text}, text)
    assert time.process_time() - started_at < 5.0


@pytest.mark.parametrize(
    ("class_name", "status", "text", "kind", "message"),
    [
        ("RateLimitError", 429,
         'litellm.RateLimitError: BedrockException - {"message":"Too many tokens per day."}',
         "quota", "Too many tokens per day."),
        ("RateLimitError", 429,
         'litellm.RateLimitError: BedrockException - {"message":"Too many tokens, please wait."}',
         "rate_limit", "Too many tokens, please wait."),
        ("RateLimitError", 429,
         "litellm.RateLimitError: RateLimitError: OpenAIException - " + CURRENT_QUOTA,
         "quota", CURRENT_QUOTA),
        ("BadRequestError", 400,
         "litellm.BadRequestError: VertexAIException BadRequestError - b'{\n  \"error\": {\n"
         '    "code": 400,\n    "message": "API key not valid.",\n    "details": [{"reason":'
         " \"API_KEY_INVALID\"}]\n  }\n}\n'", "auth", "API key not valid."),
        ("BadRequestError", 400,
         "litellm.BadRequestError: XaiException - Error code: 400 - {'code': 'invalid argument',"
         " 'error': 'Incorrect API key provided: x.'}", "auth", "Incorrect API key provided: x."),
        ("InternalServerError", 500, "litellm.InternalServerError: AnthropicException - Overloaded",
         "overloaded", "Overloaded"),
        ("APIError", 412, "litellm.APIError: APIError: Fireworks_aiException - Account x is "
         "suspended, possibly due to reaching the monthly spending limit", "quota",
         "Account x is suspended, possibly due to reaching the monthly spending limit"),
        ("APIConnectionError", 500, 'litellm.APIConnectionError: OllamaException - {"error":"model'
         " 'x' not found\"}", "not_found", "model 'x' not found"),
        ("NoCredentialsError", None, "Unable to locate credentials", "auth",
         "Unable to locate credentials"),
        ("Timeout", 408, "Connection timed out.", "timeout", "Connection timed out."),
        ("ValueError", None, "no such thing", "unknown", "no such thing"),
    ],
)  # fmt: skip
def test_exceptions_of_a_backend(
    class_name: str, status: int | None, text: str, kind: str, message: str
) -> None:
    exception = type(class_name, (Exception,), {"status_code": status})(text)
    error = classify_exception(exception)
    assert (error.kind, error.message) == (kind, message)


def test_requested_delay_outweighs_the_word_quota() -> None:
    text = body(CURRENT_QUOTA, code="insufficient_quota")
    assert classify_status(429, text) == "quota"
    assert classify_status(429, text, retry_after=20.0) == "rate_limit"
    assert classify_status(429, body("Insufficient balance"), retry_after=20.0) == "quota"
    assert classify_status(402, text, retry_after=20.0) == "quota"


def test_headers_of_every_response_are_no_requested_delay() -> None:
    headers = {"x-ratelimit-reset-requests": "1m12s", "x-ratelimit-reset": "60"}
    assert requested_delay(headers) is None
    assert requested_delay({**headers, "retry-after": "20"}) == 20.0


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
        ({}, "Please try again in 20 ms.", 0.02),
        ({}, "Please try again in 6m0s.", 360.0),
        ({}, "Please retry after 86400 seconds. Please go elsewhere.", 86400.0),
        ({}, "Please try again after 1 seconds", 1.0),
        ({}, "Please wait 40 minutes before retrying.", 2400.0),
        ({}, "Try again in 1 hour 30 min.", 5400.0),
        ({}, "Your quota will reset after 1h2m3.5s.", 3723.5),
        ({}, "Please try again in 3 attempts.", None),
        ({}, "Please retry in 36.4s. [{'retryDelay': '36s'}]", 36.0),
        ({}, '{"error": "{\\"retryDelay\\": \\"26s\\"}"}', 26.0),
        ({}, '{"metadata": {"retry_after_seconds": 30}}', 30.0),
        ({"retry-after": "60s"}, "", 60.0),
        ({"x-ratelimit-reset-requests": "1m12s"}, "", 72.0),
        ({"x-ratelimit-reset-requests": "1m12s"}, "Please try again in 2s.", 2.0),
        ({"x-ratelimit-reset-requests": "6ms", "x-ratelimit-remaining-requests": "9999",
          "x-ratelimit-reset-tokens": "2m59.56s", "x-ratelimit-remaining-tokens": "0"},
         "", 179.56),
        ({"x-ratelimit-reset-tokens": "2m59.56s", "x-ratelimit-remaining-tokens": "12"}, "", None),
        ({"anthropic-ratelimit-tokens-reset": "2026-11-22T12:00:30Z",
          "anthropic-ratelimit-tokens-remaining": "0", "date": "Sun, 22 Nov 2026 12:00:00 GMT"},
         "", 30.0),
        ({}, '{"details": [{"retryDelay": "34s"}]}', 34.0),
        ({"retry-after": "5, 10"}, "", 10.0),
        ({"retry-after": "5, <html>"}, "", None),
        ({"retry-after": "-1"}, "", None),
        ({"retry-after": "nan"}, "", None),
        ({"retry-after": "1e999"}, "", None),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "0001-01-01T00:00:00"}, "", None),
        ({"retry-after": "9999-12-31T23:59:59-23:59"}, "", None),
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


@pytest.mark.parametrize(
    "error",
    [
        {"message": "prompt is too long", "code": "context_length_exceeded"},
        {"message": "Blocked by our content policy", "code": "content_filter"},
        {"message": "Invalid API key", "code": "invalid_api_key"},
        {"message": "The model does not exist", "code": "model_not_found"},
        {"message": "No.", "code": "invalid_value"},
        {"message": "No.", "type": "permission_error"},
        {"message": "No.", "status": "DEADLINE_EXCEEDED"},
        {"code": {"a": [1]}, "message": 5},
    ],
)
@pytest.mark.parametrize("retry_after", [None, 0.0, 1e6])
def test_status_429_is_a_rate_limit_whatever_the_body_says(
    error: dict[str, Any], retry_after: float | None
) -> None:
    assert classify_status(429, json.dumps({"error": error}), retry_after) == "rate_limit"
