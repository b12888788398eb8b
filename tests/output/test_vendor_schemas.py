"""Test the schema of each type against the rules of each vendor."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipy_ai import ctx, preview
from pipy_ai.output.schema import Output
from pipy_ai.utils.gemini_schemas import to_gemini_schema
from pipy_ai.utils.vendor_schemas import to_anthropic_schema, to_openai_strict_schema

from ..support.function_cases import SCHEMAS as SIGNATURES
from ..support.schema_cases import KINDS, Kind, Tree
from ..support.schema_rules import anthropic_refuses, gemini_refuses, openai_refuses


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def schema(kind: Kind) -> dict[str, Any]:
    return Output.of(kind.kind).schema


def test_schema_is_draft_2020_12_with_an_object_at_its_root(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"


def test_openai(kind: Kind, schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    taken = to_openai_strict_schema(schema)
    assert schema == before
    if not kind.closed:
        assert taken is None
        return
    assert taken is not None
    assert openai_refuses(taken) == []
    Draft202012Validator.check_schema(taken)


def test_a_schema_is_converted_once_and_both_may_be_changed() -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}
    first = to_gemini_schema(schema)
    expected = copy.deepcopy(first)
    first.clear()
    second = to_gemini_schema(schema)
    assert second == expected
    second["properties"].clear()
    assert to_gemini_schema(schema) == expected
    schema["properties"]["n"]["type"] = "string"
    assert to_gemini_schema(schema)["properties"]["n"]["type"] == "string"


def test_anthropic(kind: Kind, schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    taken = to_anthropic_schema(schema)
    assert schema == before
    if not kind.closed or kind.kind is Tree:
        assert taken is None
        return
    assert taken is not None
    assert anthropic_refuses(taken) == []
    # The schema is unchanged, except for constraints that the vendor does not support.
    assert Draft202012Validator(taken).is_valid(kind.written)


def test_gemini(kind: Kind, schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    taken = to_gemini_schema(schema)
    assert schema == before
    if "properties" in schema:
        assert gemini_refuses(taken) == []
        assert set(taken["properties"]) == set(schema["properties"])


def test_removed_constraints_are_moved_to_the_description() -> None:
    text = {"type": "string", "minLength": 2, "pattern": "a+", "description": "d"}
    schema = {"type": "object", "properties": {"x": text}, "required": ["x"]}
    x = {"type": "string", "description": "d (minLength: 2)", "pattern": "a+"}
    assert to_openai_strict_schema(schema)["properties"]["x"] == x  # type: ignore[index]
    x = {"type": "string", "description": "d (pattern: a+, minLength: 2)"}
    assert to_anthropic_schema(schema)["properties"]["x"] == x  # type: ignore[index]


def test_optional_fields_become_nullable_in_strict_mode() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 3}},
        "required": ["a"],
    }
    assert to_openai_strict_schema(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["a", "b"],
        "additionalProperties": False,
    }


# --- Functions as tools: the schema on each wire ---------------------------------------------

# Those whose keys or values may be anything, which strict mode has no way to say.
OPEN = {
    "**kwargs", "a type variable", "bare containers", "containers", "defaults that JSON lacks",
    "no hints",
}  # fmt: skip


def _sent(wire: str, function: Any) -> dict[str, Any]:
    """Return a function's schema as it appears in a request."""
    models = {
        "chat": "groq/llama-3.3-70b-versatile", "responses": "openai/gpt-5-codex",
        "anthropic": "anthropic/claude-sonnet-4-5", "gemini": "gemini/gemini-2.5-flash",
    }  # fmt: skip
    body = preview(models[wire], ctx("q", tools=[function]), api_key="k").body
    (only,) = body["tools"]
    if wire == "gemini":
        (only,) = only["functionDeclarations"]
    elif wire == "chat":
        only = only["function"]
    found = only.get("input_schema") or only.get("parameters") or {}
    assert isinstance(found, dict)
    return found


@pytest.mark.usefixtures("july")
@pytest.mark.parametrize("name", SIGNATURES)
def test_function_schema_is_valid_on_every_wire(name: str) -> None:
    function = SIGNATURES[name][0]
    for wire in ("chat", "responses", "anthropic"):
        schema = _sent(wire, function)
        assert schema["type"] == "object", wire
        Draft202012Validator.check_schema(schema)
    if taken := _sent("gemini", function):
        assert gemini_refuses(taken) == []
        assert set(taken["properties"]) == set(_sent("chat", function)["properties"])
    taken = to_openai_strict_schema(_sent("chat", function)) or {}
    assert bool(taken) == (name not in OPEN), taken
    if taken:
        assert openai_refuses(taken) == []


def test_at_least_forty_kinds() -> None:
    assert len(SIGNATURES) + len(KINDS) >= 40
