"""Convert messages to and from JSON data without building Pydantic validators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...utils.text import truncate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

    from ... import Message


MAX_TITLE_CHARS = 1000  # of a question that are read for its title
MIN_NESTED_CHARS = 1000  # of base64 in a provider's block; shorter ones stay there
MEDIA_TYPES = ("image", "audio", "video", "document")  # content whose `data` is a file


def conversation_title(messages: Iterable[Message]) -> str:
    """Return the beginning of the first question on one line."""
    for message in messages:
        if message.role == "user":
            content = message.content
            parts = [] if isinstance(content, str) else content
            texts = [part.text if part.type == "text" else f"[{part.type}]" for part in parts]
            text = content if isinstance(content, str) else " ".join(texts)
            return truncate(" ".join(text[:MAX_TITLE_CHARS].split()), 60)
    return ""


def dump_message(value: Any) -> Any:
    """Return a message as JSON data, equal to `model_dump(mode="json")`."""
    fields = getattr(value, "model_fields_set", None)
    if fields is not None:
        values = {**value.__dict__, **(value.__pydantic_extra__ or {})}
        excluded = {n for n, field in type(value).__pydantic_fields__.items() if field.exclude}
        return {n: dump_message(item) for n, item in values.items() if n not in excluded}
    if isinstance(value, list | tuple):
        return [dump_message(item) for item in value]
    if isinstance(value, dict):
        return {str(name): dump_message(item) for name, item in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    from pydantic_core import to_jsonable_python  # `details` of a tool result can be anything

    return to_jsonable_python(value, serialize_unknown=True)


def has_media(message: dict[str, Any]) -> bool:
    """Return whether a message in JSON form contains the data of a file."""
    content = message.get("content")
    return isinstance(content, list) and any(
        (part.get("type") in MEDIA_TYPES and part.get("data"))
        or (part.get("type") == "serverToolResult" and _holds_file(part.get("raw")))
        for part in content
        if isinstance(part, dict)
    )


def _holds_file(value: Any) -> bool:
    """Return whether a provider's block contains a file, such as a PDF that it has read."""
    if isinstance(value, dict):
        data = value.get("data")
        is_file = isinstance(data, str) and len(data) >= MIN_NESTED_CHARS
        return is_file or any(map(_holds_file, value.values()))
    return isinstance(value, list) and any(map(_holds_file, value))


def load_message(data: dict[str, Any]) -> Message:
    """Build a message from JSON data.

    Raises:
        ValueError: The data is not a message.
    """
    from ... import AssistantMessage, ToolResultMessage, UserMessage

    classes: dict[Any, Any] = {
        "user": UserMessage, "assistant": AssistantMessage, "toolResult": ToolResultMessage,
    }  # fmt: skip
    role = data.get("role")
    message_class = classes.get(role) if isinstance(role, str) else None
    if message_class is None:
        raise ValueError("nobody says it")
    message: Message = _load_text_message(data) or message_class.model_validate(data)
    return message


def _load_text_message(data: dict[str, Any]) -> Message | None:
    """Build a message that has only text, without a validator; None if it has anything else."""
    from ...types import AssistantMessage, Cost, StopReason, TextContent, Usage, UserMessage
    from ...utils.construct import construct_unchecked

    if not isinstance(data.get("timestamp"), int):
        return None
    if data["role"] == "user":
        is_text = isinstance(data.get("content"), str)
        known_fields_only = data.keys() <= UserMessage.model_fields.keys()
        return construct_unchecked(UserMessage, **data) if is_text and known_fields_only else None
    if data["role"] != "assistant" or not _is_text_answer(data):
        return None
    cost = construct_unchecked(Cost, **data["usage"]["cost"])
    parsed_fields = {
        "content": [construct_unchecked(TextContent, **part) for part in data["content"]],
        "usage": construct_unchecked(Usage, **data["usage"] | {"cost": cost}),
        "stop_reason": StopReason(data["stop_reason"]),
    }
    return construct_unchecked(AssistantMessage, **data | parsed_fields)


def _is_text_answer(data: dict[str, Any]) -> bool:
    """Return whether the data is a complete answer of text, every field of the right type."""
    from ...types import AssistantMessage, Cost, Usage

    content, usage = data.get("content"), data.get("usage")
    text_fields = ("api", "provider", "model", "raw_stop_reason", "response_id", "response_model")
    return (
        data.keys() <= AssistantMessage.model_fields.keys()
        and isinstance(content, list)
        and all(_is_text_part(part) for part in content)
        and isinstance(usage, dict)
        and _has_only_numbers(usage, Usage, "cost", "service_tier", "region", "server_tool_calls")
        and all(isinstance(usage.get(name), str | None) for name in ("service_tier", "region"))
        and not usage.get("server_tool_calls")
        and isinstance(usage.get("cost"), dict)
        and _has_only_numbers(usage["cost"], Cost, "source")
        and data.get("stop_reason") in ("stop", "length")
        and data.get("error") is None
        and not data.get("warnings")
        and not data.get("server_timings_ms")
        and all(isinstance(data.get(name), str | None) for name in text_fields)
    )


def _is_text_part(part: Any) -> bool:
    return (
        isinstance(part, dict)
        and part.keys() <= {"type", "text", "text_signature", "citations"}
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
        and part.get("citations") in (None, [])
    )


def _has_only_numbers(data: dict[str, Any], model: type[BaseModel], *except_fields: str) -> bool:
    values = [value for name, value in data.items() if name not in except_fields]
    known_fields_only = data.keys() <= model.model_fields.keys()
    return known_fields_only and all(isinstance(value, int | float | None) for value in values)
