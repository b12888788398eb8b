"""Export conversations as Markdown, HTML, JSON or JSON Lines."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, assert_never

from ...utils.atomic import AtomicWriter, write_special_file
from ..display.sources import cited_sources, format_source, is_web_address
from .conversation import Conversation
from .messages import conversation_title, dump_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ... import Message
    from ...types import AssistantContent, AssistantMessage, ToolResultContent, UserContent
    from .markdown_media import MarkdownMedia

FORMATS = ("md", "html", "sqlite", "json", "jsonl")
_SUFFIXES = {
    "": "md", "md": "md", "markdown": "md", "txt": "md", "html": "html", "htm": "html",
    "db": "sqlite", "sqlite": "sqlite", "sqlite3": "sqlite", "json": "json", "jsonl": "jsonl",
}  # fmt: skip


def format_for_path(path: str) -> str:
    """Return the format for the suffix of a file name, Markdown if it has none.

    Raises:
        ValueError: The suffix is that of another format.
    """
    suffix = os.path.splitext(path)[1].lower().lstrip(".")
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"{path}: unknown suffix '.{suffix}'; use .md, .html, .json, .jsonl or .db"
        )
    return _SUFFIXES[suffix]


def export_conversations(
    path: str, conversations: Iterable[Conversation], file_format: str
) -> None:
    """Write conversations to a file. If that fails, the file keeps its content.

    Beside Markdown, images and other media are written to a directory: `talk_files` for `talk.md`.

    Raises:
        ValueError: JSON Lines for more than one conversation, or the file is another database.
        OSError: The file cannot be written.
    """
    if file_format == "sqlite":
        from .database import export_database

        export_database(path, conversations)
    elif file_format == "md":
        from .markdown_media import MarkdownMedia

        media = MarkdownMedia(path)
        save_text(path, format_transcripts([*conversations], file_format, media))
    else:
        save_text(path, format_transcripts([*conversations], file_format))


def format_transcripts(
    conversations: Sequence[Conversation], file_format: str, media: MarkdownMedia | None = None
) -> str:
    """Return one or more conversations as text. Markdown links to the files that `media` writes.

    Raises:
        ValueError: The format is SQLite, or JSON Lines for more than one conversation.
    """
    if file_format == "sqlite":
        raise ValueError("SQLite needs a file: pipy history export -o history.db")
    if file_format == "html":
        from .html_page import format_html

        return format_html(conversations)
    if len(conversations) == 1:
        return format_transcript(conversations[0], file_format, media)
    if file_format == "jsonl":
        raise ValueError("JSON Lines has one conversation per file; use json, sqlite or html")
    if file_format == "json":
        return json.dumps([_json_document(c) for c in conversations], indent=2) + "\n"
    return "\n".join(
        f"# {conversation_title(conversation.messages) or conversation.id}\n\n"
        f"{format_transcript(conversation, file_format, media)}"
        for conversation in conversations
    )


def format_transcript(
    conversation: Conversation, file_format: str, media: MarkdownMedia | None = None
) -> str:
    """Return the conversation as Markdown (`md`), `json` or `jsonl`.

    JSON is a `Context` with the id and model; JSON Lines has one message per line.

    Example:
        >>> from pipy_ai import assistant, user
        >>> from pipy_ai.cli.conversations.conversation import Conversation
        >>> conversation = Conversation.new(keep=False)
        >>> conversation.add(user("What is 2+2?"))
        >>> conversation.add(assistant("4"))
        >>> print(format_transcript(conversation, "md"), end="")
        ## You
        <BLANKLINE>
        What is 2+2?
        <BLANKLINE>
        ## Answer
        <BLANKLINE>
        4
    """
    if file_format == "jsonl":
        messages = [dump_message(message) for message in conversation.messages]
        return "".join(json.dumps(message) + "\n" for message in messages)
    if file_format == "json":
        return json.dumps(_json_document(conversation), indent=2) + "\n"
    parts = [f"## System\n\n{conversation.system}"] if conversation.system else []
    parts += [_message_markdown(message, media) for message in conversation.messages]
    return "\n\n".join(parts) + "\n"


def _json_document(conversation: Conversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "model": conversation.model,
        "system_prompt": conversation.system,
        "messages": [dump_message(message) for message in conversation.messages],
    }


def _message_markdown(message: Message, media: MarkdownMedia | None) -> str:
    match message.role:
        case "user":
            heading = "You"
        case "assistant":
            heading = f"{message.provider}/{message.model}" if message.model else "Answer"
        case "toolResult":
            heading = f"Result of {message.tool_name}"
        case _:
            assert_never(message)
    return "\n\n".join([f"## {heading}", *markdown_parts(message, media)])


def markdown_parts(message: Message, media: MarkdownMedia | None = None) -> list[str]:
    """Return the content of a message as Markdown, one string per part."""
    content = message.content
    if isinstance(content, str):
        return [content]
    parts = [_part_markdown(part, message.role == "toolResult", media) for part in content]
    if message.role == "assistant":
        parts.append(_sources_markdown(message))
    if message.role == "assistant" and message.error is not None:
        parts.append(f"*{message.error.message}*")
    return [part for part in parts if part is not None]


def _sources_markdown(message: AssistantMessage) -> str | None:
    """Return the sources of an answer as a numbered list."""
    citations = cited_sources([message])
    lines = []
    for number, citation in enumerate(citations, 1):
        is_address = is_web_address(citation.source)
        lines.append(f"{number}. {format_source(citation, '<{}>' if is_address else '{}')}")
    return "\n".join(["Sources:", "", *lines]) if lines else None


def _part_markdown(
    part: UserContent | AssistantContent | ToolResultContent,
    is_tool_result: bool,
    media: MarkdownMedia | None,
) -> str | None:
    match part.type:
        case "text":
            return _fence(part.text) if is_tool_result else part.text
        case "thinking":
            quoted = part.thinking.strip().replace("\n", "\n> ")
            return f"> {quoted}" if quoted else None
        case "toolCall":
            arguments = json.dumps(part.arguments, ensure_ascii=False, default=str)
            return f"`{part.name}({arguments})`"
        case "serverToolCall" | "serverToolResult" | "file":
            return _fence(str(part))
        case "image" | "video" | "document" | "audio":
            link = media.link(part) if media is not None else None
            if part.type == "audio" and (part.transcript or link is None):
                return "\n\n".join(filter(None, [link, _fence(str(part))]))
            return link or f"[{part.type}: {part.url or part.mime_type}]"
        case _:
            assert_never(part)


def _fence(text: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def save_text(path: str, text: str) -> None:
    """Write `text` to a file; if that fails, the file keeps its content.

    Only the user can read a new file.

    Raises:
        OSError: The file cannot be written.
    """
    data = text.encode("utf-8", "replace")
    path = os.path.expanduser(path)
    if write_special_file(path, data):  # such as /dev/stdout, whose target has no path
        return
    path = os.path.realpath(path)
    try:
        with AtomicWriter(path, mode=0o600) as file:
            file.write(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
