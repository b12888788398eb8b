"""Test the lazy `dataclass`: it behaves like that of Python."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any

import pytest
from pydantic import TypeAdapter

from pipy_ai.utils import dataclass as lazy


class _Base:
    __slots__ = ("_hidden",)


def _define(module: Any) -> dict[str, Any]:
    """Define the same classes with Python's decorator and with ours."""

    @module.dataclass(slots=True)
    class Point:
        """A point."""

        x: int
        y: int = 0
        tags: list[str] = module.field(default_factory=list)
        note: str = module.field(default="", repr=False, compare=False)
        color: str | None = module.field(default=None, kw_only=True)

    @module.dataclass(slots=True, kw_only=True, repr=False)
    class Event(_Base):
        """An event."""

        kind: str = "event"
        text: str

        def __repr__(self) -> str:
            return "an event"

    @module.dataclass(frozen=True, slots=True)
    class Price:
        """A price."""

        usd: float = 0.0
        unit: str = "token"

        def __post_init__(self) -> None:
            if self.usd < 0:
                raise ValueError("negative")

    return {"Point": Point, "Event": Event, "Price": Price}


STANDARD, LAZY = _define(dataclasses), _define(lazy)
for _name, _cls in LAZY.items():  # `pickle` finds a class by its name
    _cls.__qualname__ = _name
    globals()[_name] = _cls
VALUES: dict[str, dict[str, Any]] = {
    "Point": {"x": 1, "y": 2, "tags": ["a"], "note": "n", "color": "red"},
    "Event": {"text": "Hi"},
    "Price": {"usd": 2.5},
}


@pytest.mark.parametrize("name", LAZY)
def test_class_is_described_like_pythons(name: str) -> None:
    standard, lazy_class = STANDARD[name], LAZY[name]
    assert lazy_class.__slots__ == standard.__slots__
    assert lazy_class.__match_args__ == standard.__match_args__
    assert lazy_class.__doc__ == standard.__doc__
    assert str(inspect.signature(lazy_class)) == str(inspect.signature(standard))
    assert str(dataclasses.fields(lazy_class)) == str(dataclasses.fields(standard))
    assert dataclasses.is_dataclass(lazy_class)
    assert (lazy_class.__hash__ is None) == (standard.__hash__ is None)


@pytest.mark.parametrize("name", LAZY)
def test_object_behaves_like_pythons(name: str) -> None:
    standard, value = STANDARD[name](**VALUES[name]), LAZY[name](**VALUES[name])
    assert repr(value).rpartition(".")[2] == repr(standard).rpartition(".")[2]
    assert dataclasses.asdict(value) == dataclasses.asdict(standard)
    twins = [pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)]
    twins += [dataclasses.replace(value), lazy.replace(value), value.__replace__()]
    for twin in twins:
        assert twin == value
        assert type(twin) is type(value)
        assert dataclasses.asdict(twin) == dataclasses.asdict(value)
    assert value != standard
    with pytest.raises(AttributeError):
        value.misspelt = 1


def test_defaults() -> None:
    point = LAZY["Point"]
    assert point(1).tags is not point(1).tags
    assert (point(1).y, point(1).note, point(1).color) == (0, "", None)
    assert point(1, note="a") == point(1, note="b")
    assert point(1) != point(2)
    for arguments in ((), (1, 2, [], "n", "red")):
        with pytest.raises(TypeError):
            point(*arguments)
    with pytest.raises(TypeError):
        LAZY["Event"]("text")


def test_frozen_class() -> None:
    price = LAZY["Price"]
    assert hash(price(1.0)) == hash(price(1.0)) == hash(STANDARD["Price"](1.0))
    assert lazy.replace(price(1.0), unit="image") == price(1.0, "image")
    with pytest.raises(dataclasses.FrozenInstanceError):
        price().usd = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        del price().usd
    with pytest.raises(ValueError, match="negative"):
        price(-1.0)


def test_pydantic_validates_it() -> None:
    adapter = TypeAdapter(LAZY["Price"])
    assert adapter.validate_python({"usd": "2.5"}) == LAZY["Price"](2.5)
    assert adapter.dump_json(LAZY["Price"](2.5)) == b'{"usd":2.5,"unit":"token"}'


def test_nothing_is_generated_before_it_is_needed() -> None:
    point = _define(lazy)["Point"]
    generated = ("__init__", "__dataclass_fields__", "__dataclass_params__")
    assert not any(inspect.isfunction(vars(point)[name]) for name in generated)
    point(1)
    assert inspect.isfunction(vars(point)["__init__"])
    assert not isinstance(vars(point)["__dataclass_fields__"], dict)
