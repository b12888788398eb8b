"""The events of a response. The streams that carry them are in `pipy_ai.stream`.

    stream := error | start block-events* ( done | error )

Each block has a start (`text_start`), deltas (`text_delta`) and an end (`text_end`); the same holds
for `thinking_*` and `toolcall_*`. `content_index` is the block's index in the message; it never
changes. Calls of the provider's own tools are `servertool_*`, their results `servertool_result`;
images and audio are `image_*` and `audio_*`; a `citation` belongs to text, during its block or
after it.

    for event in stream("anthropic/claude-sonnet-4-5", "Write a haiku."):
        match event.type:
            case "text_delta":
                print(event.delta, end="", flush=True)
            case "error":
                print(event.error.error_message)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, get_args

from pydantic import ValidationError
from typing_extensions import TypeVar

from .types import (
    AssistantMessage,
    AudioContent,
    Citation,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
    StopReason,
    ToolCall,
    ToolResultMessage,
    mark_error_seen,
)

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from .utils.dataclass import dataclass


class _MessageLog(Protocol):
    """A growing message that can be rebuilt as it was at any position."""

    def message_at(self, position: int) -> AssistantMessage: ...


E = TypeVar("E", bound="_Event")


class _Event:
    """The base of all events, whose `partial` is built on first access."""

    __slots__: tuple[str, ...] = ("_log", "_position")  # of an event: its fields

    _type: ClassVar[str]
    _value_fields: ClassVar[tuple[str, ...]]  # the values that `_at_position` takes
    _log: _MessageLog
    _position: int

    def __init_subclass__(cls) -> None:
        event_type = vars(cls).get("type")
        if isinstance(event_type, str):  # the default, before `dataclass` turns it into a slot
            cls._type = event_type
            cls._value_fields = tuple(
                n for n in cls.__annotations__ if n not in ("type", "partial")
            )

    @classmethod
    def _at_position(cls: type[E], log: _MessageLog, position: int, *values: Any) -> E:
        """Create the event at a position of a log. `partial` is built on first access."""
        event: Any = cls.__new__(cls)
        event.type = cls._type
        for name, value in zip(cls._value_fields, values, strict=True):
            setattr(event, name, value)
        event._log = log
        event._position = position
        return event  # type: ignore[no-any-return]

    if not TYPE_CHECKING:  # hidden from checkers, or every attribute would be valid

        def __getattr__(self, name):
            if name == "partial":  # first access: the slot is still empty
                message = self._log.message_at(self._position)
                self.partial = message
                return message
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def parsed_partial(self) -> Any:
        """The value of a typed answer (`output=`) so far, as plain JSON data; None if empty.

        It is parsed on access and not validated against the type.
        """
        event: Any = self
        return getattr(event.partial, "parsed_partial", None)

    def to_dict(self, *, partial: bool = False) -> dict[str, Any]:
        """Convert the event to JSON data. `partial=True` includes the message so far."""
        data: dict[str, Any] = {}
        for name in self.__slots__:
            if name != "partial" or partial:
                value = getattr(self, name)
                dump = getattr(value, "model_dump", None)
                data[name] = dump(mode="json") if dump is not None else value
        return data

    def __repr__(self) -> str:
        from .reprs import short_repr

        names = [name for name in self.__slots__ if name not in ("type", "partial")]
        shown = [f"{name}={short_repr(getattr(self, name))}" for name in names]
        return f"{type(self).__name__}({', '.join(shown)})"

    # Pickles and copies hold the message itself, not its log.
    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class _DeltaEvent(_Event):
    """The base of the most frequent events, with a faster constructor."""

    __slots__ = ()

    @classmethod
    def _at_position(cls: type[E], log: _MessageLog, position: int, *values: Any) -> E:
        event: Any = cls.__new__(cls)
        event.type = cls._type
        event.content_index, event.delta = values
        event._log = log
        event._position = position
        return event  # type: ignore[no-any-return]

    @classmethod
    def _run(
        cls: type[E], log: _MessageLog, positions: range, content_index: int, deltas: list[str]
    ) -> list[E]:
        """Create an event for each delta, at these positions of a log."""
        new, event_type, events = cls.__new__, cls._type, []
        event: Any
        for position, delta in zip(positions, deltas, strict=True):
            event = new(cls)
            event.type = event_type
            event.content_index = content_index
            event.delta = delta
            event._log = log
            event._position = position
            events.append(event)
        return events


@dataclass(slots=True, kw_only=True, repr=False)
class StartEvent(_Event):
    """The provider has accepted the request."""

    type: Literal["start"] = "start"
    """Always `start`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class TextStartEvent(_Event):
    """A text block begins."""

    type: Literal["text_start"] = "text_start"
    """Always `text_start`."""
    content_index: int
    """The index of the block in `partial.content`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class TextDeltaEvent(_DeltaEvent):
    """More text."""

    type: Literal["text_delta"] = "text_delta"
    """Always `text_delta`."""
    content_index: int
    """The index of the block in `partial.content`."""
    delta: str
    """The new text."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class TextEndEvent(_Event):
    """A text block is complete; `content` is all of it."""

    type: Literal["text_end"] = "text_end"
    """Always `text_end`."""
    content_index: int
    """The index of the block in `partial.content`."""
    content: str
    """All text of the block."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ThinkingStartEvent(_Event):
    """A thinking block begins. A redacted block has no deltas."""

    type: Literal["thinking_start"] = "thinking_start"
    """Always `thinking_start`."""
    content_index: int
    """The index of the block in `partial.content`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ThinkingDeltaEvent(_DeltaEvent):
    """More thinking."""

    type: Literal["thinking_delta"] = "thinking_delta"
    """Always `thinking_delta`."""
    content_index: int
    """The index of the block in `partial.content`."""
    delta: str
    """The new thinking."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ThinkingEndEvent(_Event):
    """A thinking block is complete; `content` is all of it."""

    type: Literal["thinking_end"] = "thinking_end"
    """Always `thinking_end`."""
    content_index: int
    """The index of the block in `partial.content`."""
    content: str
    """All thinking of the block."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ToolCallStartEvent(_Event):
    """A tool call begins; its id and name are in `partial.content[content_index]`."""

    type: Literal["toolcall_start"] = "toolcall_start"
    """Always `toolcall_start`."""
    content_index: int
    """The index of the call in `partial.content`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ToolCallDeltaEvent(_DeltaEvent):
    """More of the call's arguments, as raw JSON text."""

    type: Literal["toolcall_delta"] = "toolcall_delta"
    """Always `toolcall_delta`."""
    content_index: int
    """The index of the call in `partial.content`."""
    delta: str
    """The new part of the arguments, as raw JSON."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ToolCallEndEvent(_Event):
    """A tool call is complete."""

    type: Literal["toolcall_end"] = "toolcall_end"
    """Always `toolcall_end`."""
    content_index: int
    """The index of the call in `partial.content`."""
    tool_call: ToolCall
    """The complete call."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ServerToolStartEvent(_Event):
    """The provider calls a tool of its own; id and name are in `partial.content[content_index]`."""

    type: Literal["servertool_start"] = "servertool_start"
    """Always `servertool_start`."""
    content_index: int
    """The index of the block in `partial.content`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ServerToolDeltaEvent(_DeltaEvent):
    """More of the arguments of a tool that the provider runs, as raw JSON text."""

    type: Literal["servertool_delta"] = "servertool_delta"
    """Always `servertool_delta`."""
    content_index: int
    """The index of the block in `partial.content`."""
    delta: str
    """The new part of the arguments, as raw JSON."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ServerToolEndEvent(_Event):
    """The call of a tool that the provider runs is complete."""

    type: Literal["servertool_end"] = "servertool_end"
    """Always `servertool_end`."""
    content_index: int
    """The index of the block in `partial.content`."""
    server_tool_call: ServerToolCall
    """The complete call."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ServerToolResultEvent(_Event):
    """A tool that the provider ran has returned."""

    type: Literal["servertool_result"] = "servertool_result"
    """Always `servertool_result`."""
    content_index: int
    """The index of the block in `partial.content`."""
    result: ServerToolResult
    """The result."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class CitationEvent(_Event):
    """The provider named a source of the text in `partial.content[content_index]`."""

    type: Literal["citation"] = "citation"
    """Always `citation`."""
    content_index: int
    """The index of the block in `partial.content`."""
    citation: Citation
    """The source, and the place in the text as far as it is known."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ImageStartEvent(_Event):
    """An image begins."""

    type: Literal["image_start"] = "image_start"
    """Always `image_start`."""
    content_index: int
    """The index of the block in `partial.content`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ImagePartialEvent(_Event):
    """A preview of an image; a better one follows."""

    type: Literal["image_partial"] = "image_partial"
    """Always `image_partial`."""
    content_index: int
    """The index of the block in `partial.content`."""
    image: ImageContent
    """The preview."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class ImageEndEvent(_Event):
    """An image is complete."""

    type: Literal["image_end"] = "image_end"
    """Always `image_end`."""
    content_index: int
    """The index of the block in `partial.content`."""
    image: ImageContent
    """The complete image."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class AudioStartEvent(_Event):
    """Audio begins."""

    type: Literal["audio_start"] = "audio_start"
    """Always `audio_start`."""
    content_index: int
    """The index of the block in `partial.content`."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class AudioDeltaEvent(_Event):
    """More audio, more of its transcript, or both."""

    type: Literal["audio_delta"] = "audio_delta"
    """Always `audio_delta`."""
    content_index: int
    """The index of the block in `partial.content`."""
    delta: str
    """The new bytes, base64-encoded on their own. Empty: only words."""
    transcript: str
    """The new words. Empty: only audio."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class AudioEndEvent(_Event):
    """Audio is complete."""

    type: Literal["audio_end"] = "audio_end"
    """Always `audio_end`."""
    content_index: int
    """The index of the block in `partial.content`."""
    audio: AudioContent
    """The complete audio."""
    partial: AssistantMessage
    """The message so far."""


@dataclass(slots=True, kw_only=True, repr=False)
class DoneEvent(_Event):
    """The response is complete. Always the last event."""

    type: Literal["done"] = "done"
    """Always `done`."""
    reason: StopReason
    """`stop`, `length` or `toolUse`."""
    message: AssistantMessage
    """The final message."""

    @property
    def partial(self) -> AssistantMessage:
        """The same as `message`."""
        return self.message


@dataclass(slots=True, kw_only=True, repr=False)
class ErrorEvent(_Event):
    """The request failed or was aborted. Always the last event.

    `error` is the message with all content so far; `error.error` is the reason.
    """

    type: Literal["error"] = "error"
    """Always `error`."""
    reason: StopReason
    """`error` or `aborted`."""
    error: AssistantMessage
    """The final message, with its `error` and all content so far."""

    @property
    def partial(self) -> AssistantMessage:
        """The same as `error`."""
        return self.error


@dataclass(slots=True, kw_only=True, repr=False)
class ToolResultEvent(_Event):
    """A tool returned; `message` is the result that the model will receive."""

    type: Literal["tool_result"] = "tool_result"
    """Always `tool_result`."""
    tool_call: ToolCall
    """The call."""
    message: ToolResultMessage
    """The result that the model will get."""


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
    | ServerToolStartEvent
    | ServerToolDeltaEvent
    | ServerToolEndEvent
    | ServerToolResultEvent
    | CitationEvent
    | ImageStartEvent
    | ImagePartialEvent
    | ImageEndEvent
    | AudioStartEvent
    | AudioDeltaEvent
    | AudioEndEvent
    | DoneEvent
    | ErrorEvent
)
"""An event of a stream, distinguished by its `type`."""
ToolEvent: TypeAlias = AssistantMessageEvent | ToolResultEvent
"""An event of a tool run: those of its streams, and `tool_result`."""

_EVENT_CLASSES: dict[str, type[Any]] = {cls._type: cls for cls in get_args(ToolEvent)}


def _counts_as_seen(slot: Any, error_slot: Any) -> property:
    """Return a property that reads a slot of an `ErrorEvent`. Its error then counts as seen."""

    def read(event: Any) -> Any:
        mark_error_seen(error_slot.__get__(event))
        return slot.__get__(event)

    return property(read, slot.__set__, doc=f"The field `{slot.__name__}`.")


# Whoever reads them from an error event knows that the request failed.
_error_slot = ErrorEvent.__dict__["error"]
for _name in ("error", "reason"):
    setattr(ErrorEvent, _name, _counts_as_seen(ErrorEvent.__dict__[_name], _error_slot))


def event_from_dict(data: Mapping[str, Any]) -> ToolEvent:
    """Rebuild an event from the output of `to_dict`. Unknown fields are ignored.

    `partial` is an empty message unless the data includes it (`to_dict(partial=True)`).

    Raises:
        ValueError: `data` is not a valid event.

    Example:
        >>> from pipy_ai import event_from_dict
        >>> event_from_dict({"type": "text_delta", "content_index": 0, "delta": "Hi"}).delta
        'Hi'
    """
    event_type = data.get("type") if isinstance(data, Mapping) else None
    event_class = _EVENT_CLASSES.get(event_type) if isinstance(event_type, str) else None
    if event_class is None:
        raise ValueError(f"unknown event type {event_type!r}")
    event: ToolEvent = event_class(**_read_fields(event_class, data))
    return event


def _read_fields(event_class: type[Any], data: Mapping[str, Any]) -> dict[str, Any]:
    event_type = event_class._type
    message_class = ToolResultMessage if event_type == "tool_result" else AssistantMessage
    models: dict[str, Any] = {
        "tool_call": ToolCall,
        "server_tool_call": ServerToolCall,
        "result": ServerToolResult,
        "citation": Citation,
        "image": ImageContent,
        "audio": AudioContent,
        "message": message_class,
        "error": message_class,
        "partial": message_class,
    }
    field_types = {"content_index": int, "delta": str, "content": str, "transcript": str}
    values: dict[str, Any] = {}
    for name in event_class.__slots__:
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
                raise ValueError(f"{event_type}: {name} is missing or has the wrong type")
            values[name] = value
    return values
