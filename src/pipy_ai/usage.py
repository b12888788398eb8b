"""Add up tokens and cost. Importing this module does not import Pydantic."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any

from .utils.text import format_usd

if TYPE_CHECKING:
    from dataclasses import dataclass

    from .types import Usage
else:
    from .utils.dataclass import dataclass


@dataclass(slots=True)
class UsageTotals:
    """Tokens and cost of several requests. `input` includes cached tokens.

    `usd` is the cost of the `priced` requests in US dollars; `unpriced` is the number of requests
    that used tokens and have no known cost. `cached` is the part of `input` read from the cache.
    """

    requests: int = 0
    """The number of requests."""
    input: int = 0
    """Tokens of the prompts, cached ones included."""
    output: int = 0
    """Tokens of the answers."""
    usd: float = 0.0
    """US dollars of the `priced` requests."""
    unpriced: int = 0
    """The number of requests that used tokens and have no known cost."""
    cached: int = 0
    """The part of `input` that was read from the cache."""
    priced: int = 0
    """The number of requests with a known cost."""

    def add(self, input: int, output: int, cost: float | None, cached: int = 0) -> None:
        """Add one request; `cost` is in US dollars, None if unknown."""
        self.requests += 1
        self.input += input
        self.cached += cached
        self.output += output
        if cost is not None:
            self.usd = round(self.usd + cost, 12)
            self.priced += 1
        elif input + output > 0:  # a failed request without tokens is free
            self.unpriced += 1

    def add_usage(self, usage: Usage) -> None:
        """Add the usage of one message."""
        input_tokens = usage.input + usage.cache_read + usage.cache_write
        self.add(input_tokens, usage.output, usage.cost.total, usage.cache_read)

    def add_json(self, message: dict[str, Any]) -> None:
        """Add the usage of a message in JSON form. Values of a wrong type count as missing."""
        usage = _as_dict(message.get("usage"))
        cached = as_number(usage.get("cache_read")) or 0
        input_tokens = (as_number(usage.get("input")) or 0) + cached
        input_tokens += as_number(usage.get("cache_write")) or 0
        output_tokens = as_number(usage.get("output")) or 0
        cost = as_number(_as_dict(usage.get("cost")).get("total"))
        self.add(input_tokens, output_tokens, cost, cached)

    def merge(self, other: UsageTotals) -> None:
        """Add the requests of another total."""
        self.requests += other.requests
        self.input += other.input
        self.output += other.output
        self.usd = round(self.usd + other.usd, 12)
        self.unpriced += other.unpriced
        self.cached += other.cached
        self.priced += other.priced

    @property
    def cost(self) -> str:
        """The cost as text, such as `$0.12`, `$0.12 + 3 unknown` or `unknown`.

        The number is that of the requests without a known cost.
        """
        if self.unpriced and not self.priced:
            return "unknown"
        return format_usd(self.usd) + (f" + {self.unpriced} unknown" if self.unpriced else "")


def sum_usage(usages: Iterable[Usage]) -> Usage:
    """Return the total of several usages.

    The cost is unknown if any of them has no cost. Optional counts are summed over the usages that
    report them.
    """
    from .types import Cost, Usage

    usages = list(usages)
    total = Usage()
    for name in ("input", "output", "cache_read", "cache_write", "total_tokens"):
        setattr(total, name, sum(getattr(usage, name) for usage in usages))
    for name in ("reasoning", "cache_write_1h", "input_audio", "output_audio", "output_image"):
        known = [value for usage in usages if (value := getattr(usage, name)) is not None]
        setattr(total, name, sum(known) if known else None)
    total.estimated = any(usage.estimated for usage in usages)
    for name in ("service_tier", "region"):
        values = {getattr(usage, name) for usage in usages}
        setattr(total, name, values.pop() if len(values) == 1 else None)
    for usage in usages:
        for tool, count in usage.server_tool_calls.items():
            total.server_tool_calls[tool] = total.server_tool_calls.get(tool, 0) + count
    costs = [usage.cost for usage in usages]
    if costs and all(cost.total is not None for cost in costs):
        cost = Cost(source="provider" if all(c.source == "provider" for c in costs) else "catalog")
        for name in ("input", "output", "cache_read", "cache_write", "tools", "total"):
            parts = [getattr(item, name) for item in costs]
            setattr(cost, name, None if None in parts else sum(parts))
        savings = [item.cache_savings for item in costs if item.cache_savings is not None]
        cost.cache_savings = sum(savings) if savings else None
        cost.is_upper_bound = any(item.is_upper_bound for item in costs)
        total.cost = cost
    return total


def as_number(value: Any) -> Any:
    """Return `value` if it is a number, else None."""
    return value if isinstance(value, int | float) else None


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def valid_cost(cost: object) -> float | None:
    """Return a cost that a provider reports (US dollars), or None if it is not a valid amount."""
    return float(cost) if isinstance(cost, int | float) and isfinite(cost) and cost >= 0 else None
