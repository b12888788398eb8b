"""Types of every kind, and rules for the schemas that each vendor accepts."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from collections.abc import Iterator
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


# --- Rules of the vendors ------------------------------------------------------------------


def parts(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every nested schema with its path."""
    todo: list[tuple[str, Any]] = [("$", schema)]
    while todo:
        path, one = todo.pop()
        yield path, one
        for word in ("properties", "$defs"):
            todo += [(f"{path}.{name}", inner) for name, inner in one.get(word, {}).items()]
        if "items" in one:
            todo.append((f"{path}[]", one["items"]))
        todo += [(f"{path}|{n}", inner) for n, inner in enumerate(one.get("anyOf", ()))]


_COMMON = {"type", "title", "description", "enum", "const", "anyOf", "$ref", "$defs", "format",
           "properties", "required", "additionalProperties", "items"}  # fmt: skip
_OPENAI = _COMMON | {"pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
                     "exclusiveMaximum", "minItems", "maxItems"}  # fmt: skip
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


def openai_refuses(schema: dict[str, Any], known: set[str] = _OPENAI) -> list[str]:
    """Return what OpenAI's strict mode would reject."""
    found = _closed(schema, known)
    for path, one in parts(schema):
        if set(one.get("properties", ())) != set(one.get("required", one.get("properties", ()))):
            found.append(f"{path}: not every property is required")
    return found


def anthropic_refuses(schema: dict[str, Any]) -> list[str]:
    """Return what Anthropic's structured outputs would reject."""
    found = _closed(schema, _COMMON)
    for name in schema.get("$defs", {}):
        if _reaches(schema, name, name, set()):
            found.append(f"{name} holds itself")
    return found


def _reaches(schema: dict[str, Any], start: str, goal: str, seen: set[str]) -> bool:
    for _, one in parts(schema["$defs"][start]):
        name = one.get("$ref", "").removeprefix("#/$defs/")
        if name == goal:
            return True
        if name and name not in seen and _reaches(schema, name, goal, seen | {name}):
            return True
    return False


def _closed(schema: dict[str, Any], known: set[str]) -> list[str]:
    found = [] if schema.get("type") == "object" else ["$: no object"]
    for path, one in parts(schema):
        found += [f"{path}: the word {word}" for word in one if word not in known]
        if "$ref" in one:
            found += [f"{path}: words beside $ref"] if len(one) > 1 else []
            if one["$ref"].removeprefix("#/$defs/") not in schema.get("$defs", {}):
                found.append(f"{path}: {one['$ref']} leads nowhere")
            continue
        if not one.keys() & {"type", "anyOf", "enum", "const"}:
            found.append(f"{path}: no type")
        if not isinstance(one.get("type", ""), str):
            found.append(f"{path}: several types")
        if one.get("type") == "object" and one.get("additionalProperties") is not False:
            found.append(f"{path}: open")
        if one.get("type") == "array" and "items" not in one:
            found.append(f"{path}: items of no type")
        if one.get("format", "date") not in _FORMATS:
            found.append(f"{path}: the format {one['format']}")
    return found


_GEMINI = {"type", "title", "description", "enum", "format", "nullable", "properties", "required",
           "items", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum",
           "pattern", "propertyOrdering", "minProperties", "maxProperties"}  # fmt: skip


def gemini_refuses(schema: dict[str, Any]) -> list[str]:
    """Return what Gemini would reject in an output schema or in the parameters of a function."""
    found = []
    for path, one in parts(schema):
        found += [f"{path}: the word {word}" for word in one if word not in _GEMINI]
        if one.get("type") not in ("string", "integer", "number", "boolean", "array", "object"):
            found.append(f"{path}: the type {one.get('type')}")
        if "enum" in one and (one["type"] != "string" or not all(map(_is_text, one["enum"]))):
            found.append(f"{path}: an enum of other than strings")
        if one.get("type") == "array" and "items" not in one:
            found.append(f"{path}: items of no type")
        if not set(one.get("required", ())) <= set(one.get("properties", ())):
            found.append(f"{path}: requires what it does not have")
    return found


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
