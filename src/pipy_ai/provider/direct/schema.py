"""JSON Schema, reduced to what Gemini takes: no references, no alternatives but null. Pure; the
caller's schema is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...utils.unicode import clean_json

_KEPT = frozenset(
    {
        "description", "enum", "items", "maxItems", "maxLength", "maxProperties", "maximum",
        "minItems", "minLength", "minProperties", "minimum", "nullable", "pattern", "properties",
        "propertyOrdering", "required", "title", "type", "anyOf",
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
    definitions = {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}
    found = _reduce(clean_json(dict(schema)), definitions, _DEPTH)
    return found if found.get("properties") else {}


def _reduce(schema: Any, definitions: Mapping[str, Any], depth: int) -> dict[str, Any]:
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
        out["items"] = _reduce(first[0] if first else {"type": "string"}, definitions, depth - 1)
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
    """`anyOf` and `oneOf`: null becomes `nullable`, a single one that is left stands for all."""
    given = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(given, list):
        return
    out.pop("anyOf", None)
    kinds = [_reduce(one, definitions, depth - 1) for one in given]
    if any(kind.get("type") == "null" for kind in kinds):
        out["nullable"] = True
    kinds = [kind for kind in kinds if kind.get("type") != "null"]
    if not any(kinds):  # they said what Gemini has no words for
        return
    if len(kinds) == 1:
        out |= {key: value for key, value in kinds[0].items() if key not in out}
    else:
        out["anyOf"] = kinds
        out.pop("type", None)


def _one_type(
    kinds: list[Any],
    schema: Mapping[str, Any],
    out: dict[str, Any],
    definitions: Mapping[str, Any],
    depth: int,
) -> None:
    real = [kind for kind in kinds if kind != "null"]
    if len(real) < len(kinds):
        out["nullable"] = True
    if len(real) == 1:
        out["type"] = real[0]
    else:
        del out["type"]
        for word in (word for words in _OF_TYPE.values() for word in words):
            out.pop(word, None)
        out["anyOf"] = [
            _reduce(
                {"type": kind, **{w: schema[w] for w in _OF_TYPE.get(kind, ()) if w in schema}},
                definitions,
                depth - 1,
            )
            for kind in real
        ]


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
