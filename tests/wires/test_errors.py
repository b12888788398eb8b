"""Test HTTP errors, error events and unreadable responses on every wire."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, stream

from ..support.event_grammar import check_events
from ..support.scenarios import ODD
from ..support.scripted_server import Lab, Status, chunk, sse
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    CONVERSE,
    ERRORS,
    GEMINI,
    OLLAMA,
    RESPONSES,
    WIRES,
    Wire,
    say,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True, params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


KEY = "sk-very-secret-0123456789"


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


def test_refusals(lab: Lab) -> None:
    from ..support.scripted_server import chat, finish

    lab.play(chat(chunk({"refusal": "I can"}), chunk({"refusal": "not."}), finish("stop")))
    lab.play(
        sse(
            {"type": "response.created", "response": {"id": "r", "model": "m"}},
            {"type": "response.refusal.delta", "output_index": 0, "delta": "I cannot."},
            {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
        )
    )
    for wire in (CHAT, RESPONSES):
        message = ask(lab, wire)
        assert message.text == "I cannot."
        assert message.error is not None
        assert message.error.kind == "content_filter"


def test_error_event_in_the_stream(lab: Lab, wire: Wire) -> None:
    word, kind = ERRORS[wire.name]
    lab.play(wire.scene(say("half"), wire.error("it is too much", word), stop=None))
    message = ask(lab, wire)
    assert message.text == "half"
    assert message.error is not None
    assert (message.error.kind, message.error.message) == (kind, "it is too much")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "bad_request"), (401, "auth"), (403, "auth"), (404, "not_found"), (408, "timeout"),
     (413, "context_overflow"), (429, "rate_limit"), (500, "server"), (503, "overloaded"),
     (529, "overloaded")],
)  # fmt: skip
def test_http_errors(lab: Lab, wire: Wire, status: int, kind: str) -> None:
    headers = {"retry-after": "7", "request-id": "req_1"} if status == 429 else {}
    lab.play(Status(status, {"error": {"message": f"no: {KEY}", "type": "x"}}, headers))
    message = ask(lab, wire)
    assert message.error is not None
    assert message.error.kind == kind
    assert message.error.status_code == status
    assert message.error.message == "no: ***"
    assert KEY not in message.model_dump_json()
    if headers:
        assert (message.error.retry_after, message.error.request_id) == (7.0, "req_1")


@pytest.mark.parametrize("status", [408, 429, 500, 503, 529])
def test_transient_failure_is_retried(lab: Lab, wire: Wire, status: int) -> None:
    headers = {"retry-after-ms": "1"}
    lab.play(Status(status, {"error": {"message": "later"}}, headers), wire.scene(say("fine")))
    assert ask(lab, wire, max_retries=2).text == "fine"
    assert len(lab.seen) == 2


@pytest.mark.parametrize("name", ODD)
def test_unreadable_responses_are_errors(lab: Lab, wire: Wire, name: str) -> None:
    lab.play(ODD[name])
    message = ask(lab, wire)
    assert message.stop_reason == "error"
    assert message.error is not None
    assert message.error.kind in ("server", "incomplete")
    assert message.content == []


def test_large_error_body_is_truncated(lab: Lab, wire: Wire) -> None:
    lab.play(Status(500, "x" * (20 << 20)))
    message = ask(lab, wire, timeout=20)
    assert message.error is not None
    assert message.error.kind == "server"
    assert len(message.error.message) <= 4096


def test_rate_limit_that_mentions_billing_is_a_rate_limit(lab: Lab) -> None:
    text = (
        "Rate limit reached for gpt-5. Please try again in 1ms. You can increase your rate limit"
        " by adding a payment method to your account at https://example.com/account/billing."
    )
    error = {"error": {"message": text, "code": "rate_limit_exceeded"}}
    lab.play(Status(429, error), CHAT.scene(say("fine")))
    assert ask(lab, CHAT, max_retries=1).text == "fine"


OVERFLOWS = {
    CHAT.name: "This model's maximum context length is 8192 tokens. You requested 9000 tokens.",
    ANTHROPIC.name: "prompt is too long: 213462 tokens > 200000 maximum",
    GEMINI.name: "The input token count (1196265) exceeds the maximum number of tokens allowed.",
    RESPONSES.name: "Your input exceeds the context window of this model.",
    CONVERSE.name: "Input is too long for requested model.",
    OLLAMA.name: "request (8889 tokens) exceeds the available context size (4096 tokens), try "
    "increasing it",
    COHERE.name: "too many tokens: total number of tokens in the prompt cannot exceed 4081",
}


def test_each_vendors_overflow_is_recognized(lab: Lab, wire: Wire) -> None:
    text = OVERFLOWS[wire.name]
    lab.play(Status(400, {"error": {"message": text, "type": "invalid_request_error"}}))
    message = ask(lab, wire)
    assert message.error is not None
    assert message.error.kind == "context_overflow"
    assert message.error.message.startswith(text)  # advice may follow


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        ("out of order", "server", "out of order"),
        ({"message": "slow down", "code": "429"}, "rate_limit", "slow down"),
        (
            {"message": "x failed", "metadata": {"raw": "disk full"}},
            "server",
            "x failed: disk full",
        ),
    ],
)
def test_forms_of_error_events(lab: Lab, error: Any, kind: str, text: str) -> None:
    lab.play(sse({"error": error}))
    message = complete("hosted_vllm/m", "q", api_base=lab.url, max_retries=0)
    assert message.error is not None
    assert message.error.kind == kind
    assert text in message.error.message
