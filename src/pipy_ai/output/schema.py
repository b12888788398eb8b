"""Output types: their JSON Schema, and parsing an answer into a value.

    @dataclass
    class Invoice:
        number: str
        total: float

    message = complete("openai/gpt-5-mini", text, output=Invoice)
    message.parsed.total

`Output` is the requested type, `ParsedMessage` the message with the parsed value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import isroutine
from operator import is_not
from types import GenericAlias
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import PrivateAttr

from ..errors import ErrorInfo, ErrorKind, error_info, exception_for
from ..types import AssistantMessage, StopReason, ToolCall
from ..utils.json_parse import parse_streaming_json
from ..utils.json_schema import (
    check_nesting,
    iter_refs,
)
from ..utils.schema_simplifier import (
    modernize,
)
from ..utils.schema_values import (
    drop_optional_nulls,
    has_object_union,
)
from ..utils.surrogates import clean_json_surrogates
from ..utils.validation import (
    format_path,
    format_validation_errors,
    schema_validator,
    validate_without_loss,
    validation_limit,
)

T = TypeVar("T")
OutputMode: TypeAlias = Literal["native", "tool", "prompt"]
"""How the type is requested: the provider's structured output, a tool call, or the prompt."""

_MAX_PROBLEMS = 20
_MAX_JSON_STARTS = 100  # positions of an answer at which JSON is searched for

_JSON_DECODER = json.JSONDecoder(strict=False)
_OBJECT_START = re.compile(r'\{(?=\s*("|\}|$))')
_JSON_START = re.compile(_OBJECT_START.pattern + r"|\[")


class OutputValidationError(ValueError):
    """The answer does not match the output type. `problems` lists lines of `path: problem`."""

    def __init__(self, problems: list[str]) -> None:
        if len(problems) > _MAX_PROBLEMS:
            problems = [*problems[:_MAX_PROBLEMS], f"and {len(problems) - _MAX_PROBLEMS} more"]
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class ParsedMessage(AssistantMessage, Generic[T]):
    """A message with a value of the output type: `parsed`. The text is kept unchanged.

    The value is not part of the message's JSON form.
    """

    _value: tuple[T] | None = PrivateAttr(default=None)
    # Why there is no value.
    _missing_reason: str = PrivateAttr(default="This message was not parsed.")
    _truncated: bool = PrivateAttr(default=False)  # at its limit of tokens
    _wrapped: bool = PrivateAttr(default=False)
    _tool_name: str = PrivateAttr(default="")  # of the call that is the answer; "": the text is

    @property
    def parsed(self) -> T:
        """The parsed value.

        Raises:
            PipyError: There is no value: the request failed, the answer does not match the type
                (`InvalidOutputError`), or the model called a tool instead of answering.
        """
        if self._value is None:
            self.raise_for_error()
            error = error_info(
                ErrorKind.INVALID_OUTPUT, self._missing_reason, provider=self.provider
            )
            raise exception_for(error, self)
        return self._value[0]

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        if self._value is not None:
            from ..reprs import Verbatim, short_repr

            yield "parsed", Verbatim(short_repr(self._value[0]))

    @property
    def parsed_partial(self) -> Any:
        """The part of the value received so far, as unvalidated JSON data. None: nothing yet."""
        call = self._answer_call()
        if call is not None:
            value = call.arguments
        else:
            text = self._joined_text
            match = _OBJECT_START.search(text)
            if match is None:
                return None
            try:
                value, _ = _JSON_DECODER.raw_decode(text, match.start())
            except (ValueError, RecursionError):
                value = parse_streaming_json(text[match.start() :])
        return value.get("value") if self._wrapped and value.keys() <= {"value"} else value

    def _answer_call(self) -> ToolCall | None:
        """Return the tool call that is the answer, if it was requested as a tool call."""
        calls = self.tool_calls if self._tool_name else ()
        return next((call for call in calls if call.name == self._tool_name), None)

    def _raw_answer(self) -> str:
        """Return the JSON of the answer as the model wrote it."""
        call = self._answer_call()
        if call is None:
            return self._joined_text
        if call.raw_arguments is not None:
            return call.raw_arguments
        return json.dumps(call.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Output:
    """An output type: its JSON Schema with an object at the root, and how to parse an answer.

    If the type is not an object, `wrapped` is true and the schema is that of `{"value": …}`.

    Example:
        >>> from pipy_ai.output.schema import Output
        >>> colours = Output.of(list[Literal["red", "blue"]])
        >>> colours.parse('{"value": ["red", "blue"]}')
        ['red', 'blue']
        >>> colours.parse('{"value": ["red", "grün"]}')
        Traceback (most recent call last):
        pipy_ai.output.schema.OutputValidationError: [1]: Input should be 'red' or 'blue'
    """

    name: str
    schema: dict[str, Any]
    validate: Callable[[Any], Any] = field(repr=False)
    wrapped: bool = False
    mode: OutputMode = "native"

    @classmethod
    def of(cls, type_or_schema: Any) -> Output:
        """Return the `Output` of a type or JSON Schema.

        Args:
            type_or_schema: A Pydantic model, a dataclass, a TypedDict, an Enum, `list[X]`,
                `Literal[…]`, any other type that Pydantic supports, or a JSON Schema as a dict.

        Raises:
            TypeError: It is not a type, or has no JSON Schema.
            ValueError: The dict is not a valid JSON Schema.
        """
        if isinstance(type_or_schema, Output):
            return type_or_schema
        schema, validate = _cached_validator(type_or_schema)
        type_name = (
            type_or_schema.__name__
            if isinstance(type_or_schema, type)
            else str(schema.get("title") or "")
        )
        name = re.sub(r"[^A-Za-z0-9_-]+", "_", type_name).strip("_")[:64]
        object_schema, wrapped = _with_object_root(schema)
        return cls(name or "answer", object_schema, validate, wrapped)

    def parse(self, text: str) -> Any:
        """Parse an answer. Code fences and prose around the JSON are ignored.

        Raises:
            OutputValidationError: The text has no JSON, or its value does not match the type.
        """
        first_error: OutputValidationError | None = None
        try:
            for value in _json_candidates(text, self.wrapped):
                try:
                    return self._validate_value(value)
                except OutputValidationError as error:
                    first_error = first_error or error
        except RecursionError:
            first_error = OutputValidationError(["(all): it is nested too deeply"])
        raise first_error or OutputValidationError([f"(all): {_no_json_reason(text)}"])

    def _validate_value(self, value: Any) -> Any:
        schema: Any = self.schema
        if self.wrapped:
            schema = schema["properties"]["value"]
            if isinstance(value, dict) and value.keys() == {"value"}:
                value = value["value"]
        return self.validate(drop_optional_nulls(value, schema, self.schema))

    @property
    def message_class(self) -> type[ParsedMessage[Any]]:
        """The class of the messages of a request with this output."""
        return ParsedMessage

    def bind(self, message: AssistantMessage) -> None:
        """Prepare a new message for this output, so that `parsed_partial` works."""
        assert isinstance(message, ParsedMessage)
        message.model_post_init(None)  # the message was constructed without private attributes
        message._wrapped = self.wrapped
        message._tool_name = self.name if self.mode == "tool" else ""

    def validate_message(self, message: AssistantMessage) -> ErrorInfo | None:
        """Parse a finished message. Return an error if its answer does not match the type."""
        assert isinstance(message, ParsedMessage)
        if message.tool_calls and message._answer_call() is None:
            names = ", ".join(call.name for call in message.tool_calls)
            message._missing_reason = (
                f"The model called {names} instead of answering: append its message and the"
                " results of the calls to the context, and send it again."
            )
            return None
        try:
            message._value = (self.parse(message._raw_answer()),)
            return None
        except OutputValidationError as error:
            text = f"The answer does not match its schema:\n{error}"
        message._truncated = message.stop_reason is StopReason.LENGTH
        if message._truncated:
            text = f"The answer was truncated at its token limit: raise max_tokens. {text}"
        return error_info(ErrorKind.INVALID_OUTPUT, text, provider=message.provider)


_MAX_CACHED_TYPES = 128
# By the JSON of a schema or the ids of a type's parts: the type, so that the ids stay its own, the
# parts' own validators, the JSON of the schema, and the validator.
_cached_types: dict[object, tuple[Any, list[Any], str, Callable[[Any], Any]]] = {}


def _cached_validator(type_or_schema: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    """Return the schema of an output type, which may be changed, and its validator.

    They are created once for each class, for a generic of classes such as `list[Item]`, which is
    often a new object in each call, and for equal JSON Schemas.
    """
    parts: tuple[Any, ...] = ()
    key: object
    text = ""
    if isinstance(type_or_schema, Mapping):
        try:
            key = text = json.dumps(type_or_schema)
        except (TypeError, ValueError, RecursionError):  # not JSON, or too deep
            return _create_validator(type_or_schema)
    else:
        parts = (type_or_schema,)
        if isinstance(type_or_schema, GenericAlias):
            parts = (GenericAlias, type_or_schema.__origin__, *type_or_schema.__args__)
        if not all(isinstance(part, type) for part in parts):
            return _create_validator(type_or_schema)
        key = tuple(map(id, parts))
    cached = _cached_types.get(key)
    if cached is None or any(map(is_not, cached[1], _own_validators(parts))):
        if text:
            type_or_schema = json.loads(text)  # a copy: the caller may change the original
        schema, validate = _create_validator(type_or_schema)
        if len(_cached_types) >= _MAX_CACHED_TYPES:
            _cached_types.clear()
        cached = (type_or_schema, _own_validators(parts), json.dumps(schema), validate)
        _cached_types[key] = cached
    return json.loads(cached[2]), cached[3]


def _own_validators(types: Iterable[Any]) -> list[Any]:
    """Return the validators of models among types; Pydantic replaces them when it rebuilds one."""
    return [getattr(one, "__pydantic_validator__", None) for one in types]


def _create_validator(type_or_schema: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    if not isinstance(type_or_schema, Mapping):
        return _type_validator(type_or_schema)
    try:
        check_nesting(type_or_schema)
        schema = clean_json_surrogates(dict(type_or_schema))
        with validation_limit(schema):
            validate = _schema_validator(schema)
    except RecursionError:
        raise ValueError("the schema of output= is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"output= cannot be used as a schema: {error}") from None
    return modernize(schema), validate


def _type_validator(output_type: Any) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema

    class UntitledSchema(GenerateJsonSchema):
        """Omits the titles that only repeat a field's name."""

        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    if isroutine(output_type):  # Pydantic would validate its arguments
        raise TypeError(f"output= takes a type or a JSON Schema, not the function {output_type!r}")
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(output_type)
        schema = adapter.json_schema(schema_generator=UntitledSchema)
        has_union = has_object_union(schema, schema)
    except RecursionError:
        raise TypeError(f"output= is nested too deeply: {repr(output_type)[:80]}") from None
    except (PydanticUserError, TypeError) as error:
        text = str(error).partition("\n\n")[0].partition(". Set ")[0]
        raise TypeError(
            f"output= takes a type or a JSON Schema, not {output_type!r}: {text}"
        ) from None

    def validate_json(value: Any, **options: Any) -> Any:
        return adapter.validate_json(json.dumps(value), **options)

    def validate(value: Any) -> Any:
        try:
            if not has_union:
                return validate_json(value)
            return validate_without_loss(validate_json, value, schema)
        except ValidationError as error:
            # json.dumps wrote the JSON, so that only its depth can be invalid.
            if error.errors()[0]["type"] == "json_invalid":
                raise RecursionError from None
            problems = list(format_validation_errors(error))
        except Exception as exception:  # raised by a validator of the user's
            problems = [f"{format_path(())}: {type(exception).__name__}: {exception}"]
        raise OutputValidationError(problems)

    return schema, validate


def _schema_validator(schema: dict[str, Any]) -> Callable[[Any], Any]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing.exceptions import Unresolvable

    validator_class = validator_for(schema, default=Draft202012Validator)
    try:
        validator_class.check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"not a valid JSON Schema: {error.message}") from None
    if external_refs := [ref for ref in iter_refs(schema) if not ref.startswith("#")]:
        # A schema at another address is never fetched.
        raise ValueError(f"it refers to another schema: {external_refs[0]}")
    validator = schema_validator(schema)

    def validate(value: Any) -> Any:
        try:
            with validation_limit(value):
                errors = sorted(validator.iter_errors(value), key=lambda error: str(error.path))
        except Unresolvable as error:
            problem = f"{format_path(())}: the schema has an unresolved reference: {error}"
            raise OutputValidationError([problem]) from None
        if errors:
            problems = [
                f"{format_path(item.absolute_path)}: {item.message[:300]}" for item in errors
            ]
            raise OutputValidationError(problems)
        return value

    return validate


def _with_object_root(schema: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return a schema with an object at its root, and whether it was wrapped in one."""
    definitions = _definitions(schema)
    reference = schema.get("$ref")
    target = definitions.get(str(reference).rpartition("/")[2]) if reference else None
    if isinstance(target, Mapping):
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if schema.get("type") == "object" or ("type" not in schema and "properties" in schema):
        return {"type": "object", **schema}, False
    value_schema = {
        key: value for key, value in schema.items() if key not in ("$defs", "definitions")
    }
    shared_definitions: dict[str, Any] = {
        key: schema[key] for key in ("$defs", "definitions") if key in schema
    }
    wrapped = {"type": "object", "properties": {"value": value_schema}, "required": ["value"]}
    return {**wrapped, "additionalProperties": False, **shared_definitions}, True


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**(schema.get("definitions") or {}), **(schema.get("$defs") or {})}


def _json_candidates(text: str, allow_non_objects: bool) -> Iterator[Any]:
    """Yield the values that may be the answer: the whole text, or the JSON within it, last first.

    Only objects are considered, unless `allow_non_objects`. If an object is malformed, the search
    ends: a part of it must not be taken for the answer.
    """
    try:
        yield clean_json_surrogates(_JSON_DECODER.decode(text.strip()))
        return
    except (ValueError, RecursionError):
        pass
    candidates: list[Any] = []
    start_pattern = _JSON_START if allow_non_objects else _OBJECT_START
    end = 0
    for _ in range(_MAX_JSON_STARTS):
        start = start_pattern.search(text, end)
        if start is None:
            break
        try:
            value, end = _JSON_DECODER.raw_decode(text, start.start())
            candidates.append(value)
        except json.JSONDecodeError as error:
            if text[start.end() : error.pos].strip():
                return
            end = start.end()
        except (ValueError, RecursionError):  # an integer of thousands of digits
            return
    yield from map(clean_json_surrogates, reversed(candidates))


def _no_json_reason(text: str) -> str:
    """Return why no candidate was found in a text."""
    if not text.strip():
        return "it is empty"
    start = _OBJECT_START.search(text)
    if start is None:
        return "it contains no JSON object"
    try:
        _JSON_DECODER.raw_decode(text, start.start())
    except ValueError as error:
        return f"it is not valid JSON: {error}"
    except RecursionError:
        return "it is nested too deeply"
    return "it is not valid JSON"
