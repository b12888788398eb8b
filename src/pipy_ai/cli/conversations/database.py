"""Export conversations to an SQLite database with full-text search.

The database has the tables `conversations` and `messages`, the search index `messages_fts`, which
Datasette and sqlite-utils find by themselves, and the images, audio and documents of the messages
in `attachments` and, each once, in `media`:

    SELECT * FROM messages WHERE rowid IN (
        SELECT rowid FROM messages_fts WHERE messages_fts MATCH 'moon')
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any, assert_never

from ...media import content_bytes
from ...utils.atomic import remove_if_exists, sync_directory, write_temp_file
from ...utils.file_errors import name_file
from ...utils.surrogates import clean_surrogates
from ..display.terminal import warn
from .conversation import Conversation
from .messages import conversation_title

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ... import Message
    from ...types import AssistantMessage

APPLICATION_ID = 0x70697079  # "pipy": marks our databases, so that no other one is replaced
_SCHEMA = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, title TEXT, model TEXT, system TEXT, created TEXT, used TEXT,
    answers INTEGER, input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, conversation_id TEXT REFERENCES conversations(id), number INTEGER,
    time TEXT, role TEXT, model TEXT, text TEXT, thinking TEXT, tool_calls TEXT, tool_name TEXT,
    stop_reason TEXT, error TEXT, input_tokens INTEGER, output_tokens INTEGER, cost_usd REAL,
    duration_ms REAL
);
CREATE INDEX messages_conversation ON messages(conversation_id);
CREATE TABLE media (sha256 TEXT PRIMARY KEY, content BLOB);
CREATE TABLE attachments (
    message_id INTEGER REFERENCES messages(id), number INTEGER, type TEXT, mime_type TEXT,
    name TEXT, transcript TEXT, url TEXT, sha256 TEXT REFERENCES media(sha256),
    PRIMARY KEY (message_id, number)
);
"""
# Datasette recognizes an index by this spelling of its table.
_SEARCH_INDEX = """
CREATE VIRTUAL TABLE messages_fts USING FTS5 (
    text, thinking, tokenize="unicode61 remove_diacritics 2", content="messages", content_rowid="id"
);
INSERT INTO messages_fts(messages_fts) VALUES ('rebuild');
"""


def export_database(path: str, conversations: Iterable[Conversation]) -> None:
    """Write the conversations to a new database, which replaces an earlier export.

    Raises:
        ValueError: The file exists and is not an export.
        OSError: The file cannot be written. An earlier export is kept.
    """
    path = os.path.realpath(os.path.expanduser(path))
    _check_replaceable(path)
    directory, name = os.path.split(path)
    with name_file(path):
        temp_path = write_temp_file(directory, name, b"")
    try:
        with contextlib.closing(sqlite3.connect(temp_path)) as database:
            _fill(database, conversations)
        fd = os.open(temp_path, os.O_RDWR)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temp_path, path)
        sync_directory(directory)
    except sqlite3.Error as error:
        raise OSError(f"{path}: {error}") from None
    finally:
        remove_if_exists(temp_path)


def _check_replaceable(path: str) -> None:
    if not os.path.exists(path) or (os.path.isfile(path) and not os.path.getsize(path)):
        return
    with contextlib.suppress(OSError), open(path, "rb") as file:
        header = file.read(72)
        if header[:6] == b"SQLite" and header[68:72] == APPLICATION_ID.to_bytes(4, "big"):
            return
    raise ValueError(f"{path}: not a database from pipy history export; choose another file")


def _fill(database: sqlite3.Connection, conversations: Iterable[Conversation]) -> None:
    database.executescript(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;"
        f"PRAGMA application_id = {APPLICATION_ID}; {_SCHEMA}"
    )
    for conversation in conversations:
        database.execute(
            f"INSERT INTO conversations VALUES ({', '.join('?' * 10)})",
            _conversation_row(conversation),
        )
        for number, message in enumerate(conversation.messages, 1):
            cursor = database.execute(
                f"INSERT INTO messages VALUES (NULL, {', '.join('?' * 15)})",
                [_storable(v) for v in (conversation.id, number, *_message_values(message))],
            )
            _insert_media(database, cursor.lastrowid, message)
    try:
        database.executescript(_SEARCH_INDEX)
    except sqlite3.OperationalError as error:
        if "fts5" not in str(error).lower():
            raise
        warn("this Python's SQLite has no FTS5, so the database has no search index")
    database.commit()


def _insert_media(database: sqlite3.Connection, message_id: int | None, message: Message) -> None:
    from ...types import DocumentContent, MediaContent

    parts = [] if isinstance(message.content, str) else message.content
    for number, part in enumerate(parts, 1):
        if not isinstance(part, MediaContent | DocumentContent):
            continue
        digest = None
        with contextlib.suppress(ValueError):  # only a URL, or not base64
            content = content_bytes(part)
            digest = hashlib.sha256(content).hexdigest()
            database.execute("INSERT OR IGNORE INTO media VALUES (?, ?)", (digest, content))
        values = (message_id, number, part.type, part.mime_type, getattr(part, "name", None),
                  getattr(part, "transcript", None), part.url, digest)  # fmt: skip
        database.execute(
            f"INSERT INTO attachments VALUES ({', '.join('?' * 8)})", [_storable(v) for v in values]
        )


def _conversation_row(conversation: Conversation) -> list[Any]:
    from ...usage import UsageTotals

    totals = UsageTotals()
    for answer in conversation.answers:  # undone ones, too: they cost money
        totals.add_usage(answer.usage)
    times = [message.timestamp for message in conversation.messages]
    values = (
        conversation.id,
        conversation_title(conversation.messages),
        conversation.model,
        conversation.system,
        _utc_time(min(times, default=None)),
        _utc_time(max(times, default=None)),
        totals.requests,
        totals.input,
        totals.output,
        None if totals.unpriced else totals.usd,
    )
    return [_storable(value) for value in values]


def _message_values(message: Message) -> list[Any]:
    head: list[Any] = [_utc_time(message.timestamp), message.role]
    texts: dict[str, list[str]] = {"text": [], "thinking": []}
    calls = []
    content = message.content
    for part in [] if isinstance(content, str) else content:
        match part.type:
            case "text":
                texts["text"].append(part.text)
            case "thinking":
                texts["thinking"].append(part.thinking)
            case "toolCall":
                calls.append({"id": part.id, "name": part.name, "arguments": part.arguments})
            case "serverToolCall" | "serverToolResult" | "file" | "audio":
                texts["text"].append(str(part))
            case "image" | "video" | "document":
                texts["text"].append(f"[{part.type}: {part.url or part.mime_type}]")
            case _:
                assert_never(part)
    text = content if isinstance(content, str) else "\n\n".join(texts["text"])
    thinking = "\n\n".join(texts["thinking"]) or None
    call_json = json.dumps(calls, ensure_ascii=False, default=str) if calls else None
    if message.role != "assistant":
        tool_name = message.tool_name if message.role == "toolResult" else None
        return [*head, None, text, thinking, call_json, tool_name, *[None] * 6]
    return [*head, f"{message.provider}/{message.model}", text, thinking, call_json, None,
            *_answer_values(message)]  # fmt: skip


def _answer_values(message: AssistantMessage) -> list[Any]:
    usage = message.usage
    return [
        None if message.stop_reason is None else message.stop_reason.value,
        None if message.error is None else message.error.message,
        usage.input + usage.cache_read + usage.cache_write,
        usage.output,
        usage.cost.total,
        message.duration_ms,
    ]


def _storable(value: Any) -> Any:
    """Return a value that SQLite can store: no lone surrogates, integers of at most 64 bits."""
    if isinstance(value, str):
        return clean_surrogates(value)
    if isinstance(value, int) and abs(value) >= 1 << 63:
        return None
    return value


def _utc_time(milliseconds: float | None) -> str | None:
    try:
        moment = time.gmtime((milliseconds or 0) / 1000)
    except (ValueError, OverflowError, OSError):
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", moment) if milliseconds else None
