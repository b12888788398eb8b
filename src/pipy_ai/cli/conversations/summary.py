"""Summarize and search saved conversations."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ...usage import UsageTotals, as_number
from ..display.terminal import format_error, warn
from .files import path_of
from .records import read_records, remaining_messages

TITLE_CHARS = 60  # length of titles where there is no terminal width to fit


@dataclass
class ConversationSummary:
    """The summary of a conversation. `used` is Unix time in milliseconds."""

    id: str
    used: int = 0
    model: str = ""
    title: str = ""
    questions: int = 0
    sum: UsageTotals = field(default_factory=UsageTotals)

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON data for `pipy history list --json`."""
        return {
            "id": self.id,
            "used": self.used,
            "model": self.model,
            "title": self.title,
            "questions": self.questions,
            "sum": totals_to_json(self.sum),
        }


def totals_to_json(totals: UsageTotals) -> dict[str, float]:
    """Return totals as JSON data for `pipy history list --json`."""
    return {
        "answers": totals.requests,
        "input": totals.input,
        "cached": totals.cached,
        "output": totals.output,
        "cost": totals.usd,
        "known": totals.priced,
        "unknown": totals.unpriced,
    }


def summarize_conversation(
    conversation_id: str, data: bytes
) -> tuple[ConversationSummary, list[dict[str, Any]]]:
    """Return a conversation's summary and all its answers, even undone ones: they cost money."""
    summary, answers = ConversationSummary(conversation_id), []
    records = read_records(data, conversation_id, raw=True)
    for record in records:
        if record["kind"] == "set":
            summary.model = record.get("model") or summary.model
        elif record["kind"] == "message":
            message = record["message"]
            summary.used = max(summary.used, as_number(message.get("timestamp")) or 0)
            if message.get("role") == "assistant":
                answers.append(message)
                summary.sum.add_json(message)
    questions = [m for _, m in remaining_messages(records) if m.get("role") == "user"]
    summary.questions = len(questions)
    if questions:
        summary.title = " ".join(message_text(questions[0]).split())
    return summary, answers


def message_text(message: dict[str, Any]) -> str:
    """Return the text of a message in JSON form."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (p.get("text") or p.get("transcript") for p in parts if isinstance(p, dict))
    return "\n".join(str(text or "") for text in texts)


def read_conversation_file(conversation_id: str) -> bytes:
    """Return the content of a conversation's file; empty, with a warning, if it cannot be read."""
    try:
        with open(path_of(conversation_id), "rb") as file:
            return file.read()
    except FileNotFoundError:  # removed in the meantime
        return b""
    except OSError as error:
        warn(format_error(error))
        return b""


def format_time(message_or_ms: dict[str, Any] | float) -> str:
    """Return the local time of a message or of Unix milliseconds, to the minute."""
    milliseconds = (
        as_number(message_or_ms.get("timestamp")) or 0
        if isinstance(message_or_ms, dict)
        else message_or_ms
    )
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
    except (ValueError, OverflowError, OSError):
        return "?"


def format_utc(milliseconds: Any) -> str:
    """Return Unix milliseconds as UTC in ISO 8601, or `?` if they are no time."""
    try:
        moment = time.gmtime((as_number(milliseconds) or 0) / 1000)
    except (ValueError, OverflowError, OSError):
        return "?"
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", moment) if as_number(milliseconds) else "?"


def search_conversation(conversation_id: str, query: str) -> list[dict[str, str]]:
    """Return the lines that contain `query` (case-folded), with their time and author."""
    hits = []
    for _, message in remaining_messages(
        read_records(read_conversation_file(conversation_id), conversation_id, raw=True)
    ):
        role, model = str(message.get("role", "")), str(message.get("model") or "model")
        speaker = {"user": "you", "toolResult": "tool"}.get(role, model)
        for line in message_text(message).splitlines():
            position = line.casefold().find(query)
            if position >= 0:
                excerpt = line[max(0, position - 30) :][: TITLE_CHARS + 20].strip()
                when = format_time(message)
                hits.append({"id": conversation_id, "time": when, "who": speaker, "line": excerpt})
    return hits
