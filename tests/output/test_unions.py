"""Test that a union is read as the member that matches, and that odd types survive a round trip."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypeVar

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from pipy_ai import ToolCall, ToolValidationError, complete, faux, validate_tool_call
from pipy_ai.output.schema import Output, OutputValidationError
from pipy_ai.utils.gemini_schemas import to_gemini_schema, to_gemini_tool_schema
from pipy_ai.utils.vendor_schemas import to_anthropic_schema, to_openai_strict_schema

from ..support.schema_rules import anthropic_refuses, gemini_refuses, openai_refuses


class Note(BaseModel):
    body: str


class Mail(BaseModel):
    body: str
    to: Annotated[str, Field(min_length=1)]
    cc: list[str] = []


@dataclass
class Circle:
    radius: float


@dataclass
class Ring:
    radius: float
    inner: float = 0.0
    name: str = ""


class Small(TypedDict):
    a: int


class Large(TypedDict):
    a: int
    b: NotRequired[str]
    c: NotRequired[int]


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    z: int


class Call(BaseModel):
    kind: Literal["call"] = "call"
    number: str


class Text(BaseModel):
    kind: Literal["text"] = "text"
    number: str
    words: str | None = None
    at: int = 0


@dataclass
class Err:
    error: str
    code: int = 0


@dataclass
class Ok:
    result: str
    confidence: float


class X(BaseModel):
    kind: Literal["x"]
    b: int


class U(BaseModel):
    kind: Literal["u", "v"]
    a: int
    inner: X | None = None


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["closed"]
    c: int


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    kind: Literal["open"]


class Low(BaseModel):
    body: str
    level: Literal["low", "high"] = "low"


class High(BaseModel):
    body: str
    level: Literal["high", "top"]
    to: str


Tagged = Annotated[U | X, Field(discriminator="kind")]


class Step(BaseModel):
    action: Note | Mail
    others: list[Mail | Note] = []
    by_name: dict[str, Note | Mail] = {}


MAIL = {"body": "hi", "to": "a@b.c", "cc": None}
HI = Mail(body="hi", to="a@b.c")


@pytest.mark.parametrize(
    ("kind", "value", "parsed"),
    [
        (Note | Mail, {"value": MAIL}, HI),
        (Mail | Note, {"value": MAIL}, HI),
        (Note | Mail, MAIL, HI),  # a model may forget the wrapping
        (Note | Mail | None, {"value": MAIL}, HI),
        (Note | Mail, {"value": {"body": "x"}}, Note(body="x")),
        (list[Note | Mail], {"value": [MAIL, {"body": "x"}]}, [HI, Note(body="x")]),
        (dict[str, Note | Mail], {"m": MAIL}, {"m": HI}),
        (
            Step,
            {"action": MAIL, "others": [{"body": "x"}, MAIL], "by_name": {"m": MAIL}},
            Step(action=HI, others=[Note(body="x"), HI], by_name={"m": HI}),
        ),
        (Step, {"action": MAIL, "others": None, "by_name": None}, Step(action=HI)),
        (Circle | Ring, {"value": {"radius": 1, "inner": None, "name": "x"}}, Ring(1, 0, "x")),
        (Small | Large, {"value": {"a": 1, "b": "x", "c": None}}, {"a": 1, "b": "x"}),
        (Call | Text, {"value": {"kind": "text", "number": "1", "words": None, "at": None}},
         Text(number="1")),
        (Call | Text, {"value": {"kind": "call", "number": "1"}}, Call(number="1")),
        (Note | Mail, {"value": {**MAIL, "more": 1}}, HI),  # Pydantic ignores unknown fields
        (Note | Loose, {"value": {"z": 1, "w": 2}}, Loose.model_validate({"z": 1, "w": 2})),
        (int | list[int] | Note, {"value": [1]}, [1]),
        (Note | str, {"value": "x"}, "x"),
        # Gemini is sent one object with the fields of all, and fills those of the others.
        (Err | Ok, {"value": {"error": "e", "result": None, "confidence": None}}, Err("e")),
        (Ok | Err, {"value": {"error": "e", "code": None, "result": None}}, Err("e")),
        (Err | Ok, {"value": {"error": None, "code": None, "result": "r", "confidence": 1}},
         Ok("r", 1)),
        (list[Err | Ok], {"value": [{"error": "e", "result": None}]}, [Err("e")]),
        (Note | Mail, {"value": {"body": "x", "to": None, "cc": None}}, Note(body="x")),
        (Tagged, {"value": {"kind": "x", "b": 3, "a": 0}}, X(kind="x", b=3)),
        (U | X, {"value": {"kind": "x", "b": 3, "a": 0}}, X(kind="x", b=3)),
        (X | U, {"value": {"kind": "v", "b": 3, "a": 0}}, U(kind="v", a=0)),
        (dict[str, Tagged], {"m": {"kind": "u", "a": 1, "b": 0, "more": 1}},
         {"m": U(kind="u", a=1)}),
        (Tagged, {"value": {"kind": "u", "a": 1, "b": 0, "inner": {"kind": "x", "b": 1, "a": 2}}},
         U(kind="u", a=1, inner=X(kind="x", b=1))),
        (X | Closed, {"value": {"kind": "closed", "c": 1, "b": 0}}, Closed(kind="closed", c=1)),
        (X | Open, {"value": {"kind": "open", "b": 0}},
         Open.model_validate({"kind": "open", "b": 0})),
    ],
)  # fmt: skip
def test_union_is_read_as_the_member_that_matches(kind: Any, value: Any, parsed: Any) -> None:
    with faux.script(json.dumps(value)):
        result = complete("faux/x", "q", output=kind, output_retries=0).parsed
    assert result == parsed
    assert type(result) is type(parsed)


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        (Note | Mail, {"value": {"body": "hi", "to": ""}}, "at least 1 character"),
        (Note | Mail, {"value": {"body": "hi", "to": 7}}, "valid string"),
        (Note | Mail, {"value": {"body": "hi", "to": "", "more": 1}}, "at least 1 character"),
        (Circle | Ring, {"value": {"radius": 1, "inner": "wide"}}, "valid number"),
        (Small | Large, {"value": {"a": 1, "c": "many"}}, "valid integer"),
        (Step, {"action": {"body": "hi", "to": ""}}, "at least 1 character"),
        (list[Note | Mail], {"value": [{"body": "hi", "to": ""}]}, "at least 1 character"),
        (Tagged, {"value": {"kind": "x", "b": "many", "a": 0}}, "valid integer"),
        (Err | Ok, {"value": {"error": "e", "result": "r", "confidence": 1}}, "Unexpected keyword"),
        (Err | Ok, {"value": {"error": "e", "code": "E", "result": None}}, "valid integer"),
        (X | Closed, {"value": {"kind": "closed", "c": 1, "b": 0, "more": 1}}, "Extra inputs"),
        # Values of an ordinary field do not decide which member is meant.
        (Low | High, {"value": {"body": "hi", "to": "me", "level": "low"}}, "'high' or 'top'"),
    ],
)
def test_fields_are_never_dropped_for_another_member(kind: Any, value: Any, problem: str) -> None:
    """Pydantic alone reads each as the smaller member, without a message about the rest."""
    output = Output.of(kind)
    with pytest.raises(OutputValidationError, match=problem):
        output.parse(json.dumps(value))


def test_union_in_a_tools_arguments() -> None:
    def act(action: Note | Mail) -> None:
        """Act."""

    call = ToolCall(name="act", arguments={"action": MAIL})
    assert validate_tool_call([act], call) == {"action": HI}
    written = ToolCall(name="act", arguments={"action": json.dumps(MAIL)})
    assert validate_tool_call([act], written) == {"action": HI}
    wrong = ToolCall(name="act", arguments={"action": {"body": "hi", "to": ""}})
    with pytest.raises(ToolValidationError, match="at least 1 character"):
        validate_tool_call([act], wrong)


@dataclass
class Cat:
    name: str
    lives: int


@dataclass
class Dog:
    name: str
    breed: str


@pytest.mark.parametrize(
    ("kind", "value", "parsed"),
    [
        (Cat | Dog, {"name": "x", "lives": 9, "breed": None}, Cat("x", 9)),
        (Dog | Cat, {"name": "x", "lives": 9, "breed": None}, Cat("x", 9)),
        (Err | Ok, {"error": "e", "result": None, "confidence": None}, Err("e")),
        (Tagged, {"kind": "x", "b": 3, "a": 0}, X(kind="x", b=3)),
        (U | X, {"kind": "x", "b": "3", "a": 0}, X(kind="x", b=3)),
    ],
)
def test_arguments_with_fields_of_other_members(kind: Any, value: Any, parsed: Any) -> None:
    def act(action: Any) -> None:
        """Act."""

    act.__annotations__["action"] = kind
    call = ToolCall(name="act", arguments={"action": value})
    assert validate_tool_call([act], call) == {"action": parsed}


def test_json_schema_as_output() -> None:
    members = [
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
    ]
    for union in ("anyOf", "oneOf"):
        output = Output.of({"type": "object", "properties": {"x": {union: members[1:]}}})
        assert output.parse('{"x": {"a": "y", "b": null}}') == {"x": {"a": "y"}}
    either = {"type": "object", "properties": {"a": {"type": ["null", "number"]}}}
    any_or_text = {**either, "required": ["a"], "oneOf": [True, {"type": "string"}]}
    assert Output.of(any_or_text).parse('{"a": null}') == {"a": None}
    nullable = {"type": "object", "properties": {"a": {"type": "string", "nullable": True}}}
    assert Output.of(nullable).parse('{"a": null}') == {"a": None}


# --- Types of every kind, through every dialect ------------------------------------------------

T = TypeVar("T")


class Status(enum.Enum):
    """How it is."""

    OPEN = "open"
    EMPTY = ""
    SEVEN = 7


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None


class Pair(NamedTuple):
    left: int
    right: str = "x"


class Branch(BaseModel):
    name: str
    left: Branch | None = None
    right: Branch | None = Field(default=None, description="the other one")


class Everything(BaseModel):
    """One of each."""

    model_config = ConfigDict(regex_engine="python-re")  # the other does not support lookaround

    price: decimal.Decimal
    status: Annotated[Status, Field(description="as of today")]
    pair: tuple[int, str]
    point: Pair
    many: tuple[int, ...]
    when: datetime.datetime
    day: datetime.date | None
    lasts: datetime.timedelta
    raw: bytes
    mixed: Literal["a", 1, None, True]
    code: Annotated[str, Field(pattern=r"^(?!0)\d{4}$")]
    share: Annotated[float, Field(gt=0, le=1, multiple_of=0.25)]
    names: Annotated[list[str], Field(min_length=1, max_length=3)]
    unique: set[int]
    page: Page[Note]
    tree: Branch
    shape: Circle | Ring
    by_kind: Annotated[Call | Text, Field(discriminator="kind")]
    either: int | str | list[float] = 3
    maybe: Annotated[str | None, Field(description="if any")] = None


VALUE: dict[str, Any] = {
    "price": "1.50", "status": "", "pair": [1, "a"], "point": [2, "b"], "many": [1, 2, 3],
    "when": "2026-07-01T12:00:00Z", "day": None, "lasts": "PT1H", "raw": "abc", "mixed": None,
    "code": "1234", "share": 0.5, "names": ["x"], "unique": [1, 2],
    "page": {"items": [{"body": "x"}], "next": None},
    "tree": {"name": "a", "left": {"name": "b", "left": None, "right": None}, "right": None},
    "shape": {"radius": 2, "inner": 1, "name": "r"}, "by_kind": {"kind": "text", "number": "1"},
    "either": [1.5], "maybe": None,
}  # fmt: skip


@dataclass
class Holder:
    inner: Everything
    tags: list[str] = field(default_factory=list)


KINDS = {
    "model": (Everything, VALUE),
    "dataclass": (Holder, {"inner": VALUE}),
    "list": (list[Everything], {"value": [VALUE]}),
    "generic": (Page[Everything], {"items": [VALUE], "next": None}),
    "optional": (Everything | None, {"value": VALUE}),
    "tuple of unlike": (tuple[Note | Mail, Status], {"value": [MAIL, "open"]}),
    "dict": (dict[str, Everything], {"x": VALUE}),
    "described enum": (Annotated[Status, Field(description="so")], {"value": 7}),
}


@pytest.mark.parametrize(("kind", "value"), KINDS.values(), ids=KINDS.keys())
def test_round_trip_through_every_dialect(kind: Any, value: dict[str, Any]) -> None:
    output = Output.of(kind)
    parsed = output.parse(json.dumps(value))
    bare = value["value"] if output.wrapped else value
    if kind is not KINDS["tuple of unlike"][0]:
        assert parsed == TypeAdapter(kind).validate_json(json.dumps(bare))
    assert gemini_refuses(to_gemini_tool_schema(output.schema)) == []
    strict, closed = to_openai_strict_schema(output.schema), to_anthropic_schema(output.schema)
    is_open = kind in (KINDS["dict"][0],)
    assert (strict is None) == is_open
    if strict is not None:
        assert openai_refuses(strict) == []
        written = _with_nulls(value, strict, strict)
        Draft202012Validator(strict).validate(written)
        assert output.parse(json.dumps(written)) == parsed
    assert closed is None or anthropic_refuses(closed) == []


def _with_nulls(value: Any, schema: Any, root: Any) -> Any:
    """Write null for every field that is left out, as strict mode makes a model do."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        fitting = [
            filled
            for option in schema["anyOf"]
            for filled in [_with_nulls(value, option, root)]
            if Draft202012Validator({**option, "$defs": root.get("$defs", {})}).is_valid(filled)
        ]
        keeping = [f for f in fitting if not isinstance(value, dict) or value.keys() <= f.keys()]
        return (keeping or fitting or [value])[0]
    if isinstance(value, list) and "items" in schema:
        return [_with_nulls(item, schema["items"], root) for item in value]
    if isinstance(value, dict) and "properties" in schema:
        return {
            name: _with_nulls(value.get(name), inner, root)
            for name, inner in schema["properties"].items()
        }
    return value


def test_descriptions_reach_every_provider() -> None:
    schema = Output.of(Everything).schema
    for converted in (to_openai_strict_schema(schema), to_gemini_schema(schema)):
        text = json.dumps(converted)
        for words in ("as of today", "How it is.", "the other one", "if any", "(?!0)"):
            assert words in text, words
