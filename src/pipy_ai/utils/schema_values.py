"""Read values with their JSON Schema: renamed properties, unions, optional nulls.

No function modifies its argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .json_schema import (
    MAX_ALTERNATIVES,
    accepts_null,
    get_alternatives,
    iter_schemas,
    merge_all,
    merge_refs,
    type_of,
)
from .schema_simplifier import unique_schemas


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


def expand_options(schema: Any, root: Mapping[str, Any]) -> list[Any]:
    """Return the schemas that a value may match, without references and unions.

    Return none if there are more than `MAX_ALTERNATIVES`.
    """
    options: list[Any] = []
    expander = _Expander(root, options)
    expander.expand(schema, frozenset())
    return options if expander.left > 0 else []


@dataclass(slots=True)
class _Expander:
    root: Mapping[str, Any]
    options: list[Any]
    left: int = MAX_ALTERNATIVES

    def expand(
        self, schema: Any, seen: frozenset[str], shared: Mapping[str, Any] | None = None
    ) -> None:
        """Add the alternatives of a schema, each with the keywords that they share.

        `seen` has the references that lead here: a type that is an alternative of itself adds no
        values.
        """
        self.left -= 1
        schema = {} if schema is True else schema
        if not isinstance(schema, Mapping) or self.left <= 0:
            return
        followed: set[str] = set()
        merged = merge_refs(schema, self.root, followed=followed)
        if followed & seen:
            return
        if shared:
            merged = merge_all(shared, merged)
        alternatives = get_alternatives(merged)
        if not alternatives:
            self.options.append(merged)
            return
        shared = {key: v for key, v in merged.items() if key in ("type", "properties", "required")}
        for alternative in alternatives:
            self.expand(alternative, seen | followed, shared)


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
        if all(tags) and len(unique_schemas(every_tag)) == len(every_tag) and tag in every_tag:
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
