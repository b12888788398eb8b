"""Test options and images in requests on several wires."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import ImageContent, UserMessage, ctx, preview


def test_jpg_becomes_jpeg(july: Any) -> None:
    image = UserMessage(content=[ImageContent(data="/9j/4AAQ", mime_type="image/jpg")])
    for model in ("anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash", "openai/gpt-4o"):
        shown = json.dumps(preview(model, ctx(image)).body)
        assert "image/jpeg" in shown
        assert "image/jpg" not in shown


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("openai/gpt-5", {}, None),
        ("openai/gpt-5.4", {}, None),
        ("anthropic/claude-opus-4-7", {}, None),
        ("anthropic/claude-sonnet-4-5", {"reasoning": "low"}, None),
        ("anthropic/claude-sonnet-4-5", {}, 0.5),
        ("openai/gpt-4o", {}, 0.5),
    ],
)
def test_top_p_is_omitted_where_rejected(
    july: Any, model: str, asked: Any, sent: float | None
) -> None:
    shown = preview(model, "q", top_p=0.5, **asked)
    assert shown.body.get("top_p") == sent
    assert ("top_p_ignored" in [warning.code for warning in shown.warnings]) is (sent is None)


@pytest.mark.parametrize(
    ("model", "long"),
    [
        ("gpt-5.1", True), ("gpt-5.4", True), ("gpt-5.1-codex-mini", True),
        ("gpt-5.1-chat-latest", True), ("gpt-5.5-pro", True), ("gpt-5", True),
        ("gpt-4o", False), ("gpt-4.1", False), ("gpt-5-mini", False), ("o3", False),
    ],
)  # fmt: skip
def test_long_cache_retention_is_requested_where_supported(
    july: Any, model: str, long: bool
) -> None:
    """OpenAI: "prompt_cache_retention is not supported on this model"."""
    shown = preview(f"openai/{model}", "q", cache_retention="long", session_id="s" * 65)
    assert shown.body.get("prompt_cache_retention") == ("24h" if long else None)
    assert ("option_ignored" in [warning.code for warning in shown.warnings]) is not long
    assert len(shown.body["prompt_cache_key"]) == 64  # the longest that OpenAI takes


@pytest.mark.parametrize("name", ["gpt-5.6", "gpt-5.6-mini", "gpt-5.10", "gpt-6-astra", "gpt-10"])
@pytest.mark.parametrize("prefix", ["openai", "openai/responses"])
def test_cache_options_where_the_24_hours_are_gone(july: Any, prefix: str, name: str) -> None:
    model = f"{prefix}/{name}"
    long = preview(model, "q", cache_retention="long", session_id="s")
    assert long.body["prompt_cache_options"] == {"ttl": "30m"}
    assert long.body["prompt_cache_key"] == "s"
    assert "prompt_cache_retention" not in long.body
    assert "option_ignored" not in [warning.code for warning in long.warnings]
    none = preview(model, "q", cache_retention="none").body
    assert none["prompt_cache_options"] == {"mode": "explicit"}
    assert "prompt_cache_options" not in preview(model, "q").body
    assert "prompt_cache_options" not in preview(f"{prefix}/gpt-5.5", "q").body


def test_callers_settings_are_merged(july: Any) -> None:
    asked = {"generationConfig": {"topK": 40}}
    body = preview("google/gemini-2.5-flash", "q", max_tokens=9, extra=asked).body
    assert body["generationConfig"] == {"maxOutputTokens": 9, "topK": 40}
    asked = {"stream_options": {"include_obfuscation": False}}
    for extra in (asked, {"extra_body": asked}):
        body = preview("openai/gpt-4o", "q", extra=extra).body
        assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
        assert "extra_body" not in body
    asked = {"reasoning": {"summary": "detailed"}}
    body = preview("openai/gpt-5.4", "q", reasoning="high", extra=asked).body
    assert body["reasoning"] == {"effort": "high", "summary": "detailed"}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("anthropic/claude-sonnet-4-5", ("top_k",)),
        ("google/gemini-2.5-flash", ("generationConfig", "topK")),
        ("openrouter/qwen/qwen3-max", ("top_k",)),
        ("hosted_vllm/m", ("top_k",)),
        ("local/smollm2", ("top_k",)),
    ],
)
def test_top_k_is_sent_under_the_name_of_each_api(
    july: Any, model: str, path: tuple[str, ...]
) -> None:
    value: Any = preview(model, "q", top_k=40).body
    for name in path:
        value = value[name]
    assert value == 40


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("openai/gpt-4o", "openai does not support top_k"),
        ("openai/gpt-5.4", "the Responses API does not support top_k"),
        ("mistral/mistral-medium-latest", "mistral does not support top_k"),
    ],
)
def test_top_k_is_omitted_with_a_warning_where_unsupported(
    july: Any, model: str, text: str
) -> None:
    shown = preview(model, "q", top_k=40)
    assert "top_k" not in shown.body
    assert [(warning.code, warning.message) for warning in shown.warnings] == [
        ("option_ignored", text)
    ]


def test_claude_gets_no_top_k_while_it_thinks(july: Any) -> None:
    shown = preview("anthropic/claude-sonnet-4-5", "q", top_k=40, reasoning="low")
    assert "top_k" not in shown.body
    assert [warning.code for warning in shown.warnings] == ["top_k_ignored"]
