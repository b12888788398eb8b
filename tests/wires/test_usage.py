"""Test the spellings of usage that hosts have."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipy_ai import complete
from pipy_ai.provider.apis import GEMINI, OPENAI_CHAT
from pipy_ai.provider.assembler import Assembler
from pipy_ai.provider.deltas import Delta, UsageReport
from pipy_ai.provider.wires._chat_tools import ExecutedTools
from pipy_ai.provider.wires._usage import (
    billing_from_chunk,
    tool_calls_from_gemini,
    usage_from_anthropic,
    usage_from_chat,
    usage_from_gemini,
    usage_from_headers,
    usage_from_responses,
)

from ..support.scripted_server import DONE, Lab, chunk, sse


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_tokens_details": {"cache_write_tokens": 40}},  # OpenRouter, OpenAI
        {"prompt_tokens_details": {"cache_creation_tokens": 40}},  # LiteLLM
        {"prompt_tokens_details": {"cache_creation_input_tokens": 40}},  # Alibaba
        {"prompt_tokens_details": {"caching_tokens": 40}},  # Requesty
        {"cache_creation_input_tokens": 40},  # Vercel, Databricks
        {"cache_write_tokens": 40},
        {"cache_write_input_tokens": 40},
    ],
)
def test_cache_writes_in_every_spelling(fields: dict[str, Any]) -> None:
    report = usage_from_chat({"prompt_tokens": 100, "completion_tokens": 1, **fields})
    assert (report.input, report.cache_read, report.cache_write) == (60, 0, 40)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt_tokens_details": {"cached_tokens": 40}},
        {"prompt_tokens_details": {"cache_read_input_tokens": 40}},
        {"prompt_cache_hit_tokens": 40, "prompt_cache_miss_tokens": 60},  # DeepSeek
        {"cached_tokens": 40},  # Moonshot
        {"cache_read_input_tokens": 40},  # LiteLLM, Databricks
    ],
)
def test_cache_reads_in_every_spelling(fields: dict[str, Any]) -> None:
    report = usage_from_chat({"prompt_tokens": 100, "completion_tokens": 1, **fields})
    assert (report.input, report.cache_read, report.cache_write) == (60, 40, 0)


def test_cached_tokens_beside_the_prompt_are_not_subtracted() -> None:
    details = {"cached_tokens": 90_000, "cache_write_tokens": 4_000}
    report = usage_from_chat({"prompt_tokens": 500, "prompt_tokens_details": details})
    assert (report.input, report.cache_read, report.cache_write) == (500, 90_000, 4_000)


@pytest.mark.parametrize("place", ["cache_creation_token_details", "cache_creation"])
def test_cache_writes_for_an_hour(place: str) -> None:
    details = {"cache_creation_tokens": 40, place: {"ephemeral_1h_input_tokens": 30}}
    report = usage_from_chat({"prompt_tokens": 100, "prompt_tokens_details": details})
    assert (report.cache_write, report.cache_write_1h) == (40, 30)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        ({"cost": 0.5}, 0.5),
        ({"cost": "0.5"}, 0.5),
        ({"cost": 0}, 0.0),
        ({"cost": 0.5, "cost_details": {"upstream_inference_cost": None}}, 0.5),
        ({"cost": 0.5, "cost_details": {"upstream_inference_cost": 0.5}}, 0.5),
        ({"cost": 0.5, "cost_details": {"upstream_inference_cost": 0.4}}, 0.5),
        (
            {"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.4}},
            0.9,
        ),
        ({"cost": 0, "cost_details": {"upstream_inference_cost": 0.4}}, 0.4),
        ({"is_byok": True, "cost_details": {"upstream_inference_cost": 0.4}}, 0.4),
        ({"cost": 0, "market_cost": 0.4, "is_byok": True}, 0.4),  # Vercel
        ({"cost": 0.3, "market_cost": 0.4}, 0.3),
        ({"cost": {"total_cost": 0.7}}, 0.7),
        ({"cost": {"total_cost": 0.7, "currency": "USD"}}, 0.7),
        ({"cost": {"total_cost": 0.7, "currency": "EUR"}}, None),
        ({"estimated_cost": 0.2}, 0.2),
        ({"cost_in_usd_ticks": 5_000_000_000}, 0.5),
        ({"cost": True}, None),
        ({"cost": "free"}, None),
        ({"cost": None}, None),
        ({}, None),
    ],
)
def test_reported_costs(usage: dict[str, Any], dollars: float | None) -> None:
    assert usage_from_chat(usage).cost == dollars
    responses = usage_from_responses({"usage": usage}, [])
    assert responses is not None
    assert responses.cost == dollars
    assert usage_from_anthropic(usage, {}).cost == dollars


@pytest.mark.parametrize(
    ("chunk", "dollars"),
    [
        ({"x_nanogpt_pricing": {"costUsd": 0.1, "cost": 0.2}}, 0.1),
        ({"x_nanogpt_pricing": {"amount": 0.3, "currency": "USD"}}, 0.3),
        ({"x_nanogpt_pricing": {"amount": 3, "currency": "XNO"}}, None),
        ({"provider_metadata": {"gateway": {"cost": "0.1", "marketCost": "0.2"}}}, 0.1),
        ({"provider_metadata": {"gateway": {"cost": "0", "marketCost": "0.2"}}}, 0.2),
        ({"cost": "0.4"}, 0.4),  # OpenCode Zen
        ({"meta": {"usage": {"usd_spent": 0.5}}}, 0.5),  # AI/ML API
    ],
)
def test_costs_outside_of_the_usage(chunk: dict[str, Any], dollars: float | None) -> None:
    report = billing_from_chunk(chunk)
    assert (report and report.cost) == dollars


@pytest.mark.parametrize(
    ("reasoning", "fields", "output"),
    [
        (105, {"total_tokens": 110}, 100),  # rounded up by the host
        (105, {"total_tokens": 215}, 205),  # xAI
        (40, {"total_tokens": 150}, 140),
        (40, {"total_tokens": 110}, 100),
        (40, {}, 100),
        (105, {}, 205),
        (105, {"total_tokens": 110, "citation_tokens": 9, "num_search_queries": 2}, 205),
        (40, {"total_tokens": 150, "citation_tokens": 9}, 140),
        (105, {"total_tokens": 300}, 100),
        (0, {"total_tokens": 110}, 100),
    ],
)
def test_total_decides_whether_reasoning_is_counted_apart(
    reasoning: int, fields: dict[str, Any], output: int
) -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 100, **fields}
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning}}
    for spelling in ({"reasoning_tokens": reasoning}, details):
        report = usage_from_chat({**counts, **spelling})
        assert (report.input, report.output, report.reasoning) == (10, output, reasoning)


def test_headers() -> None:
    assert usage_from_headers({"content-type": "text/html"}, OPENAI_CHAT, True) is None
    assert usage_from_headers({"x-litellm-response-cost": "0.0"}, OPENAI_CHAT, True) is None
    assert usage_from_headers({"x-litellm-response-cost": "None"}, OPENAI_CHAT, True) is None
    assert usage_from_headers({"x-litellm-response-cost": "0.1"}, OPENAI_CHAT, False) is None
    assert usage_from_headers({"x-gemini-service-tier": "priority"}, OPENAI_CHAT, False) is None
    report = usage_from_headers({"x-gemini-service-tier": "priority"}, GEMINI, False)
    assert report is not None
    assert report.service_tier == "priority"


def test_tool_calls() -> None:
    grounding = {"webSearchQueries": ["a"], "imageSearchQueries": ["b"]}
    assert tool_calls_from_gemini(grounding) == {"google_search": 2}
    grounding = {"webSearchQueries": ["a", ""], "imageSearchQueries": [None]}
    assert tool_calls_from_gemini(grounding) == {"google_search": 1}
    assert tool_calls_from_gemini({}) == {}
    searched = usage_from_anthropic(
        {"server_tool_use": {"web_search_requests": 0}}, {"web_search": 1}
    )
    assert searched.server_tool_calls == {}  # a search that failed is not billed
    deltas: list[Delta] = []
    ExecutedTools().decode([{"type": "search"}, {"type": "search"}], deltas)
    counts = [delta.server_tool_calls for delta in deltas if isinstance(delta, UsageReport)]
    assert counts == [{"search": 1}, {"search": 2}]


@pytest.mark.parametrize("junk", [None, "x", 1, {"x": 1}, ["x"], [None, 1, ["y"]]])
def test_other_types_than_documented_are_ignored(junk: Any) -> None:
    """Billing never raises, which would cost the answer."""
    assert billing_from_chunk({"choices": junk, "provider_metadata": junk, "meta": junk}) is None
    for field in ("delta", "message"):
        assert billing_from_chunk({"choices": [{field: junk}]}) is None
        assert billing_from_chunk({"choices": [{field: {"executed_tools": junk}}]}) is None
    usage = {"iterations": junk, "server_tool_use": junk, "cache_creation": junk}
    assert usage_from_anthropic({"input_tokens": 1, **usage}, {}).input == 1
    response = {"tools": junk, "tool_usage": junk, "usage": {"input_tokens": 1}}
    responses = usage_from_responses(response, junk)
    assert responses is not None
    assert (responses.input, responses.server_tool_calls) == (1, {})
    details = {"prompt_tokens_details": junk, "connectors": junk, "plugins": junk, "cost": junk}
    assert usage_from_chat({"prompt_tokens": 1, **details}).input == 1
    assert tool_calls_from_gemini({"webSearchQueries": junk, "groundingChunks": junk}) in (
        {}, {"google_search": 1}
    )  # fmt: skip
    assert tool_calls_from_gemini(junk) == {}
    assert usage_from_gemini({"promptTokenCount": 1, "promptTokensDetails": junk}).input == 1


def test_gemini_usage_that_grows_adds_up_to_the_last() -> None:
    rng = random.Random(7)
    names = ("candidatesTokenCount", "totalTokenCount", "thoughtsTokenCount", "promptTokenCount")
    values = (0, 1, 2.0, None, "3", True, -1)
    for _ in range(300):
        grown, whole = Assembler(), Assembler()
        usage: dict[str, Any] = {"promptTokenCount": 5, "candidatesTokenCount": 1}
        previous: dict[str, Any] = {}
        for _ in range(6):
            grown.feed(filter(None, [usage_from_gemini(usage, previous)]))
            whole.feed(filter(None, [usage_from_gemini(usage)]))
            assert grown.message_at(9).usage == whole.message_at(9).usage
            previous = usage
            usage = usage | {rng.choice(names[: rng.choice((2, 4))]): rng.choice(values)}
            if rng.random() < 0.2:
                usage.pop(rng.choice(names), None)


def test_odd_billing_keeps_the_answer(lab: Lab) -> None:
    last = {"index": 0, "delta": {"executed_tools": ["x"]}, "finish_reason": "stop"}
    lab.play(sse(chunk({"content": "hi"}), {"id": "1", "choices": [last]}, DONE))
    message = complete("groq/openai/gpt-oss-120b", "hi", api_base=lab.url, api_key="k")
    assert message.error is None, message.error
    assert message.text == "hi"
