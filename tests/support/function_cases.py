"""Functions of many signatures and the JSON Schema of each."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypeVar

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from somewhere import Unknown


class Color(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Point(BaseModel):
    """A point."""

    x: int
    y: int = 0


class Tree(BaseModel):
    value: int
    kids: list[Tree] = []


@dataclass
class Size:
    width: int
    color: Color = Color.RED
    tags: list[str] = field(default_factory=list)


class Place(TypedDict, total=False):
    city: str


T = TypeVar("T")


class Thing:
    """A thing."""

    def method(self, a: int) -> None:
        """Of an object."""

    @classmethod
    def of_class(cls, a: int) -> None: ...

    @staticmethod
    def static(a: int) -> None: ...

    def __call__(self, a: int) -> None:
        """Called itself."""


class Quiet:
    """What it is."""

    def __call__(self, a: int) -> None: ...


def nothing(): ...


def unhinted(a, b=2): ...


def defaults(a: int, b: float = 1.5, c: bool = False, d: str = "x", e: int | None = None): ...


def unions(a: int | str, b: Optional[list[int]] = None): ...  # noqa: UP045


def choices(a: Literal["x", "y"], b: Literal[1], c: Color, d: Level = Level.LOW): ...


def nested(p: Point, q: Point | None = None): ...


def recursion(tree: Tree): ...


def containers(a: list[str], b: dict[str, int], c: set[int], d: tuple[int, ...]): ...


def pair(a: tuple[int, str]): ...


def bare(a: list, b: dict, c: Any): ...


def times(a: datetime, b: date = date(2026, 1, 2), c: timedelta = timedelta(seconds=3)): ...


def annotated(a: Annotated[int, Field(ge=1, description="How many")], b: Annotated[str, "x"]): ...


def further(a: int, **others: str): ...


def by_name(*, a: int, b: int = 1): ...


def by_place(a: int, b: int = 2, /, c: int = 3): ...


def odd_names(json: str, copy: int, _x: int, schema: str, model_config: str, self: int): ...


def generic(a: T, b: list[T]): ...


def dataclasses(a: Size): ...


def typed_dicts(a: Place): ...


def no_json(a: Any = object(), b: float = float("nan"), c: bytes = b"\xff"): ...  # noqa: B008


def elsewhere(a: int) -> Unknown: ...


async def asynchronous(a: int) -> int: ...


@functools.wraps(asynchronous)
def decorated(*args: Any, **kwargs: Any) -> Any: ...


INT, STR = {"type": "integer"}, {"type": "string"}
A = ({"a": INT}, ["a"])
POINT = {
    "type": "object",
    "description": "A point.",
    "properties": {"x": INT, "y": {**INT, "default": 0}},
    "required": ["x"],
}
TREE = {
    "type": "object",
    "properties": {
        "value": INT,
        "kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}, "default": []},
    },
    "required": ["value"],
}
SIZE = {
    "type": "object",
    "properties": {
        "width": INT,
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "tags": {"type": "array", "items": STR},
    },
    "required": ["width"],
    "additionalProperties": False,
}
PLACE = {"type": "object", "properties": {"city": STR}, "additionalProperties": False}


# function → properties, required, and what else its schema has
SCHEMAS: dict[str, tuple[Any, ...]] = {
    "nothing": (nothing, {}, []),
    "no hints": (unhinted, {"a": {}, "b": {"default": 2}}, ["a"]),
    "defaults": (
        defaults,
        {
            "a": INT,
            "b": {"type": "number", "default": 1.5},
            "c": {"type": "boolean", "default": False},
            "d": {**STR, "default": "x"},
            "e": {"anyOf": [INT, {"type": "null"}]},
        },
        ["a"],
    ),
    "unions": (
        unions,
        {
            "a": {"anyOf": [INT, STR]},
            "b": {"anyOf": [{"type": "array", "items": INT}, {"type": "null"}]},
        },
        ["a"],
    ),
    "choices": (
        choices,
        {
            "a": {"type": "string", "enum": ["x", "y"]},
            "b": {"type": "integer", "enum": [1]},
            "c": {"type": "string", "enum": ["red", "blue"]},
            "d": {"type": "integer", "enum": [1, 2], "default": 1},
        },
        ["a", "b", "c"],
    ),
    "nested models": (
        nested,
        {
            "p": {"$ref": "#/$defs/Point"},
            "q": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]},
        },
        ["p"],
        {"$defs": {"Point": POINT}},
    ),
    "recursion": (
        recursion,
        {"tree": {"$ref": "#/$defs/Tree"}},
        ["tree"],
        {"$defs": {"Tree": TREE}},
    ),
    "containers": (
        containers,
        {
            "a": {"type": "array", "items": STR},
            "b": {"type": "object", "additionalProperties": INT},
            "c": {"type": "array", "items": INT, "uniqueItems": True},
            "d": {"type": "array", "items": INT},
        },
        ["a", "b", "c", "d"],
    ),
    "a pair": (
        pair,
        {"a": {"type": "array", "prefixItems": [INT, STR], "minItems": 2, "maxItems": 2}},
        ["a"],
    ),
    "bare containers": (
        bare,
        {"a": {"type": "array", "items": {}},
         "b": {"type": "object", "additionalProperties": True}, "c": {}},
        ["a", "b", "c"],
    ),
    "times": (
        times,
        {
            "a": {"type": "string", "format": "date-time"},
            "b": {"type": "string", "format": "date", "default": "2026-01-02"},
            "c": {"type": "string", "format": "duration", "default": "PT3S"},
        },
        ["a"],
    ),
    "Annotated": (
        annotated,
        {"a": {**INT, "minimum": 1, "description": "How many"}, "b": STR},
        ["a", "b"],
    ),
    "**kwargs": (further, *A, {"additionalProperties": True}),
    "keyword-only": (by_name, {"a": INT, "b": {**INT, "default": 1}}, ["a"]),
    "positional-only": (
        by_place,
        {"a": INT, "b": {**INT, "default": 2}, "c": {**INT, "default": 3}},
        ["a"],
    ),
    "odd names": (
        odd_names,
        {"json": STR, "copy": INT, "_x": INT, "schema": STR, "model_config": STR, "self": INT},
        ["json", "copy", "_x", "schema", "model_config", "self"],
    ),
    "a type variable": (generic, {"a": {}, "b": {"type": "array", "items": {}}}, ["a", "b"]),
    "a dataclass": (
        dataclasses, {"a": {"$ref": "#/$defs/Size"}}, ["a"], {"$defs": {"Size": SIZE}}
    ),
    "a TypedDict": (
        typed_dicts,
        {"a": {"$ref": "#/$defs/Place"}},
        ["a"],
        {"$defs": {"Place": PLACE}},
    ),
    "defaults that JSON lacks": (
        no_json,
        {"a": {}, "b": {"type": "number"}, "c": {"type": "string", "format": "binary"}},
        [],
    ),
    "a return type only checkers know": (elsewhere, *A),
    "async": (asynchronous, *A),
    "a decorator": (decorated, *A),
    "a method": (Thing().method, *A),
    "a class method": (Thing.of_class, *A),
    "a static method": (Thing.static, *A),
    "an object": (Thing(), *A),
    "a partial": (functools.partial(by_place, 1), {"b": {**INT, "default": 2},
                                                  "c": {**INT, "default": 3}}, []),
    "a partial by name": (functools.partial(by_name, b=5), *A),
}  # fmt: skip
