"""`dataclass(slots=True)` for the catalogue, without importing `dataclasses`.

That import alone takes longer than finding one model among thousands, and `pipy models` should be
instant. Type checkers see the real decorator. `__dataclass_fields__` is created on access, so
`dataclasses.replace`, `asdict` and `fields` work as usual.
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


class _LazyFields:
    """A descriptor that creates `__dataclass_fields__` on first access."""

    def __init__(self, defaults: dict[str, Any]) -> None:
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
        dataclass_fields = vars(dataclasses.make_dataclass(cls.__name__, specs))[
            "__dataclass_fields__"
        ]
        setattr(cls, "__dataclass_fields__", dataclass_fields)  # noqa: B010
        return dataclass_fields


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
        "__dataclass_fields__": _LazyFields(defaults),
    }
    return type(cls)(cls.__name__, cls.__bases__, namespace)


def _repr(self: Any) -> str:
    from ..reprs import dataclass_repr

    return dataclass_repr(self, hidden=("raw",))


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return all(getattr(self, name) == getattr(other, name) for name in self.__match_args__)
