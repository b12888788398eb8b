"""Test the cost of responses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    Cost,
    Model,
    ModelCost,
    Usage,
    budget,
    calculate_cost,
    complete,
    get_model,
    reload_registry,
)
from pipy_ai._requests import build_request
from pipy_ai.accounting.cost import request_cost
from pipy_ai.usage import sum_usage

from ..support.scripted_server import DONE, Lab, Status, chunk, sse
from ..support.wire_formats import ANTHROPIC, Counts, say

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # damage is reported
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def test_every_response_has_a_cost(lab: Lab, july: Any) -> None:
    counts = Counts(input=1_000, output=2_000, cached=3_000, written=4_000)
    lab.play(ANTHROPIC.scene(say("hi"), counts=counts))
    message = complete(
        "anthropic/claude-sonnet-4-5", "q", api_base=ANTHROPIC.base(lab), api_key="k"
    )
    assert message.error is None
    assert message.usage.cache_write_1h == 4_000
    assert message.usage.cost.total == 0.0579  # 0.003 + 0.03 + 0.0009 + 0.024
    assert message.usage.cost == calculate_cost("anthropic/claude-sonnet-4-5", message.usage)


def test_cost_reported_by_the_provider_is_used(lab: Lab, july: Any) -> None:
    told = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "cost": 0.123}
    lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"),
                 {"choices": [], "usage": told}, DONE))  # fmt: skip
    message = complete("openrouter/openai/gpt-4o", "q", api_base=lab.url, api_key="k")
    assert message.usage.cost == Cost(total=0.123, source="provider")


# Every spelling in which some host reports what it bills, and LiteLLM's headers.
USAGE_COSTS: list[dict[str, Any]] = [
    {"cost": 0},
    {"cost": "0.5"},
    {"cost": {"total_cost": 0.5, "currency": "USD"}},
    {"cost_in_usd_ticks": 5},
    {"estimated_cost": 0.5},
    {"market_cost": 0.5},
    {"is_byok": True, "cost_details": {"upstream_inference_cost": 0.5}},
]
BODY_COSTS: list[dict[str, Any]] = [
    {"cost": "0"},
    {"meta": {"usage": {"usd_spent": 0.5}}},
    {"x_nanogpt_pricing": {"costUsd": 0.5}},
    {"provider_metadata": {"gateway": {"cost": "0.5"}}},
]
LITELLM_HEADERS = {
    "x-litellm-response-cost": "0.5",
    "x-litellm-cache-key": "k",
    "x-litellm-model-id": "cheap",
    "x-litellm-model-name": "openai/gpt-5-nano",
    "x-gemini-service-tier": "flex",
}


@pytest.mark.parametrize(
    ("model", "transport"),
    [
        ("openai/gpt-5", "direct"),
        ("groq/openai/gpt-oss-120b", "litellm"),  # which builds the request
        ("azure/gpt-5", "litellm"),  # which also reads the response
    ],
)
def test_other_hosts_cannot_change_cost_and_model(
    lab: Lab, july: Any, monkeypatch: pytest.MonkeyPatch, model: str, transport: Any
) -> None:
    """Such a host could turn off a budget, or fill a ledger."""
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    base = lab.url.removesuffix("/v1") if model.startswith("azure") else lab.url
    counts = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100}
    listed = calculate_cost(model, Usage(input=1_000, output=100)).total
    ends = [{"usage": {**counts, **cost}} for cost in USAGE_COSTS]
    ends += [{**cost, "usage": counts} for cost in BODY_COSTS]
    for end in ends:
        events = sse(
            chunk({"content": "hi"}, provider="y"), chunk({}, finish_reason="stop"),
            chunk(choices=[], **end), DONE,
        )  # fmt: skip
        body = b"".join(events).decode()
        lab.play(Status(200, body, {**LITELLM_HEADERS, "content-type": "text/event-stream"}))
        message = complete(model, "q", api_base=base, api_key="k", transport=transport)
        assert message.error is None, message.error
        assert (message.usage.cost.total, message.usage.cost.source) == (listed, "catalog"), end
        assert message.provider == model.partition("/")[0]
        assert message.response_model != "openai/gpt-5-nano"


def test_other_hosts_cannot_turn_off_a_budget(lab: Lab, july: Any) -> None:
    free = {"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 2 * 10**6}
    headers = {"x-litellm-cache-key": "k", "x-litellm-response-cost": "0.0000001"}
    choice = {"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}
    body = {"choices": [choice], "usage": {**free, "cost": 0}}
    lab.play(Status(200, body, headers))
    with budget(usd=1) as limit:
        complete("openai/gpt-5", "q", api_base=lab.url, api_key="k")
    assert limit.spent == 11.25


def test_litellm_proxy_may_tell_cost_and_model(lab: Lab, july: Any) -> None:
    body = {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "hi"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    lab.play(Status(200, body, {**LITELLM_HEADERS}))
    message = complete("litellm_proxy/openai/gpt-5", "q", api_base=lab.url)
    assert message.response_model == "openai/gpt-5-nano"
    assert message.usage.cost == Cost(total=0.0, source="provider")  # from the proxy's cache
    assert message.usage.service_tier is None  # Gemini's header on another API


def test_service_tier_has_its_own_price(lab: Lab, july: Any) -> None:
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


def test_aborted_response_has_an_estimated_cost(lab: Lab, july: Any) -> None:
    from pipy_ai import stream

    from ..support.scripted_server import STALL

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


def test_unknown_model_has_an_unknown_cost(lab: Lab, july: Any) -> None:
    lab.play(sse(chunk({"content": "hi"}), chunk({}, finish_reason="stop"), DONE))
    message = complete("hosted_vllm/mine", "q", api_base=lab.url)
    assert message.usage.cost == Cost()
    assert message.usage.cost.total is None


def test_custom_model_prices_its_responses(lab: Lab, july: Any) -> None:
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


M = 1_000_000


@pytest.mark.litellm
def test_router_fallback_is_not_priced_as_the_first_model(lab: Lab, july: Path) -> None:
    dead = "http://127.0.0.1:9/v1"
    entries = [
        ("first", "openai/gpt-5", dead), ("second", "anthropic/claude-sonnet-4-5",
                                          ANTHROPIC.base(lab)),
    ]  # fmt: skip
    config = {
        "model_list": [
            {"model_name": name, "litellm_params": {"model": m, "api_base": b, "api_key": "k"}}
            for name, m, b in entries
        ],
        "router_settings": {"fallbacks": [{"first": ["second"]}]},
    }
    (july / "router.yaml").write_text(json.dumps(config))
    lab.play(ANTHROPIC.scene(say("saved"), counts=Counts(M, M)))
    message = complete("first", "hi", max_retries=0)
    assert message.error is None, message.error
    assert message.text == "saved"
    cost = message.usage.cost
    assert (cost.source, cost.total) in [("unknown", None), ("catalog", 18.0)]  # never GPT-5's
    lab.play(ANTHROPIC.scene(say("ok"), counts=Counts(M, M)))
    cost = complete("second", "hi", max_retries=0).usage.cost
    assert (cost.source, cost.total) in [("unknown", None), ("catalog", 18.0)]


@pytest.mark.parametrize(
    ("requested", "reported", "dollars"),
    [
        ("openai/gpt-5", "gpt-5", 1.25),
        ("openai/gpt-5", "openai/gpt-5", 1.25),
        ("openai/gpt-5", "gpt-5-2025-08-07", 1.25),
        ("openai/gpt-5", "openai/gpt-5-2025-08-07", 1.25),
        ("openai/gpt-5", "gpt-4o-2024-08-06", None),  # the proxy fell back to another model
        ("openai/gpt-4o", "gpt-4o-2024-08-06", 2.5),  # the dated name is listed, too
        ("openai/gpt-4o", "gpt-4o-2024-05-13", 5.0),  # with its own price
        ("openai/gpt-4o", "gpt-4o-mini-2024-07-18", None),
        ("openai/gpt-4o-2024-05-13", "gpt-4o", 2.5),
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5-20250929", 3.0),
        ("anthropic/claude-sonnet-4-5-latest", "claude-sonnet-4-5-20250929", 3.0),
        ("google/gemini-2.5-flash", "gemini/gemini-2.5-flash", 0.3),
        ("my-alias", "gpt-4o-2024-08-06", None),
    ],
)
def test_proxy_that_names_the_dated_model(
    lab: Lab, july: Any, requested: str, reported: str, dollars: float | None
) -> None:
    lab.play(input_of_a_million(reported))
    message = complete(f"litellm_proxy/{requested}", "q", api_base=lab.url, api_key="k")
    assert message.error is None
    assert message.usage.cost.total == dollars


def test_own_price_of_a_model_behind_a_proxy_is_kept(lab: Lab, july: Path) -> None:
    prices = {"litellm_proxy/openai/gpt-4o": {"cost": {"input": 7, "output": 7}}}
    (july / "overrides.json").write_text(json.dumps(prices))
    reload_registry()
    lab.play(input_of_a_million("gpt-4o-2024-08-06"))
    message = complete("litellm_proxy/openai/gpt-4o", "q", api_base=lab.url, api_key="k")
    assert message.usage.cost.total == 7.0


@pytest.mark.parametrize(
    ("deployment", "reported", "dollars"),
    [
        ("openai/gpt-4o", "gpt-4o", 12.5),
        ("openai/gpt-4o", "gpt-4o-2024-08-06", 12.5),
        ("openai/gpt-4o", "gpt-4o-2024-05-13", 20.0),
        ("openai/gpt-4o", "gpt-5-2025-08-07", None),  # no deployment
        ("anthropic/claude-sonnet-4-5", "claude-sonnet-4-5-20250929", 18.0),
        ("anthropic/claude-sonnet-4-5", "claude-haiku-4-5-20251001", None),
        ("anthropic/claude-opus-4", "claude-opus-4-20250514", 90.0),
        ("gemini/gemini-2.5-flash", "gemini-2.5-flash", 2.8),
        ("gemini/gemini-2.5-flash", "gemini/gemini-2.5-flash", 2.8),
        ("azure/gpt-4o", "gpt-4o-2024-11-20", 12.5),
    ],
)
def test_router_deployment_that_names_the_dated_model(
    july: Path, deployment: str, reported: str, dollars: float | None
) -> None:
    names = {"own": "babbage-002", "smart": deployment}  # only LiteLLM knows the first
    entries = [{"model_name": n, "litellm_params": {"model": m}} for n, m in names.items()]
    (july / "router.yaml").write_text(json.dumps({"model_list": entries}))
    request = build_request("smart", "hi", None, {})
    assert request_cost(request, Usage(input=M, output=M), reported)[0].total == dollars


def input_of_a_million(model: str) -> Any:
    """Return a response by the model of that name."""
    told = {"prompt_tokens": M, "completion_tokens": 0, "total_tokens": M}
    return sse(chunk({"content": "hi"}, model=model),
               chunk({}, finish_reason="stop", model=model),
               {"choices": [], "usage": told, "model": model}, DONE)  # fmt: skip


# claude-sonnet-4-5: $3 input, $0.30 cache reads, $3.75 cache writes ($6 for an hour), $15 output.
@pytest.mark.parametrize(
    ("usage", "savings"),
    [
        (Usage(input=1_000, output=100), None),  # the cache was not used
        (Usage(input=42, output=2, cache_read=90_000), 0.243),  # 90_000*(3-0.3) / 1e6
        (Usage(input=30, output=6, cache_write=90_000), -0.0675),  # 90_000*(3-3.75) / 1e6
        (Usage(input=30, cache_write=90_000, cache_write_1h=90_000), -0.27),  # 90_000*(3-6)
        (Usage(cache_read=80_000, cache_write=10_000), 0.2085),  # 80_000*2.7 - 10_000*0.75
        (Usage(cache_read=80_000, service_tier="batch"), 0.108),  # half the price, half of it
    ],
)
def test_savings_of_the_cache(july: Any, usage: Usage, savings: float | None) -> None:
    cost = calculate_cost("anthropic/claude-sonnet-4-5", usage)
    assert cost.cache_savings == (None if savings is None else pytest.approx(savings, abs=1e-12))


def test_savings_are_added_up(july: Any) -> None:
    model = "anthropic/claude-sonnet-4-5"
    usages = [Usage(input=5), Usage(cache_read=90_000), Usage(cache_write=90_000)]
    for usage in usages:
        usage.cost = calculate_cost(model, usage)
    assert sum_usage(usages).cost.cache_savings == pytest.approx(0.243 - 0.0675)
    assert sum_usage(usages[:1]).cost.cache_savings is None
