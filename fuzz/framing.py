"""Targets: what splits the body of a response into events."""

from __future__ import annotations

import random
import re

from pipy_ai.provider.http.json_lines import JSONLinesReader
from pipy_ai.provider.http.sse import EventTooLong, SSEReader

from .harness import target
from .values import pieces, some_text

_LINE_ENDS = ("\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n")
_FIELDS = (
    "data:",
    "data: ",
    "data",
    "event:",
    "event: ",
    "event",
    ":",
    "id: ",
    "retry: ",
    "Data: ",
)


def _sse_body(rng: random.Random) -> bytes:
    body = "".join(
        rng.choice(_FIELDS) + some_text(rng) + rng.choice(_LINE_ENDS)
        for _ in range(rng.randint(0, 8))
    )
    start = b"\xef\xbb\xbf" if rng.random() < 0.2 else b""
    data = bytearray(start + body.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 0, 3))):
        data.insert(rng.randint(0, len(data)), rng.randrange(256))
    return bytes(data)


def _expected_events(body: bytes) -> list[tuple[str, str]]:
    """Return the events of a whole body, as the standard defines them; the last may be unended."""
    events: list[tuple[str, str]] = []
    event_type = b""
    data: list[bytes] = []
    for line in [*re.split(rb"\r\n|\r|\n", body.removeprefix(b"\xef\xbb\xbf")), b""]:
        name, colon, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            text = b"\n".join(data)
            if text.strip():
                events.append(
                    (event_type.decode("utf-8", "replace"), text.decode("utf-8", "replace"))
                )
            event_type, data = b"", []
        elif name == b"data":
            data.append(value)
        elif name == b"event" and colon:
            event_type = value.strip()
    return events


@target
def sse(rng: random.Random) -> None:
    """The reader of server-sent events finds the same events wherever the bytes are cut."""
    body = _sse_body(rng)
    chunks = pieces(rng, body)
    reader = SSEReader()
    events = [event for chunk in chunks for event in reader.feed(chunk)] + reader.finish()
    assert events == _expected_events(body)


@target
def sse_limit(rng: random.Random) -> None:
    """The reader of server-sent events never holds more than its limit."""
    body = _sse_body(rng)
    limit = rng.randint(1, 64)
    reader = SSEReader(max_event_bytes=limit)
    if rng.random() < 0.1:
        body += rng.choice((b"data\n", b"data:\n", b"x")) * 2 * limit
    try:
        for chunk in pieces(rng, body):
            events = reader.feed(chunk)
            assert all(len(data) <= limit for _, data in events)
            assert len(reader._data_lines) <= limit
            assert sum(map(len, reader._partial_line)) <= limit
    except EventTooLong:
        return


def _json_lines_body(rng: random.Random) -> bytes:
    body = "".join(
        some_text(rng) + rng.choice(("\n", "\r\n", "\n\n", "", "\r", "\x85", "\u2028"))
        for _ in range(rng.randint(0, 8))
    )
    start = b"\xef\xbb\xbf" if rng.random() < 0.2 else b""
    data = bytearray(start + body.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 0, 3))):
        data.insert(rng.randint(0, len(data)), rng.randrange(256))
    return bytes(data)


@target
def json_lines(rng: random.Random) -> None:
    """The reader of JSON lines finds the same lines wherever the bytes are cut."""
    body = _json_lines_body(rng)
    reader = JSONLinesReader()
    events = [event for chunk in pieces(rng, body) for event in reader.feed(chunk)]
    lines = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [line.decode("utf-8", "replace") for line in lines if line.strip(b" \t\r\v\f")]
    assert events + reader.finish() == [("", line) for line in expected]


@target
def json_lines_limit(rng: random.Random) -> None:
    """The reader of JSON lines never holds more than its limit."""
    body = _json_lines_body(rng)
    limit = rng.randint(1, 64)
    reader = JSONLinesReader(max_line_bytes=limit)
    try:
        for chunk in pieces(rng, body):
            assert all(len(data) <= limit for _, data in reader.feed(chunk))
            assert sum(map(len, reader._partial_line)) <= limit
    except EventTooLong:
        return
