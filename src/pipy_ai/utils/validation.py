"""Format validation problems of Pydantic and JSON Schema as `path: problem` lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError


def format_path(parts: Iterable[str | int]) -> str:
    """Format a path such as `("a", 0, "b")` as `a[0].b`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.lstrip(".") or "(all)"


def format_validation_errors(error: ValidationError) -> Iterator[str]:
    """Yield a line `path: problem` for each error."""
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        yield f"{format_path(detail['loc'])}: {detail['msg']}"


def schema_errors(value: Any, schema: dict[str, Any]) -> Iterator[str]:
    """Validate a value against a tool's JSON Schema; yield a line `path: problem` for each error.

    Raises:
        ValueError: the schema is not valid.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator_class = validator_for(schema, default=Draft202012Validator)
    empty_registry: Registry[Any] = Registry()  # references must not fetch anything  # ty: ignore[invalid-type-form]
    try:
        validator_class.check_schema(schema)
        for error in validator_class(schema, registry=empty_registry).iter_errors(value):
            error = best_match([error])  # of several alternatives, the closest
            yield f"{format_path(error.absolute_path)}: {error.message[:300]}"
    except SchemaError as error:
        raise ValueError(f"the tool's parameters are no JSON Schema: {error.message}") from None
    except Unresolvable as error:
        raise ValueError(f"the tool's parameters refer to what is not there: {error}") from None
