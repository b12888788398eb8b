"""Test what messages keep of HTTP responses, over real sockets and every API."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

import pipy_ai
from pipy_ai import AssistantMessage, RateLimit, complete, complete_many, stream
from pipy_ai.provider.exchange import MAX_ERROR_BODY_BYTES
from pipy_ai.provider.response import MAX_LIMITS, rate_limits_from_headers

from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import Lab, Status, chat, finish, text
from ..support.wire_formats import CHAT, WIRES, Wire, say

KEY = "sk-very-secret-0123456789"
HEADERS = {
    "x-request-id": "req_42",
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1m30s",
    "set-cookie": "session=abc",
}
TRANSPORTS = ["direct", "litellm"]


def ask(server: Raw, wire: Wire, **options: Any) -> AssistantMessage:
    base = server.url.removesuffix("/v1") if wire.root else server.url
    options = {"api_key": KEY, "max_retries": 0, **options}
    return check_events(list(stream(wire.model, "q", api_base=base, **options)))


def raw_response(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name}: {value}" for name, value in (HEADERS | headers).items()]
    return response(body, *lines, status=status)


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_request_id_and_rate_limits(wire: Wire, transport: str) -> None:
    before = time.time_ns() // 1_000_000
    with Raw(raw_response(b"".join(wire.scene(say("Hi"))))) as server:
        message = ask(server, wire, transport=transport)
    after = time.time_ns() // 1_000_000
    assert message.text == "Hi"
    assert message.request_id == "req_42"
    limit = message.rate_limits["requests"]
    assert (limit.limit, limit.remaining) == (60, 59)
    assert limit.reset_at is not None
    assert before + 90_000 <= limit.reset_at <= after + 90_001
    assert message.raw is None
    restored = AssistantMessage.model_validate_json(message.model_dump_json())
    assert (restored.request_id, restored.rate_limits) == ("req_42", message.rate_limits)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_raw_response(wire: Wire, transport: str) -> None:
    body = b"".join(wire.scene(say("Hi", " there")))
    with Raw(raw_response(body)) as server:
        message = ask(server, wire, transport=transport, raw=True)
    assert message.text == "Hi there"
    assert message.raw is not None
    assert message.raw.status == 200
    assert message.raw.headers.items() >= HEADERS.items()
    assert message.raw.body == body
    assert message.raw.text == body.decode("utf-8", "replace")
    shown = [repr(message), repr(message.raw), message.model_dump_json(), str(message.model_dump())]
    assert not any("session=abc" in text for text in shown)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_error_response(wire: Wire, transport: str) -> None:
    body = json.dumps({"error": {"message": "Slow down.", "type": "rate_limit"}}).encode()
    with Raw(raw_response(body, "429 Too Many Requests")) as server:
        message = ask(server, wire, transport=transport, raw=True)
    assert message.error is not None
    assert message.error.kind == "rate_limit"
    assert message.request_id == message.error.request_id == "req_42"
    assert message.rate_limits["requests"].remaining == 59
    assert message.raw is not None
    assert (message.raw.status, message.raw.body) == (429, body)


def test_long_error_body_is_truncated() -> None:
    with Raw(raw_response(b"x" * (1 << 20), "500 Internal Server Error")) as server:
        message = ask(server, CHAT, raw=True)
    assert message.raw is not None
    assert message.raw.body is not None
    assert MAX_ERROR_BODY_BYTES <= len(message.raw.body) < 2 * MAX_ERROR_BODY_BYTES


def test_no_response() -> None:
    with Raw(b"") as server:
        message = ask(server, CHAT, raw=True)
    assert (message.request_id, message.rate_limits, message.raw) == (None, {}, None)
    local = complete("faux/echo", "q", raw=True)
    assert (local.request_id, local.rate_limits, local.raw) == (None, {}, None)


def test_retry_and_fallback_keep_the_last_response(lab: Lab) -> None:
    lab.play(
        Status(503, "{}", {"x-request-id": "first", "x-ratelimit-remaining-tokens": "1"}),
        Status(503, "{}", {"x-request-id": "second"}),
        chat(text("ok"), finish("stop")),
    )
    models = ["hosted_vllm/m", "hosted_vllm/n"]
    message = complete(models, "q", api_base=lab.url, max_retries=1, raw=True)
    assert message.text == "ok"
    assert (message.request_id, message.rate_limits) == (None, {})
    ids = [attempt.error and attempt.error.request_id for attempt in message.attempts]
    assert ids == ["first", "second", None]
    assert message.raw is not None
    assert message.raw.status == 200


def test_secrets_are_removed_from_the_request_id() -> None:
    body = b"".join(CHAT.scene(say("Hi")))
    with Raw(raw_response(body, **{"x-request-id": f"id-{KEY}"})) as server:
        message = ask(server, CHAT)
    assert message.request_id == "id-***"
    assert KEY not in message.model_dump_json()


@pytest.mark.litellm
@pytest.mark.filterwarnings("ignore")
def test_requests_that_litellm_sends(tmp_path: Path) -> None:
    """LiteLLM keeps the headers, but not the body."""
    body = b"".join(CHAT.scene(say("Hi")))
    with Raw(raw_response(body, **{"content-type": "text/event-stream"})) as server:
        options: Any = {"api_base": server.url.removesuffix("/v1"), "api_key": KEY, "raw": True}
        options["extra"] = {"api_version": "2024-10-21"}
        message = complete("azure/gpt-4o", "q", transport="litellm", **options)
    assert message.text == "Hi", message.error
    assert message.request_id == "req_42"
    assert message.rate_limits["requests"].remaining == 59
    assert message.raw is not None
    assert (message.raw.status, message.raw.body, message.raw.text) == (200, None, "")


@pytest.mark.litellm
@pytest.mark.filterwarnings("ignore")
def test_errors_of_requests_that_litellm_sends() -> None:
    with Raw(raw_response(b'{"error": {"message": "no"}}', "429 Too Many Requests")) as server:
        options: Any = {"api_base": server.url.removesuffix("/v1"), "api_key": KEY}
        options["extra"] = {"api_version": "2024-10-21"}
        message = complete("azure/gpt-4o", "q", transport="litellm", max_retries=0, **options)
    assert message.error is not None
    assert message.request_id == "req_42"
    assert message.rate_limits["requests"].remaining == 59


def limit(limit: int | None = None, remaining: int | None = None) -> RateLimit:
    return RateLimit(limit=limit, remaining=remaining)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-input-tokens-limit": "40000",
                "anthropic-ratelimit-output-tokens-remaining": "8000",
            },
            {
                "requests": limit(50, 49),
                "input_tokens": limit(40000),
                "output_tokens": limit(None, 8000),
            },
            id="anthropic",
        ),
        pytest.param(
            {
                "x-ratelimit-limit-req-minute": "60",
                "x-ratelimit-remaining-tokens-minute": "499",
                "ratelimitbysize-limit": "500000",
                "x-ratelimitbysize-remaining-month": "7",
            },
            {
                "requests_minute": limit(60),
                "tokens_minute": limit(None, 499),
                "tokens": limit(500000),
                "tokens_month": limit(None, 7),
            },
            id="mistral",
        ),
        pytest.param(
            {"x-ratelimit-limit-requests-day": "14400", "x-ratelimit-remaining-tokens": "5.5"},
            {"requests_day": limit(14400), "tokens": limit(None, 5)},
            id="cerebras",
        ),
        pytest.param(
            {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "9", "x-tokenlimit-limit": "99"},
            {"requests": limit(10, 9), "tokens": limit(99)},
            id="together",
        ),
        pytest.param(
            {"x-trial-endpoint-call-limit": "10", "x-trial-endpoint-call-remaining": "3"},
            {"requests": limit(10, 3)},
            id="cohere",
        ),
        pytest.param(
            {"x-ratelimit-remaining-project-tokens": "1", "x-ratelimit-limit-tokens-prompt": "2"},
            {"project_tokens": limit(None, 1), "tokens_prompt": limit(2)},
            id="names",
        ),
        pytest.param(
            {"ratelimit": '"api";r=50', "ratelimit-policy": '"api";q=100;w=60, "day";q=7'},
            {"requests": limit(100, 50), "requests_day": limit(7)},
            id="ietf",
        ),
        pytest.param(
            {
                "llm_provider-x-ratelimit-remaining-tokens": "5",
                "llm_provider-x-ratelimit-remaining-requests": "6",
                "x-ratelimit-remaining-requests": "4",
            },
            {"tokens": limit(None, 5), "requests": limit(None, 4)},
            id="litellm proxy",
        ),
        pytest.param(
            {"x-ratelimit-limit-requests": "60, 60;w=60"}, {"requests": limit(60)}, id="w"
        ),
        pytest.param({"x-ratelimit-reset-requests": "1s"}, {}, id="only a reset"),
        pytest.param(
            {
                "x-ratelimit-limit-requests": "unlimited",
                "x-ratelimit-remaining-requests": "-1",
                "x-ratelimit-limit-tokens": "9" * 5000,
                "x-ratelimit-remaining-": "",
                "x-ratelimit-limit-a1b2c3": "1",
                f"x-ratelimit-limit-{'a' * 5000}": "1",
                "ratelimit": ";;;=",
                "x-ratelimit-remaining-12:30": "12:30",
            },
            {},
            id="not numbers",
        ),
    ],
)
def test_rate_limit_headers(headers: dict[str, str], expected: dict[str, RateLimit]) -> None:
    assert rate_limits_from_headers(headers) == expected


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("2m59.56s", 179.56), ("30", 30), ("0", 0),
        ("2026-11-29T12:00:30Z", 30), ("1795953630", 30), ("1795953630000", 30),
        ("Sun, 29 Nov 2026 12:00:30 GMT", 30),
        ("soon", None), ("nan", None), ("inf", None), ("-1e9", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_reset_times(value: str, seconds: float | None) -> None:
    """All are relative to the provider's clock, and returned by ours."""
    headers = {
        "date": "Sun, 29 Nov 2026 12:00:00 GMT",
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-reset-requests": value,
    }
    before = time.time() * 1000
    reset_at = rate_limits_from_headers(headers)["requests"].reset_at
    after = time.time() * 1000
    if seconds is None:
        assert reset_at is None
    else:
        assert reset_at is not None
        assert before - 1 <= reset_at - seconds * 1000 <= after + 1


def test_number_of_limits_is_bounded() -> None:
    names = [f"{a}{b}" for a in "abcdefghij" for b in "abcdefghij"]
    headers = {f"x-ratelimit-limit-{name}": "1" for name in names}
    assert len(rate_limits_from_headers(headers)) == MAX_LIMITS


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        ({"n": 2}, "n=2"),
        ({"extra_body": {"n": 3}}, "n=3"),
        ({"generationConfig": {"candidateCount": 4}}, "candidateCount=4"),
        ({"num_generations": 2}, "num_generations=2"),
        ({"extra_body": {"generationConfig": {"candidateCount": 2}}}, "candidateCount=2"),
        ({"logprobs": True}, "logprobs=True"),
        ({"top_logprobs": 5}, "top_logprobs=5"),
        ({"generationConfig": {"responseLogprobs": True}}, "responseLogprobs=True"),
        ({"include": ["message.output_text.logprobs"]}, "include="),
    ],
)
def test_fields_that_a_message_would_lose_are_rejected(extra: Any, what: str) -> None:
    for function in (complete, stream, pipy_ai.preview):
        with pytest.raises(ValueError, match=what):
            function("openai/gpt-4o", "q", extra=extra, api_key=KEY)


def test_harmless_values_are_sent(lab: Lab) -> None:
    extra: Any = {"n": 1, "logprobs": False, "include": ["reasoning.encrypted_content"]}
    extra["metadata"] = {"n": 5, "logprobs": True}
    assert complete("hosted_vllm/m", "q", extra=extra, api_base=lab.url).text == "ok"
    assert lab.seen[0].json.items() >= extra.items()


def test_logprobs_in_the_raw_body(lab: Lab) -> None:
    options: Any = {"extra": {"logprobs": True}, "raw": True, "api_base": lab.url}
    message = complete("hosted_vllm/m", "q", **options)
    assert lab.seen[0].json["logprobs"] is True
    assert message.raw is not None
    assert message.raw.text.startswith("data: {")


def test_complete_many_keeps_them(lab: Lab) -> None:
    lab.always = lambda seen: Status(
        200,
        {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]},
        {"x-request-id": seen.json["messages"][0]["content"]},
    )
    messages = complete_many("hosted_vllm/m", ["a", "b"], api_base=lab.url, progress=False)
    assert [message.request_id for message in messages] == ["a", "b"]
