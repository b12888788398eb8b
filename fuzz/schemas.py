"""Targets: JSON Schemas of others become what vendors accept, and accept no fewer values."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing.exceptions import Unresolvable

from pipy_ai.output.schema import Output, OutputValidationError
from pipy_ai.utils import gemini_schemas, vendor_schemas
from pipy_ai.utils.schema_simplifier import (
    modernize,
)
from pipy_ai.utils.schema_values import (
    drop_optional_nulls,
)
from pipy_ai.utils.validation import schema_errors, schema_validator, validation_limit

from .harness import target
from .values import some_json

_NAMES = ("a", "b", "c d", "é", "$ref", "type", "x" * 70)
_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
_CONVERTERS: tuple[Callable[[Mapping[str, Any]], Any], ...] = (
    vendor_schemas.to_tool_schema,
    vendor_schemas.to_anthropic_tool_schema,
    vendor_schemas.to_openai_strict_schema,
    vendor_schemas.to_anthropic_schema,
    vendor_schemas.to_cohere_schema,
    gemini_schemas.to_gemini_schema,
    gemini_schemas.to_gemini_tool_schema,
    lambda schema: modernize(schema) if _depth(schema) < 200 else None,
)
_ANYTHING = {"string", "number", "boolean", "object"}
_PATTERNS = ("^a", "a|b", "(?=a)", "[a-z]+", "\\d{2}", "(", "(a)\\1")


def _some_schema(rng: random.Random, depth: int, defs: list[str]) -> Any:
    """Return a valid schema, mostly; references lead to `defs`."""
    kind = rng.random()
    if kind < 0.06:
        return rng.choice((True, False, {}))
    if kind < 0.2 and defs:
        schema: dict[str, Any] = {"$ref": f"#/$defs/{rng.choice(defs)}"}
        if rng.random() < 0.3:
            schema["description"] = "beside"
        return schema
    schema, types = {}, set()
    if rng.random() < 0.8:
        schema["type"] = rng.choice(_TYPES) if rng.random() < 0.8 else rng.sample(_TYPES, 2)
        types = {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    if not depth:
        return schema

    def inner() -> Any:
        return _some_schema(rng, depth - 1, defs)

    if "object" in types:
        names = rng.sample(_NAMES, rng.randint(0, 3))
        schema["properties"] = {name: inner() for name in names}
        schema["required"] = [name for name in names if rng.random() < 0.5]
        if rng.random() < 0.4:
            schema["additionalProperties"] = rng.choice((False, True, inner()))
        if rng.random() < 0.1:
            schema["patternProperties"] = {rng.choice(_PATTERNS[:5]): inner()}
    if "array" in types:
        if rng.random() < 0.3:
            schema["prefixItems"] = [inner() for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.7:
            schema["items"] = inner()
        if rng.random() < 0.3:
            schema["minItems"], schema["maxItems"] = 1, rng.randint(1, 3)
    if rng.random() < 0.25:
        schema[rng.choice(("anyOf", "oneOf", "allOf"))] = [
            inner() for _ in range(rng.randint(1, 3))
        ]
    if rng.random() < 0.1:
        schema["enum"] = rng.sample((None, True, 1, 0, 2.5, "a", "é", "", [1]), rng.randint(1, 3))
    if rng.random() < 0.05:
        schema["const"] = rng.choice((None, 1, "a", True, 0, {"a": 1}))
    if rng.random() < 0.2:
        schema["description"] = rng.choice(("words", "", "a\nb"))
    if "string" in types and rng.random() < 0.1:
        schema["pattern"] = rng.choice(_PATTERNS[:5])
    if types & {"number", "integer"} and rng.random() < 0.1:
        schema |= {"minimum": 0, "maximum": rng.choice((1, 10.5))}
    if "string" in types and rng.random() < 0.1:
        schema |= {"minLength": 1, "format": rng.choice(("date", "uuid", "int32", "odd"))}
    if rng.random() < 0.03:
        schema[rng.choice(("not", "if", "then", "contains", "propertyNames"))] = inner()
    if rng.random() < 0.05:
        schema["nullable"] = True
    return schema


def some_schema(rng: random.Random) -> dict[str, Any]:
    """Return a schema whose root is an object, an alternative or a reference."""
    defs = [f"D{number}" for number in range(rng.randint(0, 3))]
    schema = _some_schema(rng, 3, defs)
    if not isinstance(schema, dict):
        schema = {}
    if "$ref" not in schema and rng.random() < 0.7:
        schema["type"] = "object"
    if defs:
        schema["$defs"] = {name: _some_schema(rng, 2, defs) for name in defs}
    return schema


def _broken(rng: random.Random, schema: Any) -> Any:
    """Return a schema in which some values are of another type."""
    schema = copy.deepcopy(schema)
    places = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)):
            places.append((value, key))
            if isinstance(value[key], dict | list):
                walk(value[key])

    walk(schema)
    for holder, key in rng.sample(places, min(len(places), rng.randint(1, 3))):
        holder[key] = rng.choice((some_json(rng, 1), [holder[key]], {"a": holder[key]}))
    if rng.random() < 0.03:
        keyword = rng.choice(
            ("items", "allOf", "anyOf", "properties", "not", "additionalProperties")
        )
        for _ in range(rng.choice((40, 300, 3000))):
            schema = {
                keyword: [schema]
                if keyword.endswith("Of")
                else {"a": schema}
                if keyword == "properties"
                else schema
            }
    return schema


def some_value(rng: random.Random, schema: Any, root: Any, depth: int = 4) -> Any:
    """Return a value that a schema may accept."""
    if not isinstance(schema, dict) or depth == 0 or rng.random() < 0.05:
        return rng.choice((None, True, 0, 1.5, "a", [], {}, "ab", {"a": 1}))
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return some_value(rng, root.get("$defs", {}).get(name), root, depth - 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return rng.choice(schema["enum"])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if schema.get(keyword) and rng.random() < 0.7:
            value = some_value(rng, rng.choice(schema[keyword]), root, depth - 1)
            if isinstance(value, dict) and "properties" in schema:
                rest = {"type": "object", "properties": schema["properties"]}
                base = some_value(rng, rest, root, depth)
                return {**base, **value} if isinstance(base, dict) else value
            return value
    types = schema.get("type", _TYPES if "properties" not in schema else "object")
    match types if isinstance(types, str) else rng.choice(types):
        case "string":
            return rng.choice(("", "a", "ab", "12", "2026-01-01"))
        case "integer":
            return rng.choice((0, 1, 2, -1, 10))
        case "number":
            return rng.choice((0, 1, 0.5, -2.5, 10))
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case "array":
            items: list[Any] = [
                some_value(rng, item, root, depth - 1) for item in schema.get("prefixItems", ())
            ]
            others = [schema.get("items", True)] * rng.randint(0, 2)
            return items + [some_value(rng, item, root, depth - 1) for item in others]
    value = {}
    for name, inner in schema.get("properties", {}).items():
        if name in schema.get("required", ()) or rng.random() < 0.5:
            value[name] = some_value(rng, inner, root, depth - 1)
    if isinstance(schema.get("additionalProperties", True), dict | bool) and rng.random() < 0.2:
        value["extra"] = some_value(rng, schema.get("additionalProperties", True), root, depth - 1)
    return value


def _is_valid(value: Any, schema: Any) -> bool | None:
    """Whether a schema accepts a value; None: it cannot be decided."""
    try:
        with validation_limit(value):
            return bool(schema_validator(schema).is_valid(value))
    except (RecursionError, Unresolvable):
        return None


def _from_gemini(schema: Any) -> Any:
    """Return a schema of Gemini as one of JSON Schema."""
    if isinstance(schema, list):
        return [_from_gemini(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: _from_gemini(inner) for name, inner in value.items()}
        elif key == "items" and _ANYTHING.issubset(
            one.get("type") for one in value.get("anyOf", ())
        ):
            out[key] = True  # lists of anything in lists of anything end at the second
        elif key in ("items", "anyOf"):
            out[key] = _from_gemini(value)
        elif key != "nullable":
            out[key] = value
    return {"anyOf": [out, {"type": "null"}]} if schema.get("nullable") else out


# A pattern is passed on as it is: Python reads fewer of them than JavaScript and RE2 do.
_NO_FORMATS = FormatChecker(formats=())


@target
def schema_conversion(rng: random.Random) -> None:
    """Any schema is converted or refused in words, and is not changed itself."""
    schema = some_schema(rng)
    if rng.random() < 0.7:
        schema = _broken(rng, schema)
    before = json.dumps(schema) if _depth(schema) < 250 else None
    try:
        for convert in _CONVERTERS:
            converted = convert(schema)
            if converted is not None:
                json.dumps(converted)
                if "gemini" not in convert.__name__ and rng.random() < 0.2:  # it is slow
                    Draft202012Validator.check_schema(converted, _NO_FORMATS)
        _check_limits(schema)
    except ValueError as error:
        assert before is None
        assert "levels" in str(error)
    if before is not None:
        assert json.dumps(schema) == before


def _depth(value: Any) -> int:
    """Return how deep lists and objects are nested."""
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [
            inner for item in level for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _check_limits(schema: dict[str, Any]) -> None:
    strict = vendor_schemas.to_openai_strict_schema(schema)
    if strict is not None:
        vendor_schemas.openai_limit(strict)
    anthropic = vendor_schemas.to_anthropic_schema(schema)
    if anthropic is not None:
        vendor_schemas.anthropic_limit(anthropic)
    gemini_schemas.gemini_limit(schema)
    vendor_schemas.anthropic_arguments_restorer(schema)


@target
def schema_meaning(rng: random.Random) -> None:
    """A converted schema accepts what the original does.

    Except in unions: fields of one alternative get its types although others allow any.
    """
    schema = some_schema(rng)
    if '"anyOf"' in (text := json.dumps(schema)) or '"oneOf"' in text:
        return
    value = some_value(rng, schema, schema)
    if not isinstance(value, dict) or not _is_valid(value, schema):
        return
    for convert in (vendor_schemas.to_tool_schema, gemini_schemas.to_gemini_tool_schema):
        converted = convert(schema)
        if convert is gemini_schemas.to_gemini_tool_schema:
            converted = _from_gemini(converted)
        problems = [error.message for error in Draft202012Validator(converted).iter_errors(value)]
        assert not problems, (convert.__name__, value, schema, converted, problems)


@target
def schema_output(rng: random.Random) -> None:
    """`output=` takes a schema or says why not; what the schema accepts is parsed as it is."""
    schema = some_schema(rng)
    value = some_value(rng, schema, schema)
    if rng.random() < 0.4:
        schema = _broken(rng, schema)
    try:
        output = Output.of(schema)
    except (ValueError, TypeError) as error:
        assert str(error).startswith("output="), error
        return
    text = json.dumps({"value": value} if output.wrapped else value)
    try:
        parsed = output.parse(text)
    except OutputValidationError:
        if isinstance(value, dict) or output.wrapped:
            assert _is_valid(value, schema) is not True, (schema, value, output.schema)
    else:
        assert _is_valid(parsed, schema) is not False, (schema, value, parsed)


@target
def schema_arguments(rng: random.Random) -> None:
    """Arguments of any kind are checked against any schema, or the schema is refused in words."""
    schema = some_schema(rng)
    value = some_value(rng, schema, schema)
    if rng.random() < 0.4:
        schema = _broken(rng, schema)
    try:
        problems = list(schema_errors(value, schema))
    except ValueError as error:
        assert "parameters" in str(error)
    else:
        assert all(": " in problem for problem in problems)
    if _depth(schema) >= 200:
        return
    drop_optional_nulls(value, modernize(schema), modernize(schema))
    restore = vendor_schemas.anthropic_arguments_restorer(schema)
    if restore is not None and isinstance(value, dict):
        restore(value)
