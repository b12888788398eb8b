"""Server-sent events out of bytes, cut anywhere. Sans-IO.

Lines end in LF, CR or CRLF and nothing else: U+2028 and its kin are text. Events end in a blank
line. Only `event` and `data` fields matter here; comments, ids and retries are passed over.
"""

from __future__ import annotations

MAX_EVENT = 32 << 20  # bytes; more than any answer, less than all memory


class EventTooLong(Exception):
    """A line, or all data of an event, is longer than `MAX_EVENT`."""


class SSEReader:
    """Feed it bytes as they come; it returns the `(event, data)` pairs that are complete."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._limit = limit
        self._tail: list[bytes] = []  # the pieces of a line that has not ended
        self._tail_size = 0
        self._after_cr = False  # a CR ended the last piece: a LF now belongs to it
        self._first = True
        self._event = b""
        self._data: list[bytes] = []
        self._data_size = 0

    def feed(self, piece: bytes) -> list[tuple[str, str]]:
        """The events that `piece` completes."""
        if not piece:
            return []
        if self._after_cr:
            self._after_cr = False
            if piece[:1] == b"\n":
                piece = piece[1:]
        if b"\r" in piece:
            self._after_cr = piece[-1:] == b"\r"
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = piece.split(b"\n")
        rest = lines.pop()
        found: list[tuple[str, str]] = []
        if lines and self._tail:
            lines[0] = b"".join((*self._tail, lines[0]))
            self._tail.clear()
            self._tail_size = 0
        for line in lines:
            self._line(line, found)
        if rest:
            self._tail.append(rest)
            self._tail_size += len(rest)
            if self._tail_size > self._limit:
                raise EventTooLong
        return found

    def end(self) -> list[tuple[str, str]]:
        """The event that the end of the stream completes: some hosts leave out the last blank
        line. Whether its data is whole is for the decoder to see."""
        found: list[tuple[str, str]] = []
        if self._tail:
            line = b"".join(self._tail)
            self._tail.clear()
            self._line(line, found)
        self._line(b"", found)
        return found

    def _line(self, line: bytes, found: list[tuple[str, str]]) -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                found.append(
                    (self._event.decode("utf-8", "replace"), data.decode("utf-8", "replace"))
                )
                self._data.clear()
                self._data_size = 0
            self._event = b""
        elif line.startswith(b"data:"):
            self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            self._data_size += len(line)
            if self._data_size > self._limit:
                raise EventTooLong
        elif line.startswith(b"event:"):
            self._event = line[6:].strip()
        elif line == b"data":
            self._data.append(b"")
