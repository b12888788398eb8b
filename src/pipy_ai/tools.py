"""Tools out of functions, and the arguments that a model gives them.

    @tool
    def get_weather(city: str, days: int = 1) -> str:
        \"""The weather forecast.

        Args:
            city: Where.
        \"""
        return "sunny"

    message = complete("openai/gpt-5", ctx("Weather in Rome?", tools=[get_weather]))
    for call in message.tool_calls:
        print(get_weather(**validate_tool_call([get_weather], call)))

`run_tools` does the whole round by itself. What a model says is untrusted: it is checked against
the function's own type hints, and what does not fit goes back to it in words.
"""

from __future__ import annotations

import copy
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, overload

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from .function_schema import (
    ToolImplementation,
    build_adapter,
    parse_docstring,
    resolve_hints,
    signature_parameters,
    simplify_schema,
    to_json_value,
    unwrap,
    validate_tool_name,
)
from .types import Tool, ToolCall
from .utils.validation import format_validation_errors, schema_errors

ToolLike: TypeAlias = Tool | Callable[..., Any] | type[BaseModel] | Mapping[str, Any]


class ToolValidationError(ValueError):
    """A call's arguments do not fit. `str()` of it says what is wrong, for the model to act on:
    one `path: problem` line each, which `problems` holds as well."""

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__("\n".join([text, *problems]))
        self.problems: list[str] = list(problems)


# === Out of functions =======================================================================


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a `Tool`, which can still be called. As `Tool.from_function`.

    Example:
        >>> from pipy_ai import tool
        >>> @tool
        ... def add(a: int, b: int = 1) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> add.description, add(2, b=3)
        ('Add two numbers.', 5)
        >>> add.parameters["properties"]["b"]
        {'type': 'integer', 'default': 1}
    """
    if function is None:
        return lambda decorated: from_function(decorated, name=name, description=description)
    return from_function(function, name=name, description=description)


def from_function(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None
) -> Tool:
    """See `Tool.from_function`."""
    unwrapped = unwrap(function)
    if isinstance(unwrapped, type):
        raise TypeError(f"the class {unwrapped.__name__} is no tool: give a function")
    default_name = getattr(function, "__name__", None) or getattr(unwrapped, "__name__", None)
    name = validate_tool_name(name or default_name or type(unwrapped).__name__)
    parameter_types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    positional_only: dict[str, Any] = {}
    extra_type: Any = None
    hints = resolve_hints(unwrapped, name)
    # What a partial has bound is the caller's: the model neither sees nor sets it.
    bound_arguments = function.keywords if isinstance(function, functools.partial) else {}
    for parameter in signature_parameters(function, name):
        parameter_type = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(
                f"{name}(*{parameter.name}) is no tool: arguments have names. Take a list instead."
            )
        if parameter.name in bound_arguments:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            extra_type = parameter_type
            continue
        if not parameter_types and parameter.name == "self" and "self" not in hints:
            raise TypeError(f"{name}() is a method: make a tool of an object's, as `thing.{name}`")
        if isinstance(parameter.default, FieldInfo):
            raise TypeError(
                f"{name}({parameter.name}=Field(…)) is no default: write Annotated[…, Field(…)]"
            )
        parameter_types[parameter.name] = parameter_type
        if parameter.default is not parameter.empty:
            defaults[parameter.name] = parameter.default
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional_only[parameter.name] = parameter.default
    adapter, schema = build_adapter(name, parameter_types, defaults, extra_type)
    summary, parameter_docs = parse_docstring(unwrapped)
    schema.setdefault("properties", {})
    for parameter_name, property_schema in schema["properties"].items():
        if parameter_name in parameter_docs:
            property_schema.setdefault("description", parameter_docs[parameter_name])
        if parameter_name in defaults:
            json_default = to_json_value(defaults[parameter_name])
            if json_default is not None:
                property_schema["default"] = json_default
    new_tool = Tool(
        name=name, description=summary if description is None else description, parameters=schema
    )
    new_tool._implementation = ToolImplementation(function, adapter, positional_only)
    return new_tool


# === Out of anything ========================================================================


def as_tool(tool_like: ToolLike) -> Tool:
    """A `Tool`, a function, a Pydantic model class, or a dict in the words of pi, OpenAI,
    Anthropic or MCP, as a `Tool`.

    Raises:
        TypeError: it is none of these, or has a parameter that JSON cannot give.
        ValueError: it has no name, or one that a tool cannot have.
    """
    if isinstance(tool_like, Tool):
        return tool_like
    if isinstance(tool_like, type):
        if not issubclass(tool_like, BaseModel):
            raise TypeError(f"the class {tool_like.__name__} is no tool: make it a Pydantic model")
        return _from_model(tool_like)
    if isinstance(tool_like, Mapping):
        return _from_mapping(tool_like)
    if callable(tool_like):
        return from_function(tool_like)
    raise TypeError(f"a tool is a function, a Tool, a model class or a dict, not {tool_like!r:.80}")


def as_tools(tool_likes: Iterable[ToolLike]) -> list[Tool]:
    """All of them as tools.

    Raises:
        TypeError: it is a single one, or none at all.
        ValueError: two have the same name.
    """
    if callable(tool_likes) or isinstance(tool_likes, str | Mapping):
        raise TypeError(f"tools are given as a list, [{getattr(tool_likes, '__name__', '…')}]")
    tools = [as_tool(item) for item in tool_likes]
    names = [one.name for one in tools]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two tools are called {sorted(duplicates)[0]!r}")
    return tools


def _from_model(model: type[BaseModel]) -> Tool:
    adapter = TypeAdapter(model)
    schema = simplify_schema(adapter.json_schema())
    if reference := schema.pop("$ref", None):  # it refers to itself
        schema = {**schema["$defs"][reference.rpartition("/")[2]], **schema}
    if schema.get("type") != "object":
        raise TypeError(f"the model {model.__name__} is no tool: arguments are an object")
    schema.pop("description", None)
    docstring = model.__doc__ if model.__doc__ != BaseModel.__doc__ else ""
    name = validate_tool_name(model.__name__)
    new_tool = Tool(name=name, description=inspect.cleandoc(docstring or ""), parameters=schema)
    new_tool._implementation = ToolImplementation(None, adapter, {})
    return new_tool


def _from_mapping(mapping: Mapping[str, Any]) -> Tool:
    inner = mapping.get("function")
    fields = dict(inner if isinstance(inner, Mapping) else mapping)
    for schema_key in ("input_schema", "inputSchema"):
        if schema_key in fields:
            fields.setdefault("parameters", fields.pop(schema_key))
    for name in ("parameters", "description"):
        if fields.get(name, "") is None:
            del fields[name]
    return Tool.model_validate(fields)


# === Arguments ==============================================================================


def validate_tool_call(tools: Iterable[ToolLike], call: ToolCall) -> dict[str, Any]:
    """The arguments of a call, checked against its tool and ready to be passed on.

    What a model obviously means is mended: `"42"` for a number, one item for a list of them, an
    object or a list that it wrote as a string of JSON. A tool made of a function gives what its
    type hints say (models, enums, dates); any other gives plain JSON data.

    Raises:
        ToolValidationError: no such tool, or the arguments do not fit.

    Example:
        >>> from pipy_ai import ToolCall, validate_tool_call
        >>> def add(numbers: list[int]) -> int:
        ...     return sum(numbers)
        >>> validate_tool_call([add], ToolCall(name="add", arguments={"numbers": "42"}))
        {'numbers': [42]}
        >>> validate_tool_call([add], ToolCall(name="add", arguments={"n": 1}))
        Traceback (most recent call last):
        ...
        pipy_ai.tools.ToolValidationError: The arguments of add do not fit:
        numbers: Field required
        n: Extra inputs are not permitted
    """
    return validate_arguments(find_tool(as_tools(tools), call), call)


def find_tool(tools: Sequence[Tool], call: ToolCall) -> Tool:
    """The tool that a call names; raises as `validate_tool_call`."""
    for candidate in tools:
        if candidate.name == call.name:
            return candidate
    names = ", ".join(one.name for one in tools) or "none"
    raise ToolValidationError(f"There is no tool {call.name!r}. There are: {names}.")


def validate_arguments(tool: Tool, call: ToolCall) -> dict[str, Any]:
    """A call's arguments, ready for this tool; raises as `validate_tool_call`."""
    if call.arguments_error is not None:
        raise ToolValidationError(
            f"The arguments of {tool.name} are no JSON object: {call.arguments_error}"
        )
    raw_arguments = copy.deepcopy(call.arguments)  # whoever gets them may change them
    arguments, problems = _parse_arguments(tool, raw_arguments)
    if problems:  # what fits is left as it is
        arguments, problems = _parse_arguments(
            tool, _coerce(raw_arguments, tool.parameters, tool.parameters)
        )
    if problems:
        raise ToolValidationError(f"The arguments of {tool.name} do not fit:", problems)
    return arguments


def _parse_arguments(tool: Tool, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The arguments as the tool takes them, and what is wrong with them."""
    if tool._implementation is None:
        return arguments, list(schema_errors(arguments, tool.parameters))
    try:
        return dict(
            tool._implementation.adapter.validate_python(arguments)
        ), []  # of a model: its fields
    except ValidationError as error:
        return {}, list(format_validation_errors(error))


# --- Mending --------------------------------------------------------------------------------


def _coerce(value: Any, schema: Any, root: Mapping[str, Any], depth: int = 40) -> Any:
    """A value as its schema wants it, where there is no doubt what is meant."""
    schema = _resolve_ref(schema, root)
    if schema is None or depth == 0:
        return value
    types = schema.get("type")
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(types, list):
        alternatives = [{**schema, "type": type_name} for type_name in types]
    if isinstance(alternatives, list):
        return _coerce_to_alternative(value, alternatives, root, depth)
    if isinstance(types, str) and not _is_type(value, types):
        value = _convert(value, types)
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        required = schema.get("required") or ()
        return {
            key: _coerce(inner, properties.get(key, additional), root, depth - 1)
            for key, inner in value.items()
            # Many models write null for what they want to leave out.
            if inner is not None
            or key in required
            or key not in properties
            or _accepts_null(properties[key], root)
        }
    if isinstance(value, list):
        return [_coerce(inner, schema.get("items"), root, depth - 1) for inner in value]
    return value


def _coerce_to_alternative(
    value: Any, options: list[Any], root: Mapping[str, Any], depth: int
) -> Any:
    is_null_text = isinstance(value, str) and value.strip() == "null"
    for coerce in (False, True):  # one that it is already comes first
        if coerce and is_null_text and any(_accepts_null(option, root) for option in options):
            return None
        for option in options:
            resolved = _resolve_ref(option, root)
            if resolved is None:
                return value
            type_name = resolved.get("type")
            if not coerce and isinstance(type_name, str) and not _is_type(value, type_name):
                continue
            if coerce and type_name == "null":
                continue
            coerced = _coerce(value, resolved, root, depth - 1)
            if not isinstance(type_name, str) or _is_type(coerced, type_name):
                return coerced
    return value


def _resolve_ref(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for _ in range(10):
        if not isinstance(schema, Mapping):
            return None
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Any = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part) if isinstance(target, Mapping) and part else target
        schema = target
    return None


def _accepts_null(schema: Any, root: Mapping[str, Any], depth: int = 10) -> bool:
    resolved = _resolve_ref(schema, root)
    if resolved is None or depth == 0:
        return True
    if options := resolved.get("anyOf") or resolved.get("oneOf"):
        return any(_accepts_null(option, root, depth - 1) for option in options)
    return None in resolved.get("enum", [None]) and "null" in resolved.get("type", "null")


def _is_type(value: Any, type_name: str) -> bool:
    if type_name in ("integer", "number") and isinstance(value, bool):
        return False
    python_types: dict[str, type | tuple[type, ...]] = {
        "null": type(None), "boolean": bool, "integer": int, "number": (int, float),
        "string": str, "array": list, "object": dict,
    }  # fmt: skip
    return isinstance(value, python_types.get(type_name, object))


def _convert(value: Any, type_name: str) -> Any:
    if value is None:
        return value
    if type_name == "string":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if is_number else value
    if type_name == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and type_name in ("integer", "number", "boolean", "array", "object"):
        text = value.strip()
        try:
            parsed = json.loads(text.lower() if type_name == "boolean" else text)
        except (ValueError, RecursionError):
            parsed = None
        if type_name == "integer" and isinstance(parsed, float) and parsed.is_integer():
            parsed = int(parsed)
        if parsed is not None and _is_type(parsed, type_name):
            return parsed
        if text.startswith("["):  # meant as a list, and broken
            return value
    return [value] if type_name == "array" else value
