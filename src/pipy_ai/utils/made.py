"""Pydantic models out of values that are right as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)


def made(kind: type[M], /, **fields: Any) -> M:
    """A model of these values and its defaults, unchecked.

    What `model_construct` does, without its detours: each event of a stream may want a message, and
    a first answer needs no validator, whose building takes longer than the request.
    """
    known = _DEFAULTS.get(kind)
    if known is None:
        known = _DEFAULTS[kind] = _defaults(kind)
    values, factories = known
    given = {**values, **fields}
    for name, factory in factories.items():
        if name not in fields:
            given[name] = factory()
    new = kind.__new__(kind)
    object.__setattr__(new, "__dict__", given)
    object.__setattr__(new, "__pydantic_fields_set__", set(fields))
    object.__setattr__(new, "__pydantic_extra__", {})
    object.__setattr__(new, "__pydantic_private__", None)
    return new


_DEFAULTS: dict[type[BaseModel], tuple[dict[str, Any], dict[str, Callable[[], Any]]]] = {}


def _defaults(kind: type[BaseModel]) -> tuple[dict[str, Any], dict[str, Callable[[], Any]]]:
    """The defaults of a model's fields, and what makes those of the others."""
    values: dict[str, Any] = {}
    factories: dict[str, Callable[[], Any]] = {}
    for name, field in kind.model_fields.items():
        factory: Any = field.default_factory
        values[name] = field.default if factory is None else None  # in the order of the fields
        if factory is None:
            continue
        if isinstance(factory, type) and issubclass(factory, BaseModel):
            factories[name] = _maker(factory)
        else:
            factories[name] = factory
    return values, factories


def _maker(kind: type[BaseModel]) -> Callable[[], Any]:
    return lambda: made(kind)
