"""What requests cost: each figure below was worked out by hand from the vendor's price list."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import (
    Cost,
    Model,
    ModelCost,
    Usage,
    calculate_cost,
    complete,
    estimate_cost,
    get_model,
)
from pipy_ai.registry import CostTier
from pipy_ai.registry.registry import get_registry, row_cost

from .wire.lab import DONE, Lab, chunk, sse
from .wire.wires import ANTHROPIC, Counts, say

M = 1_000_000

# Model, usage, dollars in all. Prices per million tokens are in the comments.
CASES: list[tuple[str, dict[str, int], float | None]] = [
    # Anthropic, Claude Sonnet 4.5: 3 in, 15 out, 0.30 cached, 3.75 written (6 for an hour)
    ("anthropic/claude-sonnet-4-5", {"input": M}, 3.0),
    ("anthropic/claude-sonnet-4-5", {"output": M}, 15.0),
    ("anthropic/claude-sonnet-4-5", {"input": 10_000, "output": 2_000}, 0.06),
    ("anthropic/claude-sonnet-4-5", {"cache_read": 100_000}, 0.03),
    ("anthropic/claude-sonnet-4-5", {"cache_write": 100_000}, 0.375),
    ("anthropic/claude-sonnet-4-5", {"cache_write": 100_000, "cache_write_1h": 100_000}, 0.6),
    ("anthropic/claude-sonnet-4-5", {"cache_write": 100_000, "cache_write_1h": 40_000}, 0.465),
    (
        "anthropic/claude-sonnet-4-5",
        {"input": 500, "output": 800, "cache_read": 90_000, "cache_write": 4_000},
        0.0015 + 0.012 + 0.027 + 0.015,
    ),
    ("anthropic/claude-sonnet-4-5", {"output": 1_000, "reasoning": 900}, 0.015),
    ("anthropic/claude-sonnet-4-5", {}, 0.0),
    # Claude Haiku 3: 0.25 in, 1.25 out, 0.03 cached, 0.30 written
    ("anthropic/claude-3-haiku-20240307", {"input": 4_000, "output": 400}, 0.0015),
    # OpenAI, GPT-5: 1.25 in, 10 out, 0.125 cached, writing is not charged apart
    ("openai/gpt-5", {"input": 10_000, "output": 1_000}, 0.0225),
    ("openai/gpt-5", {"input": 2_000, "cache_read": 8_000, "output": 1_000}, 0.0135),
    ("openai/gpt-5", {"output": 5_000, "reasoning": 4_500}, 0.05),
    ("openai/gpt-5", {"input": 1_000, "cache_write": 1_000}, 0.0025),
    # GPT-4o mini: 0.15 in, 0.60 out, 0.08 cached by this feed
    ("openai/gpt-4o-mini", {"input": 20_000, "output": 500}, 0.0033),
    # o1-pro: 150 in, 600 out
    ("openai/o1-pro", {"input": 1_000, "output": 1_000}, 0.75),
    # GPT-5.4: 2.50 in, 15 out, 0.25 cached; above 272,000: 5, 22.50, 0.50
    ("openai/gpt-5.4", {"input": 272_000}, 0.68),
    ("openai/gpt-5.4", {"input": 272_001}, 1.360005),
    ("openai/gpt-5.4", {"input": 272_000, "cache_read": 1}, 1.3600005),
    ("openai/gpt-5.4", {"input": 1, "cache_read": 272_000, "output": 1_000}, 0.158505),
    # Gemini 2.5 Pro: 1.25 in, 10 out, 0.125 cached; above 200,000: 2.50, 15, 0.25
    ("google/gemini-2.5-pro", {"input": 200_000, "output": 1_000}, 0.26),
    ("google/gemini-2.5-pro", {"input": 200_001, "output": 1_000}, 0.5150025),
    ("google/gemini-2.5-pro", {"input": 150_000, "cache_read": 60_000}, 0.39),
    ("google/gemini-2.5-pro", {"input": 100_000, "cache_read": 100_000}, 0.1375),
    ("google/gemini-2.5-pro", {"output": 300_000}, 3.0),  # long answers reach no tier
    # Gemini 2.5 Flash: 0.30 in, 2.50 out, 0.03 cached, 1 for sound
    ("google/gemini-2.5-flash", {"input": 10_000, "input_audio": 10_000}, 0.01),
    ("google/gemini-2.5-flash", {"input": 10_000, "input_audio": 4_000}, 0.0058),
    # Gemini 2.5 Flash Lite: 0.10 in, 0.40 out, 0.01 cached
    ("google/gemini-2.5-flash-lite", {"input": M, "output": 100_000}, 0.14),
    # DeepSeek: 0.14 in, 0.28 out, 0.0028 cached
    ("deepseek/deepseek-chat", {"input": 100_000, "cache_read": 900_000}, 0.01652),
    # Alibaba, Qwen Plus: 0.40 in, 1.20 out; all output is 4 when it thinks
    ("alibaba/qwen-plus", {"input": 1_000, "output": 1_000}, 0.0016),
    ("alibaba/qwen-plus", {"input": 1_000, "output": 1_000, "reasoning": 600}, 0.0044),
    # Perplexity, Sonar Deep Research: 2 in, 8 out, reasoning apart at 3
    ("perplexity/sonar-deep-research", {"output": 10_000, "reasoning": 8_000}, 0.04),
    # xAI, Grok 4.3: 1.25 in, 2.50 out, 0.20 cached; from 200,000 on: 2.50, 5, 0.40
    ("xai/grok-4.3", {"input": 199_999}, 0.24999875),
    ("xai/grok-4.3", {"input": 200_000}, 0.5),
    # A price that no list has is not known, a plan's 0 is a price
    ("cohere/c4ai-aya-vision-8b", {"input": 1}, None),
    ("zai-coding-plan/glm-5.1", {"input": M, "output": M}, 0.0),
]


def usage(**counts: int) -> Usage:
    return Usage(**counts)


@pytest.mark.parametrize(("name", "counts", "dollars"), CASES)
def test_the_table(july: Any, name: str, counts: dict[str, int], dollars: float | None) -> None:
    cost = calculate_cost(name, usage(**counts))
    if dollars is None:
        assert (cost.total, cost.source) == (None, "unknown")
    else:
        assert cost.total == pytest.approx(dollars, abs=1e-12)
        assert cost.source == "catalog"


def made(**rates: Any) -> Model:
    return Model(id="m", provider=rates.pop("provider", "acme"), cost=ModelCost(**rates))


@pytest.mark.parametrize(
    ("model", "counts", "dollars"),
    [
        # A cache rate that is not listed is the input rate; a listed 0 is a price.
        (made(input=2, output=4), {"cache_read": M}, 2.0),
        (made(input=2, output=4), {"cache_write": M}, 2.0),
        (made(input=2, output=4, cache_read=0), {"cache_read": M}, 0.0),
        (made(input=2, output=4, cache_write=0), {"cache_write": M}, 0.0),
        (made(input=2, output=4, cache_write=0), {"cache_write": M, "cache_write_1h": M}, 0.0),
        (made(input=2, output=4), {"cache_write": M, "cache_write_1h": M}, 4.0),
        # A part that is unknown makes the whole unknown, when there is any of it.
        (made(input=2), {"input": M, "output": 1}, None),
        (made(input=2), {"input": M}, 2.0),
        (made(output=2), {"output": M}, 2.0),
        (made(output=2), {"input": 1, "output": M}, None),
        (made(), {}, None),
        # A tier that lacks a rate takes the base's of the same name, then its own input's.
        (
            made(input=1, output=2, cache_read=0.5, tiers=[CostTier(100, input=3, output=6)]),
            {"input": 100, "cache_read": M},
            (300 + 500_000) / M,
        ),
        (
            made(input=1, output=2, tiers=[CostTier(100, input=3, output=6)]),
            {"input": 1, "cache_read": M},
            3.000003,
        ),
        # The highest tier reached counts, for everything.
        (
            made(input=1, output=1, tiers=[CostTier(10, input=2), CostTier(1000, input=4)]),
            {"input": 1001, "output": M},
            1.004004,
        ),
        (
            made(input=1, output=1, tiers=[CostTier(10, input=2), CostTier(1000, input=4)]),
            {"input": 1000},
            0.002,
        ),
        # Sound on both sides; without a rate of its own it is like text.
        (made(input=1, output=2, output_audio=20), {"output": M, "output_audio": M // 2}, 11.0),
        (made(input=1, output=2), {"output": M, "output_audio": M // 2}, 2.0),
        (made(input=1, output=2, input_audio=8), {"input": 10, "input_audio": 999}, 0.00008),
        # Reasoning with a price of its own, within the output.
        (made(input=1, output=2, reasoning=5), {"output": M, "reasoning": M // 4}, 2.75),
        (made(input=1, output=2, reasoning=0), {"output": M, "reasoning": M}, 0.0),
    ],
)
def test_rules(model: Model, counts: dict[str, int], dollars: float | None) -> None:
    assert calculate_cost(model, usage(**counts)).total == (
        None if dollars is None else pytest.approx(dollars, abs=1e-12)
    )


def test_the_parts(july: Any) -> None:
    counts = usage(input=1_000, output=2_000, cache_read=3_000, cache_write=4_000)
    cost = calculate_cost("anthropic/claude-sonnet-4-5", counts)
    assert (cost.input, cost.output) == (0.003, 0.03)
    assert (cost.cache_read, cost.cache_write) == (0.0009, 0.015)
    assert cost.total == 0.0489


def test_modes(july: Any) -> None:
    counts = usage(input=M, output=M)
    assert calculate_cost("openai/gpt-5.4", counts, mode="fast").total == 35.0
    with pytest.raises(ValueError, match="its modes: fast"):
        calculate_cost("openai/gpt-5.4", counts, mode="slow")


def test_estimates(july: Any) -> None:
    name = "anthropic/claude-sonnet-4-5"
    assert estimate_cost(name, 10_000, 2_000) == 0.06
    assert estimate_cost(name, input_tokens=10_000, cached_tokens=10_000) == 0.003
    assert estimate_cost("anthropic/claude-opus-4", 50_000, 8_000) == 1.35
    assert estimate_cost("cohere/c4ai-aya-vision-8b", 1) is None
    with pytest.raises(ValueError, match="did you mean"):
        estimate_cost("anthropic/claude-sonnet-45", 1)
    with pytest.raises(ValueError, match="part of the input"):
        estimate_cost(name, 1, cached_tokens=2)


def test_the_index_prices_like_the_records(july: Any) -> None:
    registry = get_registry()
    for name, row in registry.rows().items():
        for tokens in ((1_000, 500, 0), (300_000, 1_000, 200_000)):
            model = registry.model(name)
            assert model is not None
            assert row_cost(name, row, *tokens) == estimate_cost(model, *tokens)


# --- On answers -----------------------------------------------------------------------------


def test_every_answer_has_its_cost(lab: Lab, july: Any) -> None:
    counts = Counts(input=1_000, output=2_000, cached=3_000, written=4_000)
    lab.play(ANTHROPIC.scene(say("hi"), counts=counts))
    message = complete(
        "anthropic/claude-sonnet-4-5", "q", api_base=ANTHROPIC.base(lab), api_key="k"
    )
    assert message.error is None
    assert message.usage.cache_write_1h == 4_000
    assert message.usage.cost.total == 0.0579  # 0.003 + 0.03 + 0.0009 + 0.024
    assert message.usage.cost == calculate_cost("anthropic/claude-sonnet-4-5", message.usage)


def test_what_the_provider_bills_is_believed(lab: Lab, july: Any) -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.123}
    lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"),
                 {"choices": [], "usage": told}, DONE))  # fmt: skip
    message = complete("openrouter/openai/gpt-4o", "q", api_base=lab.url, api_key="k")
    assert message.usage.cost == Cost(total=0.123, source="provider")


def test_another_service_level_has_its_price(lab: Lab, july: Any) -> None:
    told = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    for extra, dollars in ((None, 5.0), ({"service_tier": "priority"}, 5.0)):
        lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"),
                     {"choices": [], "usage": told}, DONE))  # fmt: skip
        message = complete("openai/gpt-5.4", "q", api_base=lab.url, api_key="k", extra=extra)
        assert message.usage.cost.total == dollars  # above 272,000 tokens, and priority
    told["prompt_tokens"] = told["total_tokens"] = 100_000
    for extra, dollars in ((None, 0.25), ({"service_tier": "priority"}, 0.5)):
        lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"),
                     {"choices": [], "usage": told}, DONE))  # fmt: skip
        message = complete("openai/gpt-5.4", "q", api_base=lab.url, api_key="k", extra=extra)
        assert message.usage.cost.total == dollars
        assert lab.seen[-1].json.get("service_tier") == (extra or {}).get("service_tier")


def test_an_aborted_answer_has_an_estimated_cost(lab: Lab, july: Any) -> None:
    from pipy_ai import stream

    from .wire.lab import STALL

    lab.play([*ANTHROPIC.scene(say("a long beginning"))[:-2], STALL])
    options: Any = {"api_base": ANTHROPIC.base(lab), "api_key": "k"}
    with stream("anthropic/claude-sonnet-4-5", "q " * 500, **options) as events:
        for event in events:
            if event.type == "text_delta":
                break
    message = events.result()
    assert message.stop_reason == "aborted"
    # The provider said 10 in and, before there was any, 1 out: that much was not all of it.
    assert (message.usage.input, message.usage.output) == (10, 5)
    assert message.usage.estimated
    assert message.usage.cost.total == 0.000105  # 10 × 3 + 5 × 15


def test_an_unknown_model_has_an_unknown_cost(lab: Lab, july: Any) -> None:
    lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"), DONE))
    message = complete("hosted_vllm/mine", "q", api_base=lab.url)
    assert message.usage.cost == Cost()
    assert message.usage.cost.total is None


def test_a_model_made_by_hand_prices_its_answers(lab: Lab, july: Any) -> None:
    told = {"prompt_tokens": 1_000_000, "completion_tokens": 1_000_000, "total_tokens": 2_000_000}
    lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"),
                 {"choices": [], "usage": told}, DONE))  # fmt: skip
    model = Model(
        id="large", provider="acme", api=lab.url, env=["ACME_KEY"],
        cost=ModelCost(input=1, output=2),
    )  # fmt: skip
    message = complete(model, "q", api_key="k")
    assert message.error is None
    assert (message.provider, message.model) == ("acme", "large")
    assert message.usage.cost.total == 3.0
    assert lab.seen[0].json["model"] == "large"
    known = get_model("openai/gpt-5")
    assert known is not None
    assert calculate_cost(known, message.usage).total == 11.25
