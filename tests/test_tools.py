"""Tools out of functions, classes and dicts; and what becomes of the arguments a model gives."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypeVar

import pytest
from pydantic import BaseModel, Field, RootModel, ValidationError, field_validator
from typing_extensions import TypedDict

from pipy_ai import (
    Context,
    Tool,
    ToolCall,
    acomplete,
    complete,
    ctx,
    faux,
    run_tools,
    stream,
    tool,
    validate_tool_call,
)
from pipy_ai.tools import ToolValidationError, as_tool

if TYPE_CHECKING:
    from somewhere import Unknown

# --- Schemas --------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_table(name: str) -> None:
    function, properties, required, *more = SCHEMAS[name]
    made = Tool.from_function(function)
    expected = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        expected["required"] = required
    assert made.parameters == expected | (more[0] if more else {})
    json.dumps(made.parameters, allow_nan=False)


def test_a_constant_is_an_enum_inside_too() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]

    class Dog(BaseModel):
        kind: Literal["dog"]
        title: str

    Pet = Annotated[Cat | Dog, Field(discriminator="kind")]

    def adopt(pet): ...

    adopt.__annotations__["pet"] = Pet
    text = json.dumps(Tool.from_function(adopt).parameters)
    assert '"const"' not in text
    assert '{"enum": ["dog"], "type": "string"}, "title": {"type": "string"}' in text


def google(city: str, days: int = 1):
    """The forecast
    of a city.

    As good as it gets.

    Args:
        city (str): Where it is,
            or was.
        days: How many.

    Returns:
        Words.
    """


def numpy(city: str, days: int = 1):
    """The forecast.

    Parameters
    ----------
    city : str
        Where it is.
    days : int, optional
        How many.
    """


def rest(city: str, days: int = 1):
    """The forecast.

    :param city: Where it is.
    :type city: str
    :param int days: How many.
    :returns: Words.
    """


def own_words(city: Annotated[str, Field(description="Where exactly.")], days: int = 1):
    """The forecast.

    Args:
        city: Where it is.
        days: How many.
        months: No such parameter.
    """


@pytest.mark.parametrize(
    ("function", "about", "city"),
    [
        (google, "The forecast\nof a city.\n\nAs good as it gets.", "Where it is,\nor was."),
        (numpy, "The forecast.", "Where it is."),
        (rest, "The forecast.", "Where it is."),
        (own_words, "The forecast.", "Where exactly."),
        (functools.partial(rest), "The forecast.", "Where it is."),
    ],
)
def test_docstrings(function: Any, about: str, city: str) -> None:
    made = Tool.from_function(function)
    assert made.description == about
    assert made.parameters["properties"] == {
        "city": {"type": "string", "description": city},
        "days": {"type": "integer", "description": "How many.", "default": 1},
    }


@pytest.mark.parametrize(
    "text",
    ["", "Args:\n  foo", ":param", ":param : x", "Parameters\n----------\n", "Returns:\n",
     "X.\n\nArgs:\n    a(int: x\n  b", "X:\n:raises:", "{}: %s\n\t:y:"],
)  # fmt: skip
def test_odd_docstrings_break_nothing(text: str) -> None:
    def function(a: int): ...

    function.__doc__ = text
    assert Tool.from_function(function).parameters["required"] == ["a"]


def test_names_and_descriptions() -> None:
    def name_of(function: Any, **options: Any) -> tuple[str, str]:
        made = Tool.from_function(function, **options)
        return made.name, made.description

    assert name_of(rest) == ("rest", "The forecast.")
    assert name_of(rest, name="get-weather", description="") == ("get-weather", "")
    assert name_of(lambda a: a, name="it") == ("it", "")
    assert name_of(Thing()) == ("Thing", "Called itself.")
    assert name_of(Quiet()) == ("Quiet", "What it is.")
    assert name_of(Thing().method) == ("method", "Of an object.")
    assert name_of(functools.partial(rest, days=2)) == ("rest", "The forecast.")

    @tool
    def plain(a: int):
        """Plain."""

    @tool(name="other", description="Else.")
    def named(a: int): ...

    assert (plain.name, plain.description) == ("plain", "Plain.")
    assert (named.name, named.description) == ("other", "Else.")


def test_types_of_a_function_around_it() -> None:
    class Local(BaseModel):
        x: int

    def used(a: Local) -> int:
        return Local.model_validate(a).x

    assert Tool.from_function(used).parameters["$defs"]["Local"]["required"] == ["x"]

    def unused(a: Local): ...

    with pytest.raises(TypeError, match="cannot be read: name 'Local' is not defined"):
        Tool.from_function(unused)

    @tool
    def factorial(n: int) -> Any:
        return 1 if n < 2 else n * factorial(n - 1)

    assert factorial(5) == 120


def several(*numbers: int): ...
def callback(a: Callable[[int], int]): ...
def plain_object(a: Thing): ...
def fastapi_style(a: int = Field(default=3, description="x")): ...


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (several, TypeError, r"several\(\*numbers\) is no tool"),
        (callback, TypeError, r"callback\(\) has a parameter that JSON cannot give"),
        (plain_object, TypeError, r"plain_object\(\) has a parameter that JSON cannot give"),
        (fastapi_style, TypeError, "write Annotated"),
        (Thing.method, TypeError, r"a method: make a tool of an object's, as `thing.method`"),
        (max, TypeError, r"max\(\) is no tool: no signature"),
        (lambda a: a, ValueError, r"give it one with name="),
        (Thing, TypeError, "the class Thing is no tool"),
        (Point, TypeError, "the class Point is no tool"),
    ],
)
def test_what_cannot_be_a_tool(wrong: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Tool.from_function(wrong)


# --- Tools out of anything ------------------------------------------------------------------


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


SCHEMA = {"type": "object", "properties": {"a": INT}, "required": ["a"]}


@pytest.mark.parametrize(
    "given",
    [
        {"name": "f", "description": "d", "parameters": SCHEMA},
        {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}},
        {"name": "f", "description": "d", "input_schema": SCHEMA},
        {"name": "f", "description": "d", "inputSchema": SCHEMA},
        Tool(name="f", description="d", parameters=SCHEMA),
    ],
    ids=["pi", "OpenAI", "Anthropic", "MCP", "Tool"],
)
def test_dicts_in_everybodys_words(given: Any) -> None:
    before = copy.deepcopy(given)
    made = as_tool(given)
    assert (made.name, made.description, made.parameters) == ("f", "d", SCHEMA)
    assert given == before
    assert validate_tool_call([given], ToolCall(name="f", arguments={"a": "2"})) == {"a": 2}


def test_a_dict_keeps_what_nobody_knows_and_may_be_short() -> None:
    context = Context.model_validate({"tools": [{"name": "f", "label": "F", "parameters": None}]})
    assert context.tools is not None
    assert context.tools[0].parameters == {"type": "object", "properties": {}}
    assert json.loads(context.model_dump_json())["tools"][0]["label"] == "F"
    with pytest.raises(ValidationError, match="Field required"):
        Context.model_validate({"tools": [{"description": "no name"}]})


def test_model_classes() -> None:
    made = as_tool(Point)
    assert (made.name, made.description) == ("Point", "A point.")
    assert made.parameters == {k: v for k, v in POINT.items() if k != "description"}
    call = ToolCall(name="Point", arguments={"x": "3"})
    assert validate_tool_call([Point], call) == {"x": 3, "y": 0}
    assert as_tool(Tree).description == ""
    assert as_tool(Tree).parameters == {**TREE, "$defs": {"Tree": TREE}}
    with pytest.raises(TypeError, match="not made of a function"):
        made()
    for wrong, error in [(Thing, TypeError), (5, TypeError), (RootModel[list[int]], TypeError)]:
        with pytest.raises(error):
            as_tool(wrong)  # type: ignore[arg-type]


def test_tools_are_taken_everywhere_as_functions() -> None:
    context = ctx("q", tools=[add, Point])
    assert [one.name for one in context.tools or ()] == ["add", "Point"]
    built = Context(messages=[], tools=[add])  # type: ignore[list-item]
    assert [one.name for one in built.tools or ()] == ["add"]
    late = ctx("q", tools=[])
    late.tools.append(add)  # type: ignore[arg-type, union-attr]
    with faux.script("a", "b", "c") as provider:
        complete("faux/m", context)
        stream("faux/m", late).result()
        stream("faux/m", built.model_copy(update={"messages": context.messages})).result()
    assert [[one.name for one in r.context.tools or ()] for r in provider.requests] == [
        ["add", "Point"], ["add"], ["add"],
    ]  # fmt: skip
    assert late.tools == [add]
    with pytest.raises(TypeError, match="a tool is a function"):
        ctx("q", tools=[5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="two tools are called 'add'"):
        ctx("q", tools=[add, add])


async def test_the_async_verbs_take_functions() -> None:
    with faux.script(faux.reply(faux.tool("add", a=1))):
        message = await acomplete("faux/m", ctx("q", tools=[add]))
    assert validate_tool_call([add], message.tool_calls[0]) == {"a": 1}


def test_a_tool_can_still_be_called() -> None:
    made = tool(add)
    assert made(2, b=3) == 5
    with pytest.raises(TypeError, match="not made of a function"):
        Tool(name="f")()


@tool
def at_module_level(p: Point) -> int:
    """Its name means the tool, no longer the function."""
    return p.x


@pytest.mark.parametrize("made", [tool(add), at_module_level, as_tool(Point)], ids=lambda t: t.name)
def test_tools_are_data(made: Tool) -> None:
    context = ctx("q", tools=[made])
    assert Context.model_validate_json(context.model_dump_json()) == context
    assert pickle.loads(pickle.dumps(context)) == context
    for twin in (copy.copy(made), copy.deepcopy(made), made.model_copy(update={"name": "x"})):
        assert twin._implementation is made._implementation
    assert made != Tool(name=made.name)
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    with pytest.raises(TypeError, match="not made of a function"):
        again()
    # What came back has no function, but its schema is as good a check.
    arguments = {"p": {"x": "1"}, "a": "1", "x": "1"}
    call = ToolCall(
        name=made.name, arguments={k: arguments[k] for k in made.parameters["required"]}
    )
    assert validate_tool_call([again], call)


# --- Arguments ------------------------------------------------------------------------------


def check(function: Any, **arguments: Any) -> Any:
    return validate_tool_call(
        [function], ToolCall(name=as_tool(function).name, arguments=arguments)
    )


def number(n: int): ...
def real(x: float): ...
def flag(b: bool): ...
def words(w: str): ...
def many(l: list[int]): ...  # noqa: E741
def points(l: list[Point]): ...  # noqa: E741
def maybe(n: int | None = None, l: list[str] | None = None, p: Point | None = None): ...  # noqa: E741
def optional(a: str, n: int = 7): ...
def table(d: dict[str, int]): ...
def either(v: int | str): ...
def some(v: list[int] | str): ...


class Text(BaseModel):
    x: str


class Count(BaseModel):
    x: int


def overlapping(v: Text | Count): ...


WHEN = datetime(2026, 1, 2, 3, 4)
FITS: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (number, {"n": 3}, {"n": 3}),
    (number, {"n": "42"}, {"n": 42}),
    (number, {"n": " 42.0 "}, {"n": 42}),
    (number, {"n": 42.0}, {"n": 42}),
    (real, {"x": "1e3"}, {"x": 1000.0}),
    (flag, {"b": "False"}, {"b": False}),
    (flag, {"b": "true"}, {"b": True}),
    (words, {"w": 5}, {"w": "5"}),
    (words, {"w": "42"}, {"w": "42"}),
    (words, {"w": "null"}, {"w": "null"}),
    (many, {"l": 1}, {"l": [1]}),
    (many, {"l": "1"}, {"l": [1]}),
    (many, {"l": "[1, 2]"}, {"l": [1, 2]}),
    (many, {"l": ["1", 2]}, {"l": [1, 2]}),
    (points, {"l": {"x": 1}}, {"l": [Point(x=1)]}),
    (points, {"l": '[{"x": "1"}]'}, {"l": [Point(x=1)]}),
    (points, {"l": ['{"x": 1}']}, {"l": [Point(x=1)]}),
    (nested, {"p": '{"x": "1"}'}, {"p": Point(x=1)}),
    (recursion, {"tree": {"value": 1, "kids": {"value": "2"}}},
     {"tree": Tree(value=1, kids=[Tree(value=2)])}),
    (maybe, {"n": None}, {"n": None}),
    (maybe, {"n": "null", "l": "null", "p": "null"}, {"n": None, "l": None, "p": None}),
    (maybe, {"n": "5", "l": "a", "p": '{"x": 1}'}, {"n": 5, "l": ["a"], "p": Point(x=1)}),
    (optional, {"a": "x", "n": None}, {"a": "x"}),
    (table, {"d": '{"k": "1"}'}, {"d": {"k": 1}}),
    (either, {"v": "5"}, {"v": "5"}),
    (either, {"v": 5}, {"v": 5}),
    (some, {"v": "[1]"}, {"v": "[1]"}),
    (overlapping, {"v": {"x": 5}}, {"v": Count(x=5)}),
    (overlapping, {"v": '{"x": 5}'}, {"v": Text(x="5")}),
    (choices, {"a": "x", "b": "1", "c": "red", "d": "2"},
     {"a": "x", "b": 1, "c": Color.RED, "d": Level.HIGH}),
    (times, {"a": "2026-01-02T03:04"}, {"a": WHEN}),
    (containers, {"a": "x", "b": {}, "c": ["1", 1], "d": "3"},
     {"a": ["x"], "b": {}, "c": {1}, "d": (3,)}),
    (dataclasses, {"a": {"width": "1", "tags": "t"}}, {"a": Size(1, tags=["t"])}),
    (further, {"a": 1, "more": "x"}, {"a": 1, "more": "x"}),
    (odd_names, dict.fromkeys(["json", "copy", "_x", "schema", "model_config", "self"], 1),
     {"json": "1", "copy": 1, "_x": 1, "schema": "1", "model_config": "1", "self": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "expected"), FITS)
def test_what_fits_or_is_mended(function: Any, arguments: Any, expected: Any) -> None:
    before = copy.deepcopy(arguments)
    found = check(function, **arguments)
    assert found == expected
    assert [type(one) for one in found.values()] == [type(one) for one in expected.values()]
    assert arguments == before


NO_FIT: list[tuple[Any, dict[str, Any], list[str]]] = [
    (number, {}, ["n: Field required"]),
    (number, {"n": "many"}, ["n: Input should be a valid integer"]),
    (number, {"n": 1.5}, ["n: Input should be a valid integer"]),
    (number, {"n": None}, ["n: Input should be a valid integer"]),
    (flag, {"b": "perhaps"}, ["b: Input should be a valid boolean"]),
    (many, {"l": "[1, 2"}, ["l: Input should be a valid list"]),
    (many, {"l": [1, "x"]}, ["l[1]: Input should be a valid integer"]),
    (optional, {"a": None}, ["a: Input should be a valid string"]),
    (choices, {"a": "z", "b": 2, "c": "green"},
     ["a: Input should be 'x' or 'y'", "b: Input should be 1",
      "c: Input should be 'red' or 'blue'"]),
    (nested, {"p": {"x": "?"}, "zz": 1},
     ["p.x: Input should be a valid integer", "zz: Extra inputs are not permitted"]),
    (annotated, {"a": 0, "b": "x"}, ["a: Input should be greater than or equal to 1"]),
    (recursion, {"tree": {"value": 1, "kids": [{"value": 1, "kids": [{}]}]}},
     ["tree.kids[0].kids[0].value: Field required"]),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "problems"), NO_FIT)
def test_what_does_not_fit(function: Any, arguments: Any, problems: list[str]) -> None:
    with pytest.raises(ToolValidationError) as caught:
        check(function, **arguments)
    first, *lines = str(caught.value).splitlines()
    assert first == f"The arguments of {function.__name__} do not fit:"
    assert lines == caught.value.problems
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(problem)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), lines)


def test_calls_that_cannot_be_checked() -> None:
    with pytest.raises(ToolValidationError, match=r"no tool 'sub'\. There are: add, Point"):
        validate_tool_call([add, Point], ToolCall(name="sub"))
    with pytest.raises(ToolValidationError, match="There are: none"):
        validate_tool_call([], ToolCall(name="sub"))
    broken = ToolCall(name="add", arguments_error="cut off", raw_arguments='{"a": ')
    with pytest.raises(ToolValidationError, match="no JSON object: cut off"):
        validate_tool_call([add], broken)


ORDER = {
    "name": "order",
    "parameters": {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "tags": {"type": ["array", "null"], "items": {"type": "string"}},
            "size": {"anyOf": [{"type": "string", "enum": ["s", "l"]}, {"type": "integer"}]},
            "to": {"$ref": "#/$defs/Address"},
            "note": {"type": "string"},
        },
        "required": ["count"],
        "additionalProperties": False,
        "$defs": {
            "Address": {
                "type": "object",
                "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
                "required": ["zip"],
            }
        },
    },
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"count": 1}, {"count": 1}),
        ({"count": "2", "tags": "a"}, {"count": 2, "tags": ["a"]}),
        ({"count": 1, "tags": None, "note": None}, {"count": 1, "tags": None}),
        ({"count": 1, "size": "5"}, "size: '5' is not"),
        ({"count": 1, "to": '{"zip": 12345}'}, {"count": 1, "to": {"zip": "12345"}}),
        ({"count": 1, "to": {"zip": "x"}}, "to.zip: 'x' does not match '^[0-9]{5}$'"),
        ({"count": 1.5}, "count: 1.5 is not of type 'integer'"),
        ({"tags": ["a", 1]}, "(all): 'count' is a required property"),
        ({"count": 1, "tags": ["a", {}]}, "tags[1]: {} is not of type 'string'"),
        ({"count": 1, "x": 1}, "(all): Additional properties are not allowed"),
    ],
)
def test_dicts_are_checked_by_json_schema(arguments: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert check(ORDER, **arguments) == expected
        return
    with pytest.raises(ToolValidationError) as caught:
        check(ORDER, **arguments)
    assert caught.value.problems[0].startswith(expected)


def test_schemas_of_other_drafts_and_broken_ones() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"a": {"type": "array", "items": [{"type": "integer"}]}},
        "definitions": {"B": {"type": "integer"}},
    }
    assert check({"name": "f", "parameters": old}, a=[1]) == {"a": [1]}
    with pytest.raises(ToolValidationError):
        check({"name": "f", "parameters": old}, a=["x"])
    for wrong, says in [
        ({"type": "nonsense"}, "no JSON Schema"),
        # Nothing is fetched: the conftest would tell.
        ({"properties": {"a": {"$ref": "http://example.com/x.json"}}}, "refer to what is not"),
    ]:
        with pytest.raises(ValueError, match=says):
            check({"name": "f", "parameters": wrong}, a=1)


def test_what_a_tool_gets_is_its_own() -> None:
    call = ToolCall(name="bare", arguments={"a": [{"x": 1}], "b": {"y": [1]}, "c": {"z": [1]}})
    before = copy.deepcopy(call)
    found = validate_tool_call([bare], call)
    found["a"][0]["x"] = found["b"]["y"] = 2
    found["c"]["z"].append(2)
    assert call == before
    found = validate_tool_call([{"name": "bare"}], call)
    found["c"]["z"].append(2)
    assert call == before


def test_a_deep_value_ends() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assert check(bare, a=deep, b={}, c=None)["a"] == deep
    loop = {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}
    tree: dict[str, Any] = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["b"]}
    value: dict[str, Any] = {}
    for _ in range(60):
        value = {"a": value}
    with pytest.raises(ToolValidationError):
        check({"name": "f", "parameters": tree}, **value)
    with pytest.raises(RecursionError):
        check({"name": "f", "parameters": loop}, a=1)


class Odd(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


def test_own_validators_speak_to_the_model() -> None:
    with pytest.raises(ToolValidationError) as caught:
        check(Odd, x=3)
    assert caught.value.problems == ["x: Value error, must be even"]


def test_a_single_tool_is_no_list_of_tools() -> None:
    for one in (add, tool(add), "add", {"name": "add"}):
        with pytest.raises(TypeError, match="given as a list"):
            ctx("q", tools=one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"given as a list, \[add\]"):
        run_tools("faux/echo", "q", add)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^'<lambda>' is no name"):
        ctx("q", tools=[lambda x: x])


def test_output_is_not_for_runs() -> None:
    with pytest.raises(TypeError, match="unknown option 'output'; stream and complete take it"):
        run_tools("faux/echo", "q", [add], output=int)  # type: ignore[call-arg]
