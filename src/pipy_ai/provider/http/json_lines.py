"""Split a body of JSON lines (NDJSON) that may arrive in any pieces. Sans-IO.

Only a line feed ends a line: JSON text may contain U+0085, U+2028 and similar characters. A
carriage return before it stays, as white space of the JSON. Blank lines are ignored.
"""

from __future__ import annotations

from collections.abc import Callable

from .sse import MAX_EVENT_BYTES, EventTooLong

_BOM = b"\xef\xbb\xbf"


def find_line_end(data: bytes, start: int) -> int:
    """Return where the line ends that starts at `start`: after a line feed; -1: nowhere."""
    return data.find(b"\n", start) + 1 or -1


class JSONLinesReader:
    """Convert bytes to `("", line)` pairs as soon as each line is complete."""

    find_end: Callable[[bytes, int], int] | None = staticmethod(find_line_end)
    document_starts: bytes = b""  # a body with a single document is a body with a single line

    def __init__(self, max_line_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._partial_line: list[bytes] = []  # pieces of a line that has not ended
        self._partial_line_bytes = 0
        self._at_start = True

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """Return the lines that `chunk` completes.

        Raises:
            EventTooLong: A line exceeds the limit.
        """
        lines = chunk.split(b"\n")
        unfinished_line = lines.pop()
        if lines and self._partial_line:
            lines[0] = b"".join((*self._partial_line, lines[0]))
            self._partial_line.clear()
            self._partial_line_bytes = 0
        if unfinished_line:
            self._partial_line.append(unfinished_line)
            self._partial_line_bytes += len(unfinished_line)
            if self._partial_line_bytes > self._max_line_bytes:
                raise EventTooLong
        return self._decode_lines(lines) if lines else []

    def finish(self) -> list[tuple[str, str]]:
        """Return the line that the end of the body completes, if any.

        The decoder must check that it is complete.
        """
        line = b"".join(self._partial_line)
        self._partial_line.clear()
        self._partial_line_bytes = 0
        return self._decode_lines([line])

    def _decode_lines(self, lines: list[bytes]) -> list[tuple[str, str]]:
        if self._at_start:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        events: list[tuple[str, str]] = []
        for line in lines:
            if len(line) > self._max_line_bytes:
                raise EventTooLong
            if line and not line.isspace():
                events.append(("", line.decode("utf-8", "replace")))
        return events
