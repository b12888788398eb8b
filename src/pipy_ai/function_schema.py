"""Derive a tool's name, description and JSON Schema from a function or a Pydantic model."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NotRequired, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, with_config
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json

if TYPE_CHECKING:
    from typing import Self

_VALID_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # accepted by all providers


@dataclass(frozen=True, slots=True, eq=False)
class ToolImplementation:
    """The function behind a tool (None for a model class) and the validator of its arguments.

    Without an `adapter` the arguments are validated with the tool's JSON Schema.
    It is not part of the tool's data: tools are compared without it, pickles and JSON omit it,
    and copies share it.
    """

    function: Callable[..., Any] | None
    adapter: TypeAdapter[Any] | None = None
    positional_only: Mapping[str, Any] = field(default_factory=dict)  # and their defaults
    timeout: float | None = None  # seconds that a tool loop waits for one call
    source: str | None = None  # the MCP server that the tool is from

    def __post_init__(self) -> None:
        if self.function is not None and not callable(self.function):
            raise TypeError(f"run must be a function, not {self.function!r:.80}")
        if self.timeout is None:
            return
        if self.function is None:
            raise ValueError("timeout= limits a function: pass one with run=")
        if isinstance(self.timeout, bool) or not isinstance(self.timeout, int | float):
            raise TypeError(f"timeout must be a number of seconds, not {self.timeout!r:.80}")
        if not self.timeout > 0:  # also NaN
            raise ValueError(f"timeout must be more than 0 seconds, not {self.timeout!r}")

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
        """Whether calling the function returns a coroutine."""
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


@dataclass(frozen=True, slots=True)
class FunctionSchema:
    """The parts of a tool; `parameters` is a JSON Schema."""

    name: str
    description: str
    parameters: dict[str, Any]
    implementation: ToolImplementation


def describe_function(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
) -> FunctionSchema:
    """Derive a tool from a function's name, type hints and docstring.

    Raises:
        TypeError: A parameter cannot be expressed in JSON, or has no name (`*args`).
        ValueError: The function's name is not a valid tool name, and no `name` was given, or
            `timeout` is not more than 0.
    """
    unwrapped = _unwrap(function)
    if isinstance(unwrapped, type):
        raise TypeError(f"the class {unwrapped.__name__} is not a tool: pass a function")
    default_name = getattr(function, "__name__", None) or getattr(unwrapped, "__name__", None)
    name = _validate_name(name or default_name or type(unwrapped).__name__)
    parameters = _collect_parameters(function, name, _resolve_hints(unwrapped, name))
    adapter, schema = _build_adapter(name, parameters)
    summary, parameter_docs = _parse_docstring(unwrapped)
    schema.setdefault("properties", {})
    for parameter_name, property_schema in schema["properties"].items():
        if parameter_name in parameter_docs:
            property_schema.setdefault("description", parameter_docs[parameter_name])
        if parameter_name in parameters.defaults:
            json_default = _to_json_value(parameters.defaults[parameter_name])
            if json_default is not None:
                property_schema["default"] = json_default
    implementation = ToolImplementation(function, adapter, parameters.positional_only, timeout)
    return FunctionSchema(
        name, summary if description is None else description, schema, implementation
    )


def describe_model(model: type[BaseModel]) -> FunctionSchema:
    """Derive a tool without a function from a Pydantic model: its fields are the arguments.

    Raises:
        TypeError: The model is not a JSON object.
        ValueError: The model's name is not a valid tool name.
    """
    adapter = TypeAdapter(model)
    schema = _simplify(adapter.json_schema())
    if reference := schema.pop("$ref", None):  # a recursive model
        schema = {**schema["$defs"][reference.rpartition("/")[2]], **schema}
    if schema.get("type") != "object":
        raise TypeError(f"the model {model.__name__} is not a tool: arguments must be an object")
    schema.pop("description", None)
    docstring = model.__doc__ if model.__doc__ != BaseModel.__doc__ else ""
    return FunctionSchema(
        name=_validate_name(model.__name__),
        description=inspect.cleandoc(docstring or ""),
        parameters=schema,
        implementation=ToolImplementation(None, adapter),
    )


def _validate_name(name: str) -> str:
    if not _VALID_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid tool name: set one with name=")
    return name


# --- Signature and type hints ---------------------------------------------------------------


@dataclass(slots=True)
class _Parameters:
    types: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    positional_only: dict[str, Any] = field(default_factory=dict)
    extra_type: Any = None  # the type of `**keywords`


def _collect_parameters(
    function: Callable[..., Any], name: str, hints: Mapping[str, Any]
) -> _Parameters:
    parameters = _Parameters()
    # Arguments bound by a partial are hidden from the model.
    bound_arguments = function.keywords if isinstance(function, functools.partial) else {}
    for parameter in _signature_parameters(function, name):
        parameter_type = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(
                f"{name}(*{parameter.name}) cannot be a tool: arguments need names. Use a "
                "list instead."
            )
        if parameter.name in bound_arguments:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            parameters.extra_type = parameter_type
            continue
        if not parameters.types and parameter.name == "self" and "self" not in hints:
            raise TypeError(
                f"{name}() is an unbound method: pass the method of an object, such as"
                f" `thing.{name}`"
            )
        if isinstance(parameter.default, FieldInfo):
            raise TypeError(
                f"{name}({parameter.name}=Field(…)) is not a default: write Annotated[…, Field(…)]"
            )
        parameters.types[parameter.name] = parameter_type
        if parameter.default is not parameter.empty:
            parameters.defaults[parameter.name] = parameter.default
        if parameter.kind is parameter.POSITIONAL_ONLY:
            parameters.positional_only[parameter.name] = parameter.default
    return parameters


def _unwrap(function: Any) -> Any:
    """Return the function inside partials and decorators."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def _signature_parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:  # some built-in functions have no signature
        raise TypeError(f"{name}() cannot be a tool: {error}") from None


def _resolve_hints(function: Any, name: str) -> dict[str, Any]:
    routine = function if inspect.isroutine(function) else type(function).__call__
    routine = getattr(routine, "__func__", routine)
    closure_variables = {}
    if inspect.isfunction(routine):  # hints may use types defined in the enclosing function
        for variable, cell in zip(
            routine.__code__.co_freevars, routine.__closure__ or (), strict=True
        ):
            try:
                closure_variables[variable] = cell.cell_contents
            except ValueError:  # an empty cell: the function itself, while it is decorated
                continue
    try:
        # The return type is not needed, and is often imported for type checkers only.
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


def _build_adapter(name: str, parameters: _Parameters) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Build the validator of the arguments and their JSON Schema."""
    # A TypedDict, because a model's fields may not be called `json`, `copy` or `_x`.
    from typing_extensions import TypedDict  # Pydantic requires this one before Python 3.12

    fields = {
        key: NotRequired[parameter_type] if key in parameters.defaults else parameter_type
        for key, parameter_type in parameters.types.items()
    }
    arguments_type: Any = TypedDict(name, fields)  # type: ignore[misc]  # ty: ignore[invalid-argument-type]
    extra: Any = "forbid" if parameters.extra_type is None else "allow"
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            with_config(ConfigDict(extra=extra))(arguments_type)
        )
        return adapter, _simplify(adapter.json_schema())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        if isinstance(error, RecursionError):
            reason = "its type is nested too deeply"
        raise TypeError(f"{name}() has a parameter that JSON cannot represent: {reason}") from None


def _to_json_value(value: Any) -> Any:
    """Convert a parameter's default to JSON data; None if that is not possible."""
    try:
        return json.loads(to_json(value, inf_nan_mode="null"))
    except (PydanticSerializationError, ValueError):
        return None


# --- Docstring ------------------------------------------------------------------------------


def _parse_docstring(function: Any) -> tuple[str, dict[str, str]]:
    """Read a docstring in Google, NumPy or reST style: the description, and each parameter's."""
    if not inspect.isroutine(function):  # a callable object
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


# --- Schema ---------------------------------------------------------------------------------


def _simplify(schema: Any, keys_are_names: bool = False) -> Any:
    """Remove the titles that Pydantic generates: they cost tokens and add nothing.

    `const` becomes an `enum` of one value, which every provider supports. With `keys_are_names`
    the keys of `schema` are names of properties or definitions, not keywords.
    """
    if isinstance(schema, list):
        return [_simplify(subschema) for subschema in schema]
    if not isinstance(schema, dict):
        return schema
    if keys_are_names:
        return {key: _simplify(value) for key, value in schema.items()}
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "const":
            out["enum"] = [value]
        elif key in ("enum", "default", "examples", "required"):
            out[key] = value
        elif key != "title":
            out[key] = _simplify(
                value, keys_are_names=key in ("properties", "$defs", "patternProperties")
            )
    return _inline_enums(out)


def _inline_enums(schema: dict[str, Any]) -> dict[str, Any]:
    definitions: dict[str, Any] = schema.get("$defs", {})
    enums = {name: definition for name, definition in definitions.items() if "enum" in definition}
    if not enums:
        return schema
    inlined: dict[str, Any] = _inline_refs(schema, enums)
    inlined["$defs"] = {
        name: definition for name, definition in inlined["$defs"].items() if name not in enums
    }
    if not inlined["$defs"]:
        del inlined["$defs"]
    return inlined


def _inline_refs(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline_refs(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and (name := reference.rpartition("/")[2]) in definitions:
        return {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {key: _inline_refs(value, definitions) for key, value in schema.items()}
