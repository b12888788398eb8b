"""Server-sent events out of bytes, cut anywhere. Sans-IO.

Lines end in LF, CR or CRLF and nothing else: U+2028 and its kin are text. Events end in a blank
line. Only `event` and `data` fields matter here; comments, ids and retries are passed over.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 32 << 20  # bytes; more than any answer, less than all memory


class EventTooLong(Exception):
    """A line, or all data of an event, is longer than `MAX_EVENT`."""


class SSEReader:
    """Feed it bytes as they come; it returns the `(event, data)` pairs that are complete."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._partial_line: list[bytes] = []  # the pieces of a line that has not ended
        self._partial_line_bytes = 0
        self._after_cr = False  # a CR ended the last piece: a LF now belongs to it
        self._at_start = True
        self._event_type = b""
        self._data_lines: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """The events that `piece` completes."""
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
            lines[0] = b"".join((*self._partial_line, lines[0]))
            self._partial_line.clear()
            self._partial_line_bytes = 0
        for line in lines:
            self._process_line(line, events)
        if unfinished_line:
            self._partial_line.append(unfinished_line)
            self._partial_line_bytes += len(unfinished_line)
            if self._partial_line_bytes > self._max_event_bytes:
                raise EventTooLong
        return events

    def finish(self) -> list[tuple[str, str]]:
        """The event that the end of the stream completes: some hosts leave out the last blank
        line. Whether its data is whole is for the decoder to see."""
        events: list[tuple[str, str]] = []
        if self._partial_line:
            line = b"".join(self._partial_line)
            self._partial_line.clear()
            self._process_line(line, events)
        self._process_line(b"", events)
        return events

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
                events.append(
                    (self._event_type.decode("utf-8", "replace"), data.decode("utf-8", "replace"))
                )
                self._data_lines.clear()
                self._data_bytes = 0
            self._event_type = b""
        elif line.startswith(b"data:"):
            self._data_lines.append(line[6:] if line[5:6] == b" " else line[5:])
            self._data_bytes += len(line)
            if self._data_bytes > self._max_event_bytes:
                raise EventTooLong
        elif line.startswith(b"event:"):
            self._event_type = line[6:].strip()
        elif line == b"data":
            self._data_lines.append(b"")
