"""Convert JSON Schemas to the dialects that OpenAI, Anthropic and Cohere accept.

`gemini_schemas` has the dialect of Gemini.

Where a dialect cannot express something, the converted schema accepts more values, never fewer, and
the description states what is missing. Values are always validated against the original schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .json_schema import (
    accepts_null,
    cached_conversion,
    check_nesting,
    find_target,
    get_alternatives,
    get_definitions,
    iter_refs,
    iter_schemas,
    map_subschemas,
    merge_refs,
    type_of,
    with_siblings,
)
from .schema_simplifier import (
    PROPERTY_NAME,
    describe_constraints,
    flatten_root,
    is_portable_pattern,
    keep_keywords_of_type,
    property_renames,
    rename_properties,
    to_current_draft,
    tuple_to_list,
)
from .schema_values import restore_properties

# --- Tools: any schema that OpenAI and Anthropic accept -------------------------------------


@cached_conversion
def to_tool_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a tool's arguments to one that every vendor except Gemini accepts.

    Raises:
        ValueError: It is nested too deeply, as for the other conversions.
    """
    result: dict[str, Any] = _portable(flatten_root(to_current_draft(schema)))
    return result


@cached_conversion
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


@cached_conversion
def to_openai_strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for OpenAI's strict mode; None if that is not possible.

    Every property is required (an optional one may be null), and no others are allowed.
    """
    return _close_root(schema, _OPENAI_KEYWORDS, require_all=True)


@cached_conversion
def to_anthropic_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for Anthropic's structured outputs; None if that is not possible.

    Only named properties are allowed; constraints and recursive types are not.
    """
    schema = to_current_draft(schema)
    if _is_recursive(schema):
        return None
    closed = _close_root(schema, _BASE_KEYWORDS, require_all=False)
    names = [name for inner in iter_schemas(closed) for name in inner.get("properties", ())]
    return closed if all(PROPERTY_NAME.fullmatch(name) for name in names) else None


# https://docs.cohere.com/docs/structured-outputs (2026)
_COHERE_FORMATS = frozenset({"date", "date-time", "time", "uuid"})


@cached_conversion
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
    schema = to_current_draft(schema)
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


@cached_conversion
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


@cached_conversion
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
