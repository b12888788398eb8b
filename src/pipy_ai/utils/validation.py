"""Format validation problems of Pydantic and JSON Schema as `path: problem` lines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from pydantic import VERSION, ValidationError

from .json_schema import (
    check_nesting,
)
from .schema_simplifier import (
    modernize,
)
from .schema_values import (
    drop_fields_of_others,
    drop_unknown_fields,
    has_object_union,
)

# From 2.12 on Pydantic can forbid extra fields for one validation.
_CAN_FORBID_EXTRA = tuple(int(part) for part in VERSION.split(".")[:2]) >= (2, 12)


def format_path(parts: Iterable[str | int]) -> str:
    """Format a path such as `("a", 0, "b")` as `a[0].b`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.lstrip(".") or "(all)"


def format_validation_errors(error: ValidationError) -> Iterator[str]:
    """Yield a line `path: problem` for each error."""
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        yield f"{format_path(detail['loc'])}: {detail['msg']}"


def validate_without_loss(
    validate: Callable[..., Any], value: Any, schema: Mapping[str, Any]
) -> Any:
    """Validate a value with Pydantic so that no union member drops fields of another.

    Pydantic ignores fields that a model does not have. If the intended member of a union has an
    invalid field, Pydantic would choose the member that ignores the most fields.

    Args:
        validate: takes the value and `extra=`, such as `TypeAdapter.validate_python`.
        value: JSON data.
        schema: the JSON Schema of the type.

    Raises:
        ValidationError: The value does not match.
    """
    if not (_CAN_FORBID_EXTRA and has_object_union(schema, schema)):
        return validate(value)
    try:
        return validate(value, extra="forbid")
    except ValidationError:
        known = drop_unknown_fields(value, schema, schema)
        if known == value:
            raise
        validate(known, extra="forbid")
        return validate(drop_fields_of_others(value, schema, schema))


class _References(threading.local):
    left = 0  # that the validation in this thread may still follow


_references = _References()


@contextmanager
def validation_limit(value: Any) -> Generator[None, None, None]:
    """Raise `RecursionError` where a schema or value is too much for `jsonschema`.

    It may be too deep: at the limit of Python's stack, `rpds`, which `jsonschema` needs, may panic
    instead, and that is a `BaseException` that callers do not handle. Or its references lead to
    schemas with several references each, so that following them takes forever.
    """
    _references.left = 10_000 + 100 * _size(value)
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise RecursionError("maximum recursion depth exceeded") from None
        raise


def _size(value: Any) -> int:
    """Return the number of values in a JSON value."""
    size, containers = 1, [value]
    for container in containers:
        children = container.values() if isinstance(container, dict) else container
        if isinstance(container, dict | list):
            size += len(container)
            containers += [child for child in children if isinstance(child, dict | list)]
    return size


@cache
def _with_limit(validator_class: Any) -> Any:
    """Return a class of `jsonschema` that follows no more references than are left."""
    from jsonschema.validators import extend

    names = {"$ref", "$dynamicRef", "$recursiveRef"}.intersection(validator_class.VALIDATORS)
    counted = {name: _counted(validator_class.VALIDATORS[name]) for name in names}
    return extend(validator_class, counted)  # type: ignore[no-untyped-call]


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def validate(*arguments: Any) -> Any:
        _references.left -= 1
        if _references.left < 0:
            raise RecursionError("the schema refers to itself too often")
        return keyword(*arguments)

    return validate


def _is_valid_schema(validator_class: Any, schema: dict[str, Any]) -> bool:
    from jsonschema.exceptions import SchemaError

    try:
        validator_class.check_schema(schema)
    except SchemaError:
        return False
    return True


def schema_validator(schema: dict[str, Any]) -> Any:
    """Return a validator for a JSON Schema of any draft that follows the rules of its draft.

    Use it within `validation_limit`.
    An OpenAPI schema, or one that is invalid in its draft, is converted to draft 2020-12.

    Raises:
        ValueError: The schema is nested too deeply.
    """
    check_nesting(schema)
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    validator_class = validator_for(schema, default=Draft202012Validator)
    is_newest = validator_class is Draft202012Validator  # the schema may not name its draft
    text = str(schema)
    # A part that names a draft would be validated by a class without the limit.
    is_mixed = "nullable" in text or text.count("$schema") > 1
    if is_newest or is_mixed or not _is_valid_schema(validator_class, schema):
        schema, validator_class = modernize(schema), Draft202012Validator
    empty_registry: Registry[Any] = Registry()  # references must not fetch anything  # ty: ignore[invalid-type-form]
    return _with_limit(validator_class)(schema, registry=empty_registry)


def schema_errors(value: Any, schema: dict[str, Any]) -> Iterator[str]:
    """Validate a value against a tool's JSON Schema; yield a line `path: problem` for each error.

    Raises:
        ValueError: The schema is not valid.
    """
    from jsonschema.exceptions import SchemaError, best_match
    from referencing.exceptions import Unresolvable

    try:
        with validation_limit(value):
            validator = schema_validator(schema)
            validator.check_schema(validator.schema)
            problems = [best_match([error]) for error in validator.iter_errors(value)]
    except SchemaError as error:
        raise ValueError(
            f"the tool's parameters are not a valid JSON Schema: {error.message}"
        ) from None
    except Unresolvable as error:
        raise ValueError(
            f"the tool's parameters have a reference that cannot be resolved: {error}"
        ) from None
    except RecursionError:
        raise ValueError(
            "the tool's parameters are nested too deeply, or refer to themselves"
        ) from None
    except ValueError as error:
        raise ValueError(f"the tool's parameters cannot be checked: {error}") from None
    for problem in problems:  # of several alternatives, the closest
        yield f"{format_path(problem.absolute_path)}: {problem.message[:300]}"
