"""Test the frames of `application/vnd.amazon.eventstream`, also against botocore."""

from __future__ import annotations

import base64
import json
import random
import struct
from typing import Any
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer

from pipy_ai import AssistantMessage, stream
from pipy_ai.provider.http.aws_event_stream import (
    MAX_HEADERS_BYTES,
    MAX_PAYLOAD_BYTES,
    EventStreamReader,
    InvokeModelReader,
)

from ..support.event_grammar import check_events
from ..support.event_stream import error_frame, frame, header, raw_frame, text_header
from ..support.scripted_server import Lab
from ..support.wire_formats import CONVERSE, Counts, say, think, tool

EVENT = text_header(":message-type", "event") + text_header(":event-type", "e")


def read(*chunks: bytes) -> list[tuple[str, str]]:
    reader = EventStreamReader()
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.finish()


def damage(events: list[tuple[str, str]]) -> str:
    """Return why the last event says that a frame is damaged."""
    name, text = events[-1]
    assert name == ""
    assert text.startswith("a frame of the event stream is damaged: ")
    with pytest.raises(
        ValueError, match="Expecting"
    ):  # so that a decoder cannot take it for an event
        json.loads(text)
    return text.rpartition(": ")[2]


def ask(lab: Lab, *chunks: bytes) -> AssistantMessage:
    lab.play([*chunks])
    base = CONVERSE.base(lab)
    return check_events(
        list(stream(CONVERSE.model, "q", api_base=base, api_key="k", max_retries=0))
    )


WHOLE = b"".join(
    CONVERSE.scene(
        think("hm", signature="c2ln"), say("Zür", "ich 😀"), tool("c1", "f", "{}"), stop="tool",
        counts=Counts(1, 2, 3, 4),
    )
)  # fmt: skip


@pytest.mark.parametrize("size", [1, 2, 3, 11, 12, 13, 100, 1000, len(WHOLE)])
def test_splits_change_nothing_and_botocore_reads_the_same(size: int) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(WHOLE)
    theirs = [(message.headers[":event-type"], message.payload.decode()) for message in buffer]
    chunks = [WHOLE[start : start + size] for start in range(0, len(WHOLE), size)]
    assert read(*chunks) == theirs


def test_every_type_of_header_is_skipped() -> None:
    values = [(0, b""), (1, b""), (2, b"\1"), (3, b"\1\2"), (4, b"abcd"), (5, b"abcdefgh"),
              (6, b"\0\3xyz"), (8, b"abcdefgh"), (9, bytes(16))]  # fmt: skip
    headers = b"".join(header(f"h{number}", number, value) for number, value in values)
    assert read(raw_frame(headers + EVENT, b"{}")) == [("e", "{}")]
    assert read(raw_frame(EVENT + headers, b"{}")) == [("e", "{}")]
    buffer = EventStreamBuffer()
    buffer.add_data(raw_frame(EVENT + headers, b"{}"))
    assert [message.headers[":event-type"] for message in buffer] == ["e"]


@pytest.mark.parametrize(
    "headers",
    [
        header("x", 10, b""),  # an unknown type: its length is unknown, too
        header("x", 7, b"\0\5abcd"),
        header("x", 7, b"\0"),
        header("x", 9, bytes(15)),
        b"\5ab",
        b"\1",
    ],
)
def test_headers_that_cannot_be_read(headers: bytes) -> None:
    assert damage(read(raw_frame(EVENT + headers, b"{}"))) == "its headers cannot be read"


def test_frame_without_headers_is_an_event_without_a_name() -> None:
    assert read(raw_frame(b"", b"{}")) == [("", "{}")]


@pytest.mark.parametrize("position", range(0, 150, 7))
def test_flipped_bit_is_noticed_and_what_came_before_is_kept(lab: Lab, position: int) -> None:
    scene = CONVERSE.scene(say("kept", " lost"))
    broken = bytearray(b"".join(scene[2:]))
    broken[position] ^= 4
    for chunks in ([*scene[:2], bytes(broken)], [b"".join(scene[:2]) + bytes(broken)]):
        events = read(*chunks)
        assert [name for name, _ in events] == ["messageStart", "contentBlockDelta", ""]
        assert "checksum" in damage(events)
        message = ask(lab, *chunks)
        assert message.text == "kept"
        assert message.error is not None
        assert (message.error.kind, message.error.retryable) == ("server", True)
        assert "checksum" in message.error.message


def prelude(length: int, headers_length: int) -> bytes:
    data = struct.pack(">II", length, headers_length)
    return data + struct.pack(">I", crc32(data))


@pytest.mark.parametrize(
    ("length", "headers_length"),
    [
        (0, 0),
        (15, 0),
        (100, 85),
        (16 + MAX_PAYLOAD_BYTES + 1, 0),
        (2**32 - 1, 0),
        (16 + MAX_HEADERS_BYTES + 1, MAX_HEADERS_BYTES + 1),
        (100, 2**32 - 1),
    ],
)
def test_lengths_that_cannot_be_are_refused_at_once(length: int, headers_length: int) -> None:
    """Without waiting for so many bytes."""
    reason = damage(read(prelude(length, headers_length)))
    assert reason == f"{headers_length} bytes of headers in {length}"


def test_largest_frames_are_read() -> None:
    names = [text_header("a", "x" * 60_000), text_header("b", "x" * 60_000)]
    assert read(raw_frame(EVENT + b"".join(names), b"{}")) == [("e", "{}")]
    payload = b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"'
    whole = raw_frame(EVENT, payload)
    chunks = [whole[start : start + 65536] for start in range(0, len(whole), 65536)]
    [(name, data)] = read(*chunks)
    assert (name, len(data)) == ("e", MAX_PAYLOAD_BYTES)


def test_nothing_is_read_after_a_damaged_frame() -> None:
    reader = EventStreamReader()
    damage(reader.feed(b"x" * 12))
    assert reader.feed(WHOLE) == []


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_frame_that_is_cut_says_nothing(cut: int) -> None:
    assert [name for name, _ in read(frame("a", {}) + frame("b", {})[:cut])] == ["a"]


def test_exceptions_and_errors_are_events() -> None:
    broken = frame("throttlingException", {"message": "slow"}, "exception")
    assert read(broken) == [("exception:throttlingException", '{"message":"slow"}')]
    [(name, text)] = read(error_frame("InternalError", "it broke"))
    assert (name, json.loads(text)) == ("exception:InternalError", {"message": "it broke"})
    odd = raw_frame(text_header(":message-type", "trailer"), b"{}")
    assert damage(read(odd)) == "its type is 'trailer'"


def test_error_frame_after_content(lab: Lab) -> None:
    scene = CONVERSE.scene(say("half"))
    message = ask(lab, *scene[:2], error_frame("InternalServerException", "it broke"))
    assert message.text == "half"
    assert message.error is not None
    assert (message.error.kind, message.error.message) == ("server", "it broke")


def test_names_of_events_are_not_kept_without_limit() -> None:
    reader = EventStreamReader()
    for number in range(1000):
        assert reader.feed(frame(f"e{number}", {})) == [(f"e{number}", "{}")]
    assert len(reader._names) <= 32


def invoke(*chunks: bytes) -> list[tuple[str, str]]:
    reader = InvokeModelReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def wrapped(text: str) -> bytes:
    return frame("chunk", {"bytes": base64.b64encode(text.encode()).decode(), "p": "abc"})


def test_events_of_invoke_model_are_unwrapped() -> None:
    assert invoke(wrapped('{"type": "ping 😀"}')) == [("", '{"type": "ping 😀"}')]
    assert invoke(frame("somethingNew", {})) == []
    [(name, text)] = invoke(frame("modelTimeoutException", {"message": "slow"}, "exception"))
    error = {"type": "modelTimeoutException", "message": "slow"}
    assert (name, json.loads(text)) == ("error", {"type": "error", "error": error})


@pytest.mark.parametrize("payload", [{}, [], {"bytes": 5}, {"bytes": "é"}, {"bytes": "abc"}])
def test_damaged_event_of_invoke_model(payload: Any) -> None:
    [(name, text)] = invoke(frame("chunk", payload))
    assert name == ""
    assert text.startswith("a frame without an event: ")


def test_random_bytes_never_raise() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        data = bytearray(WHOLE)
        for _ in range(rng.randint(0, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for reader in (EventStreamReader(), InvokeModelReader()):
            start = 0
            while start < len(data):
                end = start + rng.randint(1, 300)
                reader.feed(bytes(data[start:end]))
                start = end
            assert reader.finish() == []
