"""Send the error responses of real hosts through the HTTP path of their API.

`tests/data/error_responses.json` has them, with the kind of error each must become.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, faux, stream
from pipy_ai.errors import RETRYABLE_KINDS

from ..support.event_grammar import check_events
from ..support.scripted_server import DONE, Lab, Status, finish, sse, text
from ..support.wire_formats import ANTHROPIC, CHAT, GEMINI, RESPONSES

ROWS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "data" / "error_responses.json").read_text("utf-8")
)
WIRES = {"chat": CHAT, "anthropic": ANTHROPIC, "gemini": GEMINI, "responses": RESPONSES}
# Members of each kind that LiteLLM's own classification gets wrong.
BY_LITELLM = [
    ("zai", "1113"), ("google", "API_KEY_INVALID"), ("google", "PerMinute-FreeTier"),
    ("google", "PerDayPerProject"), ("anthropic", "usage limits"), ("xai", "Incorrect API key"),
    ("deepseek", "Content Exists Risk"), ("moonshotai", "exceeded_current_quota_error"),
    ("alibaba", "Arrearage"), ("groq", "tokens per day"), ("openai", "billing_not_active"),
    ("mistral", "3505"), ("minimax", "api_error"),
]  # fmt: skip


def name_of(row: dict[str, Any]) -> str:
    return f"{row['host']}-{row['status']}-{row['kind']}"


def ask(lab: Lab, row: dict[str, Any], **options: Any) -> AssistantMessage:
    wire = WIRES[row["api"]]
    options = {"max_retries": 0, "api_key": "sk-0123456789", "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "Hi", **options)))


def play(lab: Lab, row: dict[str, Any]) -> None:
    if row.get("stream"):
        lab.play(sse(row["body"]))
    else:
        lab.play(Status(row["status"], row["body"], row.get("headers", {})))


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_error_response_of_a_host(lab: Lab, row: dict[str, Any]) -> None:
    play(lab, row)
    error = ask(lab, row, transport="direct").error
    assert error is not None
    assert (error.kind, error.retryable) == (row["kind"], row["kind"] in RETRYABLE_KINDS), error
    assert error.retry_after == row.get("retry_after")
    assert error.message
    assert not error.message.startswith("{"), error.message


@pytest.mark.parametrize(("host", "words"), BY_LITELLM)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.litellm
def test_error_response_by_litellm(lab: Lab, host: str, words: str) -> None:
    row = next(
        row for row in ROWS if row["host"] == host and words in json.dumps(row, ensure_ascii=False)
    )
    play(lab, row)
    error = ask(lab, row, transport="litellm").error
    assert error is not None
    assert (error.kind, error.retryable) == (row["kind"], row["kind"] in RETRYABLE_KINDS), error
    assert error.retry_after == row.get("retry_after")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('data: {"error": {"message": "Slow down.", "code": "1113"}}\n\n', "Slow down."),
        ("Error: insufficient balance", "Error: insufficient balance"),
        ('"Insufficient balance"', "Insufficient balance"),
        ('Upstream said {"error": {"message": "Insufficient balance"}}', "Insufficient balance"),
        ([{"error": {"message": "No credits left"}}], "No credits left"),
        ("{broken: insufficient balance}", "{broken: insufficient balance}"),
    ],
)
def test_body_that_is_not_a_json_object(lab: Lab, body: Any, message: str) -> None:
    lab.play(Status(429, body))
    error = complete("hosted_vllm/m", "Hi", api_base=lab.url).error
    assert error is not None
    assert (error.kind, error.message, len(lab.seen)) == ("quota", message, 1)


@pytest.mark.parametrize(
    ("status", "kind", "should_retry", "requests"),
    [(402, "quota", "true", 1), (401, "auth", "true", 1), (500, "server", "false", 1),
     (500, "server", "true", 2), (400, "bad_request", "true", 2), (400, "bad_request", "", 1)],
)  # fmt: skip
def test_header_that_tells_whether_to_retry(
    lab: Lab, status: int, kind: str, should_retry: str, requests: int
) -> None:
    headers = {"x-should-retry": should_retry, "retry-after": "0"}
    lab.play(*[Status(status, {"error": {"message": "No."}}, headers)] * 2)
    error = complete("hosted_vllm/m", "Hi", api_base=lab.url, max_retries=1).error
    assert error is not None
    assert (error.kind, len(lab.seen)) == (kind, requests)


@pytest.mark.parametrize(
    "fields",
    [
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"code": 200, "message": "success"},
        {"code": "OK"},
        {"success": True, "errors": []},
        {"error": None},
        {"usage": {"prompt_tokens": 1, "completion_tokens": 1}},
        {"message": "half of the answer is here"},
    ],
)
def test_chunk_without_choices_is_no_error(lab: Lab, fields: dict[str, Any]) -> None:
    lab.play(sse(*text("here"), finish("stop"), {"id": "c", "choices": [], **fields}, DONE))
    message = complete("hosted_vllm/m", "Hi", api_base=lab.url)
    assert (message.error, message.text) == (None, "here")


def test_table_has_enough_hosts_of_each_kind() -> None:
    counts = Counter(kind for _, kind in {(row["host"], row["kind"]) for row in ROWS})
    assert len({row["host"] for row in ROWS}) >= 50
    assert counts["quota"] >= 30
    assert min(counts[kind] for kind in ("auth", "rate_limit")) >= 15
    assert min(counts[kind] for kind in ("context_overflow", "overloaded")) >= 8
    assert counts["content_filter"] >= 10
    assert all(row["source"].startswith("https://") for row in ROWS)


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] in ("auth", "quota")][::9],
                         ids=name_of)  # fmt: skip
def test_next_model_answers_if_the_first_account_cannot(lab: Lab, row: dict[str, Any]) -> None:
    play(lab, row)
    wire = WIRES[row["api"]]
    options: dict[str, Any] = {"api_key": "sk-0123456789", "api_base": wire.base(lab)}
    with faux.script("here"):
        message = complete([wire.model, "faux/any"], "Hi", max_retries=2, **options)
    assert message.text == "here"
    assert message.attempts[0].error is not None
    assert message.attempts[0].error.kind == row["kind"]
    assert len(lab.seen) == 1
