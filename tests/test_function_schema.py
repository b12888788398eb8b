"""Test the JSON Schema and descriptions of functions used as tools."""

from __future__ import annotations

import functools
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from pipy_ai import Tool, tool

from .support.function_cases import SCHEMAS, Quiet, Thing


@pytest.mark.parametrize("name", SCHEMAS)
def test_schemas(name: str) -> None:
    function, properties, required, *more = SCHEMAS[name]
    made = Tool.from_function(function)
    expected = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        expected["required"] = required
    assert made.parameters == expected | (more[0] if more else {})
    json.dumps(made.parameters, allow_nan=False)


def test_const_is_an_enum_in_nested_types() -> None:
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
def test_malformed_docstrings_are_tolerated(text: str) -> None:
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


def test_types_from_the_enclosing_function() -> None:
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
