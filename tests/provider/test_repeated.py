"""Events that repeat the one before with another text decode as if each were parsed."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pipy_ai.provider.deltas import Delta, Text, Thinking, ToolFragment
from pipy_ai.provider.exchange import decode_chunk
from pipy_ai.provider.http.sse import SSEReader
from pipy_ai.provider.repeated import RepeatedEvents
from pipy_ai.provider.wires import load_wire
from pipy_ai.provider.wires._parsing import parse_objects
from tests.support.wire_formats import SSE_WIRES, Wire, say, think, tool

TEXTS = (
    "word", " ", "a", "\n", '"', "\\", '","', '"}', "é", "日本", "\u2028", "\x00", "😀", "0",
    "text_delta", "stop", "index", "{}", "null", '{"a": 1}', "SURROGATE", "x" * 5000,
)  # fmt: skip


def decode(wire: Wire, chunks: list[bytes], repeated: RepeatedEvents | None) -> Any:
    """Return the deltas and the error of a response."""
    decoder, reader = load_wire(wire.api).decoder(), SSEReader()
    deltas: list[Delta] = []
    for chunk in chunks:
        read, error = decode_chunk(decoder, reader, chunk, repeated)
        deltas += read
        if error is not None:
            return deltas, str(error)
    return deltas, None


@pytest.mark.parametrize("wire", SSE_WIRES, ids=lambda wire: wire.name)
def test_deltas_are_those_of_parsed_events(wire: Wire) -> None:
    rng = random.Random(7)
    for _ in range(60):
        pieces = [rng.choice(TEXTS) if rng.random() < 0.5 else "word" for _ in range(30)]
        arguments = json.dumps({"x": "".join(pieces)[:99], "SURROGATE": 1}, ensure_ascii=False)
        cuts = [arguments[at : at + 3] for at in range(0, len(arguments), 3)]
        steps = [say(*pieces), think(*pieces), tool("call", "f", *cuts)]
        scene = wire.scene(rng.choice(steps), rng.choice(steps))
        events = [event for event in scene if isinstance(event, bytes)]
        events = [event.replace(b"SURROGATE", rb"\ud83d") for event in events]
        if rng.random() < 0.3:
            broken = rng.choice((b"data: {\n\n", b": ping\n\n", b"data: []\n\n", b"data: {}\n\n"))
            events.insert(rng.randrange(len(events)), broken)
        expected = decode(wire, events, None)  # one event for each read
        assert decode(wire, events, RepeatedEvents()) == expected
        assert decode(wire, [b"".join(events)], RepeatedEvents()) == expected
        assert decode(wire, [b"".join(events)], None) == expected


def read(repeated: RepeatedEvents, data: str) -> list[Delta]:
    deltas: list[Delta] = []
    repeated.read([("", data)], 0, deltas)
    return deltas


@pytest.mark.parametrize(
    "delta", [Text("Hi", 3), Thinking("Hi"), ToolFragment(2, arguments="Hi")], ids=repr
)
def test_only_the_text_changes(delta: Delta) -> None:
    repeated = RepeatedEvents()
    repeated.learn("", '{"index": 1, "text": "Hi"}', [delta])
    [repeat] = read(repeated, r'{"index": 1, "text": "H\"o"}')
    assert repr(repeat) == repr(delta).replace("'Hi'", repr('H"o'))
    for other in (
        '{"index": 2, "text": "Ho"}', '{"index": 1, "text": "Ho", "x": 1}',
        '{"index": 1, "text": "}', '{"index": 1, "text": ""}', r'{"index": 1, "text": "\"}',
        '{"index": 1, "text": "a", "b": "c"}', '{"index": 1, "text": "a\n"}',
        r'{"index": 1, "text": "\ud83d"}',
    ):  # fmt: skip
        assert read(repeated, other) == []


@pytest.mark.parametrize(
    "data",
    [
        '{"id": "Hi", "text": "\\u0048i"}',  # the text is not the value that looks like it
        '{"id": "Hi", "text": "Hi"}',  # which of both changes?
        '{"Hi": "\\u0048i"}',
        '{"text": "Hi", "text": "\\u0048i"}',
        '{"text": "\\u0048i", "x": "a\\"Hi"}',
        '{"text": ["\\u0048i"]}',
    ],
)
def test_an_ambiguous_place_is_not_learned(data: str) -> None:
    repeated = RepeatedEvents()
    repeated.learn("", data, [Text(json.loads(data).get("text", "Hi"))])
    repeated.learn("", data, [Text("Hi")])
    assert read(repeated, data.replace("Hi", "Ho")) == []


def test_other_deltas_are_not_learned() -> None:
    repeated = RepeatedEvents()
    data = '{"text": "Hi"}'
    for deltas in ([], [Text("Hi"), Text("Hi")], [Text("")], [ToolFragment(0, "c", "f", "Hi")]):
        repeated.learn("", data, deltas)
        assert read(repeated, '{"text": "Ho"}') == []


def test_events_that_never_repeat_are_soon_left_alone() -> None:
    repeated = RepeatedEvents()
    for number in range(12):
        assert not repeated.given_up
        repeated.learn("", f'{{"n": {number}, "text": "Hi"}}', [Text("Hi")])
    assert repeated.given_up
    assert read(repeated, '{"n": 11, "text": "Ho"}') == []


def test_a_repetition_is_worth_the_next_ones() -> None:
    repeated = RepeatedEvents()
    for number in range(30):
        repeated.learn("", f'{{"n": {number // 10}, "text": "Hi"}}', [Text("Hi")])
        assert read(repeated, f'{{"n": {number // 10}, "text": "Ho"}}') == [Text("Ho")]
    assert not repeated.given_up


def test_objects_are_parsed_at_once_only_if_each_is_one() -> None:
    assert parse_objects(['{"a": 1}', "{}"]) == [{"a": 1}, {}]
    for texts in (
        ['{"a": 1', '"b": 2}'], ["{}", "[DONE]"], ["{}", "1"], ["{}", ""], ["{},{}", "{}"],
        ['{"a": 1},{"b": 2}', '{"x": [{}', "{}]}"], ["{},0,{}", '{"x": [{}', "{}]}"],
    ):  # fmt: skip
        assert parse_objects(texts) is None
