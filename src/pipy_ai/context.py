"""Functions that build messages and contexts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias, assert_never

from .files import FileSource, attachment, image, is_web_url, url_kind
from .types import (
    AssistantContent,
    AssistantMessage,
    AudioContent,
    Context,
    DocumentContent,
    FileContent,
    ImageContent,
    Message,
    StopReason,
    TextContent,
    ThinkingContent,
    Tool,
    ToolCall,
    ToolLike,
    ToolResultContent,
    ToolResultMessage,
    UserContent,
    UserMessage,
    VideoContent,
    as_tools,
)
from .utils.construct import construct_unchecked

Prompt: TypeAlias = (
    str
    | Context
    | UserMessage
    | AssistantMessage
    | ToolResultMessage
    | Sequence[UserMessage | AssistantMessage | ToolResultMessage]
)
"""Whatever becomes a context: a string, a message, a list of messages, or a `Context`."""
_PARTS = TextContent | ImageContent | DocumentContent | AudioContent | VideoContent | FileContent


def user(
    *parts: FileSource
    | TextContent
    | ImageContent
    | DocumentContent
    | AudioContent
    | VideoContent
    | FileContent,
) -> UserMessage:
    """Build a user message. The first string is its text; other strings are paths or URLs of files.

    A file is an image, audio, video, a PDF or UTF-8 text, as for `attachment`; a web address is an
    image unless it ends in `.pdf` or the extension of audio or video.

    Raises:
        ValueError: No parts were given, or a file has an unsupported type.
        OSError: A file cannot be read.

    Example:
        >>> from pipy_ai import user
        >>> user("What's the weather?").content
        "What's the weather?"
        >>> [part.type for part in user("What is this?", "https://example.com/cat.png").content]
        ['text', 'image']
    """
    if not parts:
        raise ValueError('user() needs text or a file, such as user("Hello")')
    if len(parts) == 1 and isinstance(parts[0], str):
        return construct_unchecked(UserMessage, content=parts[0])
    content: list[UserContent] = []
    has_text = False
    for part in parts:
        if isinstance(part, _PARTS):
            content.append(part)
        elif isinstance(part, str) and not has_text:
            content.append(TextContent(text=part))
            has_text = True
        elif is_web_url(part) and url_kind(part) is None:
            content.append(image(part))
        else:
            content.append(attachment(part))
    return UserMessage(content=content)


def assistant(*parts: str | TextContent | ThinkingContent | ToolCall) -> AssistantMessage:
    """Build an assistant message from `parts`, for examples and handwritten transcripts.

    Example:
        >>> from pipy_ai import assistant
        >>> assistant("Paris.").text
        'Paris.'
    """
    content: list[AssistantContent] = [
        TextContent(text=part) if isinstance(part, str) else part for part in parts
    ]
    has_calls = any(isinstance(part, ToolCall) for part in content)
    return AssistantMessage(
        content=content, stop_reason=StopReason.TOOL_USE if has_calls else StopReason.STOP
    )


def tool_result(
    call: ToolCall | str,
    *content: str | ToolResultContent | dict[str, Any] | list[Any] | float | bool | None,
    name: str = "",
    is_error: bool = False,
    details: Any = None,
) -> ToolResultMessage:
    """Build the result of a tool call.

    Args:
        call: The call, or its id.
        *content: Text and files for the model; other values are sent as JSON.
        name: The name of the tool, if `call` is an id.
        is_error: Whether the call failed.
        details: Any value for the application. It is not sent to the model.

    Example:
        >>> from pipy_ai import ToolCall, tool_result
        >>> tool_result(ToolCall(id="c1", name="add"), {"sum": 4}).content[0].text
        '{"sum": 4}'
    """
    blocks = [
        part
        if isinstance(part, _PARTS)
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
    """Build a context. A plain string becomes a user message, a plain function a tool.

    Args:
        *messages: The conversation: strings and messages.
        system: The system prompt.
        tools: Tools for the model: functions, `Tool`s, Pydantic model classes or dicts.

    Example:
        >>> from pipy_ai import ctx, user
        >>> ctx(user("Hello!"), system="You are helpful.").system_prompt
        'You are helpful.'
    """
    message_list = [user(message) if isinstance(message, str) else message for message in messages]
    if tools is None and isinstance(system, str | None) and all(map(_is_message, message_list)):
        # Nothing to convert. Building Pydantic's validator would take half of a first request.
        return construct_unchecked(Context, system_prompt=system, messages=message_list, tools=None)
    if tools is None or (isinstance(tools, list) and all(type(item) is Tool for item in tools)):
        tool_list: Any = tools
    else:
        tool_list = as_tools(tools)
    return Context(system_prompt=system, messages=message_list, tools=tool_list)


def _is_message(value: object) -> bool:
    return isinstance(value, UserMessage | AssistantMessage | ToolResultMessage)


def as_context(prompt: Prompt) -> Context:
    """Convert a prompt to a context.

    Raises:
        TypeError: The type is not supported.
        ValueError: There is no message, or all messages are empty.
    """
    if isinstance(prompt, Context):
        context = prompt
    elif isinstance(prompt, str | UserMessage | AssistantMessage | ToolResultMessage):
        context = ctx(prompt)
    elif isinstance(prompt, Sequence) and not isinstance(prompt, bytes):
        context = ctx(*prompt)
    else:
        raise TypeError(
            f"a prompt must be a string, a message, a list of messages or a Context, "
            f"not {type(prompt).__name__}"
        )
    if not any(_has_content(message) for message in context.messages):
        raise ValueError("the context is empty: add a message with content")
    return context


def _has_content(message: Message) -> bool:
    match message:
        case ToolResultMessage():
            return True
        case UserMessage() | AssistantMessage():
            content = message.content
            if isinstance(content, str):
                return bool(content.strip())
            return any(not isinstance(part, TextContent) or part.text.strip() for part in content)
        case _:
            assert_never(message)
