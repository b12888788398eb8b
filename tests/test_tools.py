"""Test tools from functions, classes and dicts."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import Field, RootModel, ValidationError

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
from pipy_ai.tools import as_tool

from .support.function_cases import INT, POINT, TREE, Point, Thing, Tree


def several(*numbers: int): ...


def callback(a: Callable[[int], int]): ...


def plain_object(a: Thing): ...


def fastapi_style(a: int = Field(default=3, description="x")): ...


@pytest.mark.parametrize(
    ("wrong", "error", "expected"),
    [
        (several, TypeError, r"several\(\*numbers\) cannot be a tool"),
        (callback, TypeError, r"callback\(\) has a parameter that JSON cannot represent"),
        (plain_object, TypeError, r"plain_object\(\) has a parameter that JSON cannot represent"),
        (fastapi_style, TypeError, "write Annotated"),
        (
            Thing.method,
            TypeError,
            r"an unbound method: pass the method of an object, such as `thing.method`",
        ),
        (max, TypeError, r"max\(\) cannot be a tool: no signature"),
        (lambda a: a, ValueError, r"set one with name="),
        (Thing, TypeError, "the class Thing is not a tool"),
        (Point, TypeError, "the class Point is not a tool"),
    ],
)
def test_invalid_tools(wrong: Any, error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        Tool.from_function(wrong)


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
def test_dicts_in_all_provider_formats(given: Any) -> None:
    before = copy.deepcopy(given)
    made = as_tool(given)
    assert (made.name, made.description, made.parameters) == ("f", "d", SCHEMA)
    assert given == before
    assert validate_tool_call([given], ToolCall(name="f", arguments={"a": "2"})) == {"a": 2}


def test_dict_keeps_unknown_fields_and_may_be_minimal() -> None:
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
    with pytest.raises(TypeError, match="not made from a function"):
        made()
    for wrong, error in [(Thing, TypeError), (5, TypeError), (RootModel[list[int]], TypeError)]:
        with pytest.raises(error):
            as_tool(wrong)  # type: ignore[arg-type]


def test_functions_are_accepted_as_tools_everywhere() -> None:
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
    with pytest.raises(TypeError, match="a tool must be a function"):
        ctx("q", tools=[5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="two tools are named 'add'"):
        ctx("q", tools=[add, add])


async def test_async_functions_accept_functions_as_tools() -> None:
    with faux.script(faux.reply(faux.tool("add", a=1))):
        message = await acomplete("faux/m", ctx("q", tools=[add]))
    assert validate_tool_call([add], message.tool_calls[0]) == {"a": 1}


def test_tool_can_still_be_called() -> None:
    made = tool(add)
    assert made(2, b=3) == 5
    with pytest.raises(TypeError, match="not made from a function"):
        Tool(name="f")()


@tool
def at_module_level(p: Point) -> int:
    """Its name means the tool, no longer the function."""
    return p.x


@pytest.mark.parametrize("made", [tool(add), at_module_level, as_tool(Point)], ids=lambda t: t.name)
def test_tools_are_serializable(made: Tool) -> None:
    context = ctx("q", tools=[made])
    assert Context.model_validate_json(context.model_dump_json()) == context
    assert pickle.loads(pickle.dumps(context)) == context
    for twin in (copy.copy(made), copy.deepcopy(made), made.model_copy(update={"name": "x"})):
        assert twin._implementation is made._implementation
    assert made != Tool(name=made.name)
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    with pytest.raises(TypeError, match="not made from a function"):
        again()
    # What came back has no function, but its schema is as good a check.
    arguments = {"p": {"x": "1"}, "a": "1", "x": "1"}
    call = ToolCall(
        name=made.name, arguments={k: arguments[k] for k in made.parameters["required"]}
    )
    assert validate_tool_call([again], call)


def test_single_tool_is_not_a_list_of_tools() -> None:
    for one in (add, tool(add), "add", {"name": "add"}):
        with pytest.raises(TypeError, match="must be a list"):
            ctx("q", tools=one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"must be a list, \[add\]"):
        run_tools("faux/echo", "q", add)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^'<lambda>' is not a valid tool name"):
        ctx("q", tools=[lambda x: x])
