"""The catalogue: every model of models.dev, its limits, its price, the way to it.

from pipy_ai import get_model, get_models, estimate_cost

get_model("claude-sonnet-4-5").cost.input                      # $/1M tokens
get_models(capability="reasoning", min_context=200_000, max_cost_input=1.0)
estimate_cost("openai/gpt-5", input_tokens=50_000, output_tokens=8_000)
"""

from .catalogue import ModelRegistry
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


def __getattr__(name: str) -> object:  # what reads never need loads when it is used
    if name == "sync_models":
        from .sync import sync_models

        return sync_models
    if name == "AmbiguousModelError":
        from .names import AmbiguousModelError

        return AmbiguousModelError
    if name == "generate_router_config":
        from .config import generate_router_config

        return generate_router_config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
