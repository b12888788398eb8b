"""Frames of `application/vnd.amazon.eventstream`, written here and read by botocore."""

from __future__ import annotations

import json
import struct
from typing import Any
from zlib import crc32

from botocore.eventstream import EventStreamBuffer


def frame(name: str, payload: Any, message_type: str = "event") -> bytes:
    """Return the frame of an event or an exception, as Bedrock sends it."""
    data = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    headers = {
        f":{message_type}-type": name,
        ":content-type": "application/json",
        ":message-type": message_type,
    }
    return raw_frame(b"".join(text_header(*header) for header in headers.items()), data)


def error_frame(code: str, message: str) -> bytes:
    """Return a frame of the type `error`, which has no payload."""
    headers = {":message-type": "error", ":error-code": code, ":error-message": message}
    return raw_frame(b"".join(text_header(*header) for header in headers.items()), b"")


def text_header(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())


def header(name: str, value_type: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([value_type]) + value


def raw_frame(headers: bytes, payload: bytes) -> bytes:
    """Return a frame with right lengths and checksums."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return message + struct.pack(">I", crc32(message))


def read_frames(body: bytes) -> list[tuple[str, Any]]:
    """Return the events of the whole frames in a body, as botocore reads them."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return [(message.headers[":event-type"], json.loads(message.payload)) for message in buffer
            if ":event-type" in message.headers]  # fmt: skip


def frame_end(body: bytes, position: int) -> int:
    """Return where the frame ends that holds the byte at a position."""
    end = 0
    while end <= position:
        end += struct.unpack_from(">I", body, end)[0]
    return end


def whole_frames(body: bytes) -> bytes:
    """Return the part of a body before the frame that is not complete."""
    end = 0
    while end + 4 <= len(body):
        length = struct.unpack_from(">I", body, end)[0]
        if end + length > len(body):
            break
        end += length
    return body[:end]
