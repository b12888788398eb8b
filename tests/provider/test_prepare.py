"""Test headers, prompt caching and images in requests."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import Context, Tool, complete, ctx, preview, user
from pipy_ai._requests import build_request
from pipy_ai.errors import ProviderError
from pipy_ai.provider.litellm.arguments import build_arguments
from pipy_ai.provider.request import Request

from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import ANTHROPIC, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


TOOL = Tool(name="f", description="d")


def made(model: str, prompt: Any = "q", record: Any = None, **options: Any) -> tuple[Any, Request]:
    request = build_request(model, prompt, None, options)  # type: ignore[arg-type]
    request.record = record
    request.warnings.clear()  # of names that the catalogue does not know
    return build_arguments(request), request


def record(
    *options: dict[str, Any], output: int = 64_000, reasoning: bool = True
) -> dict[str, Any]:
    return {
        "reasoning": reasoning,
        "reasoning_options": list(options),
        "limit": {"output": output},
        "modalities": {"input": ["text"]},
    }


BUDGET = {"type": "budget_tokens", "min": 1024}


def test_beta_headers_are_joined() -> None:
    arguments, _ = made(
        "anthropic/claude-x", ctx("q", tools=[TOOL]), record(BUDGET), reasoning="high",
        headers={"Anthropic-Beta": "context-1m-2025-08-07", "X-A": "1", "x-a": "2"},
    )  # fmt: skip
    assert arguments["extra_headers"] == {
        "Anthropic-Beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14",
        "x-a": "2",
    }


def marks(value: Any) -> list[Any]:
    """Return every cache marker in a body, in order."""
    if isinstance(value, dict):
        own = [value["cache_control"]] if "cache_control" in value else []
        return own + [mark for inner in value.values() for mark in marks(inner)]
    if isinstance(value, list):
        return [mark for inner in value for mark in marks(inner)]
    return []


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        (None, None, {"type": "ephemeral"}),
        ("short", "long", {"type": "ephemeral"}),
        (None, "long", {"type": "ephemeral", "ttl": "1h"}),
        ("long", None, {"type": "ephemeral", "ttl": "1h"}),
        ("none", "long", None),
        (None, "none", None),
    ],
)
def test_cache_markers(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, option: Any, variable: str | None, expected: Any
) -> None:
    if variable:
        monkeypatch.setenv("PIPY_CACHE_RETENTION", variable)
    lab.play(ANTHROPIC.scene(say("ok")))
    context = ctx("one", "two", system="s", tools=[TOOL, TOOL])
    complete(ANTHROPIC.model, context, api_base=ANTHROPIC.base(lab), api_key="k",
             cache_retention=option)  # fmt: skip
    body = lab.seen[-1].json
    assert marks(body) == ([expected] * 3 if expected else [])
    if expected:
        assert "cache_control" in body["system"][-1]
        assert "cache_control" in body["tools"][-1]
        assert "cache_control" in body["messages"][-1]["content"][-1]
    assert violations(lab.seen[-1].path, body) == []


def test_openai_cache_key_and_retention() -> None:
    arguments, _ = made("openai/gpt-5", session_id="s-1", cache_retention="long")
    assert arguments["prompt_cache_key"] == "s-1"
    assert arguments["extra_body"] == {"prompt_cache_retention": "24h"}
    assert marks(arguments) == []
    arguments, _ = made("openai/gpt-5", session_id="s-1", cache_retention="none")
    assert "prompt_cache_key" not in arguments
    _, request = made("groq/x", session_id="s-1")
    assert request.warnings[0].code == "option_ignored"


def test_same_context_gives_the_same_bytes(lab: Lab) -> None:
    context: Context = ctx(user("q"), system="s", tools=[TOOL])
    for _ in range(2):
        lab.play(ANTHROPIC.scene(say("ok")))
        complete(ANTHROPIC.model, context, api_base=ANTHROPIC.base(lab), api_key="k")
    assert lab.seen[0].body == lab.seen[1].body


def test_empty_request_is_rejected() -> None:
    from pipy_ai import ErrorInfo, StopReason, assistant

    failed = assistant("x").model_copy(
        update={"error": ErrorInfo(), "stop_reason": StopReason.ERROR}
    )
    with pytest.raises(ProviderError, match="empty or failed"):
        made("openai/gpt-5", [failed])
    message = complete("openai/gpt-5", [failed], api_key="k")
    assert message.error is not None
    assert message.error.kind == "bad_request"


def test_image_type_is_detected_from_its_bytes() -> None:
    import base64

    from pipy_ai import ImageContent, TextContent, UserMessage

    jpeg = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
    said = UserMessage(content=[TextContent(text="look"), ImageContent(data=jpeg)])
    for model in ("anthropic/claude-sonnet-4-5", "openai/gpt-4o", "google/gemini-2.5-flash"):
        assert "image/jpeg" in str(preview(model, [said]).body)
