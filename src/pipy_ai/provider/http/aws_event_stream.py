"""Parse `application/vnd.amazon.eventstream` from bytes that may be split anywhere. Sans-IO.

A frame is `length | length of headers | CRC of both | headers | payload | CRC`, of 32-bit numbers.
Both checksums are verified. AWS sends events, and exceptions and errors that end the stream.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from zlib import crc32

from pydantic_core import from_json

MAX_HEADERS_BYTES = 128 << 10  # the limits of botocore
MAX_PAYLOAD_BYTES = 24 << 20
EXCEPTION_PREFIX = "exception:"  # of the names of events that report a failure

_PRELUDE_BYTES = 12
_CRC_BYTES = 4
_OVERHEAD_BYTES = _PRELUDE_BYTES + _CRC_BYTES
_MAX_CACHED_HEADERS = 32
_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_LENGTH = struct.Struct(">H")
# The size of a header's value by its type: true, false, byte, short, int, long, timestamp, UUID.
_VALUE_BYTES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES, _STRING = 6, 7  # preceded by their length


class EventStreamReader:
    """Convert bytes to `(event, payload)` pairs as soon as each frame is complete.

    An exception becomes the event `exception:NAME` with `{"message": …}` as its payload. A damaged
    frame ends the stream with an event whose payload says what is wrong, and is not JSON.
    """

    # A proxy or a gateway may answer with a JSON document.
    document_starts: bytes = b"{["
    find_end: Callable[[bytes, int], int] | None = None  # frames have checksums

    def __init__(self) -> None:
        self._held: list[bytes] = []  # pieces of a frame that is not complete
        self._held_bytes = 0
        self._needed_bytes = 0
        self._damaged = False
        # The names of events by the headers of their frames, which are mostly the same bytes.
        self._names: dict[bytes, str] = {}

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """Return the events of the frames that `chunk` completes."""
        if self._held:
            self._held.append(chunk)
            self._held_bytes += len(chunk)
            if self._held_bytes < self._needed_bytes:
                return []
            chunk = b"".join(self._held)
            self._held.clear()
        events: list[tuple[str, str]] = []
        if self._damaged:
            return events
        start, end = 0, len(chunk)
        needed = _PRELUDE_BYTES
        try:
            while end - start >= _PRELUDE_BYTES:
                length, headers_length, prelude_crc = _PRELUDE.unpack_from(chunk, start)
                if crc32(chunk[start : start + 8]) != prelude_crc:
                    raise _DamagedFrame("the checksum of its lengths is wrong")
                payload_length = length - headers_length - _OVERHEAD_BYTES
                if (
                    headers_length > MAX_HEADERS_BYTES
                    or not 0 <= payload_length <= MAX_PAYLOAD_BYTES
                ):
                    raise _DamagedFrame(f"{headers_length} bytes of headers in {length}")
                stop = start + length - _CRC_BYTES
                if stop + _CRC_BYTES > end:
                    needed = length
                    break
                if crc32(chunk[start:stop]) != _CRC.unpack_from(chunk, stop)[0]:
                    raise _DamagedFrame("its checksum is wrong")
                headers = chunk[start + _PRELUDE_BYTES : stop - payload_length]
                payload = chunk[stop - payload_length : stop].decode("utf-8", "replace")
                name = self._names.get(headers)
                event = self._read_event(headers, payload) if name is None else (name, payload)
                events.append(event)
                start += length
        except _DamagedFrame as damage:
            self._damaged = True
            events.append(("", f"a frame of the event stream is damaged: {damage}"))
            return events
        if start < end:
            self._held.append(chunk[start:])
            self._held_bytes = end - start
            self._needed_bytes = needed
        return events

    def finish(self) -> list[tuple[str, str]]:
        """Return no events: a frame that is not complete says nothing."""
        return []

    def _read_event(self, headers: bytes, payload: str) -> tuple[str, str]:
        """Return the event of a frame whose headers have not been seen before."""
        values = _parse_headers(headers)
        message_type = values.get(":message-type", "event")
        if message_type == "exception":
            return EXCEPTION_PREFIX + values.get(":exception-type", ""), payload
        if message_type == "error":  # its payload is empty
            message = {"message": values.get(":error-message", "")}
            return EXCEPTION_PREFIX + values.get(":error-code", ""), json.dumps(message)
        if message_type != "event":
            raise _DamagedFrame(f"its type is {message_type[:40]!r}")
        name = values.get(":event-type", "")
        if len(self._names) < _MAX_CACHED_HEADERS:
            self._names[headers] = name
        return name, payload


class InvokeModelReader(EventStreamReader):
    """Convert the frames of InvokeModel to the events of the model's own API.

    Each frame holds one event, in base64. Exceptions become the `error` event of Anthropic's API.
    """

    def feed(self, chunk: bytes) -> list[tuple[str, str]]:
        """See `EventStreamReader.feed`."""
        events: list[tuple[str, str]] = []
        for name, payload in super().feed(chunk):
            if name == "chunk":
                events.append(("", _unwrap(payload)))
            elif name.startswith(EXCEPTION_PREFIX):
                error = exception_error(name, payload)
                events.append(("error", json.dumps({"type": "error", "error": error})))
            elif not name:  # a damaged frame
                events.append((name, payload))
        return events


def exception_error(event: str, payload: str) -> dict[str, str]:
    """Return type and message of an exception, as other APIs report errors."""
    try:
        body = from_json(payload)
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    message = body.get("message") or body.get("Message") or body.get("originalMessage")
    name = event.removeprefix(EXCEPTION_PREFIX)
    return {"type": name, "message": str(message or name or "The provider reported an error")}


def _unwrap(payload: str) -> str:
    """Return the event in a frame of InvokeModel; text that is not JSON if there is none."""
    try:
        return base64.b64decode(from_json(payload)["bytes"]).decode("utf-8", "replace")
    except (ValueError, LookupError, TypeError):
        return f"a frame without an event: {payload}"


class _DamagedFrame(Exception):
    """A frame cannot be read. The text says why."""


def _parse_headers(data: bytes) -> dict[str, str]:
    """Return the headers that are text; skip values of the other types."""
    values: dict[str, str] = {}
    position = 0
    try:
        while position < len(data):
            name_end = position + 1 + data[position]
            name = data[position + 1 : name_end].decode("utf-8", "replace")
            value_type, position = data[name_end], name_end + 1
            if value_type in (_BYTES, _STRING):
                length = _LENGTH.unpack_from(data, position)[0]
                position += 2
                if value_type == _STRING:
                    values[name] = data[position : position + length].decode("utf-8", "replace")
                position += length
            else:
                position += _VALUE_BYTES[value_type]
    except (LookupError, struct.error):
        raise _DamagedFrame("its headers cannot be read") from None
    if position > len(data):
        raise _DamagedFrame("its headers cannot be read")
    return values
