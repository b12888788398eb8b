"""Events that repeat the one before with another text decode as if each were parsed."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from pipy_ai.provider.assembler import Assembler
from pipy_ai.provider.deltas import (
    Delta,
    DeltaRun,
    Finish,
    OutputCount,
    RepeatableDelta,
    Text,
    Thinking,
    ToolFragment,
    UsageReport,
    expand_runs,
    join_text,
)
from pipy_ai.provider.exchange import decode_chunk
from pipy_ai.provider.http.json_lines import find_line_end
from pipy_ai.provider.http.sse import find_event_end
from pipy_ai.provider.repeated import MAX_PARTIAL_BYTES, MAX_UNREPEATED, RepeatedEvents
from pipy_ai.provider.wires import load_wire
from pipy_ai.provider.wires._parsing import parse_objects
from tests.support.regex_steps import worst_growth
from tests.support.wire_formats import JSON_WIRES, Wire, say, think, tool

TEXTS = (
    "word", " ", "a", "\n", '"', "\\", '","', '"}', "é", "日本", "\u2028", "\x00", "😀", "0",
    "text_delta", "stop", "index", "{}", "null", '{"a": 1}', "SURROGATE", "%b", "x" * 5000,
    "data: ", '"created": 1', "\\\\",
)  # fmt: skip
VARYING = {  # bytes of an event, and what a provider may send in their place
    "created": rb'"created": 1\b',
    "created_at": rb'"created_at": "[^"]*"',
    "sequence_number": rb'"sequence_number": \d+',
    "obfuscation": rb"(?=\}\n)",
    "usage": rb'(?<="responseId": "r1", )',
}


def decode(wire: Wire, chunks: list[bytes], repeats: bool = True) -> Any:
    """Return the deltas and the error of a response."""
    api = load_wire(wire.api)
    decoder, framing = api.decoder(), api.framing()
    repeated = RepeatedEvents(decoder.varying_fields, decoder.count_field) if repeats else None
    deltas: list[Delta] = []
    for chunk in (*chunks, None):
        read, error = decode_chunk(decoder, framing, chunk, repeated)
        deltas += expand_runs(read)
        if error is not None:
            return deltas, str(error)
    return deltas, None


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """Split a body anywhere."""
    places = sorted(rng.randrange(len(data)) for _ in range(rng.choice((1, 5, 50))))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


def vary(rng: random.Random, event: bytes) -> bytes:
    """Return an event with other numbers, dates and padding."""
    values = {
        "created": f'"created": {rng.choice(("0", "17", "1e3", "12.5", "007", "null"))}',
        "created_at": f'"created_at": "{rng.choice(("", "2026-11-30", "é", "~" * 99))}"',
        "sequence_number": f'"sequence_number": {rng.randrange(3000)}',
        "obfuscation": f', "obfuscation": "{"aB3" * rng.randrange(5)}"',
        "usage": f'"usageMetadata": {{"candidatesTokenCount": {rng.randrange(99)}, '
        f'"totalTokenCount": {rng.randrange(9)}, "thoughtsTokenCount": {rng.choice((5, 5, 6))}}}, ',
    }
    for name, pattern in VARYING.items():
        event = re.sub(pattern, lambda _, name=name: values[name].encode(), event, count=1)
    return event


@pytest.mark.parametrize("wire", JSON_WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("varies", [False, True], ids=["equal", "varying"])
def test_deltas_are_those_of_parsed_events(wire: Wire, varies: bool) -> None:
    rng = random.Random(7)
    for _ in range(40):
        pieces = [rng.choice(TEXTS) if rng.random() < 0.5 else "word" for _ in range(30)]
        steps: list[Any] = [say(*pieces), think(*pieces)]
        if wire.fragments:
            arguments = json.dumps({"x": "".join(pieces)[:99], "SURROGATE": 1}, ensure_ascii=False)
            cuts = [arguments[at : at + 3] for at in range(0, len(arguments), 3)]
            steps.append(tool("call", "f", *cuts))
        scene = wire.scene(rng.choice(steps), rng.choice(steps))
        events = [event for event in scene if isinstance(event, bytes)]
        events = [event.replace(b"SURROGATE", rb"\ud83d") for event in events]
        if varies:
            events = [vary(rng, event) for event in events]
        if rng.random() < 0.3:
            start = b"data: " if wire.sse else b""
            broken = rng.choice((start + b"{\n\n", b": ping\n\n", start + b"[]\n\n", b"\n"))
            events.insert(rng.randrange(len(events)), broken)
        expected = decode(wire, events, repeats=False)  # one event for each read
        body = b"".join(events)
        assert decode(wire, events) == expected
        assert decode(wire, [body]) == expected
        assert decode(wire, cut(rng, body)) == expected
        assert decode(wire, [body], repeats=False) == expected
        if wire.sse:
            end = rng.choice((b"\r\n", b"\r"))
            assert decode(wire, cut(rng, body.replace(b"\n", end))) == expected


def read_all(repeated: RepeatedEvents, *texts: str) -> list[Delta]:
    """Return the deltas of events that repeat the latest one."""
    data = "".join(f"data: {text}\n\n" for text in texts).encode()
    delta, _ = repeated.read(data, 0)
    one = repeated.read_one(data)
    deltas = [] if delta is None else list(expand_runs([delta]))
    assert one == (deltas if deltas and len(texts) == 1 else None)
    return deltas


def learn(repeated: RepeatedEvents, text: str, *deltas: Delta) -> None:
    repeated.learn(f"data: {text}\n\n".encode(), [text], deltas)


@pytest.mark.parametrize(
    "delta", [Text("Hi", 3), Thinking("Hi"), ToolFragment(2, arguments="Hi")], ids=repr
)
def test_only_the_text_changes(delta: Delta) -> None:
    repeated = RepeatedEvents()
    learn(repeated, '{"index": 1, "text": "Hi"}', delta)
    [repeat] = read_all(repeated, r'{"index": 1, "text": "H\"o"}')
    assert repr(repeat) == repr(delta).replace("'Hi'", repr('H"o'))
    for other in (
        '{"index": 2, "text": "Ho"}', '{"index": 1, "text": "Ho", "x": 1}',
        '{"index": 1, "text": "}', '{"index": 1, "text": ""}', r'{"index": 1, "text": "\"}',
        '{"index": 1, "text": "a", "b": "c"}', '{"index": 1, "text": "a\n"}',
        r'{"index": 1, "text": "\ud83d"}', r'{"index": 1, "text": "\x"}',
    ):  # fmt: skip
        assert read_all(repeated, other) == []
        same = '{"index": 1, "text": "a"}'
        assert len(read_all(repeated, same, same, other, same)) == 2


def test_a_run_of_events_is_one_delta() -> None:
    repeated = RepeatedEvents()
    learn(repeated, '{"text": "Hi"}', Text("Hi"))
    data = b'data: {"text": "a"}\n\ndata: {"text": "\\n"}\n\ndata: {"text'
    assert repeated.read(data, 0) == (DeltaRun(Text("Hi"), ["a", "\n"]), data.rindex(b"data"))


def test_a_run_may_be_empty_and_hold_any_text() -> None:
    for texts in ([], [""], ["a", "", "b"], ["a", "\ud83d", "\ude00", "b"], ["\ud83d"]):
        run = DeltaRun(Text("x"), texts)
        together, single = Assembler(timestamp=1), Assembler(timestamp=1)
        assert together.feed([run]) == single.feed(list(run))
        assert together.message_at(99) == single.message_at(99)


def test_text_of_runs_is_joined() -> None:
    run = DeltaRun(Text("x", 1), ["b", "c"], [2, 3])
    assert join_text([Text("a", 1), run]) == [Text("abc", 1), OutputCount(3)]


def test_fields_that_vary_may_differ() -> None:
    repeated = RepeatedEvents(["n", "pad"])
    learn(repeated, '{"n": 9, "text": "Hi", "pad":"x"}', Text("Hi"))
    texts = ['{"n": 10, "text": "a", "pad":""}', '{"n": 0, "text": "b", "pad":"é%"}']
    assert read_all(repeated, *texts) == [Text("a"), Text("b")]
    for other in (
        '{"n": 1.5, "text": "a", "pad":"x"}', '{"n": "9", "text": "a", "pad":"x"}',
        '{"n": 07, "text": "a", "pad":"x"}', r'{"n": 1, "text": "a", "pad":"\u0041"}',
        '{"n": 1, "text": "a", "pad":1}',
    ):  # fmt: skip
        assert read_all(repeated, other) == []


def test_a_count_of_tokens_may_differ() -> None:
    repeated = RepeatedEvents(["total"], "count")
    learn(repeated, '{"text": "Hi", "count": 3, "total": 5}', Text("Hi"), OutputCount(7))
    texts = ['{"text": "a", "count": 4, "total": 5}', '{"text": "b", "count": 0, "total": 0}']
    assert read_all(repeated, *texts) == [Text("a"), OutputCount(8), Text("b"), OutputCount(4)]
    assert read_all(repeated, texts[0]) == [Text("a"), OutputCount(8)]
    assert read_all(repeated, '{"text": "a", "count": 4.0, "total": 5}') == []


@pytest.mark.parametrize(
    ("text", "deltas"),
    [
        ('{"text": "Hi", "count": 3}', [Text("Hi")]),
        ('{"text": "Hi", "n": 3}', [Text("Hi"), OutputCount(3)]),
        ('{"text": "Hi", "count": 3, "count": 4}', [Text("Hi"), OutputCount(4)]),
        ('{"text": "Hi", "count": 3}', [Text("Hi"), UsageReport(output=3)]),
    ],
)
def test_a_count_that_cannot_be_told_is_not_learned(text: str, deltas: list[Delta]) -> None:
    repeated = RepeatedEvents([], "count")
    learn(repeated, text, *deltas)
    assert read_all(repeated, text) == []


def test_a_run_is_assembled_like_its_deltas() -> None:
    rng = random.Random(5)
    kinds: list[RepeatableDelta] = [
        Text("x"), Text("x", 1), Thinking("x"), Thinking("x", 2), ToolFragment(0, arguments="x"),
        ToolFragment(7, arguments="x"), ToolFragment(None, arguments="x"),
    ]  # fmt: skip
    others: list[Delta] = [
        ToolFragment(0, "c", "f"), ToolFragment(1, "d", "g", "{}"), UsageReport(3, 4, reasoning=2),
        Text("\ud83d"), Finish("tool_use"), OutputCount(9),
    ]  # fmt: skip
    for _ in range(300):
        deltas: list[Delta] = []
        for _ in range(rng.randrange(1, 6)):
            if rng.random() < 0.4:
                deltas.append(rng.choice(others))
            texts = [
                rng.choice(("a", "{", '{"x": 1}', "é", "}")) for _ in range(rng.randrange(1, 9))
            ]
            counts = [rng.randrange(50) for _ in texts] if rng.random() < 0.3 else []
            deltas.append(DeltaRun(rng.choice(kinds), texts, counts))
        ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]
        single, together = (
            Assembler(timestamp=1, make_call_id=iter(ids * 9).__next__) for _ in range(2)
        )
        assert together.feed(deltas) == single.feed(list(expand_runs(deltas)))
        assert together.output_reported == single.output_reported
        if rng.random() < 0.2:
            more: list[tuple[Any, Any]] = []
            for assembler in (together, single):
                events: list[Any] = []
                more.append((assembler.resume(events), events))
            assert more[0] == more[1]
            assert together.feed(deltas) == single.feed(list(expand_runs(deltas)))
        assert together.finish() == single.finish()
        joined = Assembler(timestamp=1, make_call_id=iter(ids * 9).__next__)
        joined.feed(join_text(deltas))


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
    learn(repeated, data, Text(json.loads(data).get("text", "Hi")))
    learn(repeated, data, Text("Hi"))
    assert read_all(repeated, data.replace("Hi", "Ho")) == []


def test_other_deltas_are_not_learned() -> None:
    repeated = RepeatedEvents()
    for deltas in ([], [Text("Hi"), Text("Hi")], [Text("")], [ToolFragment(0, "c", "f", "Hi")]):
        learn(repeated, '{"text": "Hi"}', *deltas)
        assert read_all(repeated, '{"text": "Ho"}') == []


def test_a_byte_order_mark_is_not_learned() -> None:
    repeated = RepeatedEvents()
    data = '{"text": "Hi"}'
    repeated.learn(f"\ufeffdata: {data}\n\n".encode(), [data], [Text("Hi")])
    assert repeated.read(f"\ufeffdata: {data}\n\n".encode(), 0) == (None, 0)


def test_events_that_never_repeat_are_soon_left_alone() -> None:
    repeated = RepeatedEvents()
    for number in range(MAX_UNREPEATED):
        assert not repeated.given_up
        learn(repeated, f'{{"n": {number}, "text": "Hi"}}', Text("Hi"))
    assert repeated.given_up
    assert read_all(repeated, f'{{"n": {MAX_UNREPEATED - 1}, "text": "Ho"}}') == []


def test_a_repetition_is_worth_the_next_ones() -> None:
    repeated = RepeatedEvents()
    for number in range(30):
        learn(repeated, f'{{"n": {number // 10}, "text": "Hi"}}', Text("Hi"))
        assert read_all(repeated, f'{{"n": {number // 10}, "text": "Ho"}}') == [Text("Ho")]
    assert not repeated.given_up


def test_the_beginning_of_a_long_event_is_not_kept() -> None:
    repeated = RepeatedEvents()
    learn(repeated, '{"text": "Hi"}', Text("Hi"))
    assert repeated.keep_partial_event(b"x" * MAX_PARTIAL_BYTES) == b""
    assert repeated.take_partial_event() == b"x" * MAX_PARTIAL_BYTES
    assert repeated.take_partial_event() == b""
    assert repeated.keep_partial_event(b"x" * (MAX_PARTIAL_BYTES + 1)) != b""
    assert repeated.given_up
    assert read_all(repeated, '{"text": "Ho"}') == []


def test_the_pattern_of_an_event_is_linear() -> None:
    repeated = RepeatedEvents(["n", "pad"])
    learn(repeated, '{"n": 9, "text": "Hi", "pad":"x"}', Text("Hi"))
    assert repeated._template is not None
    growth, _ = worst_growth(repeated._template._compiled().pattern)
    assert growth < 2.5


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"data: 1\n\nd", 9), (b"data: 1\r\n\r\nd", 11), (b"data: 1\r\rd", 9), (b"a\n\r\nd", 4),
        (b"a\r\n\nd", 4), (b"a\r\n\r", 4), (b"a\n\r", 3), (b"\r\na: 1\r\n\r\n\n\n", 10),
        (b"data: 1\r\ndata: 2\n", -1), (b"a\r", -1), (b"", -1), (b"a\rb\n\nc", 5),
    ],
)  # fmt: skip
def test_an_event_ends_after_a_blank_line(data: bytes, end: int) -> None:
    assert find_event_end(data, 0) == end
    assert find_event_end(b"\n\n" + data, 2) == (end + 2 if end > 0 else -1)


def test_a_line_of_json_ends_after_a_line_feed() -> None:
    assert find_line_end(b"{}\r\n{}", 0) == 4
    assert find_line_end(b"{}\r\n{}", 4) == -1


def test_objects_are_parsed_at_once_only_if_each_is_one() -> None:
    assert parse_objects(['{"a": 1}', "{}"]) == [{"a": 1}, {}]
    for texts in (
        ['{"a": 1', '"b": 2}'], ["{}", "[DONE]"], ["{}", "1"], ["{}", ""], ["{},{}", "{}"],
        ['{"a": 1},{"b": 2}', '{"x": [{}', "{}]}"], ["{},0,{}", '{"x": [{}', "{}]}"],
    ):  # fmt: skip
        assert parse_objects(texts) is None
