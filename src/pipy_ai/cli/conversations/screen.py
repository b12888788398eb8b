"""Show saved messages on a terminal, as `pipy ask` shows them while they arrive.

Answers are rendered as Markdown. All other text is shown as it is: a prompt may be a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, assert_never

from ...utils.terminal_size import get_terminal_size
from ..display.printer import format_tool_call
from ..display.sources import cited_sources, source_lines
from ..display.terminal import bold, dimmed, escape_controls

if TYPE_CHECKING:
    from ... import Message
    from ...types import AssistantContent, ToolResultContent, UserContent
    from .conversation import Conversation


def format_conversation(conversation: Conversation) -> str:
    """Return the whole conversation with its escape sequences, for stdout."""
    system = conversation.system
    parts = [_section("System", [escape_controls(system)])] if system else []
    parts += [_section(_heading(m), format_message(m)) for m in conversation.messages]
    return "\n\n".join(parts) + "\n"


def format_message(message: Message) -> Iterator[str]:
    """Yield the parts of a message with their escape sequences, for stdout."""
    if isinstance(message.content, str):
        yield escape_controls(message.content)
        return
    for part in message.content:
        if text := _format_part(part, message.role == "assistant"):
            yield text
    if message.role == "assistant" and (citations := cited_sources([message])):
        yield "\n".join(dimmed(line, sys.stdout) for line in source_lines(citations, sys.stdout))
    if message.role == "assistant" and message.error is not None:
        yield dimmed(escape_controls(f"[{message.error.kind}] {message.error.message}"), sys.stdout)


def _section(heading: str, parts: Iterator[str] | list[str]) -> str:
    return "\n\n".join([bold(escape_controls(heading), sys.stdout), *parts])


def _heading(message: Message) -> str:
    match message.role:
        case "user":
            return "You"
        case "assistant":
            return f"{message.provider}/{message.model}" if message.model else "Answer"
        case "toolResult":
            return f"Result of {message.tool_name}"
        case _:
            assert_never(message)


def _format_part(part: UserContent | AssistantContent | ToolResultContent, is_answer: bool) -> str:
    match part.type:
        case "text" if is_answer:
            from ..display.rendering import render_text

            return render_text(escape_controls(part.text), get_terminal_size()[0])
        case "text":
            return escape_controls(part.text)
        case "thinking":
            thinking = escape_controls(part.thinking.strip())
            return dimmed(thinking, sys.stdout) if thinking else ""
        case "toolCall":
            return format_tool_call(part)
        case "serverToolCall" | "serverToolResult" | "file" | "audio":
            return dimmed(escape_controls(str(part)), sys.stdout)
        case "image" | "video" | "document":
            return escape_controls(f"[{part.type}: {part.url or part.mime_type}]")
        case _:
            assert_never(part)
