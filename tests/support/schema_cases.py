"""Types of every kind, for structured output."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Address(BaseModel):
    """A postal address."""

    street: str
    zip: Annotated[str, Field(pattern=r"^\d{5}$", description="Five digits")]
    country: str = "DE"


class Line(BaseModel):
    text: str
    price: Annotated[float, Field(ge=0)]
    count: int = 1


class Invoice(BaseModel):
    number: str
    total: float
    lines: list[Line] = []
    note: str | None = None


class Person(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    address: Annotated[Address, Field(description="The main one")]
    former: list[Address] = []
    colour: Colour | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    other: Cat | Dog | None = None


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Event(BaseModel):
    at: datetime.datetime
    day: datetime.date
    lasts: datetime.timedelta
    id: uuid.UUID
    price: decimal.Decimal


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class Counts(BaseModel):
    words: dict[str, int]


class Alias(BaseModel):
    from_: Annotated[str, Field(alias="from")]
    to: str


class Mixed(BaseModel):
    value: int | str | None
    either: list[int] | str = "none"


@dataclass
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Pair(NamedTuple):
    left: int
    right: str


PLAIN = {
    "title": "Weather",
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "wind": {"type": ["number", "null"], "exclusiveMinimum": 0},
        "sky": {"oneOf": [{"const": "clear"}, {"enum": ["rain", "snow"]}]},
        "near": {"$ref": "#/definitions/Place", "description": "a place"},
        "far": {"allOf": [{"$ref": "#/definitions/Place"}], "default": {"name": "x"}},
    },
    "required": ["city"],
    "definitions": {
        "Place": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        }
    },
}


@dataclass
class Kind:
    """A type, a value as a model writes it, and whether all its objects can be closed."""

    kind: Any
    written: Any
    closed: bool = True


KINDS = {
    "model": Kind(Invoice, {"number": "7", "total": 1.5, "lines": [{"text": "a", "price": 1}]}),
    "nested models": Kind(
        Person, {"name": "A", "address": {"street": "B", "zip": "12345"}, "colour": "red"}
    ),
    "discriminated union": Kind(Owner, {"pet": {"kind": "dog", "tricks": ["sit"]}}),
    "union of models": Kind(Cat | Dog, {"value": {"kind": "cat", "lives": 9}}),
    "recursive model": Kind(Tree, {"name": "a", "children": [{"name": "b"}]}),
    "dates and numbers": Kind(
        Event,
        {
            "at": "2026-07-01T12:00:00Z",
            "day": "2026-07-01",
            "lasts": "PT1H",
            "id": "12345678-1234-5678-1234-567812345678",
            "price": "1.10",
        },
    ),
    "extra fields": Kind(Loose, {"name": "a", "more": 1}, closed=False),
    "dict field": Kind(Counts, {"words": {"a": 1}}, closed=False),
    "alias": Kind(Alias, {"from": "a", "to": "b"}),
    "mixed unions": Kind(Mixed, {"value": "7", "either": [1]}),
    "dataclass": Kind(Point, {"x": 1, "tags": ["a"]}),
    "typed dict": Kind(Movie, {"title": "M"}),
    "named tuple": Kind(Pair, {"value": [1, "a"]}),
    "enum": Kind(Colour, {"value": "red"}),
    "int enum": Kind(Level, {"value": 2}),
    "literal": Kind(Literal["yes", "no"], {"value": "yes"}),
    "number": Kind(Annotated[int, Field(ge=1, le=5)], {"value": 3}),
    "optional": Kind(int | None, {"value": None}),
    "list of models": Kind(list[Invoice], {"value": [{"number": "7", "total": 1}]}),
    "list of literals": Kind(list[Literal["a", "b"]], {"value": ["a", "b"]}),
    "tuple": Kind(tuple[int, str], {"value": [1, "a"]}),
    "dict": Kind(dict[str, float], {"a": 1.5}, closed=False),
    "anything": Kind(list[Any], {"value": [1, "a"]}, closed=False),
    "JSON Schema": Kind(PLAIN, {"city": "Rome", "sky": "rain", "near": {"name": "x"}}),
    "JSON Schema of a list": Kind(
        {"type": "array", "items": {"type": "integer"}}, {"value": [1, 2]}
    ),
}
