"""Convert JSON Schemas to Gemini's dialect, which has no references.

As in `vendor_schemas`, the converted schema accepts more values than the original, never fewer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .json_schema import (
    cached_conversion,
    find_target,
    get_alternatives,
    iter_schemas,
    map_subschemas,
    merge_all,
    type_of,
    with_siblings,
)
from .schema_simplifier import (
    add_description,
    describe_constraints,
    flatten_root,
    is_portable_pattern,
    keep_keywords_of_type,
    to_current_draft,
    tuple_to_list,
)
from .schema_values import expand_options

# Maximum number of inlined references; more are "too many states" (googleapis/python-genai#660).
_MAX_NODES = 3_000
_MAX_ALTERNATIVES = 2 * _MAX_NODES
_MAX_SUM_OF_MAX_ITEMS = 900  # about 960 is rejected (googleapis/python-genai#2170)
# How deeply a schema is inlined: levels, and levels of a type within itself.
_DEPTHS = ((12, 3), (12, 2), (12, 1), (8, 1), (6, 1), (4, 1), (3, 1), (2, 1), (1, 1))
# Gemini rejects the keywords of another type ("only allowed for OBJECT type").
_GEMINI_KEYWORDS: dict[str, tuple[str, ...]] = {
    "array": ("items", "maxItems", "minItems"),
    "integer": ("maximum", "minimum"),
    "number": ("maximum", "minimum"),
    "object": ("maxProperties", "minProperties", "properties", "propertyOrdering", "required"),
    "string": ("maxLength", "minLength", "pattern"),
}
_GEMINI_FORMATS = {
    "string": ("enum", "date-time"),
    "number": ("float", "double"),
    "integer": ("int32", "int64"),
}
_TYPE_OF_KEYWORD = {
    "properties": "object", "additionalProperties": "object", "required": "object",
    "items": "array", "prefixItems": "array", "pattern": "string", "format": "string",
    "minLength": "string", "maxLength": "string", "minimum": "number", "maximum": "number",
}  # fmt: skip
# Keywords that are not copied to each alternative.
_OF_THE_UNION = frozenset({"$defs", "anyOf", "definitions", "description", "oneOf", "title"})


class _TooLargeError(Exception):
    """A schema is too large once its references are inlined."""


@cached_conversion
def to_gemini_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a function's parameters; empty if it has no properties.

    References are inlined, those of a recursive type to a few levels.
    """
    schema = flatten_root(to_current_draft(schema))
    result: dict[str, Any] = {}
    for max_depth, max_recursion in _DEPTHS:
        try:
            result = _GeminiReducer(schema, max_recursion).reduce(schema, max_depth, ())
            break
        except _TooLargeError:
            continue
    if sum(inner.get("maxItems", 0) for inner in iter_schemas(result)) > _MAX_SUM_OF_MAX_ITEMS:
        result = _describe_lengths(result)
    return result if result.get("properties") else {}


@cached_conversion
def gemini_limit(schema: Mapping[str, Any]) -> str:
    """Return why a schema is too large for a response, or "".

    Gemini does not document the limit; it has rejected 200,000 characters
    (googleapis/python-genai#660).
    """
    characters = len(json.dumps(to_gemini_schema(schema)))
    if characters > 100_000:
        return f"the schema has {characters:,} characters (at most 100,000)"
    return ""


@cached_conversion
def to_gemini_tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a tool's arguments."""
    return to_gemini_schema(schema) or {"type": "object", "properties": {}}


def _describe_lengths(schema: Any) -> Any:
    out = map_subschemas(schema, _describe_lengths)
    lengths: dict[str, Any] = {k: out.pop(k) for k in ("minItems", "maxItems") if k in out}
    describe_constraints(lengths, out)
    return out


@dataclass(slots=True)
class _GeminiReducer:
    root: Mapping[str, Any]
    max_recursion: int
    nodes: int = 0
    alternatives: int = 0
    types: dict[str, Iterable[str]] = field(default_factory=dict)

    def reduce(self, schema: Any, depth: int, path: tuple[str, ...]) -> dict[str, Any]:
        """Return a schema of one type, or `anyOf` alone.

        `path` has the references that lead here; "[]" represents a value of any type.
        """
        self.nodes += bool(path)
        if self.nodes > _MAX_NODES and depth:
            raise _TooLargeError
        options = list(self._options(schema, depth, path))
        out = _union([option for option in options if option["type"] != "null"])
        first = out["anyOf"][0] if "anyOf" in out else out
        if any(option["type"] == "null" for option in options):
            first["nullable"] = True
        description = schema.get("description") if isinstance(schema, Mapping) else None
        if description and description not in first.get("description", ""):
            texts = (description, first.get("description"))
            first["description"] = " ".join(text for text in texts if text)
        return out

    def _options(self, schema: Any, depth: int, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Yield a schema for each type that the values may have."""
        resolved = self._resolve(schema, path) if isinstance(schema, Mapping) else ({}, path)
        if resolved is None or depth <= 0:
            yield from self._cut(schema)
            return
        schema, path = resolved
        alternatives = get_alternatives(schema)
        if not alternatives:
            for type_name, part in _split_types(schema):
                if type_name != "array" or part.keys() & {"type", "items", "prefixItems"}:
                    yield self._reduce_type(type_name, part, depth, path)
                elif "[]" not in path:  # nested lists of any type must end somewhere
                    yield self._reduce_type(type_name, part, depth, (*path, "[]"))
            return
        shared = {key: v for key, v in schema.items() if key not in _OF_THE_UNION}
        for alternative in alternatives:
            self.alternatives += 1
            if self.alternatives > _MAX_ALTERNATIVES:
                raise _TooLargeError
            resolved = (
                self._resolve(alternative, path) if isinstance(alternative, Mapping) else None
            )
            if shared and resolved is not None:
                merged, inner_path = resolved
                if merged.get("type") != "null":
                    merged = merge_all(shared, merged)
                yield from self._options(merged, depth, inner_path)
            else:
                yield from self._options(alternative, depth, path)

    def _cut(self, schema: Any) -> Iterator[dict[str, Any]]:
        """Yield only the types of values that are nested too deeply."""
        for name in self._types_of(schema):
            option: dict[str, Any] = {"type": name}
            if name == "array":
                option["items"] = self.reduce({}, 1, ("[]",))
            elif name == "object":
                option["description"] = "as in the levels above"
            yield option

    def _types_of(self, schema: Any) -> Iterable[str]:
        """Return the types that a schema allows. Those of references are cached."""
        is_reference = isinstance(schema, Mapping) and "$ref" in schema
        key = repr({**schema, "description": ""}) if is_reference else ""
        if key not in self.types or not key:
            options = expand_options(schema, self.root) or [{}]
            names = (name for option in options for name, _ in _split_types(option))
            self.types[key] = dict.fromkeys(names)
        return self.types[key]

    def _resolve(
        self, schema: Mapping[str, Any], path: tuple[str, ...]
    ) -> tuple[dict[str, Any], tuple[str, ...]] | None:
        """Inline references and `allOf`; None: a type is nested too deeply in itself."""
        merged = dict(schema)
        while isinstance(reference := merged.pop("$ref", None), str):
            if path.count(reference) >= self.max_recursion:
                return None
            path = (*path, reference)
            target = find_target(reference, self.root)
            merged = with_siblings(target if isinstance(target, Mapping) else {}, merged)
        for part in merged.pop("allOf", ()):
            resolved = self._resolve(part, path) if isinstance(part, Mapping) else ({}, path)
            if resolved is None:
                return None
            merged, path = merge_all(resolved[0], merged), resolved[1]
        return merged, path

    def _reduce_type(
        self, type_name: str, schema: Mapping[str, Any], depth: int, path: tuple[str, ...]
    ) -> dict[str, Any]:
        schema = tuple_to_list(schema)
        keywords = ("title", "description", *_GEMINI_KEYWORDS.get(type_name, ()))
        out: dict[str, Any] = {key: schema[key] for key in keywords if key in schema}
        out["type"] = type_name
        if schema.get("format") in _GEMINI_FORMATS.get(type_name, ()):
            out["format"] = schema["format"]
        if not is_portable_pattern(out.get("pattern", "")):
            del out["pattern"]
        if "enum" in schema:
            _restrict_enum(schema["enum"], out)
        if type_name == "object":
            self._reduce_object(schema, out, depth, path)
        elif type_name == "array":
            out["items"] = self.reduce(schema.get("items", {}), depth - 1, path)
        if type_name not in ("null", "boolean", "object"):
            describe_constraints(schema, out)
        return out

    def _reduce_object(
        self, schema: Mapping[str, Any], out: dict[str, Any], depth: int, path: tuple[str, ...]
    ) -> None:
        properties = out.pop("properties", {})
        if properties:
            out["properties"] = {
                name: self.reduce(inner, depth - 1, path) for name, inner in properties.items()
            }
        required = [name for name in out.pop("required", ()) if name in properties]
        if required:  # Gemini rejects names without a property
            out["required"] = required
        additional = schema.get("additionalProperties")
        if isinstance(additional, Mapping) and additional:
            value = self.reduce(additional, depth - 1, path)
            types = [option["type"] for option in value.get("anyOf", [value])]
            add_description(out, f"(any names; each value: {' or '.join(types)})")


def _split_types(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each type that a schema without alternatives allows, and the schema of that type."""
    types = schema.get("type")
    if "const" in schema:
        schema = {**schema, "enum": [schema["const"]]}
    if "enum" in schema:
        groups: dict[str, list[Any]] = {}
        for value in schema["enum"]:
            name = type_of(value)
            name = "number" if name == "integer" and types == "number" else name
            groups.setdefault(name, []).append(value)
        for name, values in groups.items():
            yield name, {**keep_keywords_of_type(schema, name), "enum": values}
        return
    if types is None:
        implied = dict.fromkeys(_TYPE_OF_KEYWORD[key] for key in schema if key in _TYPE_OF_KEYWORD)
        types = list(implied) or ["string", "number", "boolean", "object", "array", "null"]
    for name in types if isinstance(types, list) else [types]:
        yield name, keep_keywords_of_type(schema, name)


def _restrict_enum(values: list[Any], out: dict[str, Any]) -> None:
    """Keep only what Gemini supports: enums of non-empty strings."""
    if all(isinstance(value, str) and value for value in values):
        out["enum"] = values
    elif out["type"] != "null":
        shown = ", ".join(json.dumps(value, ensure_ascii=False) for value in values)
        add_description(out, f"(one of: {shown})")


def _union(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a schema that covers the values of all schemas: of one type, or `anyOf` alone.

    Gemini rejects other keywords next to `anyOf` (langchain-ai/langchain-google#1216).
    """
    if not schemas:
        return {"type": "string"}  # only null
    by_type: dict[str, list[dict[str, Any]]] = {}
    for schema in schemas:
        for option in schema.get("anyOf", [schema]):
            by_type.setdefault(option["type"], []).append(option)
    if {"integer", "number"} <= by_type.keys():
        by_type["number"] += by_type.pop("integer")
    merged = [_merge_type(name, options) for name, options in by_type.items()]
    return merged[0] if len(merged) == 1 else {"anyOf": merged}


def _merge_type(type_name: str, schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge schemas of one type. Objects get the properties of all."""
    if all(schema == schemas[0] for schema in schemas):
        return dict(schemas[0])
    out = {
        key: value
        for key, value in schemas[0].items()
        if all(schema.get(key) == value for schema in schemas)
    }
    out["type"] = type_name
    if any(schema.get("nullable") for schema in schemas):
        out["nullable"] = True
    if type_name == "array":
        out["items"] = _union([schema["items"] for schema in schemas])
    elif type_name == "object":
        _merge_objects(schemas, out)
    elif all("enum" in schema for schema in schemas):
        values = [value for schema in schemas for value in schema["enum"]]
        out["enum"] = list(dict.fromkeys(values))
    if type_name != "object":
        texts = dict.fromkeys(s["description"] for s in schemas if s.get("description"))
        if texts:
            out["description"] = " or ".join(texts)
    return out


def _merge_objects(schemas: list[dict[str, Any]], out: dict[str, Any]) -> None:
    property_maps = [schema.get("properties") or {} for schema in schemas]
    names = list(dict.fromkeys(name for inner in property_maps for name in inner))
    if not all(property_maps):  # one of them allows any names
        names = []
    for keyword in ("properties", "required"):
        out.pop(keyword, None)
    if names:
        out["properties"] = {
            name: _union([inner[name] for inner in property_maps if name in inner])
            for name in names
        }
    required = [n for n in names if all(n in s.get("required", ()) for s in schemas)]
    if required:
        out["required"] = required
    shapes = dict.fromkeys("{" + ", ".join(inner) + "}" for inner in property_maps)
    if len(shapes) > 1:
        add_description(out, " or ".join(shapes))
