"""Parse `--schema`: a JSON Schema, a Python class, or a shorthand.

The shorthand is that of `llm`: `name, age int, tags list[str]: a description`. If descriptions
contain commas, write one field per line.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, Literal

JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(
    r"(?P<name>[A-Za-z_][\w-]*)(?:\s+(?P<type>[^:]+?))?\s*(?::(?P<description>.*))?", re.S
)
_IMPORT_SPEC = re.compile(r"[^\s,]+:[A-Za-z_][\w.]*")


def parse_schema(text: str, multiple: bool = False) -> Any:
    """Return the `output=` argument for the value of `--schema`; with `multiple`, a list of it.

    Raises:
        ValueError: The text is not a schema in any of these forms.
        OSError: The file cannot be read.
    """
    kind = _parse_single(text.strip())
    if not multiple:
        return kind
    if isinstance(kind, dict):
        return {"type": "array", "items": kind}
    return list[kind]  # type: ignore[valid-type]


def schema_kind(text: str) -> Literal["inline", "file", "import", "shorthand"]:
    """Return the form of a schema."""
    if text.startswith("{"):
        return "inline"
    if text.endswith(".json") or os.path.isfile(text):
        return "file"
    return "import" if _IMPORT_SPEC.fullmatch(text) else "shorthand"


def _parse_single(text: str) -> Any:
    if not text:
        raise ValueError("the schema is empty")
    match schema_kind(text):
        case "inline":
            return _parse_json(text, "the schema")
        case "file":
            from ...utils.encoding import read_text

            try:
                return _parse_json(read_text(text), text)
            except UnicodeDecodeError:
                raise ValueError(f"{text} is not UTF-8 text") from None
        case "import":
            from .tools import load_object

            return load_object(text)
        case _:
            return parse_shorthand(text)


def _parse_json(text: str, label: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{label} is not valid JSON: {error}") from None
    if not isinstance(schema, dict):
        raise ValueError(f"{label} is not a JSON Schema: it must be an object")
    return schema


def parse_shorthand(text: str) -> dict[str, Any]:
    """Return the JSON Schema of a list of fields.

    Example:
        >>> parse_shorthand("name, age int?: in years")["required"]
        ['name']
        >>> parse_shorthand("name, tags list[str]")["properties"]["tags"]
        {'type': 'array', 'items': {'type': 'string'}}
    """
    properties: dict[str, Any] = {}
    required = []
    for field in text.split("\n" if "\n" in text else ","):
        if not field.strip():
            continue
        match = _FIELD.fullmatch(field.strip())
        if match is None:
            raise ValueError(f"schema field {field.strip()!r}: use `name type: description`")
        name, kind = match["name"], match["type"] or "str"
        if name in properties:
            raise ValueError(f"schema field {name!r} appears twice")
        properties[name] = _field_type(kind.removesuffix("?").strip(), name)
        if not kind.endswith("?"):
            required.append(name)
        if description := (match["description"] or "").strip():
            properties[name]["description"] = description
    if not properties:
        raise ValueError("--schema has no fields; use, for example, 'name, age int'")
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _field_type(kind: str, name: str) -> dict[str, Any]:
    if kind in JSON_TYPES:
        return {"type": JSON_TYPES[kind]}
    if kind == "list" or (kind.startswith("list[") and kind.endswith("]")):
        return {"type": "array", "items": _field_type(kind[5:-1] or "str", name)}
    known = ", ".join(JSON_TYPES)
    raise ValueError(f"schema field {name!r} has unknown type {kind!r}; use {known} or list[…]")
