"""Convert what an MCP tool returns to a tool result."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, TypeAlias

from ..context import tool_result
from ..types import (
    AudioContent,
    DocumentContent,
    ImageContent,
    TextContent,
    ToolResultMessage,
    VideoContent,
)
from ..utils.surrogates import clean_json_surrogates, clean_surrogates
from .errors import clean_text

MAX_MEDIA_BYTES = 10_000_000  # of one file
MAX_PARTS = 200
_File: TypeAlias = ImageContent | DocumentContent | AudioContent | VideoContent
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def error_result(text: str) -> ToolResultMessage:
    """Return the result of a call that failed."""
    return tool_result("", text, is_error=True)


def convert_result(result: Any, max_chars: int) -> ToolResultMessage:
    """Convert a `CallToolResult`: text and files are kept, the rest becomes text.

    Text beyond `max_chars` characters is cut, with a note. `details` is the structured content.
    """
    parts = [_convert_part(part) for part in result.content[:MAX_PARTS]]
    if len(result.content) > MAX_PARTS:
        parts.append(f"[{len(result.content) - MAX_PARTS} more parts were left out]")
    structured = clean_json_surrogates(result.structured_content)
    if not parts and structured is not None:
        parts = [json.dumps(structured, ensure_ascii=False)]
    content: list[str | TextContent | _File] = []
    left = max_chars
    for part in parts:
        if not isinstance(part, str):
            content.append(part)
            continue
        if len(part) > left:
            part = f"{part[:left]}\n[{len(part) - left:,} more characters were cut]"
            left = 0
        else:
            left -= len(part)
        content.append(part)
    return tool_result("", *content, is_error=bool(result.is_error), details=structured)


def _convert_part(part: Any) -> str | _File:
    match part.type:
        case "text":
            return clean_surrogates(part.text)
        case "image" | "audio":
            return _convert_media(part.data, part.mime_type, part.type)
        case "resource_link":
            return f"[resource {clean_text(part.name, 200)}: {clean_text(part.uri, 2000)}]"
        case "resource":
            resource = part.resource
            if (text := getattr(resource, "text", None)) is not None:
                return f"[{clean_text(resource.uri, 2000)}]\n{clean_surrogates(text)}"
            media_type = resource.mime_type or "application/octet-stream"
            return _convert_media(resource.blob, media_type, clean_text(resource.uri, 2000))
        case other:
            return f"[content of the unknown type {clean_text(other, 100)!r} was left out]"


def _convert_media(data: str, media_type: str, label: str) -> str | _File:
    media_type = media_type.partition(";")[0].strip().lower()
    try:
        size = len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return f"[{label} was left out: it is not valid base64]"
    if size > MAX_MEDIA_BYTES:
        return f"[{label} of {size:,} bytes was left out: it is too large]"
    if media_type in _IMAGE_TYPES:
        return ImageContent(data=data, mime_type=media_type)
    if media_type == "application/pdf":
        return DocumentContent(data=data)
    if media_type.startswith("audio/"):
        return AudioContent(data=data, mime_type=media_type)
    if media_type.startswith("video/"):
        return VideoContent(data=data, mime_type=media_type)
    return f"[{label} of the type {clean_text(media_type, 100)}, {size:,} bytes, was left out]"
