"""Builders: short ways to write messages and contexts."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes

from .types import (
    AssistantContent,
    AssistantMessage,
    Context,
    ImageContent,
    Message,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolResultMessage,
    UserContent,
    UserMessage,
)
from .utils.made import made

if TYPE_CHECKING:
    from .tools import ToolLike

ImageSource: TypeAlias = str | os.PathLike[str] | bytes
Prompt: TypeAlias = (
    str
    | Context
    | UserMessage
    | AssistantMessage
    | ToolResultMessage
    | Sequence[UserMessage | AssistantMessage | ToolResultMessage]
)


def image(source: ImageSource) -> ImageContent:
    """An image from a path, from bytes, or from a URL (`https:`, `http:` or `data:`).

    The MIME type is read off the data itself, never off the file's name. Web URLs are not
    fetched here: the provider does that.

    Raises:
        ValueError: the data is no image that models take (PNG, JPEG, GIF, WebP, BMP, TIFF,
            HEIC, AVIF).
        OSError: the file cannot be read.

    Example:
        >>> from pipy_ai import image
        >>> image(b"GIF89a" + bytes(20)).mime_type
        'image/gif'
    """
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        return ImageContent(url=source)
    if isinstance(source, str) and source.startswith("data:"):
        return _image_from_bytes(_data_url_bytes(source), "this data: URL")
    if isinstance(source, bytes | bytearray | memoryview):
        return _image_from_bytes(bytes(source), f"these {len(source):,} bytes")
    path = Path(source)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory, not an image")
    return _image_from_bytes(path.read_bytes(), str(path))


def _image_from_bytes(data: bytes, what: str) -> ImageContent:
    mime_type = sniff_image(data)
    if mime_type is None:
        raise ValueError(
            f"{what} is not an image that models take (PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC, AVIF)"
        )
    return ImageContent(data=base64.b64encode(data).decode("ascii"), mime_type=mime_type)


def _data_url_bytes(url: str) -> bytes:
    head, comma, payload = url.partition(",")
    try:
        if not comma:
            raise ValueError("no comma")
        if head.endswith(";base64"):
            return base64.b64decode(payload, validate=True)
        return unquote_to_bytes(payload)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"this data: URL is malformed ({error})") from None


def sniff_image(data: bytes) -> str | None:
    """The MIME type of an image by its first bytes, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM") and len(data) > 14:
        return "image/bmp"
    if data.startswith((b"II*\0", b"MM\0*")):
        return "image/tiff"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return "image/avif"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "image/heic"
    return None


def user(*parts: ImageSource | TextContent | ImageContent) -> UserMessage:
    """A user message. The first string is its text; further strings are image paths or URLs.

    Raises:
        ValueError: there is no part at all, or a path or URL is no image.
        OSError: a file cannot be read.

    Example:
        >>> from pipy_ai import user
        >>> user("What's the weather?").content
        "What's the weather?"
        >>> [part.type for part in user("What is this?", "https://example.com/cat.png").content]
        ['text', 'image']
    """
    if not parts:
        raise ValueError('user() needs a text or an image: user("Hello")')
    if len(parts) == 1 and isinstance(parts[0], str):
        return made(UserMessage, content=parts[0])
    content: list[UserContent] = []
    has_text = False
    for part in parts:
        if isinstance(part, TextContent | ImageContent):
            content.append(part)
        elif isinstance(part, str) and not has_text:
            content.append(TextContent(text=part))
            has_text = True
        else:
            content.append(image(part))
    return UserMessage(content=content)


def assistant(*parts: str | TextContent | ThinkingContent | ToolCall) -> AssistantMessage:
    """An assistant message, for few-shot examples and hand-made transcripts.

    Example:
        >>> from pipy_ai import assistant
        >>> assistant("Paris.").text
        'Paris.'
    """
    content: list[AssistantContent] = [
        TextContent(text=part) if isinstance(part, str) else part for part in parts
    ]
    calls = any(isinstance(part, ToolCall) for part in content)
    return AssistantMessage(
        content=content, stop_reason=StopReason.TOOL_USE if calls else StopReason.STOP
    )


def tool_result(
    call: ToolCall | str,
    *content: str | TextContent | ImageContent | dict[str, Any] | list[Any] | float | bool | None,
    name: str = "",
    is_error: bool = False,
    details: Any = None,
) -> ToolResultMessage:
    """The answer of a tool to `call` (the call itself, or its id). Data is sent as JSON.

    Example:
        >>> from pipy_ai import ToolCall, tool_result
        >>> tool_result(ToolCall(id="c1", name="add"), {"sum": 4}).content[0].text
        '{"sum": 4}'
    """
    blocks = [
        part
        if isinstance(part, TextContent | ImageContent)
        else TextContent(text=part if isinstance(part, str) else json.dumps(part, default=str))
        for part in content
    ]
    return ToolResultMessage(
        tool_call_id=call if isinstance(call, str) else call.id,
        tool_name=name or ("" if isinstance(call, str) else call.name),
        content=blocks,
        is_error=is_error,
        details=details,
    )


def ctx(
    *messages: str | Message,
    system: str | None = None,
    tools: Sequence[ToolLike] | None = None,
) -> Context:
    """A context from messages; a plain string is a user message, a plain function a tool.

    Example:
        >>> from pipy_ai import ctx, user
        >>> ctx(user("Hello!"), system="You are helpful.").system_prompt
        'You are helpful.'
    """
    said = [user(m) if isinstance(m, str) else m for m in messages]
    if tools is None and isinstance(system, str | None) and all(map(_is_message, said)):
        # Nothing to convert: building Pydantic's validator would be half of a first request.
        return made(Context, system_prompt=system, messages=said, tools=None)
    if tools is None or (isinstance(tools, list) and all(type(one) is Tool for one in tools)):
        given: Any = tools
    else:
        from .tools import as_tools

        given = as_tools(tools)
    return Context(system_prompt=system, messages=said, tools=given)


def _is_message(value: object) -> bool:
    return isinstance(value, UserMessage | AssistantMessage | ToolResultMessage)


def as_context(prompt: Prompt) -> Context:
    """What every verb takes as its prompt, as a context.

    Raises:
        TypeError: it is nothing that a prompt can be.
        ValueError: it says nothing (no message, or only empty ones).
    """
    if isinstance(prompt, Context):
        context = prompt
    elif isinstance(prompt, str | UserMessage | AssistantMessage | ToolResultMessage):
        context = ctx(prompt)
    elif isinstance(prompt, Sequence) and not isinstance(prompt, bytes):
        context = ctx(*prompt)
    else:
        raise TypeError(
            f"a prompt is a string, a message, a list of messages or a Context, "
            f"not {type(prompt).__name__}"
        )
    if not any(_says_something(message) for message in context.messages):
        raise ValueError("the context is empty: give it at least one message that says something")
    return context


def _says_something(message: Message) -> bool:
    if isinstance(message, ToolResultMessage):
        return True
    if isinstance(message.content, str):
        return bool(message.content.strip())
    return any(not isinstance(part, TextContent) or part.text.strip() for part in message.content)
