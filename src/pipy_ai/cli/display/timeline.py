"""The events of an answer as a table of times. Deltas without a pause between them are one row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...utils.text import format_count, truncate
from .printer import format_tool_call

if TYPE_CHECKING:
    from ...events import ToolEvent

MIN_PAUSE_MS = 500.0  # a longer pause between deltas begins a new row
EXCERPT_CHARS = 40
DELTA_TYPES = ("text_delta", "thinking_delta", "toolcall_delta")


@dataclass
class TimelineRow:
    """One event, or several deltas in a row. Times are in milliseconds since the request.

    `ms` is None if the file has no time; `pause_ms` is the time since the event before.
    """

    event: str
    ms: float | None
    pause_ms: float | None
    end_ms: float | None
    count: int = 1
    characters: int = 0
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        return {
            "ms": self.ms, "pause_ms": self.pause_ms, "end_ms": self.end_ms, "event": self.event,
            "count": self.count, "characters": self.characters, "detail": self.detail,
        }  # fmt: skip

    def cells(self) -> list[str]:
        """Return the cells of the row in a table."""
        name = self.event if self.count == 1 else f"{self.event} x {self.count:,}"
        detail = self.detail
        if self.event in DELTA_TYPES:
            detail = f"{format_count(self.characters, 'character')}"
            if self.count > 1 and self.ms is not None and self.end_ms is not None:
                detail += f" until {self.end_ms:,.0f} ms"
            detail += f": {self.detail}"
        return [_milliseconds(self.ms), _milliseconds(self.pause_ms, "+"), name, detail]


def timeline_rows(events: Iterable[tuple[ToolEvent, float | None]]) -> Iterator[TimelineRow]:
    """Yield the rows of events with their times."""
    row: TimelineRow | None = None
    previous_ms: float | None = None
    for event, ms in events:
        pause_ms = None
        if ms is not None:  # if time goes back, another answer begins
            pause_ms = ms - previous_ms if previous_ms is not None and ms >= previous_ms else ms
            previous_ms = ms
        text = str(getattr(event, "delta", ""))
        continues = row is not None and row.event == event.type and event.type in DELTA_TYPES
        if row is not None and continues and (pause_ms or 0) < MIN_PAUSE_MS:
            row.count += 1
            row.characters += len(text)
            row.end_ms = ms if ms is not None else row.end_ms
            if len(row.detail) <= EXCERPT_CHARS:
                row.detail = _excerpt(row.detail + text)
            continue
        if row is not None:
            yield row
        detail = _excerpt(text) if event.type in DELTA_TYPES else _detail(event)
        row = TimelineRow(event.type, ms, pause_ms, ms, characters=len(text), detail=detail)
    if row is not None:
        yield row


def _excerpt(text: str) -> str:
    return text[: EXCERPT_CHARS + 1]


def _detail(event: ToolEvent) -> str:
    match event.type:
        case "toolcall_end":
            return format_tool_call(event.tool_call)
        case "tool_result":
            return f"{event.message.tool_name}{' failed' if event.message.is_error else ''}"
        case "done":
            usage = event.partial.usage
            read = usage.input + usage.cache_read + usage.cache_write
            model = f"{event.partial.provider}/{event.partial.model}"
            return f"{model}: {event.reason.value}, {read:,} in / {usage.output:,} out"
        case "error":
            error = event.partial.error
            return "" if error is None else f"{error.kind.value}: {error.message}"
        case _:
            return ""


def _milliseconds(value: float | None, sign: str = "") -> str:
    return "?" if value is None else f"{sign}{value:,.0f}"


def excerpt_on_one_line(cell: str) -> str:
    """Return the cell without line breaks, shortened."""
    return truncate(" ".join(cell.split()), 100)
