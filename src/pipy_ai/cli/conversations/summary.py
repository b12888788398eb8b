"""Summarize and search conversations."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ...usage import UsageTotals, as_number
from ..display.terminal import format_error, warn
from .files import path_of
from .records import read_records, remaining_messages

TITLE_CHARS = 60  # characters of the first question, where there is no terminal to fit


@dataclass
class Entry:
    """A conversation of the list. Times are Unix time in milliseconds."""

    id: str
    used: int = 0
    model: str = ""
    title: str = ""
    questions: int = 0
    sum: UsageTotals = field(default_factory=UsageTotals)

    def to_json(self) -> dict[str, Any]:
        """The entry as `pipy history list --json` shows it."""
        return {
            "id": self.id,
            "used": self.used,
            "model": self.model,
            "title": self.title,
            "questions": self.questions,
            "sum": totals_to_json(self.sum),
        }


def totals_to_json(totals: UsageTotals) -> dict[str, float]:
    """Totals as `pipy history list --json` shows them."""
    return {
        "answers": totals.requests,
        "input": totals.input,
        "cached": totals.cached,
        "output": totals.output,
        "cost": totals.usd,
        "known": totals.priced,
        "unknown": totals.unpriced,
    }


def summarize_conversation(conversation_id: str, data: bytes) -> tuple[Entry, list[dict[str, Any]]]:
    """What the list tells of a conversation, and its answers: those taken back cost, too."""
    entry, answers = Entry(conversation_id), []
    records = read_records(data, conversation_id, raw=True)
    for record in records:
        if record["kind"] == "set":
            entry.model = record.get("model") or entry.model
        elif record["kind"] == "message":
            message = record["message"]
            entry.used = max(entry.used, as_number(message.get("timestamp")) or 0)
            if message.get("role") == "assistant":
                answers.append(message)
                entry.sum.add_json(message)
    questions = [m for _, m in remaining_messages(records) if m.get("role") == "user"]
    entry.questions = len(questions)
    if questions:
        entry.title = " ".join(message_text(questions[0]).split())
    return entry, answers


def message_text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(p.get("text") or "") for p in parts if isinstance(p, dict))


def read_conversation_file(conversation_id: str) -> bytes:
    """What is in its file; one that cannot be read is told, and does not hide the others."""
    try:
        with open(path_of(conversation_id), "rb") as file:
            return file.read()
    except FileNotFoundError:  # removed just now
        return b""
    except OSError as error:
        warn(format_error(error))
        return b""


def format_time(message_or_ms: dict[str, Any] | float) -> str:
    """Local time, to the minute."""
    milliseconds = (
        as_number(message_or_ms.get("timestamp")) or 0
        if isinstance(message_or_ms, dict)
        else message_or_ms
    )
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
    except (ValueError, OverflowError, OSError):
        return "?"


def search_conversation(conversation_id: str, query: str) -> list[dict[str, str]]:
    """The lines that hold the text, and who said them."""
    hits = []
    for _, message in remaining_messages(
        read_records(read_conversation_file(conversation_id), conversation_id, raw=True)
    ):
        role = message.get("role", "")
        speaker = {"user": "you", "toolResult": "tool"}.get(role, message.get("model") or "model")
        for line in message_text(message).splitlines():
            position = line.casefold().find(query)
            if position >= 0:
                excerpt = line[max(0, position - 30) :][: TITLE_CHARS + 20].strip()
                when = format_time(message)
                hits.append({"id": conversation_id, "time": when, "who": speaker, "line": excerpt})
    return hits
