"""The catalogue: the models of models.dev, their limits and prices, and how to reach them.

    from pipy_ai import get_model, get_models, estimate_cost

    get_model("claude-sonnet-4-5").cost.input                      # $/1M tokens
    get_models(capability="reasoning", min_context=200_000, max_cost_input=1.0)
    estimate_cost("openai/gpt-5", input_tokens=50_000, output_tokens=8_000)

Modules that a lookup does not need are loaded on first use.
"""

from .catalogue import ModelRegistry
from .model_list import ModelList
from .registry import (
    calculate_cost,
    estimate_cost,
    get_model,
    get_models,
    get_registry,
    load_models_cache,
    reload_registry,
    select_model,
)
from .schema import CostTier, Model, ModelCapabilities, ModelCost, ModelLimits, ModelModalities

__all__ = [
    "AmbiguousModelError",
    "CostTier",
    "Model",
    "ModelCapabilities",
    "ModelCost",
    "ModelLimits",
    "ModelList",
    "ModelModalities",
    "ModelRegistry",
    "calculate_cost",
    "estimate_cost",
    "generate_router_config",
    "get_model",
    "get_models",
    "get_registry",
    "load_models_cache",
    "reload_registry",
    "select_model",
    "sync_models",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import generate_router_config as generate_router_config
    from .names import AmbiguousModelError as AmbiguousModelError
    from .sync import sync_models as sync_models


_LAZY_NAMES = {
    "AmbiguousModelError": "names",
    "generate_router_config": "config",
    "sync_models": "sync",
}


def __getattr__(name: str) -> object:
    if name in _LAZY_NAMES:
        from importlib import import_module

        return getattr(import_module(f".{_LAZY_NAMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
