"""Read and write the files of a conversation.

    history/20261122-215201-4f2a1c7d.jsonl      the conversation; only ever appended to
    history/20261122-215201-4f2a1c7d.partial    the deltas of an answer that is not complete yet

Each line is written at once. A damaged line is skipped with a warning; a line whose `kind` only a
newer version knows is kept and ignored.

    {"kind": "head", "version": 1, "id": "…", "time": 1795384321000}
    {"kind": "set", "model": "…", "system": "…"}       settings from here on; others stay
    {"kind": "message", "n": 1, "message": {…}}
    {"kind": "undo", "from": 1}                        removes the messages from number 1 on

`media_store` documents where the images, audio and documents of messages are.
"""

from __future__ import annotations

import contextlib
import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any, assert_never

from ..display.terminal import warn
from .files import FILE_SUFFIXES
from .messages import load_message

if TYPE_CHECKING:
    from ... import AssistantMessage
    from ...types import AssistantContent

SETTINGS = ("model", "system", "thinking", "api_base", "tools")
INTERRUPTED_TEXT = "The answer is incomplete: pipy was stopped or is still receiving it."


def encode_record(record: Any) -> bytes:
    """Return a record as a line of JSON."""
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def read_records(data: bytes, conversation_id: str, raw: bool = False) -> list[dict[str, Any]]:
    """Parse the lines of a conversation file; damaged ones are skipped with a warning.

    Messages become objects, or stay JSON data if `raw` is true.
    """
    loaded = []
    media: dict[str, str] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not _is_valid_record(record):
                raise ValueError
            if record["kind"] == "message" and not raw:
                if b'"sha256:' in line:
                    from .media_store import restore_media

                    content = record["message"].get("content")
                    record["message"]["content"] = restore_media(content, media)
                record["message"] = load_message(record["message"])
        except (ValueError, RecursionError):  # includes the errors of Pydantic and json
            file_name = f"history/{conversation_id}{FILE_SUFFIXES[0]}"
            warn(f"{file_name}: line {number} is damaged and was skipped")
            continue
        loaded.append(record)
    return loaded


def remaining_messages(entries: list[dict[str, Any]]) -> list[tuple[int, Any]]:
    """Return the messages that were not undone, with their numbers."""
    messages: list[tuple[int, Any]] = []
    for record in entries:
        if record["kind"] == "message":
            messages.append((record["n"], record["message"]))
        elif record["kind"] == "undo":
            messages = [numbered for numbered in messages if numbered[0] < record["from"]]
    return messages


def _is_valid_record(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    kind = record.get("kind")
    if kind == "message":
        message = record.get("message")
        return isinstance(message, dict) and isinstance(record.get("n"), int)
    if kind == "undo":
        return isinstance(record.get("from"), int)
    if kind == "set":
        tools = record.get("tools", [])
        text_settings = [record.get(name) for name in SETTINGS if name != "tools"]
        return isinstance(tools, list) and all(
            isinstance(text, str | None) for text in text_settings
        )
    return isinstance(kind, str)


def parse_partial(data: bytes) -> Any:
    """Yield the lines of a `.partial` file up to the first damaged one."""
    for line in data.split(b"\n"):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            return


def interrupted_message(header: dict[str, Any], pieces: list[Any]) -> AssistantMessage:
    """Build the message of an answer that was interrupted from its deltas."""
    from ...errors import ErrorKind, error_info
    from ...tokens import estimate_output_tokens
    from ...types import AssistantMessage, StopReason
    from .media_store import restore_media

    blocks: dict[tuple[int, str], list[str]] = {}
    media: dict[tuple[int, str], AssistantContent] = {}
    for piece in pieces:
        match piece:
            case [int(index), "text" | "thinking" as content_type, str(text)]:
                blocks.setdefault((index, content_type), []).append(text)
            case [int(index), "image" | "audio" as content_type, dict(part)]:
                [restored] = restore_media([part], {})
                with contextlib.suppress(ValueError, KeyError, TypeError):  # the line is damaged
                    media[index, content_type] = _load_media(restored)
    parts = {key: _restore_content(key[1], "".join(texts)) for key, texts in blocks.items()}
    content = [part for _, part in sorted((parts | media).items(), key=itemgetter(0))]
    metadata = {
        name: header[name] for name in ("api", "provider", "model", "timestamp") if name in header
    }
    message = AssistantMessage(content=content, stop_reason=StopReason.ABORTED, **metadata)
    message.error = error_info(ErrorKind.ABORTED, INTERRUPTED_TEXT)
    message.error_message = INTERRUPTED_TEXT
    usage = message.usage
    usage.output = usage.total_tokens = estimate_output_tokens(message)
    usage.estimated = True
    return message


def _load_media(data: dict[str, Any]) -> AssistantContent:
    from ...types import AudioContent, ImageContent, TextContent

    classes: dict[str, type[AudioContent | ImageContent | TextContent]] = {
        "audio": AudioContent,
        "image": ImageContent,
        "text": TextContent,
    }
    return classes[data["type"]].model_validate(data)


def _restore_content(content_type: str, text: str) -> AssistantContent:
    """Build the content of a block from its deltas."""
    from ...types import (
        AudioContent,
        ImageContent,
        ServerToolCall,
        ServerToolResult,
        TextContent,
        ThinkingContent,
        ToolCall,
    )

    content: list[AssistantContent] = [TextContent(), ThinkingContent()]
    [part] = (part for part in content if part.type == content_type)
    match part:
        case TextContent():
            part.text = text
        case ThinkingContent():
            part.thinking = text
        case (  # they have no deltas that are saved
            ToolCall() | ServerToolCall() | ServerToolResult() | ImageContent() | AudioContent()
        ):
            raise AssertionError(content_type)
        case _:
            assert_never(part)
    return part
