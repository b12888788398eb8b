"""Dialects of JSON Schema: what each family of providers takes. Pure; the caller's schema is not
touched.

`strict` is OpenAI's, `closed` Anthropic's, `reduced` Gemini's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .surrogates import clean_json_surrogates

# --- OpenAI and Anthropic: objects that are closed ------------------------------------------

_STRICT_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6",
                    "uuid"})  # fmt: skip
_BASE_KEYWORDS = frozenset({"type", "title", "description", "enum", "const"})
_OPENAI_KEYWORDS = _BASE_KEYWORDS | {"pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
                    "exclusiveMaximum", "minItems", "maxItems"}  # fmt: skip
# What a dialect has no word for is told in the description.
_CONSTRAINT_KEYWORDS = ("pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
           "minLength", "maxLength", "minItems", "maxItems", "uniqueItems")  # fmt: skip


class _CannotCloseError(Exception):
    """A type that cannot be closed: free keys, a value of any kind, a schema from elsewhere."""


def to_openai_strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode takes it: every property is required (an optional one may
    be null) and there are no others. None: the type cannot be so."""
    return _close_root(schema, _OPENAI_KEYWORDS, require_all=True)


def to_anthropic_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as Anthropic's structured outputs take it: no properties but the named ones, no
    limits, nothing that holds itself. None: the type cannot be so."""
    if _is_recursive(schema):
        return None
    return _close_root(schema, _BASE_KEYWORDS, require_all=False)


def _close_root(
    schema: Mapping[str, Any], allowed: frozenset[str], require_all: bool
) -> dict[str, Any] | None:
    schema = clean_json_surrogates(dict(schema))
    definitions = _get_definitions(schema)
    try:
        out = _close(schema, definitions, allowed, require_all)
        if definitions:
            out["$defs"] = {
                name: _close(inner, definitions, allowed, require_all)
                for name, inner in definitions.items()
            }
    except _CannotCloseError:
        return None
    return out


def _close(
    schema: Any, definitions: Mapping[str, Any], allowed: frozenset[str], require_all: bool
) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _CannotCloseError
    if isinstance(reference := schema.get("$ref"), str):
        return {"$ref": _normalize_ref(reference, definitions)}  # it takes nothing beside it
    if "allOf" in schema:
        schema = _resolve_refs(schema, definitions)
    if isinstance(types := schema.get("type"), list):
        base = {key: value for key, value in schema.items() if key not in ("type", "description")}
        options = [
            {"type": "null"} if type_name == "null" else {**base, "type": type_name}
            for type_name in types
        ]
        schema = {"anyOf": options, "description": schema.get("description")}
    out = {key: value for key, value in schema.items() if key in allowed and value is not None}
    if schema.get("format") in _STRICT_FORMATS:
        out["format"] = schema["format"]
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        out["anyOf"] = [
            _close(alternative, definitions, allowed, require_all) for alternative in alternatives
        ]
        out.pop("type", None)
    elif not out.keys() & {"type", "enum", "const"}:
        raise _CannotCloseError
    if out.get("type") == "object":
        _close_object(schema, out, definitions, allowed, require_all)
    elif out.get("type") == "array":
        schema = _tuple_to_list(schema, out, allowed)
        out["items"] = _close(schema.get("items"), definitions, allowed, require_all)
    constraints = [
        f"{key}: {schema[key]}" for key in _CONSTRAINT_KEYWORDS if key in schema and key not in out
    ]
    if constraints:
        description = out.get("description")
        out["description"] = (
            f"{description} " if description else ""
        ) + f"({', '.join(constraints)})"
    return out


def _close_object(
    schema: Mapping[str, Any],
    out: dict[str, Any],
    definitions: Mapping[str, Any],
    allowed: frozenset[str],
    require_all: bool,
) -> None:
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if "patternProperties" in schema or (
        additional is not False and (additional or not properties)
    ):
        raise _CannotCloseError
    required = schema.get("required") or []
    out["properties"] = {
        name: _close(inner, definitions, allowed, require_all) for name, inner in properties.items()
    }
    if require_all:
        for name, inner in properties.items():
            if name not in required and not accepts_null(inner, definitions):
                out["properties"][name] = {"anyOf": [out["properties"][name], {"type": "null"}]}
        required = list(properties)
    out["required"] = [name for name in required if name in properties]
    out["additionalProperties"] = False


def _tuple_to_list(
    schema: Mapping[str, Any], out: dict[str, Any], allowed: frozenset[str]
) -> Mapping[str, Any]:
    """A tuple as a list of that many items, each of any of its kinds."""
    prefix_items = schema.get("prefixItems")
    if not prefix_items:
        return schema
    if "minItems" in allowed:
        out["minItems"] = out["maxItems"] = len(prefix_items)
    distinct_items = [
        item for index, item in enumerate(prefix_items) if item not in prefix_items[:index]
    ]
    items = distinct_items[0] if len(distinct_items) == 1 else {"anyOf": distinct_items}
    return {**schema, "items": items, "minItems": len(prefix_items), "maxItems": len(prefix_items)}


def _get_definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}


def _normalize_ref(reference: str, definitions: Mapping[str, Any]) -> str:
    name = reference.rpartition("/")[2]
    if reference == "#":
        return reference
    if not reference.startswith("#/") or name not in definitions:
        raise _CannotCloseError
    return f"#/$defs/{name}"


def _is_recursive(schema: Mapping[str, Any]) -> bool:
    if "#" in iter_refs(schema):
        return True
    refs_by_name = {
        name: {reference.rpartition("/")[2] for reference in iter_refs(inner)}
        for name, inner in _get_definitions(schema).items()
    }
    for name, reachable in refs_by_name.items():
        while (
            added := set().union(*(refs_by_name.get(other, ()) for other in reachable)) - reachable
        ):
            reachable |= added
        if name in reachable:
            return True
    return False


def iter_refs(value: Any) -> Iterable[str]:
    """All that a schema refers to."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from iter_refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from iter_refs(inner)


def accepts_null(schema: Any, definitions: Mapping[str, Any]) -> bool:
    """Whether null is a value of the type."""
    if not isinstance(schema, Mapping):
        return schema is True
    schema = _resolve_refs(schema, definitions)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return any(accepts_null(alternative, definitions) for alternative in alternatives)
    if "const" in schema:
        return schema["const"] is None
    if "enum" in schema:
        return None in schema["enum"]
    schema_type = schema.get("type")
    return (
        schema_type is None
        or schema_type == "null"
        or (isinstance(schema_type, list) and "null" in schema_type)
    )


# --- Gemini: no references, no alternatives but null ----------------------------------------

_GEMINI_KEYWORDS = frozenset(
    {
        "description", "enum", "items", "maxItems", "maxLength", "maxProperties", "maximum",
        "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties",
        "propertyOrdering", "required", "title", "type",
    }
)  # fmt: skip
_GEMINI_FORMATS = {"string": ("enum", "date-time"), "number": ("float", "double"),
            "integer": ("int32", "int64")}  # fmt: skip
# Words that only one type of value has.
_TYPE_KEYWORDS = {
    "array": ("items", "maxItems", "minItems", "prefixItems"),
    "object": ("maxProperties", "minProperties", "properties", "propertyOrdering", "required"),
}
_MAX_DEPTH = 12  # levels of a type that holds itself


def to_gemini_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's parameters; empty where there are none."""
    definitions = _get_definitions(schema)
    result = _reduce(clean_json_surrogates(dict(schema)), definitions, _MAX_DEPTH)
    return result if result.get("properties") else {}


def _reduce(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    out = _reduce_partial(schema, definitions, depth)
    out.setdefault("type", "string")  # a value of any kind; there must be a type
    return out


def _reduce_partial(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth == 0:
        return {"type": "object"} if depth == 0 else {}
    schema = _resolve_refs(schema, definitions)
    out: dict[str, Any] = {key: value for key, value in schema.items() if key in _GEMINI_KEYWORDS}
    _merge_alternatives(schema, out, definitions, depth)
    types = out.get("type")
    if isinstance(types, list):
        _merge_type_list(types, schema, out, definitions, depth)
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "enum" in out:
        _restrict_enum(out)
    if (format_name := schema.get("format")) in _GEMINI_FORMATS.get(str(out.get("type")), ()):
        out["format"] = format_name
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {
            name: _reduce(inner, definitions, depth - 1)
            for name, inner in out["properties"].items()
        }
        out.setdefault("type", "object")
    if "required" in out:  # Gemini wants every one of them defined beside it
        required = [name for name in out.pop("required") if name in out.get("properties", ())]
        out |= {"required": required} if required else {}
    if "items" in out:
        out["items"] = _reduce(out["items"], definitions, depth - 1)
    elif out.get("type") == "array":
        prefix_items = schema.get("prefixItems")
        types = [
            _reduce(item, definitions, depth - 1) for item in prefix_items or [{"type": "string"}]
        ]
        out["items"] = _merge_schemas(types)
    return out


def _resolve_refs(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its reference replaced and its parts put together."""
    merged = dict(schema)
    for _ in range(_MAX_DEPTH):
        reference = merged.pop("$ref", None)
        if not isinstance(reference, str):
            break
        target = definitions.get(reference.rpartition("/")[2])
        merged = {**(target if isinstance(target, Mapping) else {}), **merged}
    for part in merged.pop("allOf", None) or ():
        resolved_part = _resolve_refs(part, definitions) if isinstance(part, Mapping) else {}
        properties = {**resolved_part.get("properties", {}), **merged.get("properties", {})}
        required = [*resolved_part.get("required", ()), *merged.get("required", ())]
        merged = {**resolved_part, **merged}
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = list(dict.fromkeys(required))
    return merged


def _merge_alternatives(
    schema: Mapping[str, Any], out: dict[str, Any], definitions: Mapping[str, Any], depth: int
) -> None:
    """`anyOf` and `oneOf`: null becomes `nullable`, all others are put together."""
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(alternatives, list):
        return
    options = [_reduce_partial(alternative, definitions, depth - 1) for alternative in alternatives]
    if any(option.get("type") == "null" for option in options):
        out["nullable"] = True
    options = [kind for kind in options if kind.get("type") != "null"]
    if any(options):  # else they said what Gemini has no words for
        _merge_into(options, out)


def _merge_into(schemas: list[dict[str, Any]], out: dict[str, Any]) -> None:
    merged = _merge_schemas(schemas)
    if "description" in out and len(schemas) > 1 and "description" in merged:
        out["description"] += f" ({merged['description']})"
    out |= {key: value for key, value in merged.items() if key not in out}


def _merge_schemas(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """One type that holds all values of several: objects have the properties of all, plain values
    of different types are written as strings."""
    if len(schemas) == 1:
        return schemas[0]
    types = list(dict.fromkeys(schema.get("type", "string") for schema in schemas))
    out: dict[str, Any] = {"nullable": True} if any("nullable" in kind for kind in schemas) else {}
    if len(types) > 1:
        out["description"] = " or ".join(types)
    if "object" in types:
        parts = [kind for kind in schemas if kind.get("type") == "object"]
        return out | _merge_objects(parts) if len(parts) > 1 else parts[0] | out
    if "array" in types:
        parts = [kind for kind in schemas if kind.get("type") == "array"]
        return out | {"type": "array", "items": _merge_schemas([kind["items"] for kind in parts])}
    if set(types) == {"integer", "number"}:
        return {"type": "number"} | {key: True for key in out if key == "nullable"}
    if types == ["string"] and all("enum" in kind for kind in schemas):
        values = [value for kind in schemas for value in kind["enum"]]
        return out | {"type": "string", "enum": list(dict.fromkeys(values))}
    return out | {"type": types[0] if len(types) == 1 else "string"}


def _merge_objects(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    property_maps = [schema.get("properties") or {} for schema in schemas]
    names = list(dict.fromkeys(name for inner in property_maps for name in inner))
    properties = {
        name: _merge_schemas([inner[name] for inner in property_maps if name in inner])
        for name in names
    }
    shapes = ["{" + ", ".join(inner) + "}" for inner in property_maps]
    required = [n for n in names if all(n in kind.get("required", ()) for kind in schemas)]
    out = {"type": "object", "properties": properties, "description": " or ".join(shapes)}
    return out | ({"required": required} if required else {})


def _merge_type_list(
    types: list[Any],
    schema: Mapping[str, Any],
    out: dict[str, Any],
    definitions: Mapping[str, Any],
    depth: int,
) -> None:
    """`type` as a list: null becomes `nullable`, all others are put together."""
    non_null = [type_name for type_name in types if type_name != "null"]
    if len(non_null) < len(types):
        out["nullable"] = True
    if len(non_null) == 1:
        out["type"] = non_null[0]
        return
    del out["type"]
    for keyword in (word for keywords in _TYPE_KEYWORDS.values() for word in keywords):
        out.pop(keyword, None)
    parts = [
        {
            "type": kind,
            **{key: schema[key] for key in _TYPE_KEYWORDS.get(kind, ()) if key in schema},
        }
        for kind in non_null
    ]
    if parts:
        _merge_into([_reduce(part, definitions, depth - 1) for part in parts], out)


def _restrict_enum(out: dict[str, Any]) -> None:
    """Gemini's enums are strings, and none of them is empty."""
    values = [value for value in out["enum"] if value not in (None, "")]
    if None in out["enum"]:
        out["nullable"] = True
    if values and all(isinstance(value, str) for value in values):
        out["enum"], out["type"] = values, "string"
    else:
        del out["enum"]  # the type still says what it is
        out.setdefault("type", _common_type(values) if values else "string")


def _common_type(values: list[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if all(isinstance(value, int) for value in values):
        return "integer"
    return "number" if all(isinstance(value, int | float) for value in values) else "string"
