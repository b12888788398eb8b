"""Compute the cost of a request in US dollars from prices in $/1M tokens.

A tier applies to the whole request if the prompt (input, cache reads and cache writes) is larger
than its size. Rates for the cache default to the input rate. A listed 0 is a price; an unknown
price is `None`, never free. Reasoning is part of the output.
"""

from __future__ import annotations

from .schema import CostTier, ModelCost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# Price of tokens that stay in the cache for long, as a multiple of the input rate: an hour at
# Anthropic, 12 hours at OpenAI. No catalogue lists it.
CACHE_WRITE_1H_MULTIPLIER = 2.0
_OTHER_LONG_WRITE_MULTIPLIERS = {"openai": 2.5, "azure": 2.5}


def component_costs(
    prices: ModelCost,
    provider: str,
    *,
    input: int = 0,
    output: int = 0,
    cache_read: int = 0,
    cache_write: int = 0,
    cache_write_1h: int = 0,
    reasoning: int = 0,
    input_audio: int = 0,
    output_audio: int = 0,
) -> dict[str, float | None]:
    """Return the cost of `input`, `output`, `cache_read` and `cache_write`; None if unknown.

    `input` excludes cached tokens and includes audio; `output` includes reasoning and audio;
    `cache_write` includes the tokens kept for an hour.
    """
    tier = _applicable_tier(prices, provider, input + cache_read + cache_write)

    def get_rate(name: str) -> float | None:
        tier_rate = getattr(tier, name) if tier is not None else None
        value: float | None = getattr(prices, name) if tier_rate is None else tier_rate
        return value

    if prices.input is None and prices.output is None:
        return dict.fromkeys(("input", "output", "cache_read", "cache_write"))
    input_rate = get_rate("input")
    read_rate, write_rate = get_rate("cache_read"), get_rate("cache_write")
    long_write = _OTHER_LONG_WRITE_MULTIPLIERS.get(provider, CACHE_WRITE_1H_MULTIPLIER)
    write_1h_rate = None if input_rate is None else long_write * input_rate
    if write_rate == 0:  # free, regardless of the retention
        write_1h_rate = 0.0
    tokens_1h = min(cache_write_1h, cache_write)
    audio_tokens = min(input_audio, input)
    audio_rate = get_rate("input_audio")
    return {
        "input": sum_costs(
            [
                _token_cost(input - audio_tokens, input_rate),
                _token_cost(audio_tokens, input_rate if audio_rate is None else audio_rate),
            ]
        ),
        "output": _output_cost(provider, get_rate, output, reasoning, output_audio),
        "cache_read": _token_cost(cache_read, input_rate if read_rate is None else read_rate),
        "cache_write": sum_costs(
            [
                _token_cost(
                    cache_write - tokens_1h, input_rate if write_rate is None else write_rate
                ),
                _token_cost(tokens_1h, write_1h_rate),
            ]
        ),
    }


def _applicable_tier(prices: ModelCost, provider: str, prompt_tokens: int) -> CostTier | None:
    """Return the highest tier that a prompt reaches."""
    highest = None
    for tier in prices.tiers:
        # xAI's higher price applies from the size on; that of other providers above it.
        if prompt_tokens > tier.size or (prompt_tokens == tier.size and provider == "xai"):
            highest = tier if highest is None or tier.size > highest.size else highest
    return highest


def _output_cost(
    provider: str,
    get_rate: Callable[[str], float | None],
    output: int,
    reasoning: int,
    audio: int,
) -> float | None:
    audio_tokens = min(audio, output)
    reasoning_tokens = min(reasoning, output - audio_tokens)
    output_rate, reasoning_rate, audio_rate = (
        get_rate("output"),
        get_rate("reasoning"),
        get_rate("output_audio"),
    )
    if reasoning_rate is None:
        reasoning_rate = output_rate
    elif reasoning_tokens and provider.startswith("alibaba"):
        # Alibaba charges the higher price for the whole output.
        output_rate = reasoning_rate
    return sum_costs(
        [
            _token_cost(output - audio_tokens - reasoning_tokens, output_rate),
            _token_cost(reasoning_tokens, reasoning_rate),
            _token_cost(audio_tokens, output_rate if audio_rate is None else audio_rate),
        ]
    )


def _token_cost(tokens: int, rate: float | None) -> float | None:
    if not tokens:
        return 0.0
    return None if rate is None else tokens * rate / 1_000_000


def sum_costs(parts: Iterable[float | None]) -> float | None:
    """Return the sum of the parts, or None if one of them is unknown."""
    parts = list(parts)
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return round(sum(known), 12)  # removes binary rounding errors
