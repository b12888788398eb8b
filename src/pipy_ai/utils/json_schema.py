"""Convert JSON Schemas to the dialects that the providers accept, and resolve references in them.

No function changes the schema that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .surrogates import clean_json_surrogates

_MAX_DEPTH = 12  # levels to which a recursive type is expanded

# --- References and null --------------------------------------------------------------------


def resolve_ref(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Follow the `$ref` of a schema within `root`; None if it does not lead to a schema."""
    for _ in range(10):
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Any = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) and part else target
        schema = target
    return None


def accepts_null(schema: Any, root: Mapping[str, Any], depth: int = 10) -> bool:
    """Whether null is a valid value; also true of a schema that cannot be resolved in `root`."""
    if schema is False:
        return False
    resolved = resolve_ref(schema, root)
    if resolved is None or depth == 0:
        return True
    resolved = _resolve_refs(resolved, _get_definitions(root))
    if alternatives := resolved.get("anyOf") or resolved.get("oneOf"):
        return any(accepts_null(alternative, root, depth - 1) for alternative in alternatives)
    if "const" in resolved:
        return resolved["const"] is None
    if "enum" in resolved:
        return None in resolved["enum"]
    schema_type = resolved.get("type")
    return (
        schema_type is None
        or schema_type == "null"
        or (isinstance(schema_type, list) and "null" in schema_type)
    )


def iter_refs(value: Any) -> Iterable[str]:
    """Yield every `$ref` in a schema."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from iter_refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from iter_refs(inner)


def _get_definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}


def _resolve_refs(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the reference of a schema by its target, and merge the parts of `allOf`."""
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


# --- OpenAI and Anthropic: closed objects ---------------------------------------------------

_STRICT_FORMATS = frozenset(
    {"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"}
)
_BASE_KEYWORDS = frozenset({"type", "title", "description", "enum", "const"})
_OPENAI_KEYWORDS = _BASE_KEYWORDS | {
    "exclusiveMaximum", "exclusiveMinimum", "maxItems", "maximum", "minItems", "minimum",
    "multipleOf", "pattern",
}  # fmt: skip
# Constraints that a dialect does not support are appended to the description.
_CONSTRAINT_KEYWORDS = (
    "pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
)  # fmt: skip


class _CannotCloseError(Exception):
    """The schema allows arbitrary keys or values, or refers to another document."""


def to_openai_strict_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for OpenAI's strict mode; None if that is not possible.

    Every property is required (an optional one may be null), and no others are allowed.
    """
    return _close_root(schema, _OPENAI_KEYWORDS, require_all=True)


def to_anthropic_schema(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Convert a schema for Anthropic's structured outputs; None if that is not possible.

    Only named properties are allowed, and neither constraints nor recursive types.
    """
    if _is_recursive(schema):
        return None
    return _close_root(schema, _BASE_KEYWORDS, require_all=False)


def _close_root(
    schema: Mapping[str, Any], allowed: frozenset[str], require_all: bool
) -> dict[str, Any] | None:
    schema = clean_json_surrogates(dict(schema))
    definitions = _get_definitions(schema)
    closer = _SchemaCloser(definitions, allowed, require_all)
    try:
        out = closer.close(schema)
        if definitions:
            out["$defs"] = {name: closer.close(inner) for name, inner in definitions.items()}
    except _CannotCloseError:
        return None
    return out


@dataclass(frozen=True, slots=True)
class _SchemaCloser:
    definitions: Mapping[str, Any]
    allowed: frozenset[str]  # keywords that the dialect supports
    require_all: bool

    def close(self, schema: Any) -> dict[str, Any]:
        if not isinstance(schema, Mapping):
            raise _CannotCloseError
        if isinstance(reference := schema.get("$ref"), str):
            # The dialects allow no other keyword beside a reference.
            return {"$ref": _normalize_ref(reference, self.definitions)}
        if "allOf" in schema:
            schema = _resolve_refs(schema, self.definitions)
        if isinstance(types := schema.get("type"), list):
            schema = _types_to_alternatives(schema, types)
        out = {k: v for k, v in schema.items() if k in self.allowed and v is not None}
        if schema.get("format") in _STRICT_FORMATS:
            out["format"] = schema["format"]
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            out["anyOf"] = [self.close(alternative) for alternative in alternatives]
            out.pop("type", None)
        elif not out.keys() & {"type", "enum", "const"}:
            raise _CannotCloseError
        if out.get("type") == "object":
            self._close_object(schema, out)
        elif out.get("type") == "array":
            schema = self._tuple_to_list(schema, out)
            out["items"] = self.close(schema.get("items"))
        _describe_constraints(schema, out)
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
            root = {"$defs": self.definitions, "definitions": self.definitions}
            for name, inner in properties.items():
                if name not in required and not accepts_null(inner, root):
                    out["properties"][name] = {"anyOf": [out["properties"][name], {"type": "null"}]}
            required = list(properties)
        out["required"] = [name for name in required if name in properties]
        out["additionalProperties"] = False

    def _tuple_to_list(self, schema: Mapping[str, Any], out: dict[str, Any]) -> Mapping[str, Any]:
        """Convert a tuple to a list of the same length, whose items have any of its types."""
        prefix_items = schema.get("prefixItems")
        if not prefix_items:
            return schema
        length = len(prefix_items)
        if "minItems" in self.allowed:
            out["minItems"] = out["maxItems"] = length
        distinct_items = [
            item for index, item in enumerate(prefix_items) if item not in prefix_items[:index]
        ]
        items = distinct_items[0] if len(distinct_items) == 1 else {"anyOf": distinct_items}
        return {**schema, "items": items, "minItems": length, "maxItems": length}


def _types_to_alternatives(schema: Mapping[str, Any], types: list[Any]) -> dict[str, Any]:
    base = {key: value for key, value in schema.items() if key not in ("type", "description")}
    options = [
        {"type": "null"} if type_name == "null" else {**base, "type": type_name}
        for type_name in types
    ]
    return {"anyOf": options, "description": schema.get("description")}


def _describe_constraints(schema: Mapping[str, Any], out: dict[str, Any]) -> None:
    constraints = [
        f"{key}: {schema[key]}" for key in _CONSTRAINT_KEYWORDS if key in schema and key not in out
    ]
    if constraints:
        prefix = f"{out['description']} " if out.get("description") else ""
        out["description"] = f"{prefix}({', '.join(constraints)})"


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


# --- Gemini: no references, no alternatives except null -------------------------------------

_GEMINI_KEYWORDS = frozenset(
    {
        "description", "enum", "items", "maxItems", "maxLength", "maxProperties", "maximum",
        "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties",
        "propertyOrdering", "required", "title", "type",
    }
)  # fmt: skip
_GEMINI_FORMATS = {
    "string": ("enum", "date-time"),
    "number": ("float", "double"),
    "integer": ("int32", "int64"),
}
# Keywords that apply to a single type.
_TYPE_KEYWORDS = {
    "array": ("items", "maxItems", "minItems", "prefixItems"),
    "object": ("maxProperties", "minProperties", "properties", "propertyOrdering", "required"),
}


def to_gemini_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the schema of a function's parameters; empty if it has no properties."""
    definitions = _get_definitions(schema)
    result = _reduce(clean_json_surrogates(dict(schema)), definitions, _MAX_DEPTH)
    return result if result.get("properties") else {}


def _reduce(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    out = _reduce_partial(schema, definitions, depth)
    out.setdefault("type", "string")  # any value; Gemini requires a type
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
    if "required" in out:  # Gemini rejects names without a property
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


def _merge_alternatives(
    schema: Mapping[str, Any], out: dict[str, Any], definitions: Mapping[str, Any], depth: int
) -> None:
    """Merge `anyOf` or `oneOf` into `out`; null becomes `nullable`."""
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(alternatives, list):
        return
    options = [_reduce_partial(alternative, definitions, depth - 1) for alternative in alternatives]
    if any(option.get("type") == "null" for option in options):
        out["nullable"] = True
    options = [option for option in options if option.get("type") != "null"]
    if any(options):  # otherwise no keyword that Gemini supports is left
        _merge_into(options, out)


def _merge_into(schemas: list[dict[str, Any]], out: dict[str, Any]) -> None:
    merged = _merge_schemas(schemas)
    if "description" in out and len(schemas) > 1 and "description" in merged:
        out["description"] += f" ({merged['description']})"
    out |= {key: value for key, value in merged.items() if key not in out}


def _merge_schemas(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one type that covers the values of all schemas.

    Objects get the properties of all; scalars of different types become strings.
    """
    if len(schemas) == 1:
        return schemas[0]
    types = list(dict.fromkeys(schema.get("type", "string") for schema in schemas))
    out: dict[str, Any] = {"nullable": True} if any("nullable" in s for s in schemas) else {}
    if len(types) > 1:
        out["description"] = " or ".join(types)
    if "object" in types:
        objects = [schema for schema in schemas if schema.get("type") == "object"]
        return out | _merge_objects(objects) if len(objects) > 1 else objects[0] | out
    if "array" in types:
        items = [schema["items"] for schema in schemas if schema.get("type") == "array"]
        return out | {"type": "array", "items": _merge_schemas(items)}
    return _merge_scalars(schemas, types, out)


def _merge_scalars(
    schemas: list[dict[str, Any]], types: list[str], out: dict[str, Any]
) -> dict[str, Any]:
    if set(types) == {"integer", "number"}:
        return {"type": "number"} | {key: True for key in out if key == "nullable"}
    if types == ["string"] and all("enum" in schema for schema in schemas):
        values = [value for schema in schemas for value in schema["enum"]]
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
    required = [n for n in names if all(n in s.get("required", ()) for s in schemas)]
    out = {"type": "object", "properties": properties, "description": " or ".join(shapes)}
    return out | ({"required": required} if required else {})


def _merge_type_list(
    types: list[Any],
    schema: Mapping[str, Any],
    out: dict[str, Any],
    definitions: Mapping[str, Any],
    depth: int,
) -> None:
    """Merge a list of types into `out`; null becomes `nullable`."""
    non_null = [type_name for type_name in types if type_name != "null"]
    if len(non_null) < len(types):
        out["nullable"] = True
    if len(non_null) == 1:
        out["type"] = non_null[0]
        return
    del out["type"]
    for keywords in _TYPE_KEYWORDS.values():
        for keyword in keywords:
            out.pop(keyword, None)
    parts = [
        {
            "type": type_name,
            **{key: schema[key] for key in _TYPE_KEYWORDS.get(type_name, ()) if key in schema},
        }
        for type_name in non_null
    ]
    if parts:
        _merge_into([_reduce(part, definitions, depth - 1) for part in parts], out)


def _restrict_enum(out: dict[str, Any]) -> None:
    """Keep only what Gemini supports: enums of non-empty strings."""
    values = [value for value in out["enum"] if value not in (None, "")]
    if None in out["enum"]:
        out["nullable"] = True
    if values and all(isinstance(value, str) for value in values):
        out["enum"], out["type"] = values, "string"
    else:
        del out["enum"]  # the type is kept
        out.setdefault("type", _common_type(values) if values else "string")


def _common_type(values: list[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if all(isinstance(value, int) for value in values):
        return "integer"
    return "number" if all(isinstance(value, int | float) for value in values) else "string"
