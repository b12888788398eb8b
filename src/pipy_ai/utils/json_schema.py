"""Read JSON Schemas: references, null, nested schemas. No function modifies its argument.

`utils.schema_simplifier` rewrites them, and `utils.schema_values` reads values with them. The rules
of the vendors are in `utils.vendor_schemas` and `utils.gemini_schemas`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, TypeVar

_Result = TypeVar("_Result")

MAX_DEPTH = 12  # levels to which references are followed
MAX_LEVELS = 200  # of lists and objects in a schema: each takes a few frames of Python's stack
# Alternatives of a value that are looked at. References to references double them again and again.
MAX_ALTERNATIVES = 1_000
_MAX_CACHED_SCHEMAS = 256  # of each conversion


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


def cached_conversion(
    convert: Callable[[Mapping[str, Any]], _Result],
) -> Callable[[Mapping[str, Any]], _Result]:
    """Decorate a function whose result is JSON, so that it converts equal schemas once.

    Schemas and results are kept as text: callers may change what they pass and receive.
    """
    results: dict[str, str] = {}

    @wraps(convert)
    def convert_once(schema: Mapping[str, Any]) -> _Result:
        try:
            key = json.dumps(schema)
        except (TypeError, ValueError, RecursionError):  # not JSON, or too deep: `convert` tells
            return convert(schema)
        text = results.get(key)
        if text is not None:
            result: _Result = json.loads(text)
            return result
        converted = convert(schema)
        if len(results) >= _MAX_CACHED_SCHEMAS:
            results.clear()
        results[key] = json.dumps(converted)
        return converted

    return convert_once


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


def accepts_null(
    schema: Any, root: Mapping[str, Any], depth: int = 10, known: dict[int, bool] | None = None
) -> bool:
    """Whether null is a valid value; also true if a schema cannot be resolved in `root`.

    `known` has the results for schemas that were looked at, by their identity.
    """
    if schema is False:
        return False
    resolved = resolve_ref(schema, root)
    if resolved is None or depth == 0:
        return True
    known = {} if known is None else known
    key = id(resolved)
    if key in known:
        return known[key]
    known[key] = True  # if a type is an alternative of itself
    merged = merge_refs(resolved, root)
    if alternatives := get_alternatives(merged):
        known[key] = any(accepts_null(inner, root, depth - 1, known) for inner in alternatives)
    elif "const" in merged:
        known[key] = merged["const"] is None
    elif "enum" in merged:
        known[key] = None in merged["enum"]
    else:
        types = merged.get("type", "null")
        known[key] = "null" in (types if isinstance(types, list) else [types])
    return known[key]


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
    depth: int = MAX_DEPTH,
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
SUBSCHEMA_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
SUBSCHEMA_MAPS = frozenset(
    {"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"}
)


def map_subschemas(schema: Mapping[str, Any], function: Callable[[Any], Any]) -> dict[str, Any]:
    """Return a schema with `function` applied to each schema directly in it."""
    out: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _SUBSCHEMA_KEYWORDS:
            is_switch = isinstance(value, bool) and keyword in _BOOLEAN_KEYWORDS
            out[keyword] = value if is_switch else function(value)
        elif keyword in SUBSCHEMA_LISTS:
            out[keyword] = [function(inner) for inner in value]
        elif keyword in SUBSCHEMA_MAPS:
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
        elif keyword in SUBSCHEMA_LISTS and isinstance(value, list):
            for inner in value:
                yield from iter_schemas(inner)
        elif keyword in SUBSCHEMA_MAPS and isinstance(value, Mapping):
            for inner in value.values():
                yield from iter_schemas(inner)


def type_of(value: Any) -> str:
    """Return the JSON Schema type of a JSON value."""
    if isinstance(value, bool):
        return "boolean"
    types = {str: "string", int: "integer", float: "number", list: "array", dict: "object"}
    return types.get(type(value), "null")
