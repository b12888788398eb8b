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
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_json

from .types import Tool, ToolCall

if TYPE_CHECKING:
    from typing import Self

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")  # what all providers take

ToolLike: TypeAlias = Tool | Callable[..., Any] | type[BaseModel] | Mapping[str, Any]


class ToolValidationError(ValueError):
    """A call's arguments do not fit. `str()` of it says what is wrong, for the model to act on:
    one `path: problem` line each, which `problems` holds as well."""

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__("\n".join([text, *problems]))
        self.problems: list[str] = list(problems)


@dataclass(frozen=True, slots=True, eq=False)
class Code:
    """What stands behind a tool: a function, or only a type; and how its arguments are read.

    It is no part of the tool's data: two tools that say the same are equal, a pickle leaves it
    out as JSON does, a copy shares it.
    """

    function: Callable[..., Any] | None
    adapter: TypeAdapter[Any]
    positional: Mapping[str, Any]  # parameters that take no name, with their defaults

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with validated arguments."""
        if self.function is None:
            raise TypeError("this tool has no function")
        named = dict(arguments)
        leading = [named.pop(name, default) for name, default in self.positional.items()]
        return self.function(*leading, **named)

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
        return other is None or isinstance(other, Code)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()  # functions and validators do not pickle

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


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
        return lambda given: from_function(given, name=name, description=description)
    return from_function(function, name=name, description=description)


def from_function(
    function: Callable[..., Any], *, name: str | None = None, description: str | None = None
) -> Tool:
    """See `Tool.from_function`."""
    core = _core(function)
    if isinstance(core, type):
        raise TypeError(f"the class {core.__name__} is no tool: give a function")
    named = getattr(function, "__name__", None) or getattr(core, "__name__", None)
    name = _legal(name or named or type(core).__name__)
    types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    positional: dict[str, Any] = {}
    rest: Any = None
    hints = _hints(core, name)
    # What a partial has bound is the caller's: the model neither sees nor sets it.
    bound = function.keywords if isinstance(function, functools.partial) else {}
    for parameter in _signature(function, name):
        kind = hints.get(parameter.name, Any)
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(
                f"{name}(*{parameter.name}) is no tool: arguments have names. Take a list instead."
            )
        if parameter.name in bound:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = kind
            continue
        if not types and parameter.name == "self" and "self" not in hints:
            raise TypeError(f"{name}() is a method: make a tool of an object's, as `thing.{name}`")
        if isinstance(parameter.default, FieldInfo):
            raise TypeError(
                f"{name}({parameter.name}=Field(…)) is no default: write Annotated[…, Field(…)]"
            )
        types[parameter.name] = kind
        if parameter.default is not parameter.empty:
            defaults[parameter.name] = parameter.default
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional[parameter.name] = parameter.default
    adapter, schema = _adapter(name, types, defaults, rest)
    about, parameters = _docstring(core)
    schema.setdefault("properties", {})
    for parameter_name, inner in schema["properties"].items():
        if parameter_name in parameters:
            inner.setdefault("description", parameters[parameter_name])
        if parameter_name in defaults:
            value = _plain(defaults[parameter_name])
            if value is not None:
                inner["default"] = value
    made = Tool(
        name=name, description=about if description is None else description, parameters=schema
    )
    made._code = Code(function, adapter, positional)
    return made


def _legal(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a tool: give it one with name=")
    return name


def _core(function: Any) -> Any:
    """What somebody wrote: the function within partials and decorators."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        else:
            return function


def _signature(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:  # of something built in
        raise TypeError(f"{name}() is no tool: {error}") from None


def _hints(core: Any, name: str) -> dict[str, Any]:
    inner = core if inspect.isroutine(core) else type(core).__call__
    inner = getattr(inner, "__func__", inner)
    near = {}
    if inspect.isfunction(inner):  # types that the function around it defines, and it uses
        for variable, cell in zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=True):
            try:
                near[variable] = cell.cell_contents
            except ValueError:  # not yet filled: the function itself, while it is decorated
                continue
    try:
        # What it returns does not matter here, and is often imported for type checkers only.
        hints = {k: v for k, v in getattr(inner, "__annotations__", {}).items() if k != "return"}
        bare: Any = SimpleNamespace(__annotations__=hints)
        known = getattr(inner, "__globals__", {})
        return get_type_hints(bare, globalns=known, localns=near, include_extras=True)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise TypeError(
            f"the type hints of {name}() cannot be read: {error}. Define the type in the module,"
            " or leave out `from __future__ import annotations`."
        ) from None


def _adapter(
    name: str, types: Mapping[str, Any], defaults: Mapping[str, Any], rest: Any
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    # A TypedDict, since a model's fields may not be called `json`, `copy`, `_x`.
    from typing_extensions import TypedDict  # Pydantic wants this one before Python 3.12

    fields = {key: NotRequired[kind] if key in defaults else kind for key, kind in types.items()}
    arguments: Any = TypedDict(name, fields)  # type: ignore[misc]  # ty: ignore[invalid-argument-type]
    extra: Any = "forbid" if rest is None else "allow"
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(with_config(ConfigDict(extra=extra))(arguments))
        return adapter, _tidy(adapter.json_schema())
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise TypeError(f"{name}() has a parameter that JSON cannot give: {reason}") from None


def _docstring(core: Any) -> tuple[str, dict[str, str]]:
    """What a function does, and what its parameters are; in Google's, NumPy's or reST's style."""
    if not inspect.isroutine(core):  # an object: what its `__call__` says, else its class
        core = type(core).__call__ if type(core).__call__.__doc__ else type(core)
    text = inspect.getdoc(core)
    if not text:
        return "", {}
    import docstring_parser

    found = docstring_parser.parse(text)
    said = [found.short_description, found.long_description]
    between = "\n\n" if found.blank_after_short_description else "\n"
    parameters = {
        one.arg_name.strip("`* "): one.description for one in found.params if one.description
    }
    return between.join(part for part in said if part), parameters


def _plain(value: Any) -> Any:
    """A default as JSON; None when it has no such form."""
    try:
        return json.loads(to_json(value, inf_nan_mode="null"))
    except (PydanticSerializationError, ValueError):
        return None


def _tidy(schema: Any, named: bool = False) -> Any:
    """Pydantic's schema without what only costs tokens: titles of its own making. A constant is an
    enum of one, which every provider knows. `named`: the keys are names, not keywords."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if named:
        return {key: _tidy(value) for key, value in schema.items()}
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "const":
            out["enum"] = [value]
        elif key in ("enum", "default", "examples", "required"):
            out[key] = value
        elif key != "title":
            out[key] = _tidy(value, named=key in ("properties", "$defs", "patternProperties"))
    definitions: dict[str, Any] = out.get("$defs", {})
    enums = {name: one for name, one in definitions.items() if "enum" in one}
    if enums:
        out = _inlined(out, enums)
        out["$defs"] = {name: one for name, one in out["$defs"].items() if name not in enums}
        if not out["$defs"]:
            del out["$defs"]
    return out


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and (name := reference.rpartition("/")[2]) in definitions:
        return {**definitions[name], **{k: v for k, v in schema.items() if k != "$ref"}}
    return {key: _inlined(value, definitions) for key, value in schema.items()}


# === Out of anything ========================================================================


def as_tool(given: ToolLike) -> Tool:
    """A `Tool`, a function, a Pydantic model class, or a dict in the words of pi, OpenAI,
    Anthropic or MCP, as a `Tool`.

    Raises:
        TypeError: it is none of these, or has a parameter that JSON cannot give.
        ValueError: it has no name, or one that a tool cannot have.
    """
    if isinstance(given, Tool):
        return given
    if isinstance(given, type):
        if not issubclass(given, BaseModel):
            raise TypeError(f"the class {given.__name__} is no tool: make it a Pydantic model")
        return _from_model(given)
    if isinstance(given, Mapping):
        return _from_mapping(given)
    if callable(given):
        return from_function(given)
    raise TypeError(f"a tool is a function, a Tool, a model class or a dict, not {given!r:.80}")


def as_tools(given: Iterable[ToolLike]) -> list[Tool]:
    """All of them as tools.

    Raises:
        TypeError: it is a single one, or none at all.
        ValueError: two have the same name.
    """
    if callable(given) or isinstance(given, str | Mapping):
        raise TypeError(f"tools are given as a list, [{getattr(given, '__name__', '…')}]")
    tools = [as_tool(one) for one in given]
    names = [one.name for one in tools]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two tools are called {sorted(twice)[0]!r}")
    return tools


def _from_model(model: type[BaseModel]) -> Tool:
    adapter = TypeAdapter(model)
    schema = _tidy(adapter.json_schema())
    if reference := schema.pop("$ref", None):  # it refers to itself
        schema = {**schema["$defs"][reference.rpartition("/")[2]], **schema}
    if schema.get("type") != "object":
        raise TypeError(f"the model {model.__name__} is no tool: arguments are an object")
    schema.pop("description", None)
    own = model.__doc__ if model.__doc__ != BaseModel.__doc__ else ""
    name = _legal(model.__name__)
    made = Tool(name=name, description=inspect.cleandoc(own or ""), parameters=schema)
    made._code = Code(None, adapter, {})
    return made


def _from_mapping(given: Mapping[str, Any]) -> Tool:
    inner = given.get("function")
    fields = dict(inner if isinstance(inner, Mapping) else given)
    for foreign in ("input_schema", "inputSchema"):
        if foreign in fields:
            fields.setdefault("parameters", fields.pop(foreign))
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
    return arguments_for(found_tool(as_tools(tools), call), call)


def found_tool(tools: Sequence[Tool], call: ToolCall) -> Tool:
    """The tool that a call names; raises as `validate_tool_call`."""
    for one in tools:
        if one.name == call.name:
            return one
    names = ", ".join(one.name for one in tools) or "none"
    raise ToolValidationError(f"There is no tool {call.name!r}. There are: {names}.")


def arguments_for(tool: Tool, call: ToolCall) -> dict[str, Any]:
    """A call's arguments, ready for this tool; raises as `validate_tool_call`."""
    if call.arguments_error is not None:
        raise ToolValidationError(
            f"The arguments of {tool.name} are no JSON object: {call.arguments_error}"
        )
    given = copy.deepcopy(call.arguments)  # whoever gets them may change them
    arguments, problems = _read(tool, given)
    if problems:  # what fits is left as it is
        arguments, problems = _read(tool, _mended(given, tool.parameters, tool.parameters))
    if problems:
        raise ToolValidationError(f"The arguments of {tool.name} do not fit:", problems)
    return arguments


def _read(tool: Tool, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The arguments as the tool takes them, and what is wrong with them."""
    if tool._code is None:
        return arguments, list(_schema_problems(arguments, tool.parameters))
    try:
        return dict(tool._code.adapter.validate_python(arguments)), []  # of a model: its fields
    except ValidationError as error:
        return {}, list(validation_problems(error))


def path_of(parts: Iterable[str | int]) -> str:
    """`("a", 0, "b")` as `a[0].b`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.lstrip(".") or "(all)"


def validation_problems(error: ValidationError) -> Iterator[str]:
    """`path: problem` lines."""
    for one in error.errors(include_url=False, include_context=False, include_input=False):
        yield f"{path_of(one['loc'])}: {one['msg']}"


def _schema_problems(value: Any, schema: dict[str, Any]) -> Iterator[str]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    kind = validator_for(schema, default=Draft202012Validator)
    nowhere: Registry[Any] = Registry()  # a schema's references fetch nothing  # ty: ignore[invalid-type-form]
    try:
        kind.check_schema(schema)
        for error in kind(schema, registry=nowhere).iter_errors(value):
            error = best_match([error])  # the alternative that comes nearest
            yield f"{path_of(error.absolute_path)}: {error.message[:300]}"
    except SchemaError as error:
        raise ValueError(f"the tool's parameters are no JSON Schema: {error.message}") from None
    except Unresolvable as error:
        raise ValueError(f"the tool's parameters refer to what is not there: {error}") from None


# --- Mending --------------------------------------------------------------------------------


def _mended(value: Any, schema: Any, root: Mapping[str, Any], depth: int = 40) -> Any:
    """A value as its schema wants it, where there is no doubt what is meant."""
    schema = _resolved(schema, root)
    if schema is None or depth == 0:
        return value
    kinds = schema.get("type")
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(kinds, list):
        alternatives = [{**schema, "type": kind} for kind in kinds]
    if isinstance(alternatives, list):
        return _mended_to_one(value, alternatives, root, depth)
    if isinstance(kinds, str) and not _is(value, kinds):
        value = _converted(value, kinds)
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        others = schema.get("additionalProperties")
        needed = schema.get("required") or ()
        return {
            key: _mended(inner, properties.get(key, others), root, depth - 1)
            for key, inner in value.items()
            # Many models write null for what they want to leave out.
            if inner is not None
            or key in needed
            or key not in properties
            or _takes_null(properties[key], root)
        }
    if isinstance(value, list):
        return [_mended(inner, schema.get("items"), root, depth - 1) for inner in value]
    return value


def _mended_to_one(value: Any, options: list[Any], root: Mapping[str, Any], depth: int) -> Any:
    nothing = isinstance(value, str) and value.strip() == "null"
    for mend in (False, True):  # one that it is already comes first
        if mend and nothing and any(_takes_null(option, root) for option in options):
            return None
        for option in options:
            resolved = _resolved(option, root)
            if resolved is None:
                return value
            kind = resolved.get("type")
            if not mend and isinstance(kind, str) and not _is(value, kind):
                continue
            if mend and kind == "null":
                continue
            mended = _mended(value, resolved, root, depth - 1)
            if not isinstance(kind, str) or _is(mended, kind):
                return mended
    return value


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
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


def _takes_null(schema: Any, root: Mapping[str, Any], depth: int = 10) -> bool:
    resolved = _resolved(schema, root)
    if resolved is None or depth == 0:
        return True
    if options := resolved.get("anyOf") or resolved.get("oneOf"):
        return any(_takes_null(option, root, depth - 1) for option in options)
    return None in resolved.get("enum", [None]) and "null" in resolved.get("type", "null")


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    known: dict[str, type | tuple[type, ...]] = {
        "null": type(None), "boolean": bool, "integer": int, "number": (int, float),
        "string": str, "array": list, "object": dict,
    }  # fmt: skip
    return isinstance(value, known.get(kind, object))


def _converted(value: Any, kind: str) -> Any:
    if value is None:
        return value
    if kind == "string":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return str(value) if number else value
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and kind in ("integer", "number", "boolean", "array", "object"):
        text = value.strip()
        try:
            read = json.loads(text.lower() if kind == "boolean" else text)
        except (ValueError, RecursionError):
            read = None
        if kind == "integer" and isinstance(read, float) and read.is_integer():
            read = int(read)
        if read is not None and _is(read, kind):
            return read
        if text.startswith("["):  # meant as a list, and broken
            return value
    return [value] if kind == "array" else value
