"""Test the conversion of JSON Schemas to the dialects of the vendors."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipy_ai.output.schema import Output, OutputValidationError
from pipy_ai.utils.gemini_schemas import gemini_limit, to_gemini_schema, to_gemini_tool_schema
from pipy_ai.utils.schema_simplifier import (
    is_portable_pattern,
    modernize,
    property_renames,
)
from pipy_ai.utils.schema_values import (
    drop_optional_nulls,
    restore_properties,
)
from pipy_ai.utils.validation import schema_errors
from pipy_ai.utils.vendor_schemas import (
    anthropic_arguments_restorer,
    anthropic_limit,
    openai_limit,
    to_anthropic_schema,
    to_anthropic_tool_schema,
    to_cohere_schema,
    to_openai_strict_schema,
    to_tool_schema,
)

from ..support.schema_rules import (
    TOOL_RULES,
    anthropic_refuses,
    check,
    cohere_refuses,
    gemini_refuses,
    openai_refuses,
    short_property_names,
)

NODE = {
    "type": "object",
    "properties": {
        "left": {"$ref": "#/$defs/Node", "description": "smaller"},
        "right": {"$ref": "#/$defs/Node"},
        "parents": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
    },
}
TEXT = {"type": "string"}
# What MCP servers send as the schemas of tools, and some vendor rejects.
ODD: dict[str, Any] = {
    "nothing": {},
    "no properties": {"type": "object"},
    "no type": {"properties": {"a": TEXT}},
    "null as properties": {"type": "object", "properties": None},
    "a union of requirements": {
        "type": "object",
        "properties": {"file": TEXT, "dir": TEXT},
        "anyOf": [{"required": ["file"]}, {"required": ["dir"]}],
    },
    "a union of objects": {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "a"}, "x": TEXT}},
            {"type": "object", "properties": {"kind": {"const": "b"}, "y": TEXT}},
        ]
    },
    "allOf with references": {
        "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": TEXT}, "required": ["b"]}],
        "$defs": {"A": {"type": "object", "properties": {"a": TEXT}}},
    },
    "a reference at the root": {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
    "not at the root": {"type": "object", "properties": {"a": TEXT}, "not": {"required": ["b"]}},
    "a nullable root": {"type": ["object", "null"], "properties": {"a": TEXT}},
    "an enum at the root": {"type": "object", "enum": [{"a": 1}]},
    "a recursive type": {**NODE, "$defs": {"Node": NODE}},
    "allOf that holds itself": {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}, {"type": "string"}]}},
    },
    "a tuple": {"type": "object", "properties": {"at": {"prefixItems": [TEXT, {"type": "number"}],
        "type": "array", "minItems": 2, "maxItems": 2}}},
    "a tuple of draft 7": {"type": "object", "properties": {
        "at": {"type": "array", "items": [TEXT, TEXT], "additionalItems": False}}},
    "a list of anything": {"type": "object", "properties": {"a": {"type": "array"}}},
    "boolean schemas": {"type": "object", "properties": {
        "a": True, "b": False, "c": {"type": "array", "items": True}}},
    "lookaround": {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!x)y"}}},
    "a back reference": {"type": "object", "properties": {
        "a": {"type": "string", "pattern": r"(a)\1"}}},
    "lookaround in keys": {"type": "object", "patternProperties": {"^(?=x)": TEXT},
        "additionalProperties": False},
    "exclusive bounds of draft 4": {"type": "object", "properties": {
        "a": {"type": "integer", "minimum": 0, "exclusiveMinimum": True,
              "exclusiveMaximum": False}}},
    "required of draft 3": {"type": "object", "properties": {"a": {**TEXT, "required": True}}},
    "a name twice in required": {"type": "object", "properties": {"a": TEXT},
        "required": ["a", "a"]},
    "a name without property in required": {"type": "object", "properties": {"a": TEXT},
        "required": ["b"]},
    "nullable of OpenAPI": {"type": "object", "properties": {
        "a": {"type": "string", "nullable": True},
        "b": {"allOf": [{"type": "string"}], "nullable": True},
        "c": {"enum": ["x"], "type": "string", "nullable": True}}},
    "types of other languages": {"type": "object", "properties": {
        "a": {"type": "any"}, "b": {"type": "float"}, "c": {"type": "STRING"}, "d": {"type": []}}},
    "a type instead of a schema": {"type": "object", "properties": {"a": TEXT, "type": "object"}},
    "an empty enum": {"type": "object", "properties": {"a": {"type": "string", "enum": []}}},
    "an enum of all kinds": {"type": "object", "properties": {"a": {"enum": ["", 1, 1.5, None]}}},
    "illegal property names": {"type": "object", "properties": {
        "filter[id]": TEXT, "$top": TEXT, "a b": {"type": "object", "properties": {"@x": TEXT}},
        "x" * 70: TEXT}, "required": ["$top"]},
    "properties called as keywords": {"type": "object", "properties": {
        "properties": TEXT, "required": TEXT, "type": TEXT, "definitions": TEXT, "items": TEXT}},
    "an old draft": {"$schema": "http://json-schema.org/draft-04/schema#", "type": "object",
        "properties": {"a": {"$ref": "#/definitions/A"}}, "definitions": {"A": TEXT}},
    "a pointer into properties": {"type": "object", "properties": {
        "from": {"type": "object", "properties": {"x": TEXT}},
        "to": {"$ref": "#/properties/from"}}},
    "numbers as text": {"type": "object", "properties": {
        "a": {"type": "string", "maxLength": "9"}}},
    "keywords of other kinds": {"type": "object", "properties": {"a": {
        "type": "string", "examples": "x", "description": ["d"], "minLength": -1,
        "uniqueItems": "no", "$ref": 7, "default": None}}},
    "many long lists": {"type": "object", "properties": {
        f"p{n}": {"type": "array", "items": TEXT, "maxItems": 500} for n in range(4)}},
}  # fmt: skip


@pytest.mark.parametrize("schema", ODD.values(), ids=ODD.keys())
def test_odd_tool_schema_is_accepted_by_every_vendor(schema: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    for convert in (to_tool_schema, to_anthropic_tool_schema):
        converted = convert(schema)
        Draft202012Validator.check_schema(converted)
        assert check(converted, *TOOL_RULES) == []
    assert check(converted, short_property_names) == []
    reduced = to_gemini_tool_schema(schema)
    assert gemini_refuses(reduced) == []
    assert to_gemini_tool_schema(reduced) == reduced
    strict, closed = to_openai_strict_schema(schema), to_anthropic_schema(schema)
    assert strict is None or openai_refuses(strict) == []
    assert closed is None or anthropic_refuses(closed) == []
    cohere = to_cohere_schema(schema)
    assert cohere is None or cohere_refuses(cohere) == []
    assert schema == before


def test_acceptable_schema_is_sent_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/B"}], "default": None},
            "b": {"type": ["integer", "null"], "pattern": "^a.c$", "format": "uri"},
            "c": {"type": "object", "additionalProperties": True},
        },
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"B": {"type": "object", "properties": {"x": {"const": 1}}}},
    }
    for convert in (to_tool_schema, to_anthropic_tool_schema):
        assert json.dumps(convert(schema)) == json.dumps(schema)


def test_root_union_is_flattened() -> None:
    schema = ODD["a union of requirements"]
    assert to_tool_schema(schema) == {
        "type": "object",
        "properties": {"file": TEXT, "dir": TEXT},
        "description": "Properties: {file} or {dir}.",
    }
    assert to_tool_schema(ODD["a union of objects"]) == {
        "type": "object",
        "properties": {"kind": {"enum": ["a", "b"]}, "x": TEXT, "y": TEXT},
        "description": "Properties: {kind?, x?} or {kind?, y?}.",
    }


def test_types_of_nullable_and_old_drafts() -> None:
    properties = modernize(ODD["nullable of OpenAPI"])["properties"]
    assert properties["a"] == {"type": ["string", "null"]}
    assert properties["c"] == {"type": ["string", "null"], "enum": ["x", None]}
    bounds = modernize(ODD["exclusive bounds of draft 4"])["properties"]["a"]
    assert bounds == {"type": "integer", "exclusiveMinimum": 0}
    assert modernize(ODD["types of other languages"])["properties"] == {
        "a": {}, "b": {"type": "number"}, "c": {"type": "string"}, "d": {},
    }  # fmt: skip


def test_keywords_of_old_drafts() -> None:
    assert modernize(
        {
            "dependencies": {"a": ["b"], "b": {"minLength": 1.0}, "c": "d", "e": 7},
            "minProperties": 0.5,
            "definitions": {"X": {"$id": "#x", "type": "object"}, "Y": {"id": "#y"}},
        }
    ) == {
        "dependentRequired": {"a": ["b"], "c": ["d"]},
        "dependentSchemas": {"b": {"minLength": 1}},
        "definitions": {"X": {"$anchor": "x", "type": "object"}, "Y": {"$anchor": "y"}},
    }
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#x"}},
        "definitions": {"X": {"$id": "#x", "type": "string"}},
    }
    assert (to_openai_strict_schema(schema) or {})["properties"]["a"]["anyOf"][0] == TEXT
    assert (to_anthropic_schema(schema) or {})["properties"] == {"a": TEXT}
    assert to_gemini_schema(schema)["properties"] == {"a": TEXT}
    Draft202012Validator(to_tool_schema(schema)).validate({"a": "text"})


def test_schema_for_cohere() -> None:
    when = {"type": "string", "format": "email", "minLength": 3}
    schema = _object(when=when, day={"type": "string", "format": "date"}) | {"required": ["day"]}
    converted = to_cohere_schema(schema) or {}
    assert converted["required"] == ["day"]
    assert "additionalProperties" not in converted
    assert converted["properties"]["day"] == {"type": "string", "format": "date"}
    described = converted["properties"]["when"].pop("description")
    assert "email" in described
    assert converted["properties"]["when"] == TEXT
    everything = to_cohere_schema({**schema, "required": []}) or {}  # one has to be required
    assert everything["required"] == ["when", "day"]
    assert everything["properties"]["day"]["anyOf"][1] == {"type": "null"}
    assert to_cohere_schema(_object(empty={"type": "object", "properties": {}})) is None


def test_order_of_a_tuple_is_described() -> None:
    schema = _object(
        p={"type": "array", "prefixItems": [TEXT, {"type": "integer"}], "minItems": 2,
           "maxItems": 2, "description": "so"},
    )  # fmt: skip
    for convert in (to_openai_strict_schema, to_anthropic_schema, to_tool_schema, to_gemini_schema):
        converted = json.dumps(convert(schema))
        assert "so (items in order: string, integer)" in converted, convert


NUMBER_OR_TEXT = {"type": ["integer", "string", "null"], "minimum": 1, "maxLength": 3}


@pytest.mark.parametrize(
    ("schema", "options"),
    [
        (NUMBER_OR_TEXT, [{"type": "integer", "minimum": 1},
            {"type": "string", "description": "(maxLength: 3)"}, {"type": "null"}]),
        ({"type": "string", "minimum": 1, "minItems": 2}, TEXT),
        ({"type": ["string", "integer"], "format": "date", "pattern": "^a"},
         [{"type": "string", "format": "date", "pattern": "^a"}, {"type": "integer"}]),
        ({"type": ["array", "number"], "items": TEXT, "minItems": 1, "multipleOf": 2},
         [{"type": "array", "items": TEXT, "minItems": 1}, {"type": "number", "multipleOf": 2}]),
        ({"enum": ["a", 1], "maximum": 3},
         [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1], "maximum": 3}]),
    ],
)  # fmt: skip
def test_openai_gets_the_keywords_of_each_type(schema: Any, options: Any) -> None:
    closed = to_openai_strict_schema({**_object(a=schema), "required": ["a"]})
    assert closed is not None
    taken = closed["properties"]["a"]
    assert taken.get("anyOf", taken) == options


@pytest.mark.parametrize(
    ("schema", "taken"),
    [
        ({"type": "integer", "anyOf": [{"minimum": 1}, {"maximum": -1}]}, {"type": "integer"}),
        ({"type": "integer", "maximum": 9, "oneOf": [{"minimum": 1}, {"minimum": 3}]},
         {"type": "integer", "maximum": 9}),
        ({"type": "array", "items": TEXT, "minItems": 1, "anyOf": [{"maxItems": 2}]},
         {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 2}),
        ({"minimum": 1, "minLength": 2,
          "anyOf": [{"type": "integer"}, TEXT, {"type": "null"}]},
         {"anyOf": [{"type": "integer", "minimum": 1, "nullable": True},
                    {"type": "string", "minLength": 2}]}),
        ({"minimum": 1, "anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]},
         {"type": "integer", "minimum": 1, "nullable": True}),
        ({"type": "object", "properties": {"x": TEXT}, "anyOf": [{"$ref": "#/$defs/O"}]},
         {"type": "object", "properties": {"x": TEXT, "y": TEXT}, "required": ["y"]}),
        ({"type": ["string", "null"], "anyOf": [{"minLength": 1}, {"pattern": "^a"}]},
         {"type": "string", "nullable": True}),
        (NUMBER_OR_TEXT,
         {"anyOf": [{"type": "integer", "minimum": 1, "nullable": True},
                    {"type": "string", "maxLength": 3}]}),
    ],
)  # fmt: skip
def test_gemini_gets_what_stands_beside_a_union(schema: Any, taken: Any) -> None:
    definitions = {
        "N": {"type": "integer"},
        "O": {"type": "object", "properties": {"y": TEXT}, "required": ["y"]},
    }
    reduced = to_gemini_schema({**_object(a=schema), "$defs": definitions})
    assert reduced["properties"]["a"] == taken


def test_property_names_are_restored() -> None:
    schema = ODD["illegal property names"]
    renames = property_renames(schema)
    sent = to_anthropic_tool_schema(schema)
    assert sent["required"] == ["_top"]
    assert sent["properties"]["_top"] == {"type": "string", "description": "(named '$top')"}
    assert list(sent["properties"]) == ["filter_id_", "_top", "a_b", "x" * 64]
    value = {"_top": "1", "a_b": {"_x": "2"}, "x" * 64: "3"}
    restored = {"$top": "1", "a b": {"@x": "2"}, "x" * 70: "3"}
    assert restore_properties(value, schema, renames) == restored
    # Other keys that look like a new name are the model's own.
    nested = {"type": "object", "properties": {
        "a b": {"type": "array", "items": {"$ref": "#/$defs/M"}}, "map": {"type": "object"},
    }, "$defs": {"M": {"anyOf": [{"type": "null"}, {
        "type": "object", "properties": {"c d": TEXT}}]}}}  # fmt: skip
    sent_value = {"a_b": [{"c_d": "1", "a_b": "2"}], "map": {"a_b": 1, "c_d": 2}, "c_d": 3}
    assert restore_properties(sent_value, nested, property_renames(nested)) == {
        "a b": [{"c d": "1", "a_b": "2"}], "map": {"a_b": 1, "c_d": 2}, "c_d": 3,
    }  # fmt: skip
    clash = {"type": "object", "properties": {"a_b": TEXT, "a b": TEXT, "a[b": TEXT}}
    assert len(to_anthropic_tool_schema(clash)["properties"]) == 3


@pytest.mark.parametrize(
    ("pattern", "portable"),
    [
        (r"^\d{4}-[a-z]+$", True),
        (r"^(?:a|b)\.\\[1]$", True),
        (r"\(?!x", True),
        (r"a\+\+b\{2\}\+", True),
        (r"^(?!0)\d+$", False),
        (r"(?<=a)b", False),
        (r"(?P<year>\d+)", False),
        (r"(?i)abc", False),
        (r"(a)\1", False),
        (r"\Aabc\Z", False),
        (r"a++b", False),
    ],
)
def test_portable_patterns(pattern: str, portable: bool) -> None:
    assert is_portable_pattern(pattern) is portable


def test_reference_with_a_description_is_written_out() -> None:
    place = {"type": "object", "properties": {"street": TEXT}, "description": "A place."}
    schema = {
        "type": "object",
        "properties": {
            "ship": {"$ref": "#/$defs/Place", "description": "where it goes"},
            "bill": {"allOf": [{"$ref": "#/$defs/Place"}], "description": "who pays"},
            "home": {"$ref": "#/$defs/Place"},
        },
        "required": ["ship", "bill", "home"],
        "$defs": {"Place": place, "Unused": place},
    }
    for convert in (to_openai_strict_schema, to_anthropic_schema):
        sent = convert(schema)
        assert sent is not None
        assert sent["properties"]["ship"]["description"] == "where it goes\nA place."
        assert sent["properties"]["bill"]["description"] == "who pays\nA place."
        assert sent["properties"]["home"] == {"$ref": "#/$defs/Place"}
        assert list(sent["$defs"]) == ["Place"]
    recursive = to_openai_strict_schema({**NODE, "$defs": {"Node": NODE}})
    assert recursive is not None
    assert len(json.dumps(recursive)) < 3_000
    assert "smaller" in json.dumps(recursive["$defs"])


@pytest.mark.parametrize("branches", [3, 30])
def test_references_do_not_explode(branches: int) -> None:
    """Each type holds the next several times: written out, that is 30 ** 12 schemas."""
    definitions = {
        f"T{n}": {
            "type": "object",
            "properties": {f"p{k}": {"$ref": f"#/$defs/T{n + 1}"} for k in range(branches)},
        }
        for n in range(12)
    } | {"T12": {"type": "object", "properties": {"x": TEXT}}}
    for root in ("T0", "T12"):
        schema = {"$ref": f"#/$defs/{root}", "$defs": definitions}
        reduced = to_gemini_schema(schema)
        assert gemini_refuses(reduced) == []
        assert len(json.dumps(reduced)) < 300_000
    loops = {**NODE, "properties": {f"n{k}": {"$ref": "#"} for k in range(branches)}}
    assert len(json.dumps(to_gemini_schema(loops))) < 300_000
    assert len(json.dumps(to_openai_strict_schema(loops))) < 30_000


def _exploding(union: str, count: int, branches: int, recursive: bool) -> dict[str, Any]:
    """Return a schema of types whose alternatives are the next types, or all of them."""
    definitions: dict[str, Any] = {
        f"T{n}": {
            "type": "object",
            "properties": {f"p{n}": TEXT, "inner": {"$ref": f"#/$defs/T{(n + 1) % count}"}},
            union: [
                {"$ref": f"#/$defs/T{k if recursive else min(n + 1, count)}", "description": f"{k}"}
                for k in range(branches)
            ],
        }
        for n in range(count)
    }
    definitions[f"T{count}"] = {"type": "object", "properties": {"x": TEXT}}
    return {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/T0"}},
        union: [{"$ref": "#/$defs/T0"}, {"type": "object", "properties": {"b": TEXT}}],
        "$defs": definitions,
    }


@contextmanager
def _bounded_calls(limit: int) -> Generator[None, None, None]:
    """Fail if the block calls more Python functions."""
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"
        assert calls < limit

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("union", ["oneOf", "allOf"])
@pytest.mark.parametrize("shape", [(24, 2, False), (5, 4, True)], ids=str)
def test_alternatives_of_alternatives_do_not_explode(
    union: str, shape: tuple[int, int, bool]
) -> None:
    """Written out, 24 types of two alternatives each are 2 ** 24 schemas."""
    schema = _exploding(union, *shape)
    value = {"a": {"p0": "x", "inner": {"inner": None}}, "b": None}
    with _bounded_calls(5_000_000):
        for convert in (*CONVERTERS, to_cohere_schema):
            convert(schema)
        drop_optional_nulls(value, schema, schema)
        with suppress(ValueError):  # "nested too deeply, or refer to themselves"
            list(schema_errors(value, schema))
        with suppress(OutputValidationError):
            Output.of(schema).parse(json.dumps(value))


@pytest.mark.parametrize("draft", ["draft-07", "2020-12"])
@pytest.mark.parametrize("is_named", [False, True])
def test_validation_follows_a_limited_number_of_references(draft: str, is_named: bool) -> None:
    name = f"http://json-schema.org/{draft}/schema#"
    named = {"$schema": name} if is_named else {}
    definitions: dict[str, Any] = {
        f"T{n}": {**named, "allOf": [{"$ref": f"#/definitions/T{n + 1}"}] * 2} for n in range(40)
    }
    definitions["T40"] = {}
    a = {"$ref": "#/definitions/T0"}
    schema = {"$schema": name, "properties": {"a": a}, "definitions": definitions}
    assert list(schema_errors({"b": 1}, schema)) == []
    with _bounded_calls(5_000_000), pytest.raises(ValueError, match="refer to themselves"):
        list(schema_errors({"a": 1}, schema))


def test_alternatives_of_a_root_that_is_one_of_them_are_flattened_once() -> None:
    circle = {"type": "object", "properties": {"r": TEXT}, "required": ["r"]}
    shapes = [{"$ref": "#/$defs/Shape"}, {"$ref": "#/$defs/Circle"}, {"$ref": "#/$defs/Shape"}]
    definitions = {"Shape": {"oneOf": shapes}, "Circle": circle}
    flat = to_tool_schema({"$ref": "#/$defs/Shape", "$defs": definitions})
    assert (flat["properties"], flat["required"]) == ({"r": TEXT}, ["r"])


def test_list_of_one_type_without_a_description_gets_none() -> None:
    names = {"type": ["array"], "items": TEXT}
    schema = {"type": "object", "properties": {"names": names}, "required": ["names"]}
    for convert in (to_openai_strict_schema, to_anthropic_schema, to_cohere_schema):
        converted = convert(schema)
        assert converted is not None
        assert converted["properties"]["names"] == {"type": "array", "items": TEXT}


def test_recursive_value_keeps_its_types() -> None:
    """A type of JSON values: where it ends, all types are still possible."""
    value = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"$ref": "#/$defs/J"}},
                       {"type": "object", "properties": {"x": {"$ref": "#/$defs/J"}}},
                       {"$ref": "#/$defs/J"}]}  # fmt: skip
    schema = {"type": "object", "properties": {"v": {"$ref": "#/$defs/J"}}, "$defs": {"J": value}}
    reduced = openapi_to_json_schema(to_gemini_tool_schema(schema))
    deep: Any = "end"
    for _ in range(20):
        deep = {"x": deep}
        assert Draft202012Validator(reduced).is_valid({"v": deep})
        assert Draft202012Validator(reduced).is_valid({"v": [deep]})


def test_large_flat_schema_is_kept() -> None:
    schema = _object(**{f"p{n}": {"type": "array", "items": TEXT} for n in range(4_000)})
    reduced = to_gemini_tool_schema(schema)
    assert reduced["properties"] == schema["properties"]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _deep(levels: int) -> dict[str, Any]:
    return _object(x=_deep(levels - 1)) if levels > 1 else _object(x=TEXT)


def _chain(levels: int) -> dict[str, Any]:
    definitions = {f"T{n}": _object(x={"$ref": f"#/$defs/T{n + 1}"}) for n in range(levels)}
    return {**_object(x={"$ref": "#/$defs/T0"}), "$defs": {**definitions, f"T{levels}": TEXT}}


def _numbered(count: int, prefix: str = "v") -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


@pytest.mark.parametrize(
    ("schema", "limit"),
    [
        (_object(**dict.fromkeys(_numbered(5_000), TEXT)), ""),
        (_object(**dict.fromkeys(_numbered(5_001), TEXT)), "5,001 properties"),
        (_deep(10), ""),
        (_deep(11), "11 levels"),
        (_chain(10), "11 levels"),
        (_object(a={"enum": _numbered(1_000)}), ""),
        (_object(a={"enum": _numbered(600)}, b={"enum": _numbered(401)}), "1,001 enum values"),
        (_object(a={"enum": _numbered(250, "x" * 60)}), ""),
        (_object(a={"enum": _numbered(251, "x" * 60)}), "an enum has 15,7"),
        (_object(a={"const": "x" * 120_001}), "120,002 characters"),
        (_object(**dict.fromkeys(_numbered(1_300, "x" * 100), TEXT)), "characters in names"),
    ],
)
def test_limits_of_openai(schema: dict[str, Any], limit: str) -> None:
    strict = to_openai_strict_schema(schema)
    assert strict is not None
    assert limit in openai_limit(strict)
    assert bool(limit) == bool(openai_limit(strict))


def test_limits_of_anthropic_and_gemini() -> None:
    for count, optional in ((24, ""), (25, "25 optional fields")):
        closed = to_anthropic_schema(_object(**dict.fromkeys(_numbered(count), TEXT)))
        assert closed is not None
        assert optional in anthropic_limit(closed)
        assert bool(optional) == bool(anthropic_limit(closed))
    for count, unions in ((16, ""), (17, "17 unions")):
        names = _numbered(count)
        schema = {
            **_object(**{name: {"type": ["string", "null"]} for name in names}),
            "required": names,
        }
        closed = to_anthropic_schema(schema)
        assert closed is not None
        assert unions in anthropic_limit(closed)
        assert bool(unions) == bool(anthropic_limit(closed))
    assert gemini_limit(_object(a=TEXT)) == ""
    assert "characters" in gemini_limit(_object(**dict.fromkeys(_numbered(900, "y" * 150), TEXT)))


# --- A property: values stay valid -----------------------------------------------------------

SCALARS = st.one_of(
    st.text("ab", max_size=3), st.integers(-9, 9), st.booleans(), st.none(),
    st.floats(-9, 9).filter(lambda number: not number.is_integer()),
)  # fmt: skip
NAMES = ("a", "b", "c$", "d e")


def closed_objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    def build(properties: dict[str, Any], required: list[str], extra: Any) -> dict[str, Any]:
        schema = {
            "type": "object",
            "properties": properties,
            "required": [name for name in dict.fromkeys(required) if name in properties],
        }
        return schema if extra is None else {**schema, "additionalProperties": extra}

    properties = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    required = st.lists(st.sampled_from(NAMES), max_size=2)
    return st.builds(build, properties, required, st.sampled_from((None, False, False, True)))


LEAVES = st.one_of(
    st.sampled_from(("string", "integer", "number", "boolean", "null")).map(lambda t: {"type": t}),
    st.lists(st.sampled_from(("string", "integer", "null", "boolean")), min_size=1, max_size=3,
             unique=True).map(lambda types: {"type": types}),
    st.lists(SCALARS, min_size=1, max_size=4).map(lambda values: {"enum": values}),
    SCALARS.map(lambda value: {"const": value}),
    st.integers(-3, 3).map(lambda n: {"type": "integer", "minimum": n}),
    st.integers(-3, 3).map(lambda n: {"type": "number", "exclusiveMaximum": n}),
    st.sampled_from(("^a", "^(?!b)", "b$")).map(lambda p: {"type": "string", "pattern": p}),
    st.just({"type": "string", "nullable": True}),
    st.sampled_from(({}, True, {"$ref": "#/$defs/D"}, {"$ref": "#/$defs/D", "description": "d"})),
)  # fmt: skip
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        closed_objects(inner),
        inner.map(lambda items: {"type": "array", "items": items}),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda items: {"type": "array", "prefixItems": items, "items": False}
        ),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
        st.tuples(inner).map(lambda parts: {"allOf": list(parts)}),
    ),
    max_leaves=6,
)
ROOTS = st.one_of(
    closed_objects(SCHEMAS),
    st.lists(closed_objects(SCHEMAS), min_size=1, max_size=3).map(lambda parts: {"anyOf": parts}),
)


@st.composite
def schemas_with_values(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    # It does not refer to itself at once.
    definition = draw(st.one_of(closed_objects(SCHEMAS), SCHEMAS.filter(_has_no_reference)))
    schema = {**draw(ROOTS), "$defs": {"D": definition}}
    return schema, draw(instances(schema, schema, 4))


def _has_no_reference(schema: Any) -> bool:
    return "$ref" not in json.dumps(schema)


def instances(schema: Any, root: Any, depth: int) -> st.SearchStrategy[Any]:
    """Return values that are likely valid; those that are not are filtered out later."""
    if schema in (True, {}) or not isinstance(schema, dict) or depth == 0:
        return st.one_of(SCALARS, st.lists(SCALARS, max_size=2))
    if "$ref" in schema:
        return instances(root["$defs"]["D"], root, depth - 1)
    for keyword in ("anyOf", "allOf"):
        if keyword in schema:
            return st.one_of([instances(part, root, depth) for part in schema[keyword]])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return st.one_of([_of_type(name, schema, root, depth) for name in types])


def _of_type(name: str, schema: dict[str, Any], root: Any, depth: int) -> st.SearchStrategy[Any]:
    if name == "object":
        fields = {
            key: instances(part, root, depth - 1) for key, part in schema["properties"].items()
        }
        required = {key: fields[key] for key in schema["required"]}
        optional = {key: value for key, value in fields.items() if key not in required}
        return st.fixed_dictionaries(required, optional=optional)
    if name == "array":
        if "prefixItems" in schema:
            return st.tuples(
                *[instances(item, root, depth - 1) for item in schema["prefixItems"]]
            ).map(list)
        return st.lists(instances(schema["items"], root, depth - 1), max_size=3)
    return {
        "string": st.text("ab", max_size=3), "integer": st.integers(-9, 9),
        "number": st.one_of(st.integers(-9, 9), st.floats(-9, 9)), "boolean": st.booleans(),
        "null": st.none(),
    }[name]  # fmt: skip


def openapi_to_json_schema(schema: Any) -> Any:
    """Give Gemini's schema the meaning that it has for Gemini."""
    if isinstance(schema, list):
        return [openapi_to_json_schema(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    out = {
        key: {name: openapi_to_json_schema(inner) for name, inner in value.items()}
        if key == "properties"
        else openapi_to_json_schema(value)
        for key, value in schema.items()
        if key != "nullable"
    }
    return {"anyOf": [out, {"type": "null"}]} if schema.get("nullable") else out


def with_closed_root(schema: dict[str, Any]) -> dict[str, Any]:
    """Rule out that a property of one alternative is an unknown one of another."""
    options = [{**option, "additionalProperties": False} for option in schema.get("anyOf", ())]
    return {**schema, "anyOf": options} if options else schema


def sent_names(value: Any, renames: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {renames.get(name, name): sent_names(v, renames) for name, v in value.items()}
    return [sent_names(item, renames) for item in value] if isinstance(value, list) else value


@settings(max_examples=300, deadline=None)
@given(schemas_with_values())
def test_values_stay_valid(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    schema, value = case
    if not Draft202012Validator(with_closed_root(modernize(schema))).is_valid(value):
        return
    assert Draft202012Validator(to_tool_schema(schema)).is_valid(value), "tool"
    restorer = anthropic_arguments_restorer(schema)
    as_sent = sent_names(value, property_renames(to_tool_schema(schema)))
    assert Draft202012Validator(to_anthropic_tool_schema(schema)).is_valid(as_sent), "Anthropic"
    assert (restorer(as_sent) if restorer else as_sent) == value
    reduced = openapi_to_json_schema(to_gemini_tool_schema(schema))
    assert Draft202012Validator(reduced).is_valid(value), "Gemini"


@settings(max_examples=200, deadline=None)
@given(schemas_with_values())
def test_vendors_accept_what_is_sent(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
    schema, value = case
    assert check(to_tool_schema(schema), *TOOL_RULES) == []
    assert check(to_anthropic_tool_schema(schema), *TOOL_RULES, short_property_names) == []
    assert gemini_refuses(to_gemini_tool_schema(schema)) == []
    strict = to_openai_strict_schema(schema)
    if strict is None:
        return
    assert openai_refuses(strict) == []
    if not Draft202012Validator(modernize(schema)).is_valid(value):
        return
    # A strict answer, with null for what is left out, becomes a valid value again.
    filled = _with_nulls(value, strict, strict)
    if Draft202012Validator(strict).is_valid(filled):
        restored = drop_optional_nulls(filled, schema, schema)
        assert Draft202012Validator(modernize(schema)).is_valid(restored)


def _with_nulls(value: Any, schema: Any, root: Any) -> Any:
    if not isinstance(value, dict) or "properties" not in schema:
        return value
    return {name: _with_nulls(value.get(name), schema["properties"][name], root)
            for name in schema["properties"]}  # fmt: skip


DEEP = {"type": "object", "properties": {"a": {}}}
for _ in range(300):
    DEEP = {"type": "object", "properties": {"a": DEEP}}

ODD_SCHEMAS: list[dict[str, Any]] = [
    # itself, through `allOf` in an alternative
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/N"}}, "$defs": {
        "N": {"type": "integer", "oneOf": [{"allOf": [{}, False, {"$ref": "#/$defs/N"}]}]}}},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/N"}}, "$defs": {
        "N": {"allOf": [{"$ref": "#/$defs/N"}, {"$ref": "#/$defs/N"}],
              "anyOf": [True, {"$ref": "#"}]}}},
    {"type": "object", "$defs": [{"a": 1}], "properties": {"a": {"$ref": "#/$defs/0"}}},
    {"type": "object", "properties": [1], "definitions": 7},
    {"type": "object", "properties": {"a": True}, "anyOf": [
        {"properties": {"a": {"type": "null"}}}, {"properties": {"a": {"type": "string"}}}]},
    {"type": "object", "properties": {"a": {"type": "object", "properties": [1, 2]}}},
    {"type": "object", "properties": {"a": {"maximum": True, "minimum": "1", "multipleOf": 0}}},
    {"type": "object", "properties": {"a": {"exclusiveMaximum": "x", "minimum": float("inf")}}},
]  # fmt: skip
CONVERTERS = [
    to_tool_schema,
    to_anthropic_tool_schema,
    to_openai_strict_schema,
    to_anthropic_schema,
    to_gemini_schema,
    anthropic_arguments_restorer,
]


@pytest.mark.parametrize("convert", CONVERTERS)
@pytest.mark.parametrize("schema", ODD_SCHEMAS)
def test_malformed_and_recursive_schemas_are_converted(schema: Any, convert: Any) -> None:
    before = copy.deepcopy(schema)
    converted = convert(schema)
    assert schema == before
    if isinstance(converted, dict) and convert is not to_gemini_schema:
        Draft202012Validator.check_schema(converted)


@pytest.mark.parametrize("convert", CONVERTERS)
def test_schema_of_300_levels_is_refused_in_words(convert: Any) -> None:
    with pytest.raises(ValueError, match="more than 200 levels"):
        convert(DEEP)
