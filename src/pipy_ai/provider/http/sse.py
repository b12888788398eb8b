"""Parse server-sent events from bytes that may be split anywhere. Sans-IO.

Lines end in LF, CR or CRLF; U+2028 and similar characters are text. Events end in a blank line.
Only the fields `event` and `data` are used; comments, ids and retry times are ignored, and so are
events without data.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_EVENT_BYTES = 32 << 20  # more than any answer needs, without exhausting memory


class EventTooLong(Exception):
    """A line, or the data of an event, is longer than `MAX_EVENT_BYTES`."""


_BLANK_LINE = re.compile(rb"\r\n(?:\r\n?|\n)|\n(?:\r\n?|\n)|\r\r\n?")


def find_event_end(data: bytes, start: int) -> int:
    """Return where the event ends that starts at `start`: after a blank line; -1: nowhere."""
    end = data.find(b"\n\n", start)
    limit = end + 2 if end >= 0 else len(data)
    if data.find(b"\r", start, limit) < 0:
        return limit if end >= 0 else -1
    match = _BLANK_LINE.search(data, start)
    return match.end() if match is not None else -1


class SSEReader:
    """Convert bytes to `(event, data)` pairs as soon as each is complete."""

    # A body that begins with these is one JSON document, not a stream of events.
    document_starts: bytes = b"{["
    find_end: Callable[[bytes, int], int] | None = staticmethod(find_event_end)

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._partial_line: list[bytes] = []  # pieces of a line that has not ended
        self._partial_line_bytes = 0
        self._after_cr = False  # the last chunk ended in CR, so a LF that follows belongs to it
        self._at_start = True
        self._event_type = b""
        self._data_lines: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """Return the events that `chunk` completes.

        Raises:
            EventTooLong: A line or an event exceeds the limit.
        """
        if not chunk:
            return []
        if self._after_cr:
            self._after_cr = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk[-1:] == b"\r"
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = chunk.split(b"\n")
        unfinished_line = lines.pop()
        events: list[tuple[str, str]] = []
        if lines and self._partial_line:
            line = b"".join((*self._partial_line, lines.pop(0)))
            self._partial_line.clear()
            self._partial_line_bytes = 0
            self._process_line(line, events)
        if self._at_start or len(chunk) > self._max_event_bytes:
            for line in lines:
                self._process_line(line, events)
        else:
            self._process_lines(lines, events)
        if unfinished_line:
            self._partial_line.append(unfinished_line)
            self._partial_line_bytes += len(unfinished_line)
            if self._partial_line_bytes > self._max_event_bytes:
                raise EventTooLong
        return events

    def finish(self) -> list[tuple[str, str]]:
        """Return the event that the end of the stream completes, if any.

        Some hosts omit the last blank line. The decoder must check that the data is complete.
        """
        events: list[tuple[str, str]] = []
        if self._partial_line:
            line = b"".join(self._partial_line)
            self._partial_line.clear()
            self._process_line(line, events)
        self._process_line(b"", events)
        return events

    def _process_lines(self, lines: list[bytes], events: list[tuple[str, str]]) -> None:
        """Process lines below the limit, faster than one by one if each event has one with data."""
        data_line = b""  # not processed yet
        for line in lines:
            if data_line and not line:
                event_type = self._event_type.decode("utf-8", "replace") if self._event_type else ""
                events.append((event_type, data_line[6:].decode("utf-8", "replace")))
                data_line = self._event_type = b""
                continue
            if data_line:
                self._process_line(data_line, events)
                data_line = b""
            if line.startswith(b"data: {") and not self._data_lines:
                data_line = line
            elif line.startswith(b"event:"):
                self._event_type = line[6:].strip()
            else:
                self._process_line(line, events)
        if data_line:
            self._process_line(data_line, events)

    def _process_line(self, line: bytes, events: list[tuple[str, str]]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data_lines:
                data = (
                    self._data_lines[0]
                    if len(self._data_lines) == 1
                    else b"\n".join(self._data_lines)
                )
                if data and not data.isspace():  # some proxies keep a stream alive with no data
                    event_type = self._event_type.decode("utf-8", "replace")
                    events.append((event_type, data.decode("utf-8", "replace")))
                self._data_lines.clear()
                self._data_bytes = 0
            self._event_type = b""
        elif line.startswith(b"data:") or line == b"data":
            self._data_lines.append(line[6:] if line[5:6] == b" " else line[5:])
            self._data_bytes += len(line)
            if self._data_bytes > self._max_event_bytes:
                raise EventTooLong
        elif line.startswith(b"event:"):
            self._event_type = line[6:].strip()
