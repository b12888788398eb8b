"""What answers cost together. Read without Pydantic, so what stands in a file may be anything."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

from .utils.text import format_usd


@dataclass
class UsageTotals:
    """Tokens and cost (US dollars) of answers: `known` of them have one, `unknown` have none."""

    answers: int = 0
    input: int = 0  # with what came from the cache
    cached: int = 0
    output: int = 0
    cost: float = 0.0
    known: int = 0
    unknown: int = 0

    def add(self, message: dict[str, Any]) -> None:
        """Count an answer in: a message as JSON data."""
        usage = _as_dict(message.get("usage"))
        cached_tokens = as_number(usage.get("cache_read")) or 0
        input_tokens = (as_number(usage.get("input")) or 0) + cached_tokens
        input_tokens += as_number(usage.get("cache_write")) or 0
        output_tokens = as_number(usage.get("output")) or 0
        self.answers += 1
        self.input, self.cached = self.input + input_tokens, self.cached + cached_tokens
        self.output += output_tokens
        cost = as_number(_as_dict(usage.get("cost")).get("total"))
        if cost is not None:
            self.cost += cost
            self.known += 1
        elif input_tokens or output_tokens:  # a request that failed cost nothing
            self.unknown += 1

    def format_cost(self) -> str:
        """The cost, as people read it."""
        if self.unknown and not self.known:
            return "unknown"
        return format_usd(self.cost) + (f" + {self.unknown} unknown" if self.unknown else "")


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_number(value: Any) -> Any:
    """The value if it is a number."""
    return value if isinstance(value, int | float) else None


def valid_cost(cost: object) -> float | None:
    """Return a cost that a provider reports (US dollars), or None if it is not a valid amount."""
    return float(cost) if isinstance(cost, int | float) and isfinite(cost) and cost >= 0 else None
