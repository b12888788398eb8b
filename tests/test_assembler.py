"""The assembler: every rule of the event grammar, by example and by property."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from pipy_ai import AssistantMessageEvent, ThinkingContent
from pipy_ai.errors import ErrorKind, error_info
from pipy_ai.provider import (
    Delta,
    Finish,
    RedactedThinking,
    ResponseInfo,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from pipy_ai.provider import assembler as module
from pipy_ai.provider.assembler import Assembler

from .grammar import Follower, check_events


def run(*deltas: Delta) -> list[AssistantMessageEvent]:
    assembler = Assembler(provider="p", model="m", api="a")
    events: list[AssistantMessageEvent] = [assembler.start()]
    for delta in deltas:
        events += assembler.feed([delta])
    events += assembler.finish()
    check_events(events)
    return events


def kinds(events: Sequence[AssistantMessageEvent]) -> list[str]:
    outer = ("start", "done", "error")
    return [e.type if e.type in outer else f"{e.type}:{e.content_index}" for e in events]


def calls_of(events: Sequence[AssistantMessageEvent]) -> list[tuple[str, str, Any]]:
    return [(c.id, c.name, c.arguments) for c in events[-1].partial.tool_calls]


# --- By example -----------------------------------------------------------------------------


def test_a_switch_of_type_ends_the_block_and_begins_another() -> None:
    events = run(Thinking("t1"), Text("a"), Thinking("t2"), Text("b"), Finish("stop"))
    assert kinds(events) == [
        "start",
        "thinking_start:0", "thinking_delta:0", "thinking_end:0",
        "text_start:1", "text_delta:1", "text_end:1",
        "thinking_start:2", "thinking_delta:2", "thinking_end:2",
        "text_start:3", "text_delta:3", "text_end:3",
        "done",
    ]  # fmt: skip


def test_interleaved_parallel_calls_land_in_their_own() -> None:
    events = run(
        ToolFragment(0, "a", "f", '{"x"'),
        ToolFragment(1, "b", "g", '{"y"'),
        ToolFragment(0, arguments=":1}"),
        ToolFragment(1, arguments=":2}"),
        Finish("tool_calls"),
    )
    assert calls_of(events) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]
    assert events[-1].type == "done"
    assert events[-1].reason == "toolUse"


def test_another_id_at_a_known_index_is_another_call() -> None:
    events = run(
        ToolFragment(0, "a", "f", '{"x":1}'), ToolFragment(0, "b", "g", '{"y":2}'), Finish("x")
    )
    assert calls_of(events) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]


def test_without_index_and_id_whole_calls_are_told_apart() -> None:
    events = run(
        ToolFragment(name="f", arguments='{"x":'),
        ToolFragment(name="f", arguments="1}"),  # a host that repeats the name
        ToolFragment(name="f", arguments='{"x":2}'),
        ToolFragment(name="g"),
        Finish("tool_calls"),
    )
    assert [(name, args) for _, name, args in calls_of(events)] == [
        ("f", {"x": 1}), ("f", {"x": 2}), ("g", {}),
    ]  # fmt: skip


def test_a_duplicate_id_is_replaced() -> None:
    events = run(
        ToolFragment(0, "same", "f", "{}"), ToolFragment(1, "same", "g", "{}"), Finish("stop")
    )
    first, second = (call[0] for call in calls_of(events))
    assert first == "same"
    assert second.startswith("call_")


def test_the_start_of_a_call_waits_for_its_name() -> None:
    events = run(
        ToolFragment(0, "a", None, '{"x"'), Text("meanwhile"), ToolFragment(0, None, "f", ":1}"),
        Finish("tool_calls"),
    )  # fmt: skip
    assert kinds(events)[1:4] == ["text_start:0", "text_delta:0", "text_end:0"]
    start = next(event for event in events if event.type == "toolcall_start")
    assert start.partial.tool_calls[0].name == "f"
    assert calls_of(events) == [("a", "f", {"x": 1})]


def test_a_call_that_never_gets_a_name_is_still_told() -> None:
    events = run(ToolFragment(0, "a", None, '{"x":1}'), Finish("tool_calls"))
    assert calls_of(events) == [("a", "", {"x": 1})]


def test_an_empty_fragment_is_no_call() -> None:
    events = run(Text("a"), ToolFragment(0), Finish("stop"))
    assert events[-1].type == "done"
    assert events[-1].reason == "stop"
    assert calls_of(events) == []


def test_whole_calls_of_one_name_at_one_index_are_told_apart() -> None:
    events = run(
        ToolFragment(0, None, "f", '{"x":1}'), ToolFragment(0, None, "f", '{"x":2}'), Finish("stop")
    )
    assert [args for _, _, args in calls_of(events)] == [{"x": 1}, {"x": 2}]


def test_no_arguments_are_the_empty_object() -> None:
    events = run(ToolFragment(0, "a", "ping"), ToolFragment(1, "b", "pong"), Finish("tool_calls"))
    assert calls_of(events) == [("a", "ping", {}), ("b", "pong", {})]
    assert [e.delta for e in events if e.type == "toolcall_delta"] == ["{}", "{}"]


@pytest.mark.parametrize(
    "raw",
    [
        '{"x": NaN}',
        '{"x": 1e999}',
        '{"x":' * 400 + "1" + "}" * 400,
        "null",
        "[1]",
        '"x"',
        "7",
        '{"x": "lo',
        "{'x': 1}",
        '{"x":1}}',
    ],
)
def test_arguments_that_are_no_object_are_flagged_and_kept(raw: str) -> None:
    events = run(ToolFragment(0, "a", "f", raw), Finish("tool_calls"))
    call = events[-1].partial.tool_calls[0]
    assert call.arguments == {}
    assert call.raw_arguments == raw
    assert call.arguments_error
    assert events[-1].type == "done"


def test_a_raw_newline_in_arguments_is_forgiven() -> None:
    events = run(ToolFragment(0, "a", "f", '{"x": "a\nb"}'), Finish("tool_calls"))
    assert calls_of(events) == [("a", "f", {"x": "a\nb"})]


def test_arguments_can_be_watched_while_they_grow() -> None:
    events = run(
        ToolFragment(0, "a", "f", '{"city": "Par'), ToolFragment(0, arguments='is"'), Finish("stop")
    )
    seen = [e.partial.tool_calls[0].arguments for e in events if e.type == "toolcall_delta"]
    assert seen == [{"city": "Par"}, {"city": "Paris"}]


def test_thinking_keeps_signatures_and_redacted_blocks() -> None:
    events = run(
        Thinking("a"), ThinkingSignature("s1"), Thinking("b"), ThinkingSignature("s2"),
        RedactedThinking("opaque"), ThinkingSignature("s3"), Text("x"), Finish("stop"),
    )  # fmt: skip
    blocks = [c for c in events[-1].partial.content if isinstance(c, ThinkingContent)]
    assert [(b.thinking, b.thinking_signature, b.redacted) for b in blocks] == [
        ("a", "s1", False), ("b", "s2", False), ("", "opaque", True), ("", "s3", False),
    ]  # fmt: skip


def test_the_wires_block_numbers_part_neighbours_of_one_type() -> None:
    events = run(Text("a", block=0), Text("b", block=0), Text("c", block=1), Finish("stop"))
    assert [c.text for c in events[-1].partial.content if c.type == "text"] == ["ab", "c"]


@pytest.mark.parametrize(
    ("reason", "calls", "stop"),
    [
        ("stop", False, "stop"), (None, False, "stop"), ("brand_new", False, "stop"),
        ("tool_calls", True, "toolUse"), ("stop", True, "toolUse"), (None, True, "toolUse"),
        ("length", False, "length"), ("max_tokens", True, "length"),
        ("MAX_TOKENS", False, "length"),
        ("content_filter", False, "error"), ("refusal", True, "error"),
        ("sensitive", False, "error"),
    ],
)  # fmt: skip
def test_stop_reasons(reason: str | None, calls: bool, stop: str) -> None:
    call = [ToolFragment(0, "a", "f", "{}")] if calls else []
    message = run(Text("said"), *call, Finish(reason))[-1].partial
    assert message.stop_reason == stop
    assert message.raw_stop_reason == reason
    assert message.text == "said"
    if stop == "error":
        assert message.error is not None
        assert message.error.kind == "content_filter"


def test_without_the_wires_sign_an_answer_is_incomplete() -> None:
    message = run(Text("half"))[-1].partial
    assert message.stop_reason == "error"
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert message.text == "half"
    assert run()[-1].partial.error.kind == "incomplete"  # type: ignore[union-attr]


def test_an_unfinished_call_of_a_failed_answer_says_so() -> None:
    events = run(ToolFragment(0, "a", "f", '{"path": "/et'))
    call = events[-1].partial.tool_calls[0]
    assert call.arguments == {"path": "/et"}
    assert call.arguments_error
    assert call.raw_arguments == '{"path": "/et'
    assert not [e for e in events if e.type == "toolcall_end"]


def test_what_comes_after_the_finish_is_still_heard() -> None:
    events = run(
        Text("a"), Finish("stop"), UsageReport(input=3, output=1), Text("b"),
        UsageReport(output=2, cache_read=4), Finish("length"),
    )  # fmt: skip
    message = events[-1].partial
    assert message.text == "ab"
    assert message.stop_reason == "stop"
    usage = message.usage
    assert (usage.input, usage.output, usage.cache_read, usage.total_tokens) == (3, 2, 4, 9)


def test_halves_of_a_surrogate_pair_meet_and_lone_ones_are_replaced() -> None:
    message = run(
        Text("a\ud83d"), Text("\ude00b"), Text("\ud83d"), Thinking("\ude00"),
        ToolFragment(0, "a", "f", '{"x":"\ud83d'), ToolFragment(0, arguments='\ude00"}'),
        Finish("stop"),
    )[-1].partial  # fmt: skip
    assert message.text == "a\U0001f600b\ufffd"
    assert message.thinking_text == "\ufffd"
    assert message.tool_calls[0].arguments == {"x": "\U0001f600"}
    message.model_dump_json()


def test_response_id_and_model_are_kept() -> None:
    message = run(ResponseInfo("r1"), Text("x"), ResponseInfo(None, "m-2"), Finish())[-1].partial
    assert (message.response_id, message.response_model) == ("r1", "m-2")


def test_a_burst_has_exact_partials_at_receipt_and_for_ever() -> None:
    assembler = Assembler()
    events: list[AssistantMessageEvent] = [assembler.start()]
    follower, at_receipt = Follower(), 0
    follower.follow(events[0])
    for number in range(200):
        for event in assembler.feed([Text(f"<{number}>")]):
            follower.follow(event)
            follower.check(event.partial)
            at_receipt += event.type == "text_delta"
            events.append(event)
    events += assembler.feed([Finish("stop")])
    events += assembler.finish()
    assert at_receipt == 200
    check_events(events)
    text = [e.partial.text for e in events if e.type == "text_delta"]
    assert text == ["".join(f"<{i}>" for i in range(n + 1)) for n in range(200)]


def test_a_partial_is_the_readers_own() -> None:
    assembler = Assembler()
    first = assembler.feed([Text("one")])[-1]
    first.partial.content.clear()
    second = assembler.feed([Text(" two")])[-1]
    assert second.partial.text == "one two"
    assert first.partial.content == []


# --- By property ----------------------------------------------------------------------------


@dataclass
class Script:
    """A made-up answer: its deltas in order, and what must come of them."""

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


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Text, thinking, signatures, noise and parallel calls, interleaved any way a wire may."""
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
            ),
            max_size=12,
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
    """Play a script through an assembler and hold the outcome against the rules."""
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


FAST = settings(max_examples=400, deadline=None, derandomize=True, database=None)


@FAST
@given(scripts())
def test_every_script_comes_out_right(script: Script) -> None:
    check_script(Assembler, script)


FRAGMENTS = st.builds(
    ToolFragment,
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from(["", "a", "b"]),
    st.none() | st.sampled_from(["", "f", "g"]),
    st.sampled_from(["", "{", "}", '"x":1', "{}", "null", "\ud83d", "\ude00"]),
)
ANYTHING = st.lists(
    st.one_of(
        FRAGMENTS,
        FRAGMENTS,
        st.builds(Text, st.text(max_size=3), st.none() | st.integers(0, 2)),
        st.builds(Thinking, st.text(max_size=3), st.none() | st.integers(0, 2)),
        st.builds(ThinkingSignature, st.text(max_size=1), st.none() | st.integers(0, 2)),
        st.just(RedactedThinking("d")),
        st.builds(UsageReport, *[st.none() | st.integers(-1, 9)] * 6),
        st.builds(Finish, st.none() | st.sampled_from(["stop", "error", "refusal", "length"])),
    ),
    max_size=25,
)


@FAST
@given(ANYTHING, st.sampled_from(["finish", "abort"]))
def test_no_nonsense_breaks_the_grammar(deltas: list[Delta], end: str) -> None:
    assembler = Assembler()
    events: list[AssistantMessageEvent] = [assembler.start(), *assembler.feed(deltas)]
    if end == "abort":
        events += assembler.fail(error_info(ErrorKind.ABORTED, "stopped"))
    events += assembler.finish()
    events += assembler.feed([Text("too late")])
    message = check_events(events)
    message.model_dump_json()
    assert (end == "abort") == (message.stop_reason == "aborted")


# --- A broken assembler fails them ----------------------------------------------------------


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
def test_the_properties_catch_a_broken_assembler(broken: type[Assembler]) -> None:
    @settings(FAST, report_multiple_bugs=False, phases=[Phase.generate])
    @given(scripts())
    def property_test(script: Script) -> None:
        check_script(broken, script)

    with pytest.raises(AssertionError):
        property_test()


# --- Cost -----------------------------------------------------------------------------------


def test_nobody_parses_arguments_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []

    def counting(raw: str) -> dict[str, Any]:
        parsed.append(len(raw))
        return {}

    monkeypatch.setattr(module, "parse_streaming_json", counting)
    assembler = Assembler()
    events = assembler.feed(
        [ToolFragment(0, "a", "f", "["), *[ToolFragment(0, arguments="1,")] * 1000]
    )
    assert parsed == []
    chosen = random.Random(1).sample(events[1:], 3)
    for event in chosen:
        assert event.partial.tool_calls[0].arguments == {}
    assert len(parsed) == 3
