"""Test reading the bodies of error responses."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai.error_body import error_message_from_body, find_document, parse_error_body
from pipy_ai.failures import classify_exception, classify_status


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "No.", "code": 1}}, "No."),
        ({"error": "No, sir."}, "No, sir."),
        ({"error": "credit_unresolved", "message": "Retry shortly."}, "Retry shortly."),
        ({"error": "unauthorized"}, "unauthorized"),
        ([{"error": {"message": "No."}}], "No."),
        ({"detail": [{"msg": "Field required", "input": "x y"}]}, "Field required"),
        ({"errors": [{"code": 4006, "message": "Used up."}], "messages": []}, "Used up."),
        ({"error_code": 17, "error_msg": "Daily limit reached"}, "Daily limit reached"),
        ({"base_resp": {"status_code": 1008, "status_msg": "no balance"}}, "no balance"),
        ({"Response": {"Error": {"Code": "A.B", "Message": "All gone."}}}, "All gone."),
        ({"status": 402, "title": "Payment Required", "detail": "Credits expired"},
         "Credits expired"),
        ({"error": {"message": "Provider returned error", "metadata": {"raw": "Slow down."}}},
         "Provider returned error: Slow down."),
        ({"error": {"message": "Upstream error",
                    "metadata": {"raw": '{"error": {"message": "Too fast."}}'}}},
         "Upstream error: Too fast."),
        ({"error": {"message": '{"error": {"message": "Slow down."}}', "code": 429}}, "Slow down."),
        ({"error": {"message": "{x} is not a number"}}, "{x} is not a number"),
        ({"choices": []}, None),
        ("text", None),
        (None, None),
    ],
)  # fmt: skip
def test_message_of_a_body(body: Any, message: str | None) -> None:
    assert error_message_from_body(body) == message


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ('Error code: 400 - {"a": 1}', {"a": 1}),
        ("Error code: 400 - {'a': None}", {"a": None}),
        ('[{"a": 1},\n{"b": 2}]', [{"a": 1}, {"b": 2}]),
        ("{'a': open('x')}", None),
        ("{'a'", None),
        ("no document", None),
        ("{" * 10_000 + "}" * 10_000, None),
    ],
)
def test_document_in_a_text(text: str, document: Any) -> None:
    assert find_document(text) == document


def test_only_fields_of_errors_are_read() -> None:
    body = parse_error_body(
        '{"error": {"message": "No.", "code": "c", "param": "quota", "details": [{"quotaId": "q"}]}'
        ', "request": {"message": "quota"}}'
    )
    assert (body.texts, sorted(body.codes), body.quota_names) == (["No."], ["No.", "c"], ["q"])


def test_only_the_title_of_a_web_page_is_read() -> None:
    page = "<html><title>Sign in</title><body>insufficient_quota</body></html>"
    assert parse_error_body(page).texts == ["Sign in"]


@pytest.mark.parametrize("depth", [20, 450, 100_000])
def test_deeply_nested_bodies_have_no_message(depth: int) -> None:
    text = '{"error":[' * depth + '"No."' + "]}" * depth
    assert error_message_from_body(find_document(text)) is None
    assert classify_status(500, text) == "server"
    assert classify_exception(RuntimeError(text)).message
