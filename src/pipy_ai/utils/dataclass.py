"""`dataclass(slots=True)` that generates code when it is needed, and does not import `dataclasses`.

Python's decorator compiles the methods of every class when a module is imported, and importing it
takes longer than finding one model among thousands. Here, the constructor is compiled for the first
object. `__dataclass_fields__` and `__dataclass_params__` are created on access, so that
`dataclasses.fields`, `replace` and `asdict`, Pydantic and Dask work as usual. Type checkers see
the real decorator.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class field(dict[str, "Any"]):
    """The options of a field, which are those of `dataclasses.field`."""

    def __repr__(self) -> str:
        return "<factory>"  # in the signature of the class


def dataclass(
    cls: type | None = None,
    /,
    *,
    slots: bool = True,
    frozen: bool = False,
    kw_only: bool = False,
    repr: bool = True,
) -> Any:
    """Turn a class into a slotted dataclass. Fields are not inherited."""
    if cls is None:
        return lambda cls: dataclass(cls, frozen=frozen, kw_only=kw_only, repr=repr)
    namespace = dict(cls.__dict__)
    for name in ("__dict__", "__weakref__"):
        namespace.pop(name, None)
    fields = {name: _field(namespace, name, kw_only) for name in cls.__annotations__}
    compared = [name for name, options in fields.items() if options["compare"]]
    namespace |= {
        "__qualname__": cls.__qualname__,
        "__slots__": tuple(fields),
        "__match_args__": tuple(name for name, options in fields.items() if not options["kw_only"]),
        "__dataclass_fields__": _Generated("__dataclass_fields__", fields, frozen),
        "__dataclass_params__": _Generated("__dataclass_params__", fields, frozen),
        "__init__": _Generated("__init__", fields, frozen),
        "__eq__": _eq_of(compared),
        "__hash__": _hash_of(compared) if frozen else None,
        "__replace__": replace,  # for `copy.replace`
    }
    if frozen:
        namespace |= {
            "__setattr__": _refuse_change,
            "__delattr__": _refuse_change,
            "__getstate__": _get_state,
            "__setstate__": _set_state,
        }
    if repr and "__repr__" not in namespace:
        names = [name for name, options in fields.items() if options["repr"]]
        namespace["__repr__"] = _repr_of(names)
    return type(cls)(cls.__name__, cls.__bases__, namespace)


def replace(value: Any, /, **changes: Any) -> Any:
    """Return a copy of an object of a dataclass with other values of some fields."""
    return type(value)(**{name: getattr(value, name) for name in value.__slots__} | changes)


def _field(namespace: dict[str, Any], name: str, kw_only: bool) -> field:
    """Remove the default of a field from the namespace of a class, and return all options."""
    options = {"kw_only": kw_only, "repr": True, "compare": True}
    if name not in namespace:
        return field(options)
    default = namespace.pop(name)
    return field(options | (default if isinstance(default, field) else {"default": default}))


class _Generated:
    """A descriptor that generates an attribute of a class on first access."""

    def __init__(self, name: str, fields: dict[str, field], frozen: bool) -> None:
        self._name = name
        self._fields = fields
        self._frozen = frozen

    def __set_name__(self, owner: type, _: str) -> None:
        self._owner = owner

    def __get__(self, instance: object, _: type | None = None) -> Any:
        cls, name = self._owner, self._name
        if name == "__init__":
            value = _init_of(cls, self._fields, self._frozen)
        else:
            import dataclasses

            annotations = cls.__annotations__
            specs = [(n, annotations[n], dataclasses.field(**o)) for n, o in self._fields.items()]
            twin = dataclasses.make_dataclass(cls.__name__, specs, slots=True, frozen=self._frozen)
            value = vars(twin)[name]
        setattr(cls, name, value)
        return getattr(cls if instance is None else instance, name)


def _init_of(cls: type, fields: dict[str, field], frozen: bool) -> Any:
    positional = ["self"]
    keywords: list[str] = []
    lines: list[str] = []
    for name, options in fields.items():
        value, default = name, ""
        if "default_factory" in options:
            value = f"_[{name!r}]['default_factory']() if {name} is _[{name!r}] else {name}"
            default = f" = _[{name!r}]"
        elif "default" in options:
            default = f" = _[{name!r}]['default']"
        (keywords if options["kw_only"] else positional).append(name + default)
        lines.append(f" __set__(self, {name!r}, {value})" if frozen else f" self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    parameters = ", ".join([*positional, "*", *keywords] if keywords else positional)
    namespace: dict[str, Any] = {"_": fields, "__set__": object.__setattr__}
    exec(f"def __init__({parameters}):\n" + "\n".join(lines), namespace)
    init = namespace["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {**cls.__annotations__, "return": None}
    return init


def _repr_of(names: list[str]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return __repr__


def _eq_of(names: list[str]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in names)

    return __eq__


def _hash_of(names: list[str]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:
        return hash(tuple([getattr(self, name) for name in names]))

    return __hash__


def _refuse_change(self: Any, name: str, *_: Any) -> None:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__slots__]


def _set_state(self: Any, state: list[Any]) -> None:
    for name, value in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, value)
