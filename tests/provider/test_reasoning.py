"""Test how `reasoning` becomes request fields."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Context,
    Model,
    SimpleStreamOptions,
    TextContent,
    ThinkingContent,
    Tool,
    complete,
    ctx,
    preview,
)
from pipy_ai._requests import build_request
from pipy_ai.provider.litellm.arguments import build_arguments
from pipy_ai.provider.reasoning import plan_reasoning
from pipy_ai.provider.request import ReasoningPlan, Request
from pipy_ai.provider.wires import openai_chat

from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import ANTHROPIC, GEMINI, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


TOOL = Tool(name="lookup", description="Look something up.")


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
    assert plan_reasoning(request, openai_chat.WIRE) == ReasoningPlan(effort=sent)
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
        "anthropic/claude-x", ctx("q", tools=[TOOL]), record(BUDGET, output=output),
        reasoning=level, max_tokens=max_tokens, temperature=0.3, tool_choice="required",
    )  # fmt: skip
    assert arguments["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert arguments["max_tokens"] == whole
    assert "temperature" not in arguments
    assert arguments["tool_choice"] == "auto"
    assert {w.code for w in request.warnings} == {"temperature_ignored", "tool_choice_changed"}


def test_budget_that_does_not_fit_is_a_warning() -> None:
    arguments, request = made(
        "anthropic/claude-x", record=record(BUDGET, output=1500), reasoning="high"
    )
    assert "thinking" not in arguments
    assert request.warnings[0].code == "reasoning_ignored"


def test_custom_budgets() -> None:
    arguments, _ = made(
        "anthropic/claude-x", record=record(BUDGET), reasoning="low", thinking_budgets={"low": 3000}
    )
    assert arguments["thinking"]["budget_tokens"] == 3000


def test_models_without_reasoning_are_unaffected() -> None:
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


def test_effort_takes_precedence_for_adaptive_models() -> None:
    adaptive = record({"type": "effort", "values": ["low", "high", "max"]}, BUDGET)
    arguments, _ = made("anthropic/c", record=adaptive, reasoning="high")
    assert arguments["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert arguments["output_config"] == {"effort": "high"}
    older = record(EFFORTS, BUDGET)
    arguments, _ = made("anthropic/c", record=older, reasoning="high")
    assert arguments["thinking"]["budget_tokens"] == 16_384


def test_reasoning_model_without_reasoning_options() -> None:
    """Older catalogues mark reasoning models without listing their reasoning options."""
    silent = {**record(), "release_date": "2025-09-29"}
    del silent["reasoning_options"]
    arguments, _ = made("anthropic/c", record=silent, reasoning="low")
    assert arguments["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    silent["release_date"] = "2026-04-16"
    arguments, _ = made("anthropic/c", record=silent, reasoning="low")
    assert arguments["output_config"] == {"effort": "low"}
    assert made("openai/m", record=silent, reasoning="low")[0]["reasoning_effort"] == "low"


def test_thinking_in_requests(lab: Lab) -> None:
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


def test_interleaved_thinking_of_a_model_made_by_hand() -> None:
    thought = ThinkingContent(thinking="hm")
    for interleaved, fields in (
        (None, []),
        (True, ["reasoning_content", "reasoning"]),
        ("reasoning", ["reasoning"]),
    ):
        model = Model(
            id="m", provider="p", api="http://localhost/v1", interleaved=interleaved
        )  # fmt: skip
        turn = AssistantMessage(
            content=[thought, TextContent(text="a")], provider="p", model="m", stop_reason="stop"
        )  # fmt: skip
        shown = preview(model, ctx("q", turn, "r"), api_key="k")
        assert [name for name in shown.body["messages"][1] if name.startswith("reason")] == fields
