"""Convert JSON Schemas to the dialects that the vendors accept.

Where a dialect cannot express something, the converted schema accepts more values, never fewer, and
the description states what is missing. Values are always validated against the original schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .json_schema import (
    accepts_null,
    check_nesting,
    find_target,
    get_alternatives,
    get_definitions,
    iter_refs,
    iter_schemas,
    map_subschemas,
    merge_all,
    merge_refs,
    type_of,
    with_siblings,
)
from .schema_simplifier import (
    PROPERTY_NAME,
    add_description,
    describe_constraints,
    flatten_root,
    is_portable_pattern,
    keep_keywords_of_type,
    modernize,
    property_renames,
    rename_properties,
    tuple_to_list,
)
from .schema_values import (
    expand_options,
    restore_properties,
)
from .surrogates import clean_json_surrogates

# --- Tools: any schema that OpenAI and Anthropic accept -------------------------------------


def to_tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a tool's arguments to one that every vendor except Gemini accepts.

    Raises:
        ValueError: It is nested too deeply, as for the other conversions.
    """
    result: dict[str, Any] = _portable(flatten_root(_modernized(schema)))
    return result


def _modernized(schema: Mapping[str, Any]) -> Any:
    check_nesting(schema)
    return modernize(clean_json_surrogates(dict(schema)))


def to_anthropic_tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Do the same for Anthropic, which restricts the names of properties."""
    converted = to_tool_schema(schema)
    renames = property_renames(converted)
    result: dict[str, Any] = rename_properties(converted, renames) if renames else converted
    return result


def anthropic_arguments_restorer(
    schema: Mapping[str, Any],
) -> Callable[[dict[str, Any]], dict[str, Any]] | None:
    """Return a function that restores the names of the tool's schema in a call's arguments.

    None if the schema was sent with its own names.
    """
    check_nesting(schema)
    if not property_renames(schema):
        return None
    converted = to_tool_schema(schema)
    renames = property_renames(converted)
    return lambda arguments: restore_properties(arguments, converted, renames)


def _portable(schema: Any) -> Any:
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    # OpenAI rejects lists without `items`, tuples among them (PrefectHQ/fastmcp#2464).
    out = dict(tuple_to_list(schema))
    types = out.get("type")
    if types == "array" or (isinstance(types, list) and "array" in types):
        out.setdefault("items", {})
    if not is_portable_pattern(out.get("pattern", "")):
        del out["pattern"]
        describe_constraints({"pattern": schema["pattern"]}, out)
    patterns = out.pop("patternProperties", {})
    if portable := {key: inner for key, inner in patterns.items() if is_portable_pattern(key)}:
        out["patternProperties"] = portable
    if len(portable) < len(patterns):
        out.pop("additionalProperties", None)
    return map_subschemas(out, _portable)


# --- OpenAI and Anthropic: closed objects ---------------------------------------------------

_STRICT_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
_BASE_KEYWORDS = frozenset({"type", "title", "description", "enum", "const"})
_OPENAI_KEYWORDS = _BASE_KEYWORDS | {
    "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maximum", "minItems", "minimum",
    "multipleOf", "pattern",
}  # fmt: skip


_MAX_CLOSED_SCHEMAS = 10_000  # OpenAI accepts 5,000 properties


class _CannotCloseError(Exception):
    """The schema allows arbitrary keys or values, is too large, or refers to another document."""


def to_openai_strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for OpenAI's strict mode; None if that is not possible.

    Every property is required (an optional one may be null), and no others are allowed.
    """
    return _close_root(schema, _OPENAI_KEYWORDS, require_all=True)


def to_anthropic_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for Anthropic's structured outputs; None if that is not possible.

    Only named properties are allowed; constraints and recursive types are not.
    """
    schema = _modernized(schema)
    if _is_recursive(schema):
        return None
    closed = _close_root(schema, _BASE_KEYWORDS, require_all=False)
    names = [name for inner in iter_schemas(closed) for name in inner.get("properties", ())]
    return closed if all(PROPERTY_NAME.fullmatch(name) for name in names) else None


# https://docs.cohere.com/docs/structured-outputs (2026)
_COHERE_FORMATS = frozenset({"date", "date-time", "time", "uuid"})


def to_cohere_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for Cohere's structured outputs; None if that is not possible.

    Only named properties are allowed, and constraints are not. Every object needs a required
    property.
    """
    closed = _close_root(schema, _BASE_KEYWORDS, require_all=False)
    if closed is not None and any(inner.get("required") == [] for inner in iter_schemas(closed)):
        closed = _close_root(schema, _BASE_KEYWORDS, require_all=True)
    for inner in [] if closed is None else list(iter_schemas(closed)):
        if inner.get("properties") == {}:
            return None
        if isinstance(inner, dict):
            inner.pop("additionalProperties", None)
            if inner.get("format", "date") not in _COHERE_FORMATS:
                describe_constraints({"format": inner.pop("format")}, inner)
    return closed


def _close_root(
    schema: Mapping[str, Any], allowed: frozenset[str], require_all: bool
) -> dict[str, Any] | None:
    schema = _modernized(schema)
    if "$ref" in schema or "allOf" in schema:
        schema = merge_refs(schema, schema)
    if schema.get("type") != "object":
        return None
    definitions = get_definitions(schema)
    closer = _SchemaCloser(schema, definitions, allowed, require_all)
    try:
        out = closer.close(schema)
        closed: dict[str, Any] = {}
        while missing := _referenced_names([out, closed]) - closed.keys():
            for name in missing:
                closed[name] = closer.close(definitions[name])
    except _CannotCloseError:
        return None
    if closed:
        out["$defs"] = {name: closed[name] for name in definitions if name in closed}
    return out


def _referenced_names(value: Any) -> set[str]:
    return {ref.removeprefix("#/$defs/") for ref in iter_refs(value) if ref != "#"}


@dataclass(slots=True)
class _SchemaCloser:
    root: Mapping[str, Any]
    definitions: Mapping[str, Any]
    allowed: frozenset[str]  # keywords that the dialect supports
    require_all: bool
    inlined: list[str] = field(default_factory=list)  # references being inlined
    schemas: int = 0

    def close(self, schema: Any) -> dict[str, Any]:
        self.schemas += 1
        if not isinstance(schema, Mapping) or self.schemas > _MAX_CLOSED_SCHEMAS:
            raise _CannotCloseError
        parts = [part for part in schema.get("allOf", ()) if part is not True]
        if len(parts) == 1 and isinstance(parts[0], Mapping) and "$ref" in parts[0]:
            siblings = {key: value for key, value in schema.items() if key != "allOf"}
            schema = with_siblings(parts[0], siblings)
        if isinstance(schema.get("$ref"), str):
            return self._close_ref(schema)
        if parts:
            return self._write_out(json.dumps(sorted(iter_refs(parts))), schema)
        if isinstance(types := schema.get("type"), list):
            schema = _types_to_alternatives(schema, types)
        elif "type" not in schema and schema.keys() & {"enum", "const"}:
            schema = _with_type_of_values(schema)
        if isinstance(type_name := schema.get("type"), str):
            schema = keep_keywords_of_type(schema, type_name)
        out = {k: v for k, v in schema.items() if k in self.allowed and v is not None}
        if not is_portable_pattern(out.get("pattern", "")):
            del out["pattern"]
        if schema.get("format") in _STRICT_FORMATS:
            out["format"] = schema["format"]
        if alternatives := get_alternatives(schema):
            if "properties" in schema:
                raise _CannotCloseError
            out["anyOf"] = [self.close(alternative) for alternative in alternatives]
            out.pop("type", None)
        elif not out.keys() & {"type", "enum", "const"}:
            raise _CannotCloseError
        if out.get("type") == "object":
            self._close_object(schema, out)
        elif out.get("type") == "array":
            schema = self._tuple_to_list(schema, out)
            out["items"] = self.close(schema.get("items"))
        describe_constraints(schema, out)
        return out

    def _close_ref(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a reference. No other keyword may accompany it: with a description it is inlined."""
        reference = schema["$ref"]
        siblings = {key: value for key, value in schema.items() if key in self.allowed}
        siblings.pop("title", None)
        kept = _normalize_ref(reference, self.definitions)
        if kept is not None and not siblings:
            return {"$ref": kept}
        if kept is not None and (kept == "#" or reference in self.inlined):
            return {"anyOf": [{"$ref": kept}], **siblings}
        if not isinstance(find_target(reference, self.root), Mapping):
            raise _CannotCloseError
        return self._write_out(reference, schema)

    def _write_out(self, reference: str, schema: Mapping[str, Any]) -> dict[str, Any]:
        if reference in self.inlined or not all(r.startswith("#") for r in iter_refs(schema)):
            raise _CannotCloseError
        self.inlined.append(reference)
        out = self.close(merge_refs(schema, self.root))
        self.inlined.pop()
        return out

    def _close_object(self, schema: Mapping[str, Any], out: dict[str, Any]) -> None:
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        if "patternProperties" in schema or (
            additional is not False and (additional or not properties)
        ):
            raise _CannotCloseError
        required = schema.get("required") or []
        out["properties"] = {name: self.close(inner) for name, inner in properties.items()}
        if self.require_all:
            for name, inner in properties.items():
                if name not in required and not accepts_null(inner, self.root):
                    out["properties"][name] = {"anyOf": [out["properties"][name], {"type": "null"}]}
            required = list(properties)
        out["required"] = [name for name in required if name in properties]
        out["additionalProperties"] = False

    def _tuple_to_list(self, schema: Mapping[str, Any], out: dict[str, Any]) -> Mapping[str, Any]:
        schema = tuple_to_list(schema)
        for keyword in ("description", "minItems", "maxItems"):
            if keyword in self.allowed and keyword in schema:
                out[keyword] = schema[keyword]
        return schema


def _types_to_alternatives(schema: Mapping[str, Any], types: list[Any]) -> dict[str, Any]:
    base = {key: value for key, value in schema.items() if key not in ("type", "description")}
    shared = {"description": schema["description"]} if "description" in schema else {}
    options: list[dict[str, Any]] = []
    for type_name in types:
        option: dict[str, Any] = {} if type_name == "null" else dict(base)
        option["type"] = type_name
        if "enum" in option:
            option["enum"] = [v for v in base["enum"] if _has_type(v, type_name)]
        if option.get("enum") != []:
            options.append(option)
    alternatives = options[0] if len(options) == 1 else {"anyOf": options}
    return {**alternatives, **shared}


def _has_type(value: Any, type_name: str) -> bool:
    return type_of(value) == type_name or (type_name, type_of(value)) == ("number", "integer")


def _with_type_of_values(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Add the type that vendors require next to `enum` and `const`."""
    values = schema["enum"] if "enum" in schema else [schema["const"]]
    types = list(dict.fromkeys(map(type_of, values)))
    if {"array", "object"}.intersection(types):
        raise _CannotCloseError
    if len(types) == 1:
        return {**schema, "type": types[0]}
    return _types_to_alternatives(schema, types)


def _normalize_ref(reference: str, definitions: Mapping[str, Any]) -> str | None:
    """Return a reference to a definition as vendors accept it; None for any other reference."""
    if reference == "#":
        return reference
    for prefix in ("#/$defs/", "#/definitions/"):
        name = reference.removeprefix(prefix)
        if name != reference and name in definitions:
            return f"#/$defs/{name}"
    return None


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    if "#" in iter_refs(schema):
        return True
    refs_by_name = {
        name: {reference.rpartition("/")[2] for reference in iter_refs(inner)}
        for name, inner in get_definitions(schema).items()
    }
    for name, reachable in refs_by_name.items():
        while (
            added := set().union(*(refs_by_name.get(other, ()) for other in reachable)) - reachable
        ):
            reachable |= added
        if name in reachable:
            return True
    return False


# --- Limits of strict schemas ---------------------------------------------------------------


def openai_limit(schema: Mapping[str, Any]) -> str:
    """Return which limit of strict mode a converted schema exceeds; "": none.

    https://developers.openai.com/api/docs/guides/structured-outputs (2026): 5,000 properties, 10
    levels, 1,000 enum values, 15,000 characters in an enum of more than 250 values, 120,000
    characters in all names and values.
    """
    properties = enum_values = characters = 0
    definitions = schema.get("$defs") or {}
    characters += sum(map(len, definitions))
    for inner in iter_schemas(schema):
        names = inner.get("properties") or {}
        values = inner.get("enum") or ([inner["const"]] if "const" in inner else [])
        value_characters = sum(len(value) for value in values if isinstance(value, str))
        if len(values) > 250 and value_characters > 15_000:
            return f"an enum has {value_characters:,} characters (at most 15,000)"
        properties += len(names)
        enum_values += len(inner.get("enum") or ())
        characters += sum(map(len, names)) + value_characters
    depth = _object_depth(schema, schema, {})
    for count, limit, what in (
        (properties, 5_000, "properties"),
        (depth, 10, "levels of objects"),
        (enum_values, 1_000, "enum values"),
        (characters, 120_000, "characters in names and values"),
    ):
        if count > limit:
            return f"the schema has {count:,} {what} (at most {limit:,})"
    return ""


def anthropic_limit(schema: Mapping[str, Any]) -> str:
    """Return which limit of structured outputs a converted schema exceeds; "": none.

    https://platform.claude.com/docs/en/build-with-claude/structured-outputs (2026).
    """
    optional = unions = 0
    for inner in iter_schemas(schema):
        required = inner.get("required") or ()
        for name, value in (inner.get("properties") or {}).items():
            optional += name not in required
            unions += "anyOf" in value
    for count, limit, what in ((optional, 24, "optional fields"), (unions, 16, "unions")):
        if count > limit:
            return f"the schema has {count} {what} (at most {limit})"
    return ""


def _object_depth(schema: Any, root: Mapping[str, Any], depths: dict[str, int]) -> int:
    """Return how deeply objects are nested; a recursive type counts once."""
    if not isinstance(schema, Mapping):
        return 0
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference not in depths:
            depths[reference] = 0
            target = None if reference == "#" else find_target(reference, root)
            depths[reference] = _object_depth(target, root, depths)
        return depths[reference]
    inner = [*(schema.get("properties") or {}).values(), *schema.get("anyOf", ())]
    if "items" in schema:
        inner.append(schema["items"])
    depth = max((_object_depth(value, root, depths) for value in inner), default=0)
    return depth + (schema.get("type") == "object")


# --- Gemini: no references ------------------------------------------------------------------

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


def to_gemini_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a function's parameters; empty if it has no properties.

    References are inlined, those of a recursive type to a few levels.
    """
    schema = flatten_root(_modernized(schema))
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


def gemini_limit(schema: Mapping[str, Any]) -> str:
    """Return why a schema is too large for a response, or "".

    Gemini does not document the limit; it has rejected 200,000 characters
    (googleapis/python-genai#660).
    """
    characters = len(json.dumps(to_gemini_schema(schema)))
    if characters > 100_000:
        return f"the schema has {characters:,} characters (at most 100,000)"
    return ""


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
