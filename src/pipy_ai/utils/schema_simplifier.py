"""Simplify JSON Schemas: older drafts, constraints, unions at the root, names of properties.

No function modifies its argument.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .json_schema import (
    MAX_ALTERNATIVES,
    SUBSCHEMA_LISTS,
    SUBSCHEMA_MAPS,
    check_nesting,
    iter_schemas,
    map_subschemas,
    merge_refs,
)
from .surrogates import clean_json_surrogates

# --- Older drafts and OpenAPI ---------------------------------------------------------------

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_TYPE_ALIASES = {
    "bool": "boolean", "dict": "object", "float": "number", "int": "integer", "list": "array",
    "none": "null", "str": "string",
}  # fmt: skip
_KEYWORD_TYPES: dict[str, Any] = {
    **dict.fromkeys(("$comment", "$ref", "description", "format", "pattern", "title"), str),
    **dict.fromkeys(("deprecated", "readOnly", "uniqueItems", "writeOnly"), bool),
    "dependentRequired": Mapping,
    "examples": list,
    "required": list,  # a boolean in draft 3
}
_COUNTS = frozenset(
    {"maxItems", "maxLength", "maxProperties", "minItems", "minLength", "minProperties"}
)
_NUMBERS = frozenset({"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"})
_MAY_BE_NULL = frozenset({"const", "default"})


def to_current_draft(schema: Mapping[str, Any]) -> Any:
    """Return a schema as `modernize` does, without lone surrogates.

    Raises:
        ValueError: It is nested too deeply.
    """
    check_nesting(schema)
    return modernize(clean_json_surrogates(dict(schema)))


def modernize(schema: Any) -> Any:
    """Convert a schema of any draft or of OpenAPI 3.0 to draft 2020-12; drop what is invalid.

    Vendors validate against draft 2020-12, and one invalid schema fails the whole request.
    """
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping):
        return {}
    out = {
        keyword: value
        for keyword, value in schema.items()
        if _is_valid_keyword(keyword, value) and keyword != "$schema"
    }
    if "type" in out:
        _modernize_type(out)
    if "required" in out:
        names = [name for name in out["required"] if isinstance(name, str)]
        out["required"] = list(dict.fromkeys(names))
    for keyword in _COUNTS.intersection(out):
        out[keyword] = int(out[keyword])  # 1.0 is an integer of JSON Schema
    for keyword in ("$id", "id"):  # until draft 7
        if isinstance(out.get(keyword), str) and re.match("#[^/]", out[keyword]):
            out["$anchor"] = out.pop(keyword)[1:]
    if "dependencies" in out:  # until draft 7
        _modernize_dependencies(out)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(is_exclusive := out.get(exclusive), bool):  # draft 4
            del out[exclusive]
            if is_exclusive and bound in out:
                out[exclusive] = out.pop(bound)
    if isinstance(out.get("items"), list):  # until draft 2019-09
        out["prefixItems"] = out.pop("items")
        if "additionalItems" in out:
            out["items"] = out.pop("additionalItems")
        if not out["prefixItems"]:
            del out["prefixItems"]
    out = map_subschemas(out, modernize)
    if out.pop("nullable", False) is True:  # OpenAPI 3.0
        out = _allow_null(out)
    return out


def _is_valid_keyword(keyword: str, value: Any) -> bool:
    if value is None:
        return keyword in _MAY_BE_NULL
    if keyword in SUBSCHEMA_MAPS or keyword == "dependencies":
        return isinstance(value, Mapping)
    if keyword in SUBSCHEMA_LISTS or keyword == "enum":
        return isinstance(value, list) and bool(value)
    if keyword in _COUNTS:
        return (type(value) is int or (type(value) is float and value.is_integer())) and value >= 0
    if keyword in _NUMBERS:
        if isinstance(value, bool):
            return keyword.startswith("exclusive")  # of draft 4
        is_number = isinstance(value, int | float) and -math.inf < value < math.inf
        return is_number and (keyword != "multipleOf" or value > 0)
    return isinstance(value, _KEYWORD_TYPES.get(keyword, object))


def _modernize_dependencies(schema: dict[str, Any]) -> None:
    for name, value in schema.pop("dependencies").items():
        if isinstance(value, Mapping | bool):
            schema["dependentSchemas"] = {**schema.get("dependentSchemas", {}), name: value}
        elif isinstance(value, list | str):  # one name in draft 3
            names = [value] if isinstance(value, str) else value
            schema["dependentRequired"] = {**schema.get("dependentRequired", {}), name: names}


def _modernize_type(schema: dict[str, Any]) -> None:
    """Use the standard names of types. An unknown type is dropped: any value is valid."""
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    types = [_TYPE_ALIASES.get(str(name).lower(), str(name).lower()) for name in names]
    if not types or not _TYPES.issuperset(types):
        del schema["type"]
    elif isinstance(schema["type"], list):
        schema["type"] = list(dict.fromkeys(types))
    else:
        schema["type"] = types[0]


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema and None not in schema["enum"]:
        schema["enum"] = [*schema["enum"], None]
    types = schema.get("type")
    if types is not None:
        listed = types if isinstance(types, list) else [types]
        schema["type"] = list(dict.fromkeys([*listed, "null"]))
        return schema
    union = "oneOf" if "oneOf" in schema else "anyOf"
    if union in schema:
        return {**schema, union: [*schema[union], {"type": "null"}]}
    if schema.keys() & {"$ref", "allOf", "const"}:
        return {"anyOf": [schema, {"type": "null"}]}
    return schema


# --- Patterns and constraints ---------------------------------------------------------------

# Lookaround, back references, and syntax specific to Python or Rust. OpenAI rejects
# these in tools and strict schemas (pydantic/pydantic-ai#5508, can1357/oh-my-pi#2784).
_UNPORTABLE_PATTERN = re.compile(r"\(\?(?!:)|\\[1-9AZzGk]|[*+?}]\+")
# Constraints that a dialect does not support are appended to the description.
_CONSTRAINT_KEYWORDS = (
    "format", "pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
)  # fmt: skip


def is_portable_pattern(pattern: Any) -> bool:
    """Return whether every vendor can read a regular expression."""
    if not isinstance(pattern, str):
        return False
    # An escaped backslash or bracket does not begin a group or a reference.
    return _UNPORTABLE_PATTERN.search(re.sub(r"\\[\\(*+?}]", "_", pattern)) is None


def describe_constraints(schema: Mapping[str, Any], out: dict[str, Any]) -> None:
    """Append the constraints of `schema` that `out` lacks to its description."""
    constraints = [
        f"{key}: {schema[key]}" for key in _CONSTRAINT_KEYWORDS if key in schema and key not in out
    ]
    if constraints:
        add_description(out, f"({', '.join(constraints)})")


def add_description(out: dict[str, Any], text: str) -> None:
    """Append a text to the description of a schema."""
    out["description"] = f"{out['description']} {text}" if out.get("description") else text


# Keywords without effect on values of other types.
_NUMBER_KEYWORDS = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"}
)
_KEYWORDS_OF_TYPE = {
    "array": frozenset(
        {
            "additionalItems", "contains", "items", "maxContains", "maxItems", "minContains",
            "minItems", "prefixItems", "unevaluatedItems", "uniqueItems",
        }
    ),
    "integer": _NUMBER_KEYWORDS,
    "number": _NUMBER_KEYWORDS,
    "object": frozenset(
        {
            "additionalProperties", "dependentRequired", "dependentSchemas", "maxProperties",
            "minProperties", "patternProperties", "properties", "propertyNames", "required",
            "unevaluatedProperties",
        }
    ),
    "string": frozenset({"maxLength", "minLength", "pattern"}),
}  # fmt: skip
_TYPED_KEYWORDS = frozenset().union(*_KEYWORDS_OF_TYPE.values())
_NUMBER_FORMATS = frozenset({"double", "float", "int32", "int64"})  # of OpenAPI


def keep_keywords_of_type(schema: Mapping[str, Any], type_name: str) -> dict[str, Any]:
    """Return a schema without the keywords that have no effect on values of a type."""
    dropped = _TYPED_KEYWORDS - _KEYWORDS_OF_TYPE.get(type_name, frozenset())
    if (schema.get("format") in _NUMBER_FORMATS) != (type_name in ("integer", "number")):
        dropped |= {"format"}
    return {key: value for key, value in schema.items() if key not in dropped}


def unique_schemas(schemas: list[Any]) -> list[Any]:
    """Remove duplicate schemas. Python's comparison would treat 0 as False and 1 as True."""
    by_text = {json.dumps(schema, sort_keys=True, default=str): schema for schema in schemas}
    return list(by_text.values())


def tuple_to_list(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Convert a tuple (`prefixItems`) to a list whose items have any of its types."""
    prefix_items = schema.get("prefixItems")
    if not prefix_items:
        return schema
    rest = schema.get("items", True)
    max_items = schema.get("maxItems", len(prefix_items) + 1)
    item_types = list(prefix_items)
    out = {key: value for key, value in schema.items() if key != "prefixItems"}
    if rest is False or max_items <= len(prefix_items):
        out["maxItems"] = min(max_items, len(prefix_items))
    else:
        item_types.append({} if rest is True else rest)
    distinct = unique_schemas(item_types)
    if {} in distinct or True in distinct:
        distinct = [{}]
    if len(prefix_items) > 1 and (len(distinct) > 1 or distinct == [{}]):
        names = [
            item.get("type", "any") if isinstance(item, Mapping) else "any" for item in prefix_items
        ]
        add_description(out, f"(items in order: {', '.join(map(str, names))})")
    return {**out, "items": distinct[0] if len(distinct) == 1 else {"anyOf": distinct}}


# --- A plain object at the root -------------------------------------------------------------

# Keywords that OpenAI and Anthropic reject at the root of a tool's schema
# (langchain-ai/langchainjs#9804, anthropics/claude-code#5973).
_ROOT_UNIONS = ("anyOf", "oneOf")
_REJECTED_ROOT_KEYWORDS = frozenset({*_ROOT_UNIONS, "$ref", "allOf", "const", "enum", "not"})


def flatten_root(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema whose root is an object with all properties of its alternatives.

    The description lists which properties belong together.
    """
    if not schema.keys() & _REJECTED_ROOT_KEYWORDS:
        if schema.get("type") == "object" and "properties" in schema:
            return dict(schema)
        return {**schema, "type": "object", "properties": schema.get("properties", {})}
    merged = _RootFlattener(schema).merge(schema)
    kept = {key: value for key, value in merged.items() if key not in _REJECTED_ROOT_KEYWORDS}
    return {**kept, "type": "object", "properties": merged.get("properties", {})}


@dataclass(slots=True)
class _RootFlattener:
    root: Mapping[str, Any]
    left: int = MAX_ALTERNATIVES

    def merge(self, schema: Any, path: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Return an object schema that accepts the objects of every alternative.

        `path` has the references that lead here: a type that is an alternative of itself adds no
        values. If there are too many alternatives, the last may have any properties.
        """
        if schema is True or self.left <= 0:
            return {}
        followed: set[str] = set()
        merged = merge_refs(schema, self.root, followed=followed)
        path |= followed
        for union in _ROOT_UNIONS:
            options = [
                self.merge(alternative, path)
                for alternative in merged.pop(union, ())
                if self._adds_objects(alternative, path)
            ]
            if options:
                merged = _add_options(merged, options)
        return merged

    def _adds_objects(self, schema: Any, path: frozenset[str]) -> bool:
        self.left -= 1
        if not isinstance(schema, Mapping) or self.left <= 0:
            return schema is not False
        followed: set[str] = set()
        types = merge_refs(schema, self.root, followed=followed).get("type", "object")
        is_object = "object" in (types if isinstance(types, list) else [types])
        return is_object and not followed & path


def _add_options(schema: dict[str, Any], options: list[dict[str, Any]]) -> dict[str, Any]:
    properties: dict[str, Any] = dict(schema.get("properties", {}))
    for name in dict.fromkeys(name for option in options for name in option.get("properties", ())):
        values = [
            option["properties"][name] for option in options if name in option.get("properties", ())
        ]
        if name not in properties:
            properties[name] = any_of(values)
        elif len(values) == len(options) and not any(value in ({}, True) for value in values):
            base = properties[name]
            description = base.get("description") if isinstance(base, Mapping) else None
            shared = {"description": description} if description else {}
            properties[name] = {**any_of(values), **shared}
    required_sets = [set(option.get("required", ())) for option in options]
    required = [*schema.get("required", ()), *sorted(set.intersection(*required_sets))]
    merged = {key: value for key, value in schema.items() if key != "required"}
    merged["properties"] = properties
    if required:
        merged["required"] = list(dict.fromkeys(required))
    if all(_is_closed(option) for option in options):
        merged["additionalProperties"] = False
    shapes = list(dict.fromkeys(_shape(option) for option in options))
    if len(shapes) > 1:
        add_description(merged, f"Properties: {' or '.join(shapes)}.")
    return merged


def _is_closed(schema: Mapping[str, Any]) -> bool:
    return schema.get("additionalProperties") is False and "patternProperties" not in schema


def _shape(schema: Mapping[str, Any]) -> str:
    """Return the names of an object's properties, with `?` where they are optional."""
    required = schema.get("required", ())
    optional = [f"{name}?" for name in schema.get("properties", ()) if name not in required]
    return "{" + ", ".join([*required, *optional]) + "}"


def any_of(schemas: list[Any]) -> dict[str, Any]:
    """Return a schema that accepts what any of the schemas accepts."""
    distinct = unique_schemas(schemas)
    if {} in distinct or True in distinct:
        return {}
    if len(distinct) == 1:
        return dict(distinct[0]) if isinstance(distinct[0], Mapping) else {"not": {}}
    if all(isinstance(one, Mapping) and _is_plain_enum(one) for one in distinct):
        types = {str(one.get("type")) for one in distinct}
        if len(types) == 1:
            values = [value for one in distinct for value in one.get("enum", [one.get("const")])]
            return {**({} if types == {"None"} else {"type": types.pop()}), "enum": values}
    return {"anyOf": distinct}


def _is_plain_enum(schema: Mapping[str, Any]) -> bool:
    return schema.keys() <= {"const", "enum", "type"} and bool(schema.keys() & {"const", "enum"})


# --- Names of properties --------------------------------------------------------------------

# Anthropic rejects requests with any other name (ComposioHQ/composio#3500).
PROPERTY_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def property_renames(schema: Mapping[str, Any]) -> dict[str, str]:
    """Return the property names that Anthropic rejects, and their replacements."""
    property_maps = (inner.get("properties") for inner in iter_schemas(schema))
    names = dict.fromkeys(
        name for inner in property_maps if isinstance(inner, Mapping) for name in inner
    )
    renames: dict[str, str] = {}
    for name in names:
        if PROPERTY_NAME.fullmatch(name):
            continue
        new_name = re.sub(r"[^a-zA-Z0-9_.-]", "_", name)[:64] or "_"
        if new_name in names or new_name in renames.values():
            digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:6]
            new_name = f"{new_name[:57]}_{digest}"
        renames[name] = new_name
    return renames


def rename_properties(schema: Any, renames: Mapping[str, str]) -> Any:
    """Rename the properties of a schema. The description keeps the former name."""
    if not isinstance(schema, Mapping):
        return schema
    out = map_subschemas(schema, lambda inner: rename_properties(inner, renames))
    if "properties" in out:
        properties: dict[str, Any] = {}
        for name, inner in out["properties"].items():
            if name in renames and isinstance(inner, dict):
                add_description(inner, f"(named {name!r})")
            properties[renames.get(name, name)] = inner
        out["properties"] = properties
    if "required" in out:
        out["required"] = [renames.get(name, name) for name in out["required"]]
    return out
