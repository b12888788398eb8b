"""The events of a response. The streams that carry them are in `pipy_ai.stream`.

    stream := error | start block-events* ( done | error )

Every block is announced (`text_start`), grows (`text_delta`) and ends (`text_end`), likewise
`thinking_*` and `toolcall_*`. `content_index` is the block's place in the message, for ever.

    for event in stream("anthropic/claude-sonnet-4-5", "Write a haiku."):
        match event.type:
            case "text_delta":
                print(event.delta, end="", flush=True)
            case "error":
                print(event.error.error_message)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, get_args

from pydantic import ValidationError
from typing_extensions import TypeVar

from .types import AssistantMessage, StopReason, ToolCall, ToolResultMessage


class _MessageLog(Protocol):
    """A growing message that can tell what it was at any of its positions."""

    def message_at(self, position: int) -> AssistantMessage: ...


E = TypeVar("E", bound="_Event")


class _Event:
    """What all events share: a `partial` that is worked out when somebody looks."""

    __slots__ = ("_log", "_position")

    _type: ClassVar[str]
    _value_fields: ClassVar[tuple[str, ...]]  # the fields that `_at` is given
    _log: _MessageLog
    _position: int

    @classmethod
    def _at_position(cls: type[E], log: _MessageLog, position: int, *values: Any) -> E:
        """The event at a position of a log; its `partial` is read when somebody asks."""
        event: Any = cls.__new__(cls)
        event.type = cls._type
        for name, value in zip(cls._value_fields, values, strict=True):
            setattr(event, name, value)
        event._log = log
        event._position = position
        return event  # type: ignore[no-any-return]

    if not TYPE_CHECKING:  # a checker would take any attribute for granted

        def __getattr__(self, name):
            if name == "partial":  # not read before: its slot is still empty
                message = self._log.message_at(self._position)
                self.partial = message
                return message
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def parsed_partial(self) -> Any:
        """What has come of a typed answer (`output=`), as plain JSON data; None: nothing yet.

        It is worked out when somebody looks, and not checked against the type.
        """
        event: Any = self
        return getattr(event.partial, "parsed_partial", None)

    def to_dict(self, *, partial: bool = False) -> dict[str, Any]:
        """The event as JSON-ready data, without the message so far unless `partial` is true."""
        data: dict[str, Any] = {}
        for name in _field_names(self):
            if name != "partial" or partial:
                value = getattr(self, name)
                dump = getattr(value, "model_dump", None)
                data[name] = dump(mode="json") if dump is not None else value
        return data

    # Pickles and copies hold the message itself, not the log that it came from.
    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _field_names(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _field_names(event: Any) -> list[str]:
    return [field.name for field in fields(event)]


class _DeltaEvent(_Event):
    """An event that comes by the thousand, made without detours."""

    __slots__ = ()

    @classmethod
    def _at_position(cls: type[E], log: _MessageLog, position: int, *values: Any) -> E:
        event: Any = cls.__new__(cls)
        event.type = cls._type
        event.content_index, event.delta = values
        event._log = log
        event._position = position
        return event  # type: ignore[no-any-return]


@dataclass(slots=True, kw_only=True)
class StartEvent(_Event):
    """The provider has accepted the request."""

    type: Literal["start"] = "start"
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class TextStartEvent(_Event):
    """A text block begins."""

    type: Literal["text_start"] = "text_start"
    content_index: int
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class TextDeltaEvent(_DeltaEvent):
    """More text."""

    type: Literal["text_delta"] = "text_delta"
    content_index: int
    delta: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class TextEndEvent(_Event):
    """A text block is complete; `content` is all of it."""

    type: Literal["text_end"] = "text_end"
    content_index: int
    content: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ThinkingStartEvent(_Event):
    """A thinking block begins. A redacted one is whole at once and has no deltas."""

    type: Literal["thinking_start"] = "thinking_start"
    content_index: int
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ThinkingDeltaEvent(_DeltaEvent):
    """More thinking."""

    type: Literal["thinking_delta"] = "thinking_delta"
    content_index: int
    delta: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ThinkingEndEvent(_Event):
    """A thinking block is complete; `content` is all of it."""

    type: Literal["thinking_end"] = "thinking_end"
    content_index: int
    content: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ToolCallStartEvent(_Event):
    """A tool call begins; its id and name stand in `partial.content[content_index]`."""

    type: Literal["toolcall_start"] = "toolcall_start"
    content_index: int
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ToolCallDeltaEvent(_DeltaEvent):
    """More of the call's arguments, as raw JSON text."""

    type: Literal["toolcall_delta"] = "toolcall_delta"
    content_index: int
    delta: str
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class ToolCallEndEvent(_Event):
    """A tool call is complete."""

    type: Literal["toolcall_end"] = "toolcall_end"
    content_index: int
    tool_call: ToolCall
    partial: AssistantMessage


@dataclass(slots=True, kw_only=True)
class DoneEvent(_Event):
    """The answer is complete. Always the last event."""

    type: Literal["done"] = "done"
    reason: StopReason
    message: AssistantMessage

    @property
    def partial(self) -> AssistantMessage:
        """The whole message: the same as `message`."""
        return self.message


@dataclass(slots=True, kw_only=True)
class ErrorEvent(_Event):
    """The answer failed or was stopped; `error` is the message with all that came before, and
    `error.error` says why. Always the last event."""

    type: Literal["error"] = "error"
    reason: StopReason
    error: AssistantMessage

    @property
    def partial(self) -> AssistantMessage:
        """What had arrived: the same as `error`."""
        return self.error


AssistantMessageEvent: TypeAlias = (
    StartEvent
    | TextStartEvent
    | TextDeltaEvent
    | TextEndEvent
    | ThinkingStartEvent
    | ThinkingDeltaEvent
    | ThinkingEndEvent
    | ToolCallStartEvent
    | ToolCallDeltaEvent
    | ToolCallEndEvent
    | DoneEvent
    | ErrorEvent
)

for _cls in get_args(AssistantMessageEvent):
    _cls._type = _cls.__dataclass_fields__["type"].default
    _cls._value_fields = tuple(n for n in _cls.__dataclass_fields__ if n not in ("type", "partial"))


def event_from_dict(data: Mapping[str, Any]) -> ToolEvent:
    """The event that `to_dict` has made such data of; fields that are not known are passed over.

    `partial` is exact where it was written (`to_dict(partial=True)`), else an empty message.

    Raises:
        ValueError: it is no event; the text says why.

    Example:
        >>> from pipy_ai import event_from_dict
        >>> event_from_dict({"type": "text_delta", "content_index": 0, "delta": "Hi"}).delta
        'Hi'
    """

    event_classes = {cls._type: cls for cls in get_args(AssistantMessageEvent)}
    event_classes["tool_result"] = ToolResultEvent
    event_type = data.get("type") if isinstance(data, Mapping) else None
    if not isinstance(event_type, str) or event_type not in event_classes:
        raise ValueError(f"there is no event of type {event_type!r}")
    event: ToolEvent = event_classes[event_type](
        **_read_fields(event_classes[event_type], event_type, data)
    )
    return event


def _read_fields(cls: type[Any], event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an event, read from JSON."""
    message_class = ToolResultMessage if event_type == "tool_result" else AssistantMessage
    models = {
        "tool_call": ToolCall,
        "message": message_class,
        "error": message_class,
        "partial": message_class,
    }
    field_types = {"content_index": int, "delta": str, "content": str}
    values: dict[str, Any] = {}
    for name in cls.__dataclass_fields__:
        value = data.get(name, {} if name == "partial" else None)
        if name in models:
            try:
                values[name] = models[name].model_validate(value)
            except ValidationError as error:
                first_error = error.errors()[0]
                field_path = ".".join(str(part) for part in (name, *first_error["loc"]))
                raise ValueError(f"{event_type}: {field_path}: {first_error['msg']}") from None
        elif name == "reason":
            values[name] = StopReason(value)
        elif name != "type":
            if type(value) is not field_types[name]:
                raise ValueError(f"{event_type}: {name} is missing or of a wrong type")
            values[name] = value
    return values


# === Streams ===


@dataclass(slots=True, kw_only=True)
class ToolResultEvent(_Event):
    """A tool has answered `tool_call`; `message` is what the model will be told."""

    type: Literal["tool_result"] = "tool_result"
    tool_call: ToolCall
    message: ToolResultMessage


ToolEvent: TypeAlias = AssistantMessageEvent | ToolResultEvent
