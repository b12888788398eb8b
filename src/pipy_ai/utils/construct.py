"""Build Pydantic models from valid values without validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def construct_unchecked(model_class: type[M], /, **fields: Any) -> M:
    """Build a model from these values and its defaults without validation.

    This is a faster `model_construct`: each event of a stream may need a message. It also avoids
    building a validator, which takes longer than a first request.
    """
    cached = _DEFAULTS_CACHE.get(model_class)
    if cached is None:
        cached = _DEFAULTS_CACHE[model_class] = _collect_defaults(model_class)
    defaults, factories = cached
    field_values = {**defaults, **fields}
    for name, factory in factories.items():
        if name not in fields:
            field_values[name] = factory()
    instance = model_class.__new__(model_class)
    object.__setattr__(instance, "__dict__", field_values)
    object.__setattr__(instance, "__pydantic_fields_set__", set(fields))
    object.__setattr__(instance, "__pydantic_extra__", {})
    object.__setattr__(instance, "__pydantic_private__", None)
    return instance


_DEFAULTS_CACHE: dict[type[BaseModel], tuple[dict[str, Any], dict[str, Callable[[], Any]]]] = {}


def _collect_defaults(
    model_class: type[BaseModel],
) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """Return the defaults of a model's fields, and the factories of defaults."""
    defaults: dict[str, Any] = {}
    factories: dict[str, Callable[[], Any]] = {}
    for name, field in model_class.model_fields.items():
        factory: Any = field.default_factory
        defaults[name] = field.default if factory is None else None  # keeps the order of the fields
        if factory is None:
            continue
        if isinstance(factory, type) and issubclass(factory, BaseModel):
            factories[name] = _model_factory(factory)
        else:
            factories[name] = factory
    return defaults, factories


def _model_factory(model_class: type[BaseModel]) -> Callable[[], Any]:
    return lambda: construct_unchecked(model_class)
