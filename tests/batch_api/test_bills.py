"""Test bills of batches worked out by hand: the usage of an answer, and what it costs.

Prices per million tokens are those of models.dev on 2026-07-01, which are in the catalogue of the
tests. The bills of flex and priority are in `tests/accounting/test_bills.py`.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from pipy_ai import budget, collect, submit_many

from ..support.batch_api_lab import BatchLab

KEY = "k" * 40
CHAT = {"prompt_tokens": 10_000, "completion_tokens": 1_000}
CLAUDE = {"input_tokens": 10_000, "output_tokens": 1_000}
GEMINI = {
    "promptTokenCount": 10_000, "cachedContentTokenCount": 8_000, "candidatesTokenCount": 600,
    "thoughtsTokenCount": 400,
}  # fmt: skip


class Bill(NamedTuple):
    """A model, its address below that of the laboratory, the usage, dollars and their sum."""

    name: str
    model: str
    address: str
    usage: dict[str, Any]
    dollars: float
    sum: str


BILLS = [
    Bill(
        "OpenAI, with reads of the cache and thinking", "openai/gpt-5-mini", "/v1",
        {
            **CHAT, "prompt_tokens_details": {"cached_tokens": 6_000},
            "completion_tokens_details": {"reasoning_tokens": 400},
        },
        0.001575, "(4_000*0.25 + 6_000*0.025 + 1_000*2) / 1e6 * 0.5",
    ),
    Bill(
        "OpenAI's Responses", "openai/gpt-5-pro", "/v1",
        {"input_tokens": 10_000, "output_tokens": 1_000},
        0.135, "(10_000*15 + 1_000*120) / 1e6 * 0.5",
    ),
    Bill(
        "OpenAI, a long prompt", "openai/gpt-5.4", "/v1", {**CHAT, "prompt_tokens": 300_000},
        0.76125, "(300_000*5 + 1_000*22.5) / 1e6 * 0.5",
    ),
    Bill(
        "Azure", "azure/gpt-5-mini", "/openai/v1", CHAT,
        0.00225, "(10_000*0.25 + 1_000*2) / 1e6 * 0.5",
    ),
    Bill(
        "Groq", "groq/llama-3.3-70b-versatile", "/openai/v1", CHAT,
        0.003345, "(10_000*0.59 + 1_000*0.79) / 1e6 * 0.5",
    ),
    Bill(
        "Mistral", "mistral/mistral-small-latest", "/v1", CHAT,
        0.00105, "(10_000*0.15 + 1_000*0.6) / 1e6 * 0.5",
    ),
    Bill(
        "Anthropic", "anthropic/claude-haiku-4-5", "", CLAUDE,
        0.0075, "(10_000*1 + 1_000*5) / 1e6 * 0.5",
    ),
    Bill(
        "Anthropic, with the cache", "anthropic/claude-sonnet-4-5", "",
        {
            "input_tokens": 1_000, "output_tokens": 1_000, "cache_read_input_tokens": 50_000,
            "cache_creation_input_tokens": 4_000,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 3_000, "ephemeral_1h_input_tokens": 1_000,
            },
        },
        0.025125, "(1_000*3 + 50_000*0.3 + 3_000*3.75 + 1_000*6 + 1_000*15) / 1e6 * 0.5",
    ),
    Bill(
        "Anthropic, with searches at the full fee", "anthropic/claude-haiku-4-5", "",
        {**CLAUDE, "server_tool_use": {"web_search_requests": 2}},
        0.0275, "(10_000*1 + 1_000*5) / 1e6 * 0.5 + 2*0.01",
    ),
    Bill(
        "Anthropic, in the US only", "anthropic/claude-opus-4-6", "",
        {**CLAUDE, "inference_geo": "us"},
        0.04125, "(10_000*5 + 1_000*25) / 1e6 * 0.5 * 1.1",
    ),
    Bill(
        "Gemini 2.5, whose reads of the cache keep their price", "google/gemini-2.5-flash",
        "/v1beta", GEMINI, 0.00179, "(2_000*0.3*0.5 + 8_000*0.03 + 1_000*2.5*0.5) / 1e6",
    ),
    Bill(
        "Gemini 3.5", "google/gemini-3.5-flash", "/v1beta", GEMINI,
        0.0066, "(2_000*1.5 + 8_000*0.15 + 1_000*9) / 1e6 * 0.5",
    ),
]  # fmt: skip


@pytest.mark.parametrize("bill", BILLS, ids=[bill.name for bill in BILLS])
def test_bill(batch_lab: BatchLab, bill: Bill) -> None:
    assert re.fullmatch(r"[-\d_.*+/() e]+", bill.sum)
    assert eval(bill.sum) == pytest.approx(bill.dollars), "the arithmetic"
    batch_lab.usage = bill.usage
    with budget(usd=10) as spent:
        base = batch_lab.url + bill.address
        handle = submit_many(bill.model, ["one", "two"], api_base=base, api_key=KEY)
        messages = collect(handle, poll=0.01)
    assert [message.usage.cost.total for message in messages] == [pytest.approx(bill.dollars)] * 2
    assert messages[0].usage.service_tier == "batch"
    assert spent.spent == pytest.approx(2 * bill.dollars)


def test_rows_that_fail_cost_nothing(batch_lab: BatchLab) -> None:
    batch_lab.failed_rows = {0: (400, "Invalid request.")}
    batch_lab.usage = CHAT
    with budget(usd=10) as spent:
        base = batch_lab.openai
        handle = submit_many("openai/gpt-5-mini", ["one", "two"], api_base=base, api_key=KEY)
        collect(handle, poll=0.01)
    assert spent.spent == pytest.approx((10_000 * 0.25 + 1_000 * 2) / 1e6 * 0.5)
