"""Typed answers: `complete(model, prompt, output=Invoice).parsed` is an `Invoice`.

    @dataclass
    class Invoice:
        number: str
        total: float

    message = complete("openai/gpt-5-mini", text, output=Invoice)
    message.parsed.total

`Output` is what was asked for: a JSON Schema and how to read an answer. `ParsedMessage` is the
answer. Nothing here is loaded by a request without `output=`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from inspect import isroutine
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import PrivateAttr

from .errors import ErrorInfo, ErrorKind, error_info, exception_for
from .provider.prepare import style_of
from .tool_loop import summed
from .tools import path_of, validation_problems
from .types import (
    AssistantMessage,
    Context,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    UserMessage,
)
from .utils.json_parse import parse_streaming_json
from .utils.json_schema import accepts_null, closed, references, strict
from .utils.unicode import clean_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .provider.request import Request

T = TypeVar("T")
Mode: TypeAlias = Literal["native", "tool", "prompt"]

_OLDER_GEMINI = re.compile(r"gemini-[12]\b")
MODES = ("native", "tool", "prompt")
_PROBLEMS = 20  # lines that tell what is wrong
_TRIES = 100  # places of an answer where JSON may begin


class OutputValidationError(ValueError):
    """An answer that is not of the type; `problems` are lines of `path: problem`."""

    def __init__(self, problems: list[str]) -> None:
        if len(problems) > _PROBLEMS:
            problems = [*problems[:_PROBLEMS], f"and {len(problems) - _PROBLEMS} more"]
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


# === The answer ===


class ParsedMessage(AssistantMessage, Generic[T]):
    """An answer with a value of the type that was asked for: `parsed`. Its text is kept as it came.

    The value is not part of the JSON form.
    """

    _value: tuple[T] | None = PrivateAttr(default=None)
    _absent: str = PrivateAttr(default="This message was not parsed.")  # why there is no value
    _cut: bool = PrivateAttr(default=False)  # at its limit of tokens
    _wrapped: bool = PrivateAttr(default=False)
    _tool: str = PrivateAttr(default="")

    @property
    def parsed(self) -> T:
        """The value.

        Raises:
            PipyError: there is none: the request failed, the answer is not of the type
                (`InvalidOutputError`), or the model called a tool instead.
        """
        if self._value is None:
            self.raise_for_error()
            error = error_info(ErrorKind.INVALID_OUTPUT, self._absent, provider=self.provider)
            raise exception_for(error, self)
        return self._value[0]

    @property
    def parsed_partial(self) -> Any:
        """What has come of the value, as plain JSON data that nobody checked; None: nothing yet."""
        call = self._answering_call()
        if call is not None:
            found = call.arguments
        else:
            text = self.text
            begin = _BEGIN_OBJECT.search(text)
            if begin is None:
                return None
            try:
                found, _ = _DECODER.raw_decode(text, begin.start())
            except (ValueError, RecursionError):
                found = parse_streaming_json(text[begin.start() :])
        return found.get("value") if self._wrapped and found.keys() <= {"value"} else found

    def _answering_call(self) -> ToolCall | None:
        """The call that is the answer, where the answer is asked for as one."""
        calls = self.tool_calls if self._tool else ()
        return next((call for call in calls if call.name == self._tool), None)

    def _raw(self) -> str:
        """The answer as the model wrote it."""
        call = self._answering_call()
        if call is None:
            return self.text
        if call.raw_arguments is not None:
            return call.raw_arguments
        return json.dumps(call.arguments, ensure_ascii=False)


# === What was asked for ===


@dataclass(frozen=True, slots=True)
class Output:
    """The type of an answer: its JSON Schema, an object at its root, and how an answer is read.

    A type that is no object is `wrapped`: it is asked for as `{"value": …}`.

    Example:
        >>> from pipy_ai.output import Output
        >>> colours = Output.of(list[Literal["red", "blue"]])
        >>> colours.parse('{"value": ["red", "blue"]}')
        ['red', 'blue']
        >>> colours.parse('{"value": ["red", "grün"]}')
        Traceback (most recent call last):
        pipy_ai.output.OutputValidationError: [1]: Input should be 'red' or 'blue'
    """

    name: str
    schema: dict[str, Any]
    check: Callable[[Any], Any] = field(repr=False)
    wrapped: bool = False
    mode: Mode = "native"

    @classmethod
    def of(cls, kind: Any) -> Output:
        """What `output=` takes: a Pydantic model, a dataclass, a TypedDict, an Enum, `list[X]`,
        `Literal[…]`, any other type that Pydantic reads, or a JSON Schema as a dict.

        Raises:
            TypeError: it is no type, or none that a JSON Schema can tell.
            ValueError: it is a dict that is no JSON Schema.
        """
        if isinstance(kind, Output):
            return kind
        if isinstance(kind, Mapping):
            schema = clean_json(dict(kind))
            check = _schema_check(schema)
        else:
            schema, check = _type_check(kind)
        own_name = kind.__name__ if isinstance(kind, type) else str(schema.get("title") or "")
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", own_name).strip("_")[:64]
        rooted, wrapped = _rooted(schema)
        return cls(name or "answer", rooted, check, wrapped)

    def parse(self, text: str) -> Any:
        """The value in an answer; fences and prose around its JSON do no harm.

        Raises:
            OutputValidationError: there is none, or it is not of the type.
        """
        first: OutputValidationError | None = None
        try:
            for value in _values(text, self.wrapped):
                try:
                    return self._value(value)
                except OutputValidationError as error:
                    first = first or error
        except RecursionError:
            first = OutputValidationError(["(all): it is nested too deeply"])
        raise first or OutputValidationError([f"(all): {_why_no_json(text)}"])

    def _value(self, value: Any) -> Any:
        value = _without_nulls(value, self.schema, _definitions(self.schema))
        if self.wrapped and isinstance(value, dict) and value.keys() == {"value"}:
            value = value["value"]
        return self.check(value)

    # --- What the assembler asks ------------------------------------------------------------

    @property
    def message(self) -> type[ParsedMessage[Any]]:
        """What the answer becomes."""
        return ParsedMessage

    def mark(self, message: AssistantMessage) -> None:
        """Tell a new message how its answer is read."""
        assert isinstance(message, ParsedMessage)
        message.model_post_init(None)  # it was made without
        message._wrapped = self.wrapped
        message._tool = self.name if self.mode == "tool" else ""

    def judge(self, message: AssistantMessage) -> ErrorInfo | None:
        """Give a finished message its value, or tell why it has none."""
        assert isinstance(message, ParsedMessage)
        if message.tool_calls and message._answering_call() is None:
            names = ", ".join(call.name for call in message.tool_calls)
            message._absent = (
                f"The model called {names} instead of answering: append its message and the"
                " results of the calls to the context, and ask again."
            )
            return None
        try:
            message._value = (self.parse(message._raw()),)
            return None
        except OutputValidationError as error:
            text = f"The answer does not fit its schema:\n{error}"
        message._cut = message.stop_reason is StopReason.LENGTH
        if message._cut:
            text = f"The answer was cut off at its limit of tokens: raise max_tokens. {text}"
        return error_info(ErrorKind.INVALID_OUTPUT, text, provider=message.provider)


def _type_check(kind: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema

    class Untitled(GenerateJsonSchema):
        """Without the titles that only say a field's name again."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    if isroutine(kind):  # whose call Pydantic would check
        raise TypeError(f"output= takes a type or a JSON Schema, not the function {kind!r}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        schema = adapter.json_schema(schema_generator=Untitled)
    except (PydanticUserError, TypeError) as error:
        text = str(error).partition("\n\n")[0].partition(". Set ")[0]
        raise TypeError(f"output= takes a type or a JSON Schema, not {kind!r}: {text}") from None

    def check(value: Any) -> Any:
        try:
            return adapter.validate_json(json.dumps(value))
        except ValidationError as error:
            if error.errors()[0]["type"] == "json_invalid":  # ours: only its depth can be wrong
                raise RecursionError from None
            lines = list(validation_problems(error))
        except Exception as bug:  # of a validator of the user's
            lines = [f"{path_of(())}: {type(bug).__name__}: {bug}"]
        raise OutputValidationError(lines)

    return schema, check


def _schema_check(schema: dict[str, Any]) -> Callable[[Any], Any]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"output= is no JSON Schema: {error.message}") from None
    if outside := [ref for ref in references(schema) if not ref.startswith("#")]:
        raise ValueError(f"output= refers to another schema: {outside[0]}")  # it is not fetched
    validator = kind(schema)

    def check(value: Any) -> Any:
        found = sorted(validator.iter_errors(value), key=lambda error: str(error.path))
        if found:
            lines = [f"{path_of(one.absolute_path)}: {one.message[:300]}" for one in found]
            raise OutputValidationError(lines)
        return value

    return check


def _rooted(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A schema with an object at its root, and whether it had to be wrapped in one."""
    definitions = _definitions(schema)
    reference = schema.get("$ref")
    if isinstance(reference, str) and (target := definitions.get(reference.rpartition("/")[2])):
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if schema.get("type") == "object" or ("type" not in schema and "properties" in schema):
        return {"type": "object", **schema}, False
    inner = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    shared: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    wrapped = {"type": "object", "properties": {"value": inner}, "required": ["value"]}
    return {**wrapped, "additionalProperties": False, **shared}, True


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}


# === Reading ===

_DECODER = json.JSONDecoder(strict=False)
_BEGIN_OBJECT = re.compile(r'\{(?=\s*("|\}|$))')
_BEGIN = re.compile(_BEGIN_OBJECT.pattern + r"|\[")


def _values(text: str, any_kind: bool) -> Iterator[Any]:
    """What may be the answer: the whole text, else the JSON in it, the last first; only objects
    unless it may be of `any_kind`. Of an object that is broken no part is taken for the whole."""
    try:
        yield clean_json(_DECODER.decode(text.strip()))
        return
    except (ValueError, RecursionError):
        pass
    found: list[Any] = []
    opening = _BEGIN if any_kind else _BEGIN_OBJECT
    end = 0
    for _ in range(_TRIES):
        begin = opening.search(text, end)
        if begin is None:
            break
        try:
            value, end = _DECODER.raw_decode(text, begin.start())
            found.append(value)
        except RecursionError:
            return
        except json.JSONDecodeError as error:
            if text[begin.end() : error.pos].strip():
                return
            end = begin.end()
    yield from map(clean_json, reversed(found))


def _why_no_json(text: str) -> str:
    if not text.strip():
        return "it is empty"
    begin = _BEGIN_OBJECT.search(text)
    if begin is None:
        return "it holds no JSON object"
    try:
        _DECODER.raw_decode(text, begin.start())
    except ValueError as error:
        return f"it is not valid JSON: {error}"
    except RecursionError:
        return "it is nested too deeply"
    return "it is not valid JSON"


def _without_nulls(value: Any, schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The value without the nulls that stand for what was left out: in strict schemas every
    property is required, so that a model can leave none out."""
    if isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
        schema = definitions.get(reference.rpartition("/")[2])
    if not isinstance(schema, Mapping) or not isinstance(value, dict | list):
        return value
    if alternatives := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        schema = next((one for one in alternatives if _fits(value, one, definitions)), None)
        return _without_nulls(value, schema, definitions)
    if isinstance(value, list):
        first = schema.get("prefixItems") or []
        kinds = [*first, *[schema.get("items")] * max(0, len(value) - len(first))]
        return [_without_nulls(v, k, definitions) for v, k in zip(value, kinds, strict=False)]
    properties, required = schema.get("properties") or {}, schema.get("required") or ()
    others = schema.get("additionalProperties")
    return {
        name: _without_nulls(inner, properties.get(name, others), definitions)
        for name, inner in value.items()
        if inner is not None
        or name not in properties
        or name in required
        or accepts_null(properties[name], definitions)
    }


def _fits(value: Any, schema: Any, definitions: Mapping[str, Any]) -> bool:
    """Whether one alternative is likely the one that is meant."""
    if isinstance(schema, Mapping) and isinstance(reference := schema.get("$ref"), str):
        schema = definitions.get(reference.rpartition("/")[2])
    if not isinstance(schema, Mapping):
        return False
    if isinstance(value, list):
        return schema.get("type") == "array"
    properties = schema.get("properties") or {}
    return (
        schema.get("type") == "object"
        and all(name in value for name in schema.get("required") or ())
        and all(
            value[name] in (kind.get("enum") or [kind.get("const", value[name])])
            for name, kind in properties.items()
            if name in value and isinstance(kind, Mapping)
        )
    )


# === Asking ===


def ask_for(request: Request, output: Output, mode: Mode | None) -> None:
    """Make a request ask for an answer of a type. Its context and options are its own."""
    if mode is not None and mode not in MODES:
        raise ValueError(f"output_mode is one of {', '.join(MODES)}, not {mode!r}")
    wanted: Mode = mode or _usual(request)
    taken = {tool.name for tool in request.context.tools or ()}
    names = [output.name, *(f"{output.name[:60]}_{number}" for number in range(len(taken)))]
    name = next(name for name in names if name not in taken)
    chosen, why = _possible(request, output) if wanted == "native" else (wanted, "")
    if mode is not None and chosen != mode:
        request.warn("output_mode_changed", f'{why}; output_mode is "{chosen}"')
    request.output = output = replace(output, name=name, mode=chosen)
    if chosen == "tool":
        _by_tool(request, output)
    elif chosen == "prompt":
        _by_prompt(request, output)


def _usual(request: Request) -> Mode:
    """The best way that the catalogue knows of."""
    record = request.record
    if record is None:
        # Of an OpenAI-compatible server of one's own there is no record.
        servers = request.provider in ("local", "faux") or request.route.own_server
        return "native" if servers or request.options.api_base else "prompt"
    foreign = style_of(request) == "anthropic" and request.provider != "anthropic"
    if record.get("structured_output") is True and not foreign:
        return "native"
    return "tool" if record.get("tool_call") is True else "prompt"


def _possible(request: Request, output: Output) -> tuple[Mode, str]:
    """`native`, or the next best way and why."""
    style = style_of(request)
    if style == "anthropic" and request.backend != "anthropic":
        return "tool", f"{request.provider} takes no schema for Claude"
    if style == "anthropic" and closed(output.schema) is None:
        return "tool", "Anthropic takes no schema with free keys or one that holds itself"
    if style == "gemini" and strict(output.schema) is None:
        return "prompt", "Gemini takes no schema with free keys"
    if style == "gemini" and request.context.tools and _OLDER_GEMINI.search(request.model_id):
        return "tool", "Gemini 2 takes no schema together with tools"
    return "native", ""


def _by_tool(request: Request, output: Output) -> None:
    """A tool that stands for the answer, and must be called; among others, one must be."""
    own = request.context.tools or []
    description = output.schema.get("description") or ""
    tool = Tool(
        name=output.name,
        description=f"Give the final answer by calling this. {description}".strip(),
        parameters=output.schema,
    )
    request.context.tools = [*own, tool]
    if request.options.tool_choice in (None, "none"):
        only = not own or request.options.tool_choice == "none"
        request.options.tool_choice = output.name if only else "required"
    # Where a call cannot be forced (Claude while it thinks) this is what makes it call.
    _instruct(request, f"Give your final answer by calling the function {output.name}.")


def _by_prompt(request: Request, output: Output) -> None:
    schema = json.dumps(output.schema, ensure_ascii=False)
    text = f"Answer with JSON only, without other words, that fits this JSON Schema:\n{schema}"
    _instruct(request, text)


def _instruct(request: Request, text: str) -> None:
    system = request.context.system_prompt
    request.context.system_prompt = f"{system}\n\n{text}" if system else text


# === Asking once more ===


class Turns:
    """The turns of one `complete`: the first, and those in which the model mends its answer."""

    def __init__(self, context: Context, output: Output, retries: int) -> None:
        if retries < 0:
            raise ValueError(f"output_retries is 0 or more, not {retries}")
        self.context: Context = context
        self.output = output
        self._retries = retries
        self._messages: list[ParsedMessage[Any]] = []

    def take(self, message: ParsedMessage[Any]) -> bool:
        """Take the answer of a turn. Whether another one is to be asked, with `context`."""
        self._messages.append(message)
        error = message.error
        if error is None or error.kind is not ErrorKind.INVALID_OUTPUT or message._cut:
            return False
        if len(self._messages) > self._retries:
            return False
        # Without its thinking: providers want that back with the very call or text after it.
        bad = AssistantMessage(
            content=[TextContent(text=message._raw())], stop_reason=StopReason.STOP
        )
        again = f"{error.message}\n\nAnswer once more, with all of it and these problems solved."
        self.context = self.context.model_copy(
            update={"messages": [*self.context.messages, bad, UserMessage(content=again)]}
        )
        return True

    def result(self) -> ParsedMessage[Any]:
        """The last answer, with the usage, time and warnings of all; a call that stands for the
        answer is text, so that the conversation can go on."""
        first, last = self._messages[0], self._messages[-1]
        if last is not first:
            last.usage = summed(message.usage for message in self._messages)
            last.duration_ms = sum(message.duration_ms or 0.0 for message in self._messages)
            last.ttft_ms = first.ttft_ms
            last.attempts = [one for message in self._messages for one in message.attempts]
            said = [warning for message in self._messages for warning in message.warnings]
            last.warnings = [one for number, one in enumerate(said) if one not in said[:number]]
        call = last._answering_call()
        if call is not None and (last.error is None or last.error.kind == "invalid_output"):
            _as_text(last, call)
        return last


def _as_text(message: ParsedMessage[Any], call: ToolCall) -> None:
    """Make the call that stands for the answer text."""
    text = TextContent(text=message._raw())
    message.content = [text if part is call else part for part in message.content]
    if message.stop_reason is StopReason.TOOL_USE and not message.tool_calls:
        message.stop_reason = StopReason.STOP
    if message.api == "openai-responses":  # it takes reasoning back only with what it led to
        for part in message.content:
            if isinstance(part, ThinkingContent):
                part.thinking_signature = None
