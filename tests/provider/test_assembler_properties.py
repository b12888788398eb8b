"""Test the assembler with generated scripts; broken assemblers must fail these tests."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipy_ai import AssistantMessage, AssistantMessageEvent, ServerToolResult
from pipy_ai.errors import ErrorKind, error_info
from pipy_ai.provider import (
    AudioData,
    CitationReport,
    Delta,
    Finish,
    ImageData,
    Omitted,
    RedactedThinking,
    ResponseInfo,
    ServerToolFragment,
    ServerToolOutput,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from pipy_ai.provider.assembler import Assembler

from ..support.event_grammar import check_events


@dataclass
class Script:
    """A generated response: its deltas in order, and the expected message."""

    deltas: list[Delta]
    text: str
    thinking: str
    calls: list[tuple[str, str]]  # (name, raw arguments), in order of first appearance
    finish: Finish | None
    cuts: list[int]  # where the deltas are parted into batches
    reads: list[bool]  # which partials are read as they come


JSON = st.sampled_from(
    ["", "{}", '{"a":1}', '{"city": "Zürich", "n": [1, 2, {"b": null}]}', '{"s": "x\\"}y"}']
)
NAMES = st.sampled_from(["f", "g", "get_weather"])
PIECE = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SOURCES = st.sampled_from(["https://a.example", "file-1", ""])
# Content that comes whole, or in pieces that belong to the latest of their kind.
CONTENT = st.one_of(
    st.builds(ServerToolFragment, id=st.just("s1"), name=NAMES, arguments=PIECE),
    st.builds(ServerToolFragment, id=st.just("s1"), raw=st.just({"type": "x"})),
    st.builds(
        ServerToolOutput, st.just("s1"), NAMES, PIECE, st.booleans(),
        st.lists(st.builds(CitationReport, source=SOURCES), max_size=2),
    ),
    st.builds(CitationReport, PIECE, st.none() | st.integers(-1, 9), SOURCES),
    st.builds(ImageData, st.sampled_from(["", "iVBO", "AAAA"]), partial=st.booleans()),
    st.builds(AudioData, st.sampled_from(["", "AAAA", "AQID"]), PIECE),
)  # fmt: skip


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Generate text, thinking, signatures, noise and parallel calls, interleaved as wires do."""
    calls = draw(st.lists(st.tuples(NAMES, JSON), max_size=3))
    numbered = draw(st.booleans())
    identified = draw(st.booleans())
    parallel = numbered or identified  # nothing else tells interleaved calls apart
    if not parallel:  # nor two calls of one name without arguments from one that is named twice
        calls = [(name, raw or "{}") for name, raw in calls]
    streams: list[list[ToolFragment]] = []
    for number, (name, raw) in enumerate(calls):
        index, identity = (number if numbered else None), (f"id{number}" if identified else None)
        every = identity if draw(st.booleans()) or not numbered else None
        pieces = _split(draw, raw)
        fragments = [ToolFragment(index, identity, name, pieces[0])]
        repeated = name if draw(st.booleans()) and parallel else None
        fragments += [ToolFragment(index, every, repeated, piece) for piece in pieces[1:]]
        if parallel and draw(st.booleans()):  # the name comes late
            fragments[0].name = None
            fragments.append(ToolFragment(index, every, name))
        streams.append(fragments)
    others: list[Delta] = draw(
        st.lists(
            st.one_of(
                st.builds(Text, PIECE),
                st.builds(Thinking, PIECE),
                st.just(ThinkingSignature("sig")),
                st.just(RedactedThinking("data")),
                st.builds(UsageReport, input=st.integers(0, 9), output=st.integers(0, 9)),
                st.just(ResponseInfo("r", "m")),
                CONTENT,
                CONTENT,
            ),
            max_size=16,
        )
    )
    deltas: list[Delta] = []
    queues: list[list[Any]] = [list(others)]
    if parallel:
        queues += [list(fragments) for fragments in streams]
    else:
        queues.append([fragment for fragments in streams for fragment in fragments])
    order = draw(st.randoms(use_true_random=False))
    while any(queues):
        deltas.append(order.choice([queue for queue in queues if queue]).pop(0))
    finish = draw(
        st.none() | st.builds(Finish, st.sampled_from(["stop", None, "tool_calls", "length"]))
    )
    if finish is not None:
        deltas.insert(draw(st.integers(0, len(deltas))), finish)
    return Script(
        deltas,
        "".join(d.text for d in deltas if isinstance(d, Text)),
        "".join(d.text for d in deltas if isinstance(d, Thinking)),
        calls,
        finish,
        draw(st.lists(st.integers(0, len(deltas)), max_size=4)),
        draw(st.lists(st.booleans(), min_size=1, max_size=5)),
    )


def _split(draw: st.DrawFn, raw: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=4)))
    return [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


def check_script(make: Callable[[], Assembler], script: Script) -> None:
    """Feed a script to an assembler and check the result against the rules."""
    assembler = make()
    events: list[AssistantMessageEvent] = [assembler.start()]
    bounds = sorted({0, *script.cuts, len(script.deltas)})
    for start, end in pairwise(bounds):
        fresh = assembler.feed(script.deltas[start:end])
        for number, event in enumerate(fresh):
            if script.reads[number % len(script.reads)]:
                assert event.partial is not None  # at receipt; compared with the rest below
        events += fresh
    events += assembler.finish()
    message = check_events(events)
    assert message.text == script.text
    assert message.thinking_text == script.thinking
    check_content(script, message)
    runs: list[str] = []
    for content in message.content:
        kind = "redacted" if content.type == "thinking" and content.redacted else content.type
        if kind == "text":
            assert not runs or runs[-1] != "text", "neighbouring text blocks"
        runs.append(kind)
    named = [call for call in message.tool_calls if call.name]
    expected = sorted((name, raw if raw.strip() else "{}") for name, raw in script.calls)
    if script.finish is None:
        assert message.stop_reason == "error"
        assert message.error is not None
        assert message.error.kind == "incomplete"
        return
    is_omitted = any(isinstance(delta, CitationReport) for delta in script.deltas)  # of no text
    is_answered = any(
        part.type in ("text", "image", "audio", "toolCall") for part in message.content
    )
    if is_omitted and not is_answered and message.stop_reason == "error":
        return
    if not message.content and script.finish.reason in (None, "tool_calls"):
        assert message.stop_reason == "error", "an end without content, or without its calls"
        return
    got = []
    for call in named:
        index = message.content.index(call)
        raw = "".join(
            e.delta for e in events if e.type == "toolcall_delta" and e.content_index == index
        )
        got.append((call.name, raw))
    assert sorted(got) == expected
    wanted = "length" if script.finish.reason == "length" else "toolUse" if script.calls else "stop"
    assert message.stop_reason == wanted


def check_content(script: Script, message: AssistantMessage) -> None:
    """Check that no result, source, image or byte of audio is lost or moved."""
    deltas = script.deltas
    outputs = [delta for delta in deltas if isinstance(delta, ServerToolOutput)]
    results = [part for part in message.content if isinstance(part, ServerToolResult)]
    assert [(result.name, result.text, result.is_error) for result in results] == [
        (output.name, output.text, output.is_error) for output in outputs
    ]
    assert [[s.source for s in result.sources] for result in results] == [
        [s.source for s in output.sources] for output in outputs
    ]
    whole = [delta.data for delta in deltas if isinstance(delta, ImageData) and not delta.partial]
    last = [delta for delta in deltas if isinstance(delta, ImageData)][-1:]
    cut_off = [delta.data for delta in last if delta.partial]
    assert [image.data for image in message.images] == whole + cut_off
    pieces = [delta for delta in deltas if isinstance(delta, AudioData)]
    assert b"".join(audio.bytes for audio in message.audio) == b"".join(
        b64decode(piece.data) for piece in pieces
    )
    assert "".join(audio.transcript for audio in message.audio) == "".join(
        piece.transcript for piece in pieces
    )
    calls = [delta for delta in deltas if isinstance(delta, ServerToolFragment)]
    ends = [number for number, fragment in enumerate(calls) if fragment.raw is not None]
    is_open = bool(calls) and calls[-1].raw is None
    assert len(message.server_tool_calls) == len(ends) + is_open


FAST = settings(max_examples=400, deadline=None, derandomize=True, database=None)


@FAST
@given(scripts())
def test_generated_scripts_are_assembled_correctly(script: Script) -> None:
    check_script(Assembler, script)


FRAGMENTS = st.builds(
    ToolFragment,
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from(["", "a", "b"]),
    st.none() | st.sampled_from(["", "f", "g"]),
    st.sampled_from(["", "{", "}", '"x":1', "{}", "null", "\ud83d", "\ude00"]),
)
WIRE_BLOCK = st.none() | st.integers(0, 2)
ODD = st.sampled_from(["", "AAAA", "AAA", "no base64!", "\ud83d", "é"])
RAW = st.none() | st.sampled_from([{}, {"n": float("nan")}, {"text": "\ud83d"}])
TEXT = st.text(max_size=3)
PLACE = st.none() | st.integers(-2, 9)
CITATIONS = st.builds(
    CitationReport, TEXT, PLACE, TEXT, st.none() | TEXT, block=WIRE_BLOCK, end=PLACE,
    whole_block=st.booleans(), in_bytes=st.booleans(),
)  # fmt: skip
OTHERS = st.one_of(
    CITATIONS,
    st.builds(ServerToolFragment, WIRE_BLOCK, st.sampled_from(["", "a"]), TEXT, TEXT, RAW),
    st.builds(ServerToolOutput, TEXT, TEXT, TEXT, st.booleans(), st.lists(CITATIONS, max_size=2)),
    st.builds(ImageData, ODD, TEXT, partial=st.booleans(), block=WIRE_BLOCK),
    st.builds(AudioData, ODD, TEXT, st.sampled_from(["", "audio/wav"]), WIRE_BLOCK),
    st.builds(TextSignature, TEXT, st.booleans()),
    st.builds(Omitted, TEXT),
)
ANYTHING = st.lists(
    st.one_of(
        FRAGMENTS,
        FRAGMENTS,
        st.builds(Text, st.text(max_size=3), st.none() | st.integers(0, 2)),
        st.builds(Thinking, st.text(max_size=3), st.none() | st.integers(0, 2)),
        st.builds(ThinkingSignature, st.text(max_size=1), st.none() | st.integers(0, 2)),
        st.just(RedactedThinking("d")),
        OTHERS,
        OTHERS,
        st.builds(UsageReport, *[st.none() | st.integers(-1, 9)] * 6),
        st.builds(Finish, st.none() | st.sampled_from(["stop", "error", "refusal", "length"])),
    ),
    max_size=25,
)


@FAST
@given(ANYTHING, st.sampled_from(["finish", "abort"]))
def test_arbitrary_deltas_keep_the_event_grammar(deltas: list[Delta], end: str) -> None:
    assembler = Assembler()
    events: list[AssistantMessageEvent] = [assembler.start()]
    early: list[tuple[AssistantMessageEvent, AssistantMessage]] = []
    for delta in deltas:
        fresh = assembler.feed([delta])
        early += [(event, event.partial) for event in fresh]
        events += fresh
    for event, partial in early:  # a partial that is read later is the same
        again = assembler.message_at(event._position)
        assert repr(again.model_dump()) == repr(partial.model_dump()), event
    if end == "abort":
        events += assembler.fail(error_info(ErrorKind.ABORTED, "stopped"))
    events += assembler.finish()
    events += assembler.feed([Text("too late")])
    message = check_events(events)
    message.model_dump_json()
    assert (end == "abort") == (message.stop_reason == "aborted")


class _LosesTheSecond(Assembler):
    def feed(self, deltas: Any) -> list[AssistantMessageEvent]:
        deltas = list(deltas)
        return super().feed(deltas[:1] + deltas[2:])


class _NeverEndsText(Assembler):
    def _end_open_block(self, events: list[AssistantMessageEvent]) -> None:
        self._open_block = None


class _MixesCalls(Assembler):
    def _find_tool_block(self, delta: ToolFragment) -> Any:
        return self._tool_blocks[-1] if self._tool_blocks else None


class _SplitsCalls(Assembler):
    def _find_tool_block(self, delta: ToolFragment) -> Any:
        return None


class _TrustsAnyEnd(Assembler):
    def finish(self) -> list[AssistantMessageEvent]:
        self._finished = True
        return super().finish()


class _OnePartialForAll(Assembler):
    def message_at(self, position: int, final: bool = False) -> Any:
        return super().message_at(self._position, final)


class _KeepsWireIds(Assembler):
    def _start_call(self, call: Any, events: list[AssistantMessageEvent]) -> None:
        super()._start_call(call, events)
        call.id = call.wire_id


class _EndsTwice(Assembler):
    def finish(self) -> list[AssistantMessageEvent]:
        events = super().finish()
        return events + events[-1:]


class _ShiftsIndices(Assembler):
    def _feed_thinking(self, delta: Thinking, events: list[AssistantMessageEvent]) -> None:
        before = len(self._blocks)
        super()._feed_thinking(delta, events)
        if len(self._blocks) > before:
            self._blocks.insert(0, self._blocks.pop())


BROKEN = [
    _LosesTheSecond, _NeverEndsText, _MixesCalls, _SplitsCalls, _TrustsAnyEnd,
    _OnePartialForAll, _KeepsWireIds, _EndsTwice, _ShiftsIndices,
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_assemblers_fail_the_properties(broken: type[Assembler]) -> None:
    @settings(FAST, report_multiple_bugs=False, phases=[Phase.generate])
    @given(scripts())
    def property_test(script: Script) -> None:
        check_script(broken, script)

    with pytest.raises(AssertionError):
        property_test()
