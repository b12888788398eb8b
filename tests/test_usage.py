"""Adding up tokens and cost."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import Cost, Spending, Usage
from pipy_ai.usage import UsageTotals, sum_usage


def test_totals_count_priced_and_unpriced_requests() -> None:
    totals = UsageTotals()
    totals.add(10, 5, 0.1)
    totals.add(10, 5, None)
    totals.add(0, 0, None)  # a request that failed costs nothing
    totals.add_usage(Usage(input=1, cache_read=2, cache_write=3, output=4, cost=Cost(total=0.2)))
    assert totals == UsageTotals(4, 26, 14, 0.3, 1, cached=2, priced=2)
    assert totals.cost == "$0.30 + 1 unknown"


@pytest.mark.parametrize(
    ("costs", "text"),
    [
        ([], "$0.00"),
        ([1.5], "$1.50"),
        ([None], "unknown"),
        ([0.0, None, None], "$0.00 + 2 unknown"),
    ],
)
def test_cost_as_text(costs: list[float | None], text: str) -> None:
    totals = UsageTotals()
    for cost in costs:
        totals.add(1, 1, cost)
    assert totals.cost == text


def test_sum_of_usages_keeps_what_the_parts_share() -> None:
    first = Usage(input=1, service_tier="flex", region="us", server_tool_calls={"web_search": 1})
    second = Usage(input=2, service_tier="flex", server_tool_calls={"web_search": 2, "maps": 1})
    total = sum_usage([first, second])
    assert (total.service_tier, total.region) == ("flex", None)
    assert total.server_tool_calls == {"web_search": 3, "maps": 1}
    assert first.server_tool_calls == {"web_search": 1}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"usage": {"input": 1, "output": 2, "cost": {"total": 0.5}}}, (1, 2, 0.5, 0)),
        ({"usage": {"input": 1, "cache_read": 2, "cache_write": 3}}, (6, 0, 0.0, 1)),
        ({"usage": {"input": "many", "output": None, "cost": "cheap"}}, (0, 0, 0.0, 0)),
        ({"usage": []}, (0, 0, 0.0, 0)),
        ({}, (0, 0, 0.0, 0)),
    ],
)
def test_values_of_a_wrong_type_count_as_missing(message: dict[str, Any], expected: Any) -> None:
    totals = UsageTotals()
    totals.add_json(message)
    assert (totals.input, totals.output, totals.usd, totals.unpriced) == expected


def test_merge_adds_every_field() -> None:
    totals = UsageTotals(1, 2, 3, 0.1, 5, 6, 7)
    totals.merge(UsageTotals(10, 20, 30, 0.2, 50, 60, 70))
    assert totals == UsageTotals(11, 22, 33, 0.3, 55, 66, 77)


def test_spending_is_the_public_name() -> None:
    assert Spending is UsageTotals
