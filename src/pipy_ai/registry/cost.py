"""What a request costs. Prices come from the catalogue, in $/1M tokens; results are US dollars.

A tier counts for the whole request once the whole prompt (input, cached and newly cached) is
longer than its size. A rate that is not listed falls back (cache to input), an explicit 0 is a
price, and an unknown price is `None`, never free. Reasoning is part of the output.
"""

from __future__ import annotations

from .schema import CostTier, Model, ModelCost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..types import Cost, Usage

HOUR_WRITE = 2.0  # × input: what keeping a prompt for an hour costs where no rate is listed


def calculate_cost(model: str | Model, usage: Usage, mode: str | None = None) -> Cost:
    """What `usage` costs on `model`.

    Args:
        model: A name, as for `get_model`, or a `Model`, which may be made by hand.
        usage: Tokens, as every answer has them.
        mode: A service level of the model other than the usual one, such as `"fast"`.

    Raises:
        ValueError: no such model, or it has no such mode.

    Example:
        >>> from pipy_ai import Model, ModelCost, Usage, calculate_cost
        >>> model = Model(id="m", provider="acme", cost=ModelCost(input=3, output=15))
        >>> calculate_cost(model, Usage(input=10_000, output=2_000)).total
        0.06
    """
    from ..types import Cost

    model = _model(model)
    prices = model.cost
    if mode is not None:
        if mode not in prices.modes:
            listed = ", ".join(prices.modes) or "none"
            raise ValueError(f"{model.qualified_name} has no mode {mode!r}; its modes: {listed}")
        prices = prices.modes[mode]
    parts = price(
        prices,
        model.provider,
        input=usage.input,
        output=usage.output,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        cache_write_1h=usage.cache_write_1h or 0,
        reasoning=usage.reasoning or 0,
        input_audio=usage.input_audio or 0,
        output_audio=usage.output_audio or 0,
    )
    whole = total(parts.values())
    return Cost(**parts, total=whole, source="unknown" if whole is None else "catalog")


def estimate_cost(
    model: str | Model, input_tokens: int, output_tokens: int = 0, cached_tokens: int = 0
) -> float | None:
    """What a request would cost; `cached_tokens` is the part of `input_tokens` that is cached.

    None: a price is not listed.

    Raises:
        ValueError: no such model, a negative count, or more cached than input tokens.

    Example:
        >>> from pipy_ai import Model, ModelCost, estimate_cost
        >>> model = Model(id="m", provider="acme", cost=ModelCost(input=3, output=15))
        >>> estimate_cost(model, input_tokens=10_000, output_tokens=2_000)
        0.06
    """
    if min(input_tokens, output_tokens, cached_tokens) < 0 or cached_tokens > input_tokens:
        raise ValueError("token counts are not negative, and cached tokens are part of the input")
    model = _model(model)
    parts = price(
        model.cost,
        model.provider,
        input=input_tokens - cached_tokens,
        output=output_tokens,
        cache_read=cached_tokens,
    )
    return total(parts.values())


def price(
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
    """Dollars for `input`, `output`, `cache_read` and `cache_write`; None where not known.

    `input` is without the cached parts; `output` includes reasoning and audio, `input` audio, and
    `cache_write` what is kept for an hour.
    """
    tier = _tier(prices, provider, input + cache_read + cache_write)

    def rate(name: str) -> float | None:
        at_tier = getattr(tier, name) if tier is not None else None
        listed: float | None = getattr(prices, name) if at_tier is None else at_tier
        return listed

    if prices.input is None and prices.output is None:
        return dict.fromkeys(("input", "output", "cache_read", "cache_write"))
    base = rate("input")
    read, write = rate("cache_read"), rate("cache_write")
    hour = None if base is None else HOUR_WRITE * base
    if write == 0:  # not charged here, for however long
        hour = 0.0
    hours = min(cache_write_1h, cache_write)
    heard = min(input_audio, input)
    listened = rate("input_audio")
    return {
        "input": total(
            [_part(input - heard, base), _part(heard, base if listened is None else listened)]
        ),
        "output": _output(provider, rate, output, reasoning, output_audio),
        "cache_read": _part(cache_read, base if read is None else read),
        "cache_write": total(
            [_part(cache_write - hours, base if write is None else write), _part(hours, hour)]
        ),
    }


def _tier(prices: ModelCost, provider: str, prompt: int) -> CostTier | None:
    """The highest tier that a prompt reaches."""
    reached = None
    for tier in prices.tiers:
        # xAI's higher price begins at the size itself, everybody else's above it.
        if prompt > tier.size or (prompt == tier.size and provider == "xai"):
            reached = tier if reached is None or tier.size > reached.size else reached
    return reached


def _output(
    provider: str,
    rate: Callable[[str], float | None],
    output: int,
    reasoning: int,
    audio: int,
) -> float | None:
    spoken = min(audio, output)
    thought = min(reasoning, output - spoken)
    plain, deep, voice = rate("output"), rate("reasoning"), rate("output_audio")
    if deep is None:
        deep = plain
    elif thought and provider.startswith("alibaba"):  # thinking raises the price of all output
        plain = deep
    return total(
        [
            _part(output - spoken - thought, plain),
            _part(thought, deep),
            _part(spoken, plain if voice is None else voice),
        ]
    )


def _part(tokens: int, rate: float | None) -> float | None:
    if not tokens:
        return 0.0
    return None if rate is None else tokens * rate / 1_000_000


def total(parts: Iterable[float | None]) -> float | None:
    """The sum, unless a part is not known."""
    parts = list(parts)
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return round(sum(known), 12)  # a millionth of a millionth: what is beyond is binary noise


def _model(model: str | Model) -> Model:
    if isinstance(model, Model):
        return model
    from .registry import get_registry

    return get_registry().require(model)
