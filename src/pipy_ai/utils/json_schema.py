"""Read and simplify JSON Schemas. No function modifies its argument.

The rules of each vendor are in `utils.vendor_schemas`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_MAX_DEPTH = 12  # levels to which references are followed
MAX_LEVELS = 200  # of lists and objects in a schema: each takes a few frames of Python's stack


def check_nesting(schema: Any) -> None:
    """Check that a schema is not nested too deeply to traverse.

    Raises:
        ValueError: It has more than `MAX_LEVELS` levels.
    """
    level = [schema]
    for _ in range(MAX_LEVELS):
        inner = (item.values() if isinstance(item, Mapping) else item for item in level)
        containers = (item for items in inner for item in items if isinstance(item, Mapping | list))
        level = list({id(item): item for item in containers}.values())
        if not level:
            return
    raise ValueError(f"the schema has more than {MAX_LEVELS} levels of lists and objects")


# --- References and null --------------------------------------------------------------------


def resolve_ref(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Follow the `$ref` of a schema within `root`; None if it does not lead to a schema."""
    for _ in range(10):
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = find_target(reference, root)
    return None


def find_target(reference: str, root: Mapping[str, Any]) -> Any:
    """Return the target of a JSON pointer such as `#/$defs/Place`, or of an anchor, or None."""
    if re.match("#[^/]", reference):
        anchored = (one for one in iter_schemas(root) if one.get("$anchor") == reference[1:])
        return next(anchored, None)
    target: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list):
            target = target[int(key)] if key.isdigit() and int(key) < len(target) else None
        elif part:
            target = target.get(key) if isinstance(target, Mapping) else None
    return target


def accepts_null(schema: Any, root: Mapping[str, Any], depth: int = 10) -> bool:
    """Whether null is a valid value; also true if a schema cannot be resolved in `root`."""
    if schema is False:
        return False
    resolved = resolve_ref(schema, root)
    if resolved is None or depth == 0:
        return True
    resolved = merge_refs(resolved, root)
    if alternatives := get_alternatives(resolved):
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


def get_alternatives(schema: Mapping[str, Any]) -> list[Any]:
    """Return the alternatives of `anyOf` or `oneOf`."""
    return schema.get("anyOf") or schema.get("oneOf") or []


def get_definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the definitions of a schema by name."""
    return {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}


def merge_refs(
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    depth: int = _MAX_DEPTH,
    followed: set[str] | None = None,
) -> dict[str, Any]:
    """Replace the reference of a schema with its target, and merge the parts of `allOf`.

    Each reference is followed once, even if its target contains itself, and added to `followed`.
    """
    followed = set() if followed is None else followed
    merged = dict(schema)
    for _ in range(depth):
        reference = merged.pop("$ref", None)
        if not isinstance(reference, str):
            break
        target = None if reference in followed else find_target(reference, root)
        followed.add(reference)
        merged = with_siblings(target if isinstance(target, Mapping) else {}, merged)
    for part in merged.pop("allOf", None) or ():
        if isinstance(part, Mapping) and depth:
            merged = merge_all(merge_refs(part, root, depth - 1, followed), merged)
    return merged


def merge_all(part: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two schemas that both apply. Where they differ, `schema` takes precedence."""
    merged = with_siblings(part, schema)
    properties = {**part.get("properties", {}), **schema.get("properties", {})}
    required = [*part.get("required", ()), *schema.get("required", ())]
    if properties:
        merged["properties"] = properties
    if required:
        merged["required"] = list(dict.fromkeys(required))
    return merged


def with_siblings(target: Mapping[str, Any], siblings: Mapping[str, Any]) -> dict[str, Any]:
    """Inline a definition next to the keywords of its reference, with both descriptions."""
    merged = {**target, **siblings}
    if target.get("description") and siblings.get("description"):
        texts = dict.fromkeys((siblings["description"], target["description"]))
        merged["description"] = "\n".join(map(str, texts))
    return merged


# --- Walking a schema -----------------------------------------------------------------------

_SUBSCHEMA_KEYWORDS = frozenset(
    {
        "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if",
        "items", "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
    }
)  # fmt: skip
_BOOLEAN_KEYWORDS = frozenset(
    {"additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"}
)
_SUBSCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SUBSCHEMA_MAPS = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)


def map_subschemas(schema: Mapping[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema with `function` applied to each schema directly in it."""
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _SUBSCHEMA_KEYWORDS:
            is_switch = isinstance(value, bool) and keyword in _BOOLEAN_KEYWORDS
            out[keyword] = value if is_switch else function(value)
        elif keyword in _SUBSCHEMA_LISTS:
            out[keyword] = [function(inner) for inner in value]
        elif keyword in _SUBSCHEMA_MAPS:
            out[keyword] = {name: function(inner) for name, inner in value.items()}
        else:
            out[keyword] = value
    return out


def iter_schemas(schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and all schemas in it. References are not followed."""
    if not isinstance(schema, Mapping):
        return
    yield schema
    for keyword, value in schema.items():
        if keyword in _SUBSCHEMA_KEYWORDS:
            yield from iter_schemas(value)
        elif keyword in _SUBSCHEMA_LISTS and isinstance(value, list):
            for inner in value:
                yield from iter_schemas(inner)
        elif keyword in _SUBSCHEMA_MAPS and isinstance(value, Mapping):
            for inner in value.values():
                yield from iter_schemas(inner)


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
    if keyword in _SUBSCHEMA_MAPS or keyword == "dependencies":
        return isinstance(value, Mapping)
    if keyword in _SUBSCHEMA_LISTS or keyword == "enum":
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


def type_of(value: Any) -> str:
    """Return the JSON Schema type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    types = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return types.get(type(value), "null")


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


def _distinct(schemas: list[Any]) -> list[Any]:
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
    distinct = _distinct(item_types)
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
    merged = _merge_alternatives(schema, schema)
    kept = {key: value for key, value in merged.items() if key not in _REJECTED_ROOT_KEYWORDS}
    return {**kept, "type": "object", "properties": merged.get("properties", {})}


def _merge_alternatives(
    schema: Any, root: Mapping[str, Any], depth: int = _MAX_DEPTH
) -> dict[str, Any]:
    """Return an object schema that accepts the objects of every alternative."""
    merged = merge_refs(schema, root) if isinstance(schema, Mapping) else {}
    for union in _ROOT_UNIONS:
        alternatives = merged.pop(union, ()) if depth else ()
        options = [
            _merge_alternatives(alternative, root, depth - 1)
            for alternative in alternatives
            if _may_be_object(alternative, root)
        ]
        if options:
            merged = _add_options(merged, options)
    return merged


def _may_be_object(schema: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(schema, Mapping):
        return schema is True
    types = merge_refs(schema, root).get("type", "object")
    return "object" in (types if isinstance(types, list) else [types])


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
    distinct = _distinct(schemas)
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


def restore_properties(value: Any, schema: Any, renames: Mapping[str, str]) -> Any:
    """Restore the former names of the properties of `schema` in a value. Other keys are kept."""
    former_names = {new_name: name for name, new_name in renames.items()}
    return _restore(value, expand_options(schema, schema), former_names, schema)


def _restore(
    value: Any, options: list[Any], former_names: Mapping[str, str], root: Mapping[str, Any]
) -> Any:
    if isinstance(value, list):
        return [
            _restore(item, _inner_options(options, index, root)[0], former_names, root)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    properties = {name for option in options for name in option.get("properties") or ()}
    restored: dict[str, Any] = {}
    for sent_name, inner in value.items():
        former_name = former_names.get(sent_name, sent_name)
        name = former_name if former_name in properties else sent_name
        inner_options = _inner_options(options, name, root)[0]
        restored[name] = _restore(inner, inner_options, former_names, root)
    return restored


# --- Values of unions -----------------------------------------------------------------------


def expand_options(
    schema: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> list[Any]:
    """Return the schemas that a value may match, without references and unions."""
    if not isinstance(schema, Mapping):
        return []
    followed: set[str] = set()
    merged = merge_refs(schema, root, followed=followed)
    if followed & seen:
        return []
    alternatives = get_alternatives(merged)
    if not alternatives:
        return [merged]
    seen |= followed
    shared = {key: v for key, v in merged.items() if key in ("type", "properties", "required")}
    options: list[Any] = []
    for alternative in alternatives:
        if not shared:
            options += expand_options(alternative, root, seen)
        elif isinstance(alternative, Mapping):
            followed = set()
            inner = merge_refs(alternative, root, followed=followed)
            if not followed & seen:
                options += expand_options(merge_all(shared, inner), root, seen | followed)
    return options


def matching_options(
    value: dict[str, Any], options: list[Any], root: Mapping[str, Any]
) -> list[Any]:
    """Return the object schemas that an object most likely follows."""
    matching = [option for option in options if _type_includes(option, "object")]
    for rule in (_fits_values, _knows_fields, _has_required):
        matching = [option for option in matching if rule(value, option, root)] or matching
    return matching


def _type_includes(schema: Mapping[str, Any], type_name: str) -> bool:
    types = schema.get("type", type_name)
    return type_name in (types if isinstance(types, list) else [types])


def _fits_values(value: dict[str, Any], option: Any, root: Mapping[str, Any]) -> bool:
    """Return whether constants, enums and types of an object's fields match."""
    for name, schema in (option.get("properties") or {}).items():
        inner = value.get(name)
        fields = expand_options(schema, root)
        if inner is not None and fields and not any(_fits(inner, field) for field in fields):
            return False
    return True


def _fits(value: Any, schema: Mapping[str, Any]) -> bool:
    if "const" in schema or "enum" in schema:
        return value in schema.get("enum", [schema.get("const")])
    type_name = type_of(value)
    return _type_includes(schema, type_name) or (
        type_name == "integer" and _type_includes(schema, "number")
    )


def _knows_fields(value: dict[str, Any], option: Any, root: Mapping[str, Any]) -> bool:
    properties = option.get("properties") or {}
    return all(name in properties for name, inner in value.items() if inner is not None)


def _has_required(value: dict[str, Any], option: Any, root: Mapping[str, Any]) -> bool:
    properties = option.get("properties") or {}
    return all(
        name in value and (value[name] is not None or accepts_null(properties.get(name, {}), root))
        for name in option.get("required") or ()
    )


def _narrow_by_tag(value: dict[str, Any], options: list[Any], root: Mapping[str, Any]) -> list[Any]:
    """Return only the option whose constant an object has, if the constants of a field all differ.

    Such a field is the discriminator of a union, whether or not it is declared as one.
    """
    objects = [option for option in options if _type_includes(option, "object")]
    for name, tag in value.items():
        tags = [_constants((option.get("properties") or {}).get(name), root) for option in objects]
        every_tag = [constant for constants in tags for constant in constants]
        if all(tags) and len(_distinct(every_tag)) == len(every_tag) and tag in every_tag:
            return [option for option, own in zip(objects, tags, strict=True) if tag in own]
    return options


def _constants(schema: Any, root: Mapping[str, Any]) -> list[Any]:
    """Return the constants that a schema accepts; empty if it accepts other values."""
    fields = expand_options(schema, root)
    if not all("const" in field or "enum" in field for field in fields):
        return []
    return [value for field in fields for value in field.get("enum", [field.get("const")])]


def _inner_options(
    options: list[Any], name: str | int, root: Mapping[str, Any]
) -> tuple[list[Any], bool]:
    """Return the options of a field or an item, and whether any of `options` has it."""
    schemas: list[Any] = []
    for option in options:
        if isinstance(name, int):
            prefix = option.get("prefixItems") or ()
            schemas.append(prefix[name] if name < len(prefix) else option.get("items"))
            continue
        properties = option.get("properties") or {}
        if name in properties:
            schemas.append(properties[name])
        elif isinstance(option.get("additionalProperties"), Mapping):
            schemas.append(option["additionalProperties"])
        elif "patternProperties" in option:
            schemas.append({})
    return [inner for schema in schemas for inner in expand_options(schema, root)], bool(schemas)


def drop_optional_nulls(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value without nulls of optional properties and of other alternatives' properties.

    Strict schemas make every property required, and Gemini's merge the alternatives of a union: a
    model sends null for those it would omit. A null that is a valid value is kept.
    """
    if not _has_null(value):
        return value
    return _drop_nulls(value, expand_options(schema, root), root)


def _has_null(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_null, value.values() if isinstance(value, dict) else value))
    return value is None


def _drop_nulls(value: Any, options: list[Any], root: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [
            _drop_nulls(item, _inner_options(options, index, root)[0], root)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    matching = matching_options(value, options, root)
    return {
        name: _drop_nulls(inner, _inner_options(matching, name, root)[0], root)
        for name, inner in value.items()
        if inner is not None or not _is_omitted(name, matching, options, root)
    }


def _is_omitted(
    name: str, matching: list[Any], options: list[Any], root: Mapping[str, Any]
) -> bool:
    """Return whether null represents an omitted property."""
    having = [option for option in matching if name in (option.get("properties") or ())]
    if not having:
        return any(name in (option.get("properties") or ()) for option in options)
    return any(name not in (option.get("required") or ()) for option in having) and not any(
        accepts_null(option["properties"][name], root) for option in having
    )


def has_object_union(schema: Any, root: Mapping[str, Any]) -> bool:
    """Return whether objects of several kinds are possible somewhere in a schema."""
    return any(
        sum(_type_includes(option, "object") for option in expand_options(inner, root)) > 1
        for inner in iter_schemas(schema)
        if get_alternatives(inner)
    )


def drop_fields_of_others(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value without fields of alternatives other than the one that its tag names."""
    return _drop_fields(value, expand_options(schema, root), root, keep_unknown=True)


def drop_unknown_fields(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """Return a value without fields that none of the possible alternatives has."""
    return _drop_fields(value, expand_options(schema, root), root, keep_unknown=False)


def _drop_fields(
    value: Any, options: list[Any], root: Mapping[str, Any], keep_unknown: bool
) -> Any:
    if isinstance(value, list):
        return [
            _drop_fields(item, _inner_options(options, index, root)[0], root, keep_unknown)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    meant = _narrow_by_tag(value, options, root)
    is_open = any(option.get("additionalProperties") for option in meant)
    names_of_any = {name for option in options for name in option.get("properties") or ()}
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        inner_options, is_known = _inner_options(meant, name, root)
        is_kept = is_known or not options
        if keep_unknown and (is_open or name not in names_of_any):
            is_kept = True
        if is_kept:
            kept[name] = _drop_fields(inner, inner_options, root, keep_unknown)
    return kept
