"""`dataclass(slots=True)` for the catalogue, without importing `dataclasses`.

That import alone takes longer than finding one model among thousands, and `pipy models` should be
instant. Type checkers see the real decorator. `__dataclass_fields__` and `__dataclass_params__` are
created on access, so `dataclasses.replace`, `asdict` and `fields`, and Dask, work as usual.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class field:
    """A default that is created for each object."""

    def __init__(self, *, default_factory: Callable[[], Any]) -> None:
        self.make = default_factory


class _LazyAttribute:
    """A descriptor that creates an attribute of dataclasses on first access."""

    def __init__(self, name: str, defaults: dict[str, Any]) -> None:
        self._name = name
        self._defaults = defaults

    def __get__(self, _: object, cls: type) -> Any:
        import dataclasses

        specs = []
        for key, default in self._defaults.items():
            if isinstance(default, field):
                spec = dataclasses.field(default_factory=default.make)
            else:
                spec = dataclasses.field(default=default)
            specs.append((key, cls.__annotations__[key], spec))
        value = vars(dataclasses.make_dataclass(cls.__name__, specs))[self._name]
        setattr(cls, self._name, value)
        return value


def dataclass(cls: type) -> type:
    """Turn a class into a slotted dataclass. Every field must have a default."""
    names = tuple(cls.__annotations__)
    namespace = dict(cls.__dict__)
    defaults = {name: namespace.pop(name) for name in names}
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    parameters = ", ".join(f"{name}=_d[{name!r}]" for name in names)
    lines = [
        f" self.{name} = _d[{name!r}].make() if {name} is _d[{name!r}] else {name}"
        if isinstance(defaults[name], field)
        else f" self.{name} = {name}"
        for name in names
    ]
    exec_namespace: dict[str, Any] = {}
    source = f"def __init__(self, {parameters}):\n" + "\n".join(lines)
    exec(source, {"_d": defaults}, exec_namespace)
    namespace |= {
        "__slots__": names,
        "__match_args__": names,
        "__qualname__": cls.__qualname__,
        "__init__": exec_namespace["__init__"],
        "__repr__": cls.__dict__.get("__repr__", _repr),
        "__eq__": _eq,
        "__hash__": None,
    }
    for name in ("__dataclass_fields__", "__dataclass_params__"):
        namespace[name] = _LazyAttribute(name, defaults)
    return type(cls)(cls.__name__, cls.__bases__, namespace)


def _repr(self: Any) -> str:
    from ..reprs import dataclass_repr

    return dataclass_repr(self, hidden=("raw",))


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)
