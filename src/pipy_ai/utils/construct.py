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
        _share_field_names(model_class)
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


def shrink(model: BaseModel) -> None:
    """Store the fields of a model in a third of the memory.

    The dictionary then shares its names with those of other instances, as CPython's instances do
    whose attributes are set one by one. This is too slow for every event of a stream.
    """
    model_class = type(model)
    fields = vars(model_class.__new__(model_class))
    for name, value in model.__dict__.items():
        fields[name] = value
    object.__setattr__(model, "__dict__", fields)


def _share_field_names(model_class: type[BaseModel]) -> None:
    """Let CPython know the names early: each new instance lowers how many it will share."""
    fields = vars(model_class.__new__(model_class))
    for name in model_class.model_fields:
        fields[name] = None


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
