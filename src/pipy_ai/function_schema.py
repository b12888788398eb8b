"""Derive a tool's name, description and JSON Schema from a Python function."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NotRequired, get_type_hints

from pydantic import ConfigDict, TypeAdapter, with_config
from pydantic_core import PydanticSerializationError, to_json

if TYPE_CHECKING:
    from typing import Self


_VALID_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what all providers take


@dataclass(frozen=True, slots=True, eq=False)
class ToolImplementation:
    """What stands behind a tool: a function, or only a type; and how its arguments are read.

    It is no part of the tool's data: two tools that say the same are equal, a pickle leaves it
    out as JSON does, a copy shares it.
    """

    function: Callable[..., Any] | None
    adapter: TypeAdapter[Any]
    positional_only: Mapping[str, Any]  # parameters that take no name, with their defaults

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with validated arguments."""
        if self.function is None:
            raise TypeError("this tool has no function")
        keyword_args = dict(arguments)
        positional_args = [
            keyword_args.pop(name, default) for name, default in self.positional_only.items()
        ]
        return self.function(*positional_args, **keyword_args)

    @property
    def is_async(self) -> bool:
        """Whether a call gives something to await."""
        inner: Any = self.function
        while isinstance(inner, functools.partial):
            inner = inner.func
        return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(
            getattr(inner, "__call__", None)  # noqa: B004
        )

    def __eq__(self, other: object) -> bool:
        return other is None or isinstance(other, ToolImplementation)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # functions and validators do not pickle

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


def validate_tool_name(name: str) -> str:
    if not _VALID_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a tool: give it one with name=")
    return name


def unwrap(function: Any) -> Any:
    """What somebody wrote: the function within partials and decorators."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def signature_parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:  # of something built in
        raise TypeError(f"{name}() is no tool: {error}") from None


def resolve_hints(function: Any, name: str) -> dict[str, Any]:
    routine = function if inspect.isroutine(function) else type(function).__call__
    routine = getattr(routine, "__func__", routine)
    closure_variables = {}
    if inspect.isfunction(routine):  # types that the function around it defines, and it uses
        for variable, cell in zip(
            routine.__code__.co_freevars, routine.__closure__ or (), strict=True
        ):
            try:
                closure_variables[variable] = cell.cell_contents
            except ValueError:  # not yet filled: the function itself, while it is decorated
                continue
    try:
        # What it returns does not matter here, and is often imported for type checkers only.
        hints = {k: v for k, v in getattr(routine, "__annotations__", {}).items() if k != "return"}
        holder: Any = SimpleNamespace(__annotations__=hints)
        module_globals = getattr(routine, "__globals__", {})
        return get_type_hints(
            holder, globalns=module_globals, localns=closure_variables, include_extras=True
        )
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise TypeError(
            f"the type hints of {name}() cannot be read: {error}. Define the type in the module,"
            " or leave out `from __future__ import annotations`."
        ) from None


def build_adapter(
    name: str, parameter_types: Mapping[str, Any], defaults: Mapping[str, Any], extra_type: Any
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    # A TypedDict, since a model's fields may not be called `json`, `copy`, `_x`.
    from typing_extensions import TypedDict  # Pydantic wants this one before Python 3.12

    fields = {
        key: NotRequired[parameter_type] if key in defaults else parameter_type
        for key, parameter_type in parameter_types.items()
    }
    arguments_type: Any = TypedDict(name, fields)  # type: ignore[misc]  # ty: ignore[invalid-argument-type]
    extra: Any = "forbid" if extra_type is None else "allow"
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            with_config(ConfigDict(extra=extra))(arguments_type)
        )
        return adapter, simplify_schema(adapter.json_schema())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise TypeError(f"{name}() has a parameter that JSON cannot give: {reason}") from None


def parse_docstring(function: Any) -> tuple[str, dict[str, str]]:
    """What a function does, and what its parameters are; in Google's, NumPy's or reST's style."""
    if not inspect.isroutine(function):  # an object: what its `__call__` says, else its class
        function = type(function).__call__ if type(function).__call__.__doc__ else type(function)
    text = inspect.getdoc(function)
    if not text:
        return "", {}
    import docstring_parser

    parsed = docstring_parser.parse(text)
    descriptions = [parsed.short_description, parsed.long_description]
    separator = "\n\n" if parsed.blank_after_short_description else "\n"
    parameters = {
        parameter.arg_name.strip("`* "): parameter.description
        for parameter in parsed.params
        if parameter.description
    }
    return separator.join(part for part in descriptions if part), parameters


def to_json_value(value: Any) -> Any:
    """A default as JSON; None when it has no such form."""
    try:
        return json.loads(to_json(value, inf_nan_mode="null"))
    except (PydanticSerializationError, ValueError):
        return None


def simplify_schema(schema: Any, keys_are_names: bool = False) -> Any:
    """Pydantic's schema without what only costs tokens: titles of its own making. A constant is an
    enum of one, which every provider knows. `named`: the keys are names, not keywords."""
    if isinstance(schema, list):
        return [simplify_schema(subschema) for subschema in schema]
    if not isinstance(schema, dict):
        return schema
    if keys_are_names:
        return {key: simplify_schema(value) for key, value in schema.items()}
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "const":
            out["enum"] = [value]
        elif key in ("enum", "default", "examples", "required"):
            out[key] = value
        elif key != "title":
            out[key] = simplify_schema(
                value, keys_are_names=key in ("properties", "$defs", "patternProperties")
            )
    definitions: dict[str, Any] = out.get("$defs", {})
    enums = {name: one for name, one in definitions.items() if "enum" in one}
    if enums:
        out = _inline_refs(out, enums)
        out["$defs"] = {name: one for name, one in out["$defs"].items() if name not in enums}
        if not out["$defs"]:
            del out["$defs"]
    return out


def _inline_refs(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline_refs(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and (name := reference.rpartition("/")[2]) in definitions:
        return {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {key: _inline_refs(value, definitions) for key, value in schema.items()}
