"""Test the prices of service tiers, regions and tools that no catalogue lists."""

from __future__ import annotations

import re

import pytest

from pipy_ai import Model, ModelCost, Usage, calculate_cost
from pipy_ai.registry.price_rules import (
    REGIONS,
    SERVICE_TIERS,
    TOOL_FEES,
    normalize_tier,
    region_factor,
    tier_factor,
    tool_fee,
)

M = 1_000_000


@pytest.mark.parametrize(
    ("provider", "model", "tier", "factor"),
    [
        ("openai", "gpt-5", "flex", 0.5),
        ("openai", "gpt-5-mini", "priority", 1.8),  # 0.25 → 0.45
        ("openai", "gpt-5.1-codex-mini", "priority", 1.8),
        ("openai", "gpt-5.1-codex", "priority", 2),
        ("openai", "gpt-4.1-nano", "priority", 2),  # 0.10 → 0.20
        ("openai", "gpt-4o-2024-05-13", "priority", 1.75),  # 5.00 → 8.75
        ("openai", "gpt-4o-2024-11-20", "priority", 1.7),  # 2.50 → 4.25
        ("openai", "gpt-5", "fast", 2),  # another name for priority
        ("openai", "gpt-6-astra", "ultrafast", 6),
        ("openai", "gpt-5-pro", "priority", None),
        ("openai", "gpt-5-nano", "priority", None),
        ("openai", "gpt-5", "scale", None),
        ("azure", "gpt-5", "priority", 2),
        ("anthropic", "claude-opus-4-7", "fast", 6),
        ("anthropic", "claude-sonnet-4-5", "fast", None),
        ("google", "gemini-2.5-pro", "priority", 1.8),
        ("google-vertex", "gemini-3.5-flash", "flex", 0.5),
        ("google", "gemma-4-31b-it", "priority", None),
        ("amazon-bedrock", "amazon.nova-pro-v1:0", "priority", 1.75),
        ("amazon-bedrock", "anthropic.claude-opus-4-8", "priority", None),
        ("amazon-bedrock", "amazon.nova-pro-v1:0", "reserved", None),
        ("xai", "grok-4.3", "batch", 0.8),
        ("groq", "llama-3.3-70b-versatile", "performance", None),
        ("openrouter", "openai/gpt-5", "flex", None),
    ],
)
def test_tiers(provider: str, model: str, tier: str, factor: float | None) -> None:
    row = tier_factor(provider, model, tier)
    assert (None if row is None else row.factor) == factor


@pytest.mark.parametrize(
    ("name", "tier"),
    [
        (None, "standard"),
        ("default", "standard"),
        ("auto", "standard"),
        ("on_demand", "standard"),
        ("ON_DEMAND", "standard"),
        ("ON_DEMAND_FLEX", "flex"),
        ("ON_DEMAND_OFFPEAK", "offpeak"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
        ("Priority", "priority"),
    ],
)
def test_names_of_tiers(name: str | None, tier: str) -> None:
    assert normalize_tier(name) == tier


@pytest.mark.parametrize(
    ("provider", "model", "region", "factor"),
    [
        ("anthropic", "claude-opus-4-6", "us", 1.1),
        ("anthropic", "claude-sonnet-4-5-20250929", "us", 1.0),
        ("anthropic", "claude-opus-4-6", "global", 1.0),
        ("anthropic", "claude-opus-4-6", "moon", None),
        ("openai", "gpt-5.4-mini", "eu", 1.1),
        ("openai", "gpt-5.2", "eu", 1.0),
        ("acme", "m", None, 1.0),
        ("acme", "m", "eu", None),
    ],
)
def test_regions(provider: str, model: str, region: str | None, factor: float | None) -> None:
    assert region_factor(provider, model, region) == factor


def test_fees_of_an_unknown_tool_or_provider() -> None:
    assert tool_fee("openai", "gpt-5", "teleport", 1) is None
    assert tool_fee("acme", "m", "web_search", 1) is None
    assert tool_fee("google", "gemini-2.5-flash", "google_search", 5) == 0.035  # by the request


@pytest.mark.parametrize(
    ("calls", "fee"),
    [
        ({"code_execution": 3, "web_search": 2}, 0.02),
        ({"code_execution": 1, "web_fetch": 1}, 0.0),
        ({"code_execution": 1}, None),
        ({"code_execution": 1, "web_fetch": 0}, None),
        ({"code_execution": 1, "web_fetch": 1, "teleport": 1}, None),
    ],
)
@pytest.mark.parametrize("provider", ["anthropic", "google-vertex-anthropic", "azure"])
def test_code_execution_is_free_with_web_tools(
    provider: str, calls: dict[str, int], fee: float | None
) -> None:
    model = Model(id="claude-sonnet-4-6", provider=provider, cost=ModelCost(input=3, output=15))
    cost = calculate_cost(model, Usage(server_tool_calls=calls))
    assert (cost.total, cost.tools) == (fee, fee)


def test_search_models_search_for_every_request() -> None:
    prices = ModelCost(input=2.5, output=10)
    model = Model(id="gpt-4o-search-preview", provider="openai", cost=prices)
    cost = calculate_cost(model, Usage(input=1_000))
    assert (cost.input, cost.tools, cost.total) == (0.0025, 0.025, 0.0275)
    sonar = Model(id="sonar", provider="perplexity", cost=ModelCost(input=1, output=1))
    assert calculate_cost(sonar, Usage(input=1_000)).total == 0.006
    asked = Usage(input=1_000, server_tool_calls={"search_high": 1})
    assert calculate_cost(sonar, asked).total == 0.013


def test_modes_of_a_model_made_by_hand() -> None:
    prices = ModelCost(input=2, output=4, modes={"flex": ModelCost(input=1, output=3)})
    model = Model(id="m", provider="acme", cost=prices)
    assert calculate_cost(model, Usage(input=M, service_tier="flex")).total == 1.0
    assert calculate_cost(model, Usage(input=M, service_tier="default")).total == 2.0
    assert calculate_cost(model, Usage(input=M, service_tier="turbo")).total is None


def test_regional_addresses_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 % more for GPT-5.4 and later at eu.api.openai.com."""
    from pipy_ai._requests import build_request
    from pipy_ai.accounting.cost import request_cost

    usage = Usage(input=100_000)
    for base, dollars in (("https://eu.api.openai.com/v1", 0.275), (None, 0.25)):
        request = build_request("openai/gpt-5.4", "hi", None, {"api_base": base})
        assert request_cost(request, usage, None)[0].total == dollars


def test_every_pattern_is_valid() -> None:
    for row in (*SERVICE_TIERS, *REGIONS, *TOOL_FEES):
        for pattern in row[:3]:
            assert re.compile(pattern)
