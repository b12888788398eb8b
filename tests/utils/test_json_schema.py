"""Test the reduction of JSON Schemas for Gemini."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pipy_ai.utils.gemini_schemas import to_gemini_schema
from pipy_ai.utils.json_schema import (
    accepts_null,
)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"type": "string", "nullable": True}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]},
         {"anyOf": [{"type": "string"}, {"type": "integer"}]}),
        ({"type": ["integer", "number", "null"]}, {"type": "number", "nullable": True}),
        ({"anyOf": [{"$ref": "#/$defs/P"}, {"type": "object", "properties": {
            "y": {"const": "n"}, "z": {"type": "array", "items": {"type": "string"}}}}]},
         {"type": "object", "description": "{y} or {y, z}", "properties": {
             "y": {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["n"]}]},
             "z": {"type": "array", "items": {"type": "string"}}}}),
        ({"$ref": "#/$defs/P"}, {"type": "object", "properties": {"y": {"type": "number"}}}),
        ({"allOf": [{"$ref": "#/$defs/P"}], "description": "d"},
         {"type": "object", "properties": {"y": {"type": "number"}}, "description": "d"}),
        ({"type": "string", "format": "email"},
         {"type": "string", "description": "(format: email)"}),
        ({"type": "string", "format": "date-time"}, {"type": "string", "format": "date-time"}),
        ({"enum": [1, 2]}, {"type": "integer", "description": "(one of: 1, 2)"}),
        ({"enum": ["a", None]}, {"type": "string", "enum": ["a"], "nullable": True}),
        ({"type": "array"}, {"type": "array", "items": {"anyOf": [
             {"type": "string", "nullable": True}, {"type": "number"}, {"type": "boolean"},
             {"type": "object"}, {"type": "array", "items": {"anyOf": [
                 {"type": "string", "nullable": True}, {"type": "number"}, {"type": "boolean"},
                 {"type": "object"}]}}]}}),
        ({"type": "object", "properties": {}, "additionalProperties": False},
         {"type": "object"}),
        ({"type": "integer", "exclusiveMinimum": 0, "default": 3},
         {"type": "integer", "description": "(exclusiveMinimum: 0)"}),
    ],
)  # fmt: skip
def test_schemas_are_reduced_for_gemini(given: dict[str, Any], taken: dict[str, Any]) -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"x": given},
        "$defs": {"P": {"type": "object", "properties": {"y": {"type": "number"}}}},
    }
    before = copy.deepcopy(schema)
    assert to_gemini_schema(schema) == {"type": "object", "properties": {"x": taken}}
    assert schema == before


def test_recursive_schema_terminates() -> None:
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
    }
    schema = {**tree, "$defs": {"Tree": tree}}
    assert len(str(to_gemini_schema(schema))) < 5000
    assert to_gemini_schema({"type": "object", "properties": {}}) == {}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"type": ["array", "string"], "items": {"type": "integer"}},
         {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]}),
        ({"type": ["array", "null", "string"], "items": {"type": "integer"}, "description": "d"},
         {"anyOf": [
             {"description": "d", "nullable": True, "type": "array", "items": {"type": "integer"}},
             {"type": "string", "description": "d"}]}),
        ({"type": "string", "enum": ["", "a"]},
         {"type": "string", "description": '(one of: "", "a")'}),
        ({"enum": [1, "a", None]},
         {"anyOf": [{"type": "integer", "nullable": True, "description": "(one of: 1)"},
                    {"type": "string", "enum": ["a"]}]}),
        ({"type": "object", "required": ["a"]}, {"type": "object"}),
        ({"type": "object", "properties": {"a": {"type": "string"}},
          "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
         {"type": "object", "properties": {"a": {"type": "string"}}}),
    ],
)  # fmt: skip
def test_schemas_that_gemini_rejects(given: dict[str, Any], taken: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": given}}
    assert to_gemini_schema(schema)["properties"]["x"] == taken


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, False),
        ({"type": ["string", "null"]}, True),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/nothing"}]}, True),
        ({"$ref": "#/properties/word"}, False),
        ({"$ref": "#/$defs/itself"}, True),  # cannot be decided
        ({"const": 1}, False),
        ({"enum": ["a", None]}, True),
        ({"allOf": [{"type": "string"}]}, False),
        ({}, True),
        (False, False),
    ],
)
def test_accepts_null(schema: Any, expected: bool) -> None:
    root = {
        "properties": {"word": {"type": "string"}},
        "$defs": {"nothing": {"type": "null"}, "itself": {"anyOf": [{"$ref": "#/$defs/itself"}]}},
    }
    assert accepts_null(schema, root) is expected
