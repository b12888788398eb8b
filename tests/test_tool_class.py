"""Test `Tool(name, description, parameters, run)` and `ToolSet`."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from pipy_ai import Context, Tool, ToolSet, ctx, faux, tool
from pipy_ai.tools import as_tool, as_tools

from .support.tool_loop_runs import Go, async_run, sync_run

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LYING = {"type": "object", "properties": {"n": {"$ref": "#/$defs/none"}}}


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


def weather(city: str) -> str:
    return f"sunny in {city}"


async def weather_later(city: str) -> str:
    return f"sunny in {city}"


@pytest.mark.parametrize(
    "run", [weather, weather_later, lambda **given: f"sunny in {given['city']}"]
)
def test_runs_with_the_arguments_of_its_schema(go: Go, run: Any) -> None:
    made = Tool("weather", "The weather.", CITY, run)
    calls = [faux.tool("weather", city=city) for city in ("Rome", 5, None)]
    with faux.script(faux.reply(*calls), "ok"):
        texts = go("faux/m", "q", [made]).texts
    assert texts[0] == "sunny in Rome"
    assert texts[1] == "sunny in 5"  # coerced
    assert texts[2] == "Invalid arguments for weather:\ncity: None is not of type 'string'"


def test_a_schema_that_cannot_be_checked_is_reported_to_the_model(go: Go) -> None:
    with faux.script(faux.reply(faux.tool("f", n=1)), "ok"):
        [text] = go("faux/m", "q", [Tool("f", "", LYING, lambda n: n)]).texts
    assert "reference that cannot be resolved" in text


def test_argument_names_that_python_does_not_have(go: Go) -> None:
    seen: dict[str, Any] = {}
    with faux.script(faux.reply(faux.tool("f", **{"filter[id]": 1, "self": 2, "name": 3})), "ok"):
        go("faux/m", "q", [Tool("f", run=lambda **given: seen.update(given))])
    assert seen == {"filter[id]": 1, "self": 2, "name": 3}
    assert Tool("f", run=lambda **given: given)(self=1) == {"self": 1}


@pytest.mark.parametrize(
    ("keywords", "error", "expected"),
    [
        ({"run": 5}, TypeError, "run must be a function, not 5"),
        ({"timeout": 5}, ValueError, "pass one with run="),
        ({"run": print, "timeout": 0}, ValueError, "more than 0 seconds, not 0"),
        ({"run": print, "timeout": float("nan")}, ValueError, "more than 0 seconds, not nan"),
        ({"run": print, "timeout": "5"}, TypeError, "a number of seconds, not '5'"),
        ({"run": print, "timeout": True}, TypeError, "a number of seconds, not True"),
        ({"parameters": "object"}, ValidationError, "valid dictionary"),
        ({"description": 5}, ValidationError, "valid string"),
    ],
)
def test_wrong_use_raises(keywords: dict[str, Any], error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        Tool("f", **keywords)


def test_it_is_data_like_any_tool() -> None:
    made = Tool("f", "Does f.", CITY, weather, timeout=3)
    assert made.model_dump() == {"name": "f", "description": "Does f.", "parameters": CITY}
    assert made == Tool(name="f", description="Does f.", parameters=CITY)
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made)(city="Rome") == "sunny in Rome"
    assert Tool("f").parameters == {"type": "object", "properties": {}}
    assert Context.model_validate_json(ctx("q", tools=[made]).model_dump_json()).tools == [made]
    with pytest.raises(ValidationError, match="name"):
        Tool.model_validate({"description": "no name"})


def test_two_tools_with_one_name() -> None:
    with pytest.raises(ValueError, match="two tools are named 'f': give one of them another name"):
        as_tools([Tool("f"), ToolSet(lambda: [Tool("f")])])


def test_a_tool_set_is_read_before_each_request(go: Go) -> None:
    offered: list[list[str]] = []
    tools: list[Any] = []

    def add_tool() -> str:
        tools.append(tool(name="added")(lambda: "from the added tool"))
        return "added"

    def answer(request: Any) -> Any:
        offered.append([each.name for each in request.context.tools or ()])
        names = ["first", "added"]
        return faux.tool(names[len(offered) - 1]) if len(offered) < 3 else "done"

    first = tool(name="first")(add_tool)
    with faux.script(answer, answer, answer):
        ran = go("faux/m", "q", [first, ToolSet(lambda: tools)])
    assert offered == [["first"], ["first", "added"], ["first", "added"]]
    assert ran.texts == ["added", "from the added tool"]


def test_a_tool_that_was_removed_is_unknown(go: Go) -> None:
    tools = [tool(name="once")(lambda: tools.clear())]
    with faux.script(faux.tool("once"), faux.tool("once"), "done"):
        assert go("faux/m", "q", ToolSet(lambda: tools)).texts == [
            "null",
            "Unknown tool 'once'. Available tools: none.",
        ]


def test_tool_sets_elsewhere() -> None:
    several = ToolSet(lambda: [weather])
    assert [each.name for each in several] == ["weather"]
    assert [each.name for each in ctx("q", tools=several).tools or ()] == ["weather"]
    assert [each.name for each in Context(tools=[several]).tools or ()] == ["weather"]  # type: ignore[list-item]
    with pytest.raises(TypeError, match="a ToolSet is several tools"):
        as_tool(several)
