"""Test the validation of tool arguments."""

from __future__ import annotations

import copy
import pickle
from datetime import datetime
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from pipy_ai import Tool, ToolCall, validate_tool_call
from pipy_ai.tools import ToolValidationError, as_tool

from .support.function_cases import (
    Color,
    Level,
    Point,
    Size,
    Tree,
    annotated,
    bare,
    choices,
    containers,
    dataclasses,
    further,
    nested,
    odd_names,
    recursion,
    times,
)


def add(a: int, b: int = 1) -> int:
    """Add."""
    return a + b


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
def test_valid_or_repaired_arguments(function: Any, arguments: Any, expected: Any) -> None:
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
def test_invalid_arguments(function: Any, arguments: Any, problems: list[str]) -> None:
    with pytest.raises(ToolValidationError) as caught:
        check(function, **arguments)
    first, *lines = str(caught.value).splitlines()
    assert first == f"Invalid arguments for {function.__name__}:"
    assert lines == caught.value.problems
    for line, problem in zip(lines, problems, strict=True):
        assert line.startswith(problem)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.problems) == (str(caught.value), lines)


def test_calls_that_cannot_be_checked() -> None:
    with pytest.raises(
        ToolValidationError, match=r"Unknown tool 'sub'\. Available tools: add, Point"
    ):
        validate_tool_call([add, Point], ToolCall(name="sub"))
    with pytest.raises(ToolValidationError, match="Available tools: none"):
        validate_tool_call([], ToolCall(name="sub"))
    broken = ToolCall(name="add", arguments_error="cut off", raw_arguments='{"a": ')
    with pytest.raises(ToolValidationError, match="not a JSON object: cut off"):
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


def test_schemas_of_other_drafts_and_invalid_ones() -> None:
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"a": {"type": "array", "items": [{"type": "integer"}]}},
        "definitions": {"B": {"type": "integer"}},
    }
    assert check({"name": "f", "parameters": old}, a=[1]) == {"a": [1]}
    with pytest.raises(ToolValidationError):
        check({"name": "f", "parameters": old}, a=["x"])
    depends = {"type": "object", "properties": {"a": {}}, "dependencies": {"a": ["b"]}}
    with pytest.raises(ToolValidationError, match="'b' is a dependency of 'a'"):
        check({"name": "f", "parameters": depends}, a=1)
    for wrong, says in [
        ({"$anchor": "1 2"}, "not a valid JSON Schema"),
        # Nothing is fetched: the conftest would tell.
        (
            {"properties": {"a": {"$ref": "http://example.com/x.json"}}},
            "have a reference that cannot be",
        ),
    ]:
        with pytest.raises(ValueError, match=says):
            check({"name": "f", "parameters": wrong}, a=1)


def test_tool_gets_a_copy_of_its_arguments() -> None:
    call = ToolCall(name="bare", arguments={"a": [{"x": 1}], "b": {"y": [1]}, "c": {"z": [1]}})
    before = copy.deepcopy(call)
    found = validate_tool_call([bare], call)
    found["a"][0]["x"] = found["b"]["y"] = 2
    found["c"]["z"].append(2)
    assert call == before
    found = validate_tool_call([{"name": "bare"}], call)
    found["c"]["z"].append(2)
    assert call == before


def test_deeply_nested_value_terminates() -> None:
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
    with pytest.raises(ValueError, match="refer to themselves"):
        check({"name": "f", "parameters": loop}, a=1)


class Odd(BaseModel):
    x: int

    @field_validator("x")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("must be even")
        return value


def test_custom_validator_messages_reach_the_model() -> None:
    with pytest.raises(ToolValidationError) as caught:
        check(Odd, x=3)
    assert caught.value.problems == ["x: Value error, must be even"]


def test_dict_arguments_are_converted() -> None:
    """Schemas without a Python function behind them are converted here, not by Pydantic."""
    parameters = {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "label": {"type": "string"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "broken": {"anyOf": [{"$ref": "#/$defs/Missing"}]},
        },
    }
    tools = [Tool(name="f", parameters=parameters)]

    def validate(**arguments: Any) -> Any:
        return validate_tool_call(tools, ToolCall(name="f", arguments=arguments))

    assert validate(count=42.0) == {"count": 42}
    assert validate(count="42.0") == {"count": 42}
    assert validate(label=7) == {"label": "7"}
    assert validate(either="7") == {"either": 7}
    assert validate(either="null") == {"either": None}
    with pytest.raises(ToolValidationError, match="either"):
        validate(either=True)


def test_tool_without_a_function_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="was not made from a function"):
        Tool(name="f")()


@pytest.mark.parametrize("levels", [60, 150, 3000])
def test_schema_that_is_too_deep_to_check(levels: int) -> None:
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(levels):
        deep = {"items": {"anyOf": [deep]}}
    tool = Tool(name="f", parameters={"type": "object", "properties": {"a": deep}})
    with pytest.raises(ValueError, match="parameters"):
        validate_tool_call([tool], ToolCall(id="1", name="f", arguments={"a": 1}))


@pytest.mark.parametrize("depth", range(30))
def test_schema_without_end_never_panics(depth: int) -> None:
    # At some depths of the stack, the recursion ends in Rust code, with a `PanicException`.
    endless = {"not": {"$ref": "#/$defs/N"}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/N"}}, "$defs": {"N": endless}}

    def validate_at(levels: int) -> None:
        if levels:
            validate_at(levels - 1)
        else:
            tool = Tool(name="f", parameters=schema)
            validate_tool_call([tool], ToolCall(id="1", name="f", arguments={"a": 1}))

    with pytest.raises(ValueError, match="nested too deeply, or refer to themselves"):
        validate_at(depth)
