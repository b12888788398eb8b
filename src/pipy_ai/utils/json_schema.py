"""Dialects of JSON Schema: what each family of providers takes. Pure; the caller's schema is not
touched.

`strict` is OpenAI's, `closed` Anthropic's, `reduced` Gemini's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .unicode import clean_json

# --- OpenAI and Anthropic: objects that are closed ------------------------------------------

_FORMS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6",
                    "uuid"})  # fmt: skip
_WORDS = frozenset({"type", "title", "description", "enum", "const"})
_OPENAI = _WORDS | {"pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
                    "exclusiveMaximum", "minItems", "maxItems"}  # fmt: skip
# What a dialect has no word for is told in the description.
_LIMITS = ("pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
           "minLength", "maxLength", "minItems", "maxItems", "uniqueItems")  # fmt: skip


class _Open(Exception):
    """A type that cannot be closed: free keys, a value of any kind, a schema from elsewhere."""


def strict(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as OpenAI's strict mode takes it: every property is required (an optional one may
    be null) and there are no others. None: the type cannot be so."""
    return _closed_root(schema, _OPENAI, complete=True)


def closed(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """The schema as Anthropic's structured outputs take it: no properties but the named ones, no
    limits, nothing that holds itself. None: the type cannot be so."""
    if _holds_itself(schema):
        return None
    return _closed_root(schema, _WORDS, complete=False)


def _closed_root(
    schema: Mapping[str, Any], kept: frozenset[str], complete: bool
) -> dict[str, Any] | None:
    schema = clean_json(dict(schema))
    definitions = _definitions(schema)
    try:
        out = _close(schema, definitions, kept, complete)
        if definitions:
            out["$defs"] = {
                name: _close(inner, definitions, kept, complete)
                for name, inner in definitions.items()
            }
    except _Open:
        return None
    return out


def _close(
    schema: Any, definitions: Mapping[str, Any], kept: frozenset[str], complete: bool
) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise _Open
    if isinstance(reference := schema.get("$ref"), str):
        return {"$ref": _reference(reference, definitions)}  # it takes nothing beside it
    if "allOf" in schema:
        schema = _resolved(schema, definitions)
    if isinstance(kinds := schema.get("type"), list):
        bare = {key: value for key, value in schema.items() if key not in ("type", "description")}
        each = [{"type": "null"} if kind == "null" else {**bare, "type": kind} for kind in kinds]
        schema = {"anyOf": each, "description": schema.get("description")}
    out = {key: value for key, value in schema.items() if key in kept and value is not None}
    if schema.get("format") in _FORMS:
        out["format"] = schema["format"]
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        out["anyOf"] = [_close(one, definitions, kept, complete) for one in alternatives]
        out.pop("type", None)
    elif not out.keys() & {"type", "enum", "const"}:
        raise _Open
    if out.get("type") == "object":
        _close_object(schema, out, definitions, kept, complete)
    elif out.get("type") == "array":
        schema = _as_list(schema, out, kept)
        out["items"] = _close(schema.get("items"), definitions, kept, complete)
    limits = [f"{key}: {schema[key]}" for key in _LIMITS if key in schema and key not in out]
    if limits:
        said = out.get("description")
        out["description"] = (f"{said} " if said else "") + f"({', '.join(limits)})"
    return out


def _close_object(
    schema: Mapping[str, Any],
    out: dict[str, Any],
    definitions: Mapping[str, Any],
    kept: frozenset[str],
    complete: bool,
) -> None:
    properties = schema.get("properties") or {}
    others = schema.get("additionalProperties")
    if "patternProperties" in schema or (others is not False and (others or not properties)):
        raise _Open
    required = schema.get("required") or []
    out["properties"] = {
        name: _close(inner, definitions, kept, complete) for name, inner in properties.items()
    }
    if complete:
        for name, inner in properties.items():
            if name not in required and not accepts_null(inner, definitions):
                out["properties"][name] = {"anyOf": [out["properties"][name], {"type": "null"}]}
        required = list(properties)
    out["required"] = [name for name in required if name in properties]
    out["additionalProperties"] = False


def _as_list(
    schema: Mapping[str, Any], out: dict[str, Any], kept: frozenset[str]
) -> Mapping[str, Any]:
    """A tuple as a list of that many items, each of any of its kinds."""
    first = schema.get("prefixItems")
    if not first:
        return schema
    if "minItems" in kept:
        out["minItems"] = out["maxItems"] = len(first)
    kinds = [one for number, one in enumerate(first) if one not in first[:number]]
    items = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {**schema, "items": items, "minItems": len(first), "maxItems": len(first)}


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}


def _reference(reference: str, definitions: Mapping[str, Any]) -> str:
    name = reference.rpartition("/")[2]
    if reference == "#":
        return reference
    if not reference.startswith("#/") or name not in definitions:
        raise _Open
    return f"#/$defs/{name}"


def _holds_itself(schema: Mapping[str, Any]) -> bool:
    if "#" in references(schema):
        return True
    below = {
        name: {reference.rpartition("/")[2] for reference in references(inner)}
        for name, inner in _definitions(schema).items()
    }
    for name, seen in below.items():
        while new := set().union(*(below.get(other, ()) for other in seen)) - seen:
            seen |= new
        if name in seen:
            return True
    return False


def references(value: Any) -> Iterable[str]:
    """All that a schema refers to."""
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def accepts_null(schema: Any, definitions: Mapping[str, Any]) -> bool:
    """Whether null is a value of the type."""
    if not isinstance(schema, Mapping):
        return schema is True
    schema = _resolved(schema, definitions)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return any(accepts_null(one, definitions) for one in alternatives)
    if "const" in schema:
        return schema["const"] is None
    if "enum" in schema:
        return None in schema["enum"]
    kind = schema.get("type")
    return kind is None or kind == "null" or (isinstance(kind, list) and "null" in kind)


# --- Gemini: no references, no alternatives but null ----------------------------------------

_KEPT = frozenset(
    {
        "description", "enum", "items", "maxItems", "maxLength", "maxProperties", "maximum",
        "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties",
        "propertyOrdering", "required", "title", "type",
    }
)  # fmt: skip
_FORMATS = {"string": ("enum", "date-time"), "number": ("float", "double"),
            "integer": ("int32", "int64")}  # fmt: skip
# Words that only one type of value has.
_OF_TYPE = {
    "array": ("items", "maxItems", "minItems", "prefixItems"),
    "object": ("maxProperties", "minProperties", "properties", "propertyOrdering", "required"),
}
_DEPTH = 12  # levels of a type that holds itself


def reduced(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a function's parameters; empty where there are none."""
    definitions = _definitions(schema)
    found = _reduce(clean_json(dict(schema)), definitions, _DEPTH)
    return found if found.get("properties") else {}


def _reduce(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    out = _part(schema, definitions, depth)
    out.setdefault("type", "string")  # a value of any kind; there must be a type
    return out


def _part(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping) or depth == 0:
        return {"type": "object"} if depth == 0 else {}
    schema = _resolved(schema, definitions)
    out: dict[str, Any] = {key: value for key, value in schema.items() if key in _KEPT}
    _alternatives(schema, out, definitions, depth)
    kinds = out.get("type")
    if isinstance(kinds, list):
        _one_type(kinds, schema, out, definitions, depth)
    if "const" in schema:
        out["enum"] = [schema["const"]]
    if "enum" in out:
        _strings(out)
    if (form := schema.get("format")) in _FORMATS.get(str(out.get("type")), ()):
        out["format"] = form
    if isinstance(out.get("properties"), Mapping):
        out["properties"] = {
            name: _reduce(inner, definitions, depth - 1)
            for name, inner in out["properties"].items()
        }
        out.setdefault("type", "object")
    if "required" in out:  # Gemini wants every one of them defined beside it
        needed = [name for name in out.pop("required") if name in out.get("properties", ())]
        out |= {"required": needed} if needed else {}
    if "items" in out:
        out["items"] = _reduce(out["items"], definitions, depth - 1)
    elif out.get("type") == "array":
        first = schema.get("prefixItems")
        kinds = [_reduce(one, definitions, depth - 1) for one in first or [{"type": "string"}]]
        out["items"] = _together(kinds)
    return out


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with its reference replaced and its parts put together."""
    merged = dict(schema)
    for _ in range(_DEPTH):
        reference = merged.pop("$ref", None)
        if not isinstance(reference, str):
            break
        target = definitions.get(reference.rpartition("/")[2])
        merged = {**(target if isinstance(target, Mapping) else {}), **merged}
    for part in merged.pop("allOf", None) or ():
        whole = _resolved(part, definitions) if isinstance(part, Mapping) else {}
        both = {**whole.get("properties", {}), **merged.get("properties", {})}
        needed = [*whole.get("required", ()), *merged.get("required", ())]
        merged = {**whole, **merged}
        if both:
            merged["properties"] = both
        if needed:
            merged["required"] = list(dict.fromkeys(needed))
    return merged


def _alternatives(
    schema: Mapping[str, Any], out: dict[str, Any], definitions: Mapping[str, Any], depth: int
) -> None:
    """`anyOf` and `oneOf`: null becomes `nullable`, all others are put together."""
    given = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(given, list):
        return
    kinds = [_part(one, definitions, depth - 1) for one in given]
    if any(kind.get("type") == "null" for kind in kinds):
        out["nullable"] = True
    kinds = [kind for kind in kinds if kind.get("type") != "null"]
    if any(kinds):  # else they said what Gemini has no words for
        _join(kinds, out)


def _join(kinds: list[dict[str, Any]], out: dict[str, Any]) -> None:
    whole = _together(kinds)
    if "description" in out and len(kinds) > 1 and "description" in whole:
        out["description"] += f" ({whole['description']})"
    out |= {key: value for key, value in whole.items() if key not in out}


def _together(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    """One type that holds all values of several: objects have the properties of all, plain values
    of different types are written as strings."""
    if len(kinds) == 1:
        return kinds[0]
    types = list(dict.fromkeys(kind.get("type", "string") for kind in kinds))
    out: dict[str, Any] = {"nullable": True} if any("nullable" in kind for kind in kinds) else {}
    if len(types) > 1:
        out["description"] = " or ".join(types)
    if "object" in types:
        parts = [kind for kind in kinds if kind.get("type") == "object"]
        return out | _one_object(parts) if len(parts) > 1 else parts[0] | out
    if "array" in types:
        parts = [kind for kind in kinds if kind.get("type") == "array"]
        return out | {"type": "array", "items": _together([kind["items"] for kind in parts])}
    if set(types) == {"integer", "number"}:
        return {"type": "number"} | {key: True for key in out if key == "nullable"}
    if types == ["string"] and all("enum" in kind for kind in kinds):
        values = [value for kind in kinds for value in kind["enum"]]
        return out | {"type": "string", "enum": list(dict.fromkeys(values))}
    return out | {"type": types[0] if len(types) == 1 else "string"}


def _one_object(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    insides = [kind.get("properties") or {} for kind in kinds]
    names = list(dict.fromkeys(name for inner in insides for name in inner))
    properties = {
        name: _together([inner[name] for inner in insides if name in inner]) for name in names
    }
    groups = ["{" + ", ".join(inner) + "}" for inner in insides]
    always = [n for n in names if all(n in kind.get("required", ()) for kind in kinds)]
    out = {"type": "object", "properties": properties, "description": " or ".join(groups)}
    return out | ({"required": always} if always else {})


def _one_type(
    kinds: list[Any],
    schema: Mapping[str, Any],
    out: dict[str, Any],
    definitions: Mapping[str, Any],
    depth: int,
) -> None:
    """`type` as a list: null becomes `nullable`, all others are put together."""
    real = [kind for kind in kinds if kind != "null"]
    if len(real) < len(kinds):
        out["nullable"] = True
    if len(real) == 1:
        out["type"] = real[0]
        return
    del out["type"]
    for word in (word for words in _OF_TYPE.values() for word in words):
        out.pop(word, None)
    parts = [
        {"type": kind, **{w: schema[w] for w in _OF_TYPE.get(kind, ()) if w in schema}}
        for kind in real
    ]
    if parts:
        _join([_reduce(part, definitions, depth - 1) for part in parts], out)


def _strings(out: dict[str, Any]) -> None:
    """Gemini's enums are strings, and none of them is empty."""
    values = [value for value in out["enum"] if value not in (None, "")]
    if None in out["enum"]:
        out["nullable"] = True
    if values and all(isinstance(value, str) for value in values):
        out["enum"], out["type"] = values, "string"
    else:
        del out["enum"]  # the type still says what it is
        out.setdefault("type", _type_of(values) if values else "string")


def _type_of(values: list[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "boolean"
    if all(isinstance(value, int) for value in values):
        return "integer"
    return "number" if all(isinstance(value, int | float) for value in values) else "string"
