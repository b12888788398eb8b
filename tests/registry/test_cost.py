"""Test prices; each figure was worked out by hand from the vendor's price list."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipy_ai import Model, ModelCost, Usage, calculate_cost, estimate_cost, get_model
from pipy_ai.registry import CostTier
from pipy_ai.registry.registry import get_registry, row_cost

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
def test_price_table(july: Any, name: str, counts: dict[str, int], dollars: float | None) -> None:
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
        # Sound on both sides. Without a rate of its own that of a prompt costs as much as text,
        # that of an answer is unknown.
        (made(input=1, output=2, output_audio=20), {"output": M, "output_audio": M // 2}, 11.0),
        (made(input=1, output=2), {"output": M, "output_audio": M // 2}, None),
        (made(input=1, output=2), {"output": M, "output_image": M // 2}, None),
        (made(input=1, output=2, input_audio=8), {"input": 10, "input_audio": 999}, 0.00008),
        # Reasoning with a price of its own, within the output.
        (made(input=1, output=2, reasoning=5), {"output": M, "reasoning": M // 4}, 2.75),
        (made(input=1, output=2, reasoning=0), {"output": M, "reasoning": M}, 0.0),
    ],
)
def test_pricing_rules(model: Model, counts: dict[str, int], dollars: float | None) -> None:
    assert calculate_cost(model, usage(**counts)).total == (
        None if dollars is None else pytest.approx(dollars, abs=1e-12)
    )


def test_cost_parts(july: Any) -> None:
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


def test_index_prices_match_the_records(july: Any) -> None:
    registry = get_registry()
    for name, row in registry.rows().items():
        for tokens in ((1_000, 500, 0), (300_000, 1_000, 200_000)):
            model = registry.model(name)
            assert model is not None
            assert row_cost(name, row, *tokens) == estimate_cost(model, *tokens)


def test_mode_prices_survive_serialization() -> None:
    modes = {"fast": ModelCost(input=5, output=9)}
    model = Model(id="m", provider="acme", cost=ModelCost(input=1, output=2, modes=modes))
    said = json.loads(json.dumps(model.to_dict()))
    assert Model.from_dict(said, "acme").cost == model.cost
    known = get_model("openai/gpt-5.4")
    assert known is not None
    assert known.cost.modes
    assert Model.from_dict(known.to_dict(), "openai").cost == known.cost


def test_tiers_in_any_order() -> None:
    high, low = ({"input": n, "tier": {"size": n * 100_000}} for n in (5, 2))
    for tiers in ([high, low], [low, high]):
        listed = ModelCost.from_dict({"input": 1, "output": 1, "tiers": tiers})
        own = ModelCost(input=1, output=1, tiers=[
            CostTier(tier["tier"]["size"], tier["input"]) for tier in tiers
        ])  # fmt: skip
        for cost in (listed, own):
            model = Model(id="m", provider="acme", cost=cost)
            assert [estimate_cost(model, n * 100_000) for n in (2, 3, 6)] == [0.2, 0.6, 3.0]


@pytest.fixture(params=["hosted_vllm/m", "azure/m"])
def model(request: pytest.FixtureRequest) -> str:
    """A model that is decoded here, and one that LiteLLM decodes."""
    return str(request.param)


def test_cached_tokens_are_free_only_where_listed() -> None:
    def cost(**rates: Any) -> float | None:
        model = Model(id="m", provider="acme", cost=ModelCost(input=2.0, output=4.0, **rates))
        return estimate_cost(model, input_tokens=1_000_000, cached_tokens=1_000_000)

    assert cost() == 2.0
    assert cost(cache_read=0.0) == 0.0
    assert cost(cache_read=0.5) == 0.5
