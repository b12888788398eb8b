"""`--schema`: what the answer shall be, as JSON Schema, a Python class, or in short.

The short form is that of `llm`: `name, age int, tags list[str]: what they are`; one field a line
when descriptions have commas in them.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"(?P<name>[A-Za-z_][\w-]*)(?:\s+(?P<type>[^:]+?))?\s*(?::(?P<what>.*))?", re.S)
_NAMED = re.compile(r"[^\s,]+:[A-Za-z_][\w.]*")


def read(text: str, many: bool = False) -> Any:
    """What `output=` takes, of what `--schema` was given; of `many`, a list of them.

    Raises:
        ValueError: it is none of what it may be.
        OSError: the file cannot be read.
    """
    kind = _one(text.strip())
    if not many:
        return kind
    if isinstance(kind, dict):
        return {"type": "array", "items": kind}
    return list[kind]  # type: ignore[valid-type]


def _one(text: str) -> Any:
    if not text:
        raise ValueError("the schema is empty")
    if text.startswith("{"):
        return _json(text, "the schema")
    if text.endswith(".json") or os.path.isfile(text):
        with open(text, encoding="utf-8-sig") as file:
            return _json(file.read(), text)
    if _NAMED.fullmatch(text):
        from .tools import load

        return load(text)
    return in_short(text)


def _json(text: str, what: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ValueError(f"{what} is no JSON Schema: it is to be an object")
    return schema


def in_short(text: str) -> dict[str, Any]:
    """The JSON Schema of a list of fields.

    Example:
        >>> in_short("name, age int?: in years")["required"]
        ['name']
        >>> in_short("name, tags list[str]")["properties"]["tags"]
        {'type': 'array', 'items': {'type': 'string'}}
    """
    properties: dict[str, Any] = {}
    required = []
    for field in text.split("\n" if "\n" in text else ","):
        if not field.strip():
            continue
        found = _FIELD.fullmatch(field.strip())
        if found is None:
            raise ValueError(f"the schema: {field.strip()!r} is not `name type: what it is`")
        name, kind = found["name"], found["type"] or "str"
        if name in properties:
            raise ValueError(f"the schema: {name!r} is there twice")
        properties[name] = _type(kind.removesuffix("?").strip(), name)
        if not kind.endswith("?"):
            required.append(name)
        if what := (found["what"] or "").strip():
            properties[name]["description"] = what
    if not properties:
        raise ValueError("--schema has no field")
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(kind: str, name: str) -> dict[str, Any]:
    if kind in TYPES:
        return {"type": TYPES[kind]}
    if kind == "list" or (kind.startswith("list[") and kind.endswith("]")):
        return {"type": "array", "items": _type(kind[5:-1] or "str", name)}
    known = ", ".join(TYPES)
    raise ValueError(f"the schema: {name!r} has no type {kind!r}; there are {known} and list[…]")
