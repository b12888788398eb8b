"""Turn functions into tools, and validate the arguments that a model passes to them.

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

`run_tools` runs the whole loop. A model's arguments are untrusted: they are validated against the
function's type hints, and the problems are sent back to the model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, overload

from pydantic import ValidationError

from .types import Tool, ToolCall, ToolLike, as_tool, as_tools, function_tools
from .utils.json_schema import (
    accepts_null,
    resolve_ref,
)
from .utils.schema_values import (
    drop_optional_nulls,
    expand_options,
    matching_options,
)
from .utils.validation import format_validation_errors, schema_errors, validate_without_loss

__all__ = [
    "ToolLike",
    "ToolValidationError",
    "as_tool",
    "as_tools",
    "find_tool",
    "from_function",
    "tool",
    "validate_arguments",
    "validate_tool_call",
]


class ToolValidationError(ValueError):
    """The arguments of a call do not match its tool.

    `str()` of it is a message for the model, with a line `path: problem` for each of `problems`.
    """

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__("\n".join([text, *problems]))
        self.problems: list[str] = list(problems)


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, timeout: float | None = None
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    timeout: float | None = None,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Turn a function into a `Tool`, which can still be called. See `Tool.from_function`.

    Args:
        function: The function, sync or async. The model sees its type hints and docstring.
        name: The name of the tool. By default, that of the function.
        description: What the tool does. By default, the summary of the docstring.
        timeout: How many seconds `run_tools` waits for one call. By default, without a limit.

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
        return lambda decorated: Tool.from_function(
            decorated, name=name, description=description, timeout=timeout
        )
    return Tool.from_function(function, name=name, description=description, timeout=timeout)


def from_function(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None
) -> Tool:
    """See `Tool.from_function`."""
    return Tool.from_function(function, name=name, description=description)


def validate_tool_call(tools: Iterable[ToolLike], call: ToolCall) -> dict[str, Any]:
    """Validate the arguments of a call against its tool, and return them.

    Obvious mistakes of the model are corrected: `"42"` for a number, a single item for a list, an
    object or a list written as a JSON string. For a tool made from a function the values have the
    types of its hints (models, enums, dates); for any other they are plain JSON data.

    Raises:
        ToolValidationError: There is no such tool, or the arguments do not match.

    Example:
        >>> from pipy_ai import ToolCall, validate_tool_call
        >>> def add(numbers: list[int]) -> int:
        ...     return sum(numbers)
        >>> validate_tool_call([add], ToolCall(name="add", arguments={"numbers": "42"}))
        {'numbers': [42]}
        >>> validate_tool_call([add], ToolCall(name="add", arguments={"n": 1}))
        Traceback (most recent call last):
        ...
        pipy_ai.tools.ToolValidationError: Invalid arguments for add:
        numbers: Field required
        n: Extra inputs are not permitted
    """
    return validate_arguments(find_tool(function_tools(as_tools(tools)), call), call)


def find_tool(tools: Sequence[Tool], call: ToolCall) -> Tool:
    """Return the tool that a call names.

    Raises:
        ToolValidationError: There is no such tool.
    """
    for candidate in tools:
        if candidate.name == call.name:
            return candidate
    names = ", ".join(candidate.name for candidate in tools) or "none"
    raise ToolValidationError(f"Unknown tool {call.name!r}. Available tools: {names}.")


def validate_arguments(tool: Tool, call: ToolCall) -> dict[str, Any]:
    """Validate the arguments of a call of `tool`, as `validate_tool_call` does.

    Raises:
        ToolValidationError: The arguments do not match.
    """
    if call.arguments_error is not None:
        raise ToolValidationError(
            f"The arguments of {tool.name} are not a JSON object: {call.arguments_error}"
        )
    raw_arguments = copy.deepcopy(call.arguments)  # the tool may modify them
    arguments, problems = _parse_arguments(tool, raw_arguments)
    if problems:  # valid arguments are never changed
        coerced = _coerce(raw_arguments, tool.parameters, tool.parameters)
        # Many models write null for a parameter that they mean to omit.
        coerced = drop_optional_nulls(coerced, tool.parameters, tool.parameters)
        arguments, problems = _parse_arguments(tool, coerced)
    if problems:
        raise ToolValidationError(f"Invalid arguments for {tool.name}:", problems)
    return arguments


def _parse_arguments(tool: Tool, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the parsed arguments and the problems found."""
    if tool._implementation is None or tool._implementation.adapter is None:
        return arguments, list(schema_errors(arguments, tool.parameters))
    try:
        # `dict` turns an instance of a model class into its fields.
        validate = tool._implementation.adapter.validate_python
        return dict(validate_without_loss(validate, arguments, tool.parameters)), []
    except ValidationError as error:
        return {}, list(format_validation_errors(error))


# --- Coercion -----------------------------------------------------------------------------


def _coerce(value: Any, schema: Any, root: Mapping[str, Any], depth: int = 40) -> Any:
    """Convert a value to the type of its schema where the intent is unambiguous."""
    schema = resolve_ref(schema, root)
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
        return {
            key: _coerce(inner, properties.get(key, additional), root, depth - 1)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_coerce(inner, schema.get("items"), root, depth - 1) for inner in value]
    return value


def _coerce_to_alternative(
    value: Any, options: list[Any], root: Mapping[str, Any], depth: int
) -> Any:
    if isinstance(value, dict):
        objects = [inner for option in options for inner in expand_options(option, root)]
        if matching := matching_options(value, objects, root):
            return _coerce(value, matching[0], root, depth - 1)
    is_null_text = isinstance(value, str) and value.strip() == "null"
    for coerce in (False, True):  # prefer the alternative that matches without coercion
        if coerce and is_null_text and any(accepts_null(option, root) for option in options):
            return None
        for option in options:
            resolved = resolve_ref(option, root)
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
        if text.startswith("["):  # a malformed list
            return value
    return [value] if type_name == "array" else value
