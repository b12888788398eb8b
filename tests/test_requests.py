"""Thinking, caching, headers: what the options become in a request."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import Context, SimpleStreamOptions, Tool, complete, ctx, preview, user
from pipy_ai._requests import build_request
from pipy_ai.errors import BadRequestError, ProviderError
from pipy_ai.provider.litellm.arguments import build_arguments
from pipy_ai.provider.litellm.provider import CAPTURED
from pipy_ai.provider.reasoning import reasoning_fields
from pipy_ai.provider.request import Request

from .wire.lab import Lab
from .wire.strict import violations
from .wire.wires import ANTHROPIC, GEMINI, WIRES, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

OWN = {"hosted_vllm", "litellm_proxy"}  # servers of one's own: they want an api_base
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


EFFORTS = {"type": "effort", "values": ["low", "medium", "high"]}
BUDGET = {"type": "budget_tokens", "min": 1024}
TOGGLE = {"type": "toggle"}


@pytest.mark.parametrize(
    ("level", "values", "sent", "warned"),
    [
        ("high", ["low", "medium", "high"], "high", False),
        ("minimal", ["low", "medium", "high"], "low", True),
        ("max", ["low", "medium", "high", "xhigh"], "xhigh", True),
        ("xhigh", ["low", "high", "max"], "high", True),
        ("off", ["none", "low"], "none", False),
        ("off", ["minimal", "low"], "minimal", True),
        ("low", ["none", "default"], "default", True),
        ("medium", ["medium"], "medium", False),
    ],
)
def test_efforts(level: str, values: list[str], sent: str, warned: bool) -> None:
    options = SimpleStreamOptions(reasoning=level)  # type: ignore[arg-type]
    entry = record({"type": "effort", "values": values})
    request = Request("openai", "m", Context(), options, entry)
    arguments = reasoning_fields(request, "chat", has_tools=False)
    assert arguments == {"reasoning_effort": sent}
    assert bool(request.warnings) == warned


@pytest.mark.parametrize(
    ("level", "max_tokens", "output", "budget", "whole"),
    [
        ("minimal", 4096, 64_000, 1024, 5120),
        ("low", 4096, 64_000, 2048, 6144),
        ("medium", 4096, 64_000, 8192, 12_288),
        ("high", 4096, 64_000, 16_384, 20_480),
        ("high", None, 64_000, 16_384, 64_000),
        ("high", 4096, 8_192, 7_168, 8_192),  # 1,024 stay for the answer
        ("max", 4096, 64_000, 62_976, 64_000),
    ],
)
def test_budgets(level: str, max_tokens: int | None, output: int, budget: int, whole: int) -> None:
    arguments, request = made(
        "anthropic/claude-x", record=record(BUDGET, output=output), reasoning=level,
        max_tokens=max_tokens, temperature=0.3, tool_choice="required",
    )  # fmt: skip
    assert arguments["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert arguments["max_tokens"] == whole
    assert "temperature" not in arguments
    assert arguments["tool_choice"] == "auto"
    assert {w.code for w in request.warnings} == {"temperature_ignored", "tool_choice_changed"}


def test_no_room_to_think_is_told() -> None:
    arguments, request = made(
        "anthropic/claude-x", record=record(BUDGET, output=1500), reasoning="high"
    )
    assert "thinking" not in arguments
    assert request.warnings[0].code == "reasoning_ignored"


def test_own_budgets() -> None:
    arguments, _ = made(
        "anthropic/claude-x", record=record(BUDGET), reasoning="low", thinking_budgets={"low": 3000}
    )
    assert arguments["thinking"]["budget_tokens"] == 3000


def test_models_that_do_not_reason_are_left_alone() -> None:
    for level in ("off", "high"):
        arguments, request = made("openai/gpt-4o", record=record(reasoning=False), reasoning=level)
        assert "reasoning_effort" not in arguments
        assert bool(request.warnings) == (level == "high")


@pytest.mark.parametrize("level", ["off", "high"])
def test_switches(level: str) -> None:
    on = level == "high"
    for provider, body in (
        ("deepseek", {"thinking": {"type": "enabled" if on else "disabled"}}),
        ("dashscope", {"enable_thinking": on}),
    ):
        arguments, _ = made(f"{provider}/m", record=record(TOGGLE), reasoning=level, api_key="k")
        assert arguments["extra_body"] == body
    gemini = record(TOGGLE, {"type": "budget_tokens", "min": 512, "max": 24_576})
    arguments, _ = made("gemini/g", record=gemini, reasoning=level)
    assert arguments["thinking"]["budget_tokens"] == (16_384 if on else 0)


def test_effort_beats_budget_where_the_model_is_adaptive() -> None:
    adaptive = record({"type": "effort", "values": ["low", "high", "max"]}, BUDGET)
    arguments, _ = made("anthropic/c", record=adaptive, reasoning="high")
    assert arguments["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert arguments["output_config"] == {"effort": "high"}
    older = record(EFFORTS, BUDGET)
    arguments, _ = made("anthropic/c", record=older, reasoning="high")
    assert arguments["thinking"]["budget_tokens"] == 16_384


def test_thinking_without_a_word_about_how() -> None:
    """Older catalogues say that a model reasons, but not how it is told to."""
    silent = {**record(), "release_date": "2025-09-29"}
    del silent["reasoning_options"]
    arguments, _ = made("anthropic/c", record=silent, reasoning="low")
    assert arguments["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    silent["release_date"] = "2026-04-16"
    arguments, _ = made("anthropic/c", record=silent, reasoning="low")
    assert arguments["output_config"] == {"effort": "low"}
    assert made("openai/m", record=silent, reasoning="low")[0]["reasoning_effort"] == "low"


def test_the_beta_header_is_joined_not_overwritten() -> None:
    arguments, _ = made(
        "anthropic/claude-x", ctx("q", tools=[TOOL]), record(BUDGET), reasoning="high",
        headers={"Anthropic-Beta": "context-1m-2025-08-07", "X-A": "1", "x-a": "2"},
    )  # fmt: skip
    assert arguments["extra_headers"] == {
        "Anthropic-Beta": "context-1m-2025-08-07,interleaved-thinking-2025-05-14",
        "x-a": "2",
    }


def test_thinking_on_the_wire(lab: Lab) -> None:
    lab.play(ANTHROPIC.scene(say("ok")), GEMINI.scene(say("ok")))
    options: dict[str, Any] = {"api_key": "k", "reasoning": "medium", "max_tokens": 2000}
    complete(ANTHROPIC.model, "q", api_base=ANTHROPIC.base(lab), temperature=0, **options)
    body = lab.seen[-1].json
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 8192}
    assert body["max_tokens"] == 10_192
    assert violations(lab.seen[-1].path, body) == []
    complete(GEMINI.model, "q", api_base=GEMINI.base(lab), **options)
    thinking = lab.seen[-1].json["generationConfig"]["thinkingConfig"]
    assert thinking["includeThoughts"] is True


# --- Caching --------------------------------------------------------------------------------


def marks(value: Any) -> list[Any]:
    """Every cache mark in a body, in order."""
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
def test_marks_on_the_wire(
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


def test_openai_gets_a_key_and_a_retention() -> None:
    arguments, _ = made("openai/gpt-5", session_id="s-1", cache_retention="long")
    assert arguments["prompt_cache_key"] == "s-1"
    assert arguments["extra_body"] == {"prompt_cache_retention": "24h"}
    assert marks(arguments) == []
    arguments, _ = made("openai/gpt-5", session_id="s-1", cache_retention="none")
    assert "prompt_cache_key" not in arguments
    _, request = made("groq/x", session_id="s-1")
    assert request.warnings[0].code == "option_ignored"


def test_the_same_context_gives_the_same_bytes(lab: Lab) -> None:
    context: Context = ctx(user("q"), system="s", tools=[TOOL])
    for _ in range(2):
        lab.play(ANTHROPIC.scene(say("ok")))
        complete(ANTHROPIC.model, context, api_base=ANTHROPIC.base(lab), api_key="k")
    assert lab.seen[0].body == lab.seen[1].body


def test_a_request_of_nothing_is_refused() -> None:
    from pipy_ai import ErrorInfo, StopReason, assistant

    failed = assistant("x").model_copy(
        update={"error": ErrorInfo(), "stop_reason": StopReason.ERROR}
    )
    with pytest.raises(ProviderError, match="empty or failed"):
        made("openai/gpt-5", [failed])
    message = complete("openai/gpt-5", [failed], api_key="k")
    assert message.error is not None
    assert message.error.kind == "bad_request"


# --- preview --------------------------------------------------------------------------------


def test_preview_shows_what_is_sent_and_masks_the_key(lab: Lab) -> None:
    key = "sk-very-secret-0123456789"
    context = ctx("q", system="s", tools=[TOOL])
    for wire in WIRES:
        options: dict[str, Any] = {
            "api_base": wire.base(lab), "api_key": key, "reasoning": "max", "top_p": None
        }  # fmt: skip
        shown = preview(wire.model, context, **options)
        assert lab.seen == []
        assert key not in repr(shown)
        lab.play(wire.scene(say("ok")))
        message = complete(wire.model, context, **options)
        sent = lab.seen.pop()
        assert shown.method == "POST"
        assert shown.url.endswith(sent.path.lstrip("/")) or sent.path in shown.url
        assert shown.body == sent.json
        assert list(shown.warnings) == message.warnings


@pytest.mark.parametrize("provider", sorted(CAPTURED))
def test_preview_needs_no_key_and_no_network(provider: str) -> None:
    base = "http://127.0.0.1:9/v1" if provider in OWN else None
    shown = preview(f"{provider}/some-model", "q", api_base=base, cache_retention="none")
    assert shown.url.startswith(base or "https://")
    if provider == "gemini":
        assert shown.body["contents"] == [{"role": "user", "parts": [{"text": "q"}]}]
        return
    said = shown.body["messages"][-1]["content"]
    assert said in ("q", [{"type": "text", "text": "q"}])
    assert shown.body["stream"] is True


def test_preview_of_what_cannot_be_shown() -> None:
    assert preview("cohere/command-x", "q", api_key="k").url == ""
    with pytest.raises(ValueError, match="no preview"):
        preview("faux/m", "q")
    with pytest.raises(BadRequestError):
        preview("cohere/command-x", "q", transport="direct")


def test_an_image_is_what_its_bytes_say() -> None:
    import base64

    from pipy_ai import ImageContent, TextContent, UserMessage

    jpeg = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20)).decode()
    said = UserMessage(content=[TextContent(text="look"), ImageContent(data=jpeg)])
    for model in ("anthropic/claude-sonnet-4-5", "openai/gpt-4o", "google/gemini-2.5-flash"):
        assert "image/jpeg" in str(preview(model, [said]).body)
