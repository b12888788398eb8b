"""Test the assembler's event grammar by example."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from pipy_ai import AssistantMessageEvent, Citation, TextContent, ThinkingContent
from pipy_ai.provider import (
    CitationReport,
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

from ..support.event_grammar import Follower, check_events


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


def test_new_content_type_ends_the_block() -> None:
    events = run(Thinking("t1"), Text("a"), Thinking("t2"), Text("b"), Finish("stop"))
    assert kinds(events) == [
        "start",
        "thinking_start:0", "thinking_delta:0", "thinking_end:0",
        "text_start:1", "text_delta:1", "text_end:1",
        "thinking_start:2", "thinking_delta:2", "thinking_end:2",
        "text_start:3", "text_delta:3", "text_end:3",
        "done",
    ]  # fmt: skip


def test_citation_appears_in_the_message_from_its_position_on() -> None:
    report = CitationReport("Emperors", 0, "doc:1", "Penguins", "Emperors are tall.", {"n": 1})
    events = run(Text("Emperors"), report, Text(" are tall."), Finish("stop"))
    counts = [
        sum(len(part.citations) for part in event.partial.content if part.type == "text")
        for event in events
    ]
    assert counts == [0, 0, 0, 1, 1, 1, 1]
    [part] = events[-1].partial.content
    assert part == TextContent(
        text="Emperors are tall.",
        citations=[
            Citation(
                source="doc:1", title="Penguins", start=0, end=8, quote="Emperors are tall.",
                data={"n": 1},
            )
        ],
    )  # fmt: skip


def test_citation_of_a_block_by_its_number() -> None:
    events = run(
        Text("a", 0), Text("b", 1), Thinking("a", 2),
        CitationReport("a", block=0), CitationReport("a"), CitationReport("a", block=7),
        Finish("stop"),
    )  # fmt: skip
    message = events[-1].partial
    found = [
        [citation.start for citation in part.citations]
        for part in message.content
        if part.type != "toolCall"
    ]
    assert found == [[0], [], [0]]
    assert events[-1].type == "done"


def test_citation_without_a_number_belongs_to_the_latest_block_with_its_words() -> None:
    events = run(
        Text("one two", 0), Text("two three", 1), Thinking("four", 2), CitationReport("two"),
        CitationReport("one"), CitationReport("nowhere"), Finish("stop"),
    )  # fmt: skip
    found = [
        [citation.start for citation in part.citations]
        for part in events[-1].partial.content
        if part.type != "toolCall"
    ]
    assert found == [[0], [0], [None]]


def test_half_a_character_in_a_citation_can_be_stored() -> None:
    half = "\ud83d"
    report = CitationReport(half, 0, half, half, half, {half: [half]})
    message = run(Text("a"), report, Finish("stop"))[-1].partial
    assert message.model_dump_json().count("\ufffd") == 5


def test_interleaved_parallel_calls_are_separated() -> None:
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


def test_new_id_at_a_known_index_is_another_call() -> None:
    events = run(
        ToolFragment(0, "a", "f", '{"x":1}'), ToolFragment(0, "b", "g", '{"y":2}'), Finish("x")
    )
    assert calls_of(events) == [("a", "f", {"x": 1}), ("b", "g", {"y": 2})]


def test_whole_calls_without_index_and_id_are_separated() -> None:
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


def test_duplicate_id_is_replaced() -> None:
    events = run(
        ToolFragment(0, "same", "f", "{}"), ToolFragment(1, "same", "g", "{}"), Finish("stop")
    )
    first, second = (call[0] for call in calls_of(events))
    assert first == "same"
    assert second.startswith("call_")


def test_call_starts_once_its_name_is_known() -> None:
    events = run(
        ToolFragment(0, "a", None, '{"x"'), Text("meanwhile"), ToolFragment(0, None, "f", ":1}"),
        Finish("tool_calls"),
    )  # fmt: skip
    assert kinds(events)[1:4] == ["text_start:0", "text_delta:0", "text_end:0"]
    start = next(event for event in events if event.type == "toolcall_start")
    assert start.partial.tool_calls[0].name == "f"
    assert calls_of(events) == [("a", "f", {"x": 1})]


def test_call_without_a_name_is_still_emitted() -> None:
    events = run(ToolFragment(0, "a", None, '{"x":1}'), Finish("tool_calls"))
    assert calls_of(events) == [("a", "", {"x": 1})]


def test_empty_fragment_is_ignored() -> None:
    events = run(Text("a"), ToolFragment(0), Finish("stop"))
    assert events[-1].type == "done"
    assert events[-1].reason == "stop"
    assert calls_of(events) == []


def test_whole_calls_with_the_same_name_and_index_are_separated() -> None:
    events = run(
        ToolFragment(0, None, "f", '{"x":1}'), ToolFragment(0, None, "f", '{"x":2}'), Finish("stop")
    )
    assert [args for _, _, args in calls_of(events)] == [{"x": 1}, {"x": 2}]


def test_missing_arguments_are_an_empty_object() -> None:
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
def test_invalid_arguments_are_flagged_and_kept(raw: str) -> None:
    events = run(ToolFragment(0, "a", "f", raw), Finish("tool_calls"))
    call = events[-1].partial.tool_calls[0]
    assert call.arguments == {}
    assert call.raw_arguments == raw
    assert call.arguments_error
    assert events[-1].type == "done"


def test_infinite_number_in_incomplete_arguments_becomes_null() -> None:
    message = run(ToolFragment(0, "a", "f", '{"x": 1e999, "y": "lo'))[-1].partial
    [call] = message.tool_calls
    assert call.arguments == {"x": None, "y": "lo"}
    assert call.arguments_error


def test_raw_newline_in_arguments_is_accepted() -> None:
    events = run(ToolFragment(0, "a", "f", '{"x": "a\nb"}'), Finish("tool_calls"))
    assert calls_of(events) == [("a", "f", {"x": "a\nb"})]


def test_partial_arguments_grow() -> None:
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


def test_block_index_separates_adjacent_blocks_of_one_type() -> None:
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


def test_response_without_a_finish_is_incomplete() -> None:
    message = run(Text("half"))[-1].partial
    assert message.stop_reason == "error"
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert message.text == "half"
    assert run()[-1].partial.error.kind == "incomplete"  # type: ignore[union-attr]


def test_unfinished_call_of_a_failed_response_is_flagged() -> None:
    events = run(ToolFragment(0, "a", "f", '{"path": "/et'))
    call = events[-1].partial.tool_calls[0]
    assert call.arguments == {"path": "/et"}
    assert call.arguments_error
    assert call.raw_arguments == '{"path": "/et'
    assert not [e for e in events if e.type == "toolcall_end"]


def test_deltas_after_the_finish_are_processed() -> None:
    events = run(
        Text("a"), Finish("stop"), UsageReport(input=3, output=1), Text("b"),
        UsageReport(output=2, cache_read=4), Finish("length"),
    )  # fmt: skip
    message = events[-1].partial
    assert message.text == "ab"
    assert message.stop_reason == "stop"
    usage = message.usage
    assert (usage.input, usage.output, usage.cache_read, usage.total_tokens) == (3, 2, 4, 9)


def test_usage_has_only_what_was_reported_as_set_fields() -> None:
    usage = run(UsageReport(input=3, output=0, reasoning=0), Finish("stop"))[-1].partial.usage
    assert usage.model_fields_set == {"input", "reasoning", "total_tokens"}
    assert (usage.output, usage.reasoning, usage.server_tool_calls) == (0, 0, {})


def test_surrogate_pairs_are_joined_and_lone_surrogates_replaced() -> None:
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


def test_partials_of_a_burst_stay_exact() -> None:
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


def test_modifying_a_partial_changes_nothing_else() -> None:
    assembler = Assembler()
    first = assembler.feed([Text("one")])[-1]
    first.partial.content.clear()
    second = assembler.feed([Text(" two")])[-1]
    assert second.partial.text == "one two"
    assert first.partial.content == []


def test_partial_arguments_are_parsed_on_access(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_time_per_delta_is_constant() -> None:
    """Eight times the deltas take about eight times as long, not sixty-four."""

    def took(count: int) -> float:
        best = float("inf")
        for _ in range(3):
            assembler = Assembler()
            events: list[AssistantMessageEvent] = [assembler.start()]
            began = time.thread_time()
            for _ in range(count):
                assembler.feed([Text("word ")], events)
            assembler.feed([Finish("stop")], events)
            events += assembler.finish()
            best = min(best, time.thread_time() - began)
            assert events[-1].partial.text == "word " * count
        return best

    assert took(32_000) < 24 * took(4_000)


@pytest.mark.parametrize(
    ("pieces", "arguments"),
    [
        (["{}", '{"city": ', '"Rome"}'], {"city": "Rome"}),
        (["{}", '{"city": "Rome"}'], {"city": "Rome"}),
        (["{}", " ", '\n{"city": "Rome"}'], {"city": "Rome"}),
        (["", "{}", "{}", '{"city": "Rome"}'], {"city": "Rome"}),
        (["{}"], {}),
        (["{}", " "], {}),
        (["{}", "{}"], {}),
        (["{", "}"], {}),
        (["{}", ""], {}),
        (["null", '{"city": "Rome"}'], {"city": "Rome"}),
        (['""', '{"city": ', '"Rome"}'], {"city": "Rome"}),
        (['{"city": "Rome"}', '{"city": "Rome"}'], {"city": "Rome"}),  # once more
        (['{"city": ', '"Rome"}', '{"city": "Rome"}', '{"city": "Rome"}'], {"city": "Rome"}),
        (['{"a": ', '{"a": ', "{}", "}}"], {"a": {"a": {}}}),
    ],
)
@pytest.mark.parametrize("index", [0, None])
def test_arguments_after_an_empty_object(
    pieces: list[str], arguments: dict[str, Any], index: int | None
) -> None:
    first, *rest = [ToolFragment(index, arguments=piece) for piece in pieces]
    named = ToolFragment(index, "a", "f", first.arguments)
    for fragments in ([ToolFragment(index, "a", "f"), first, *rest], [named, *rest]):
        events = run(*fragments, Finish("tool_calls"))
        assert calls_of(events) == [("a", "f", arguments)]
        assert events[-1].partial.tool_calls[0].arguments_error is None


def test_empty_object_before_what_is_not_an_object_is_kept() -> None:
    events = run(ToolFragment(0, "a", "f", "{}"), ToolFragment(0, arguments="x"), Finish("stop"))
    [call] = events[-1].partial.tool_calls
    assert call.raw_arguments == "{}x"


@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize(
    "names",
    [
        ["get_", "weather"],
        ["get_", "weat", "her"],
        ["get_weather", "get_weather", "get_weather"],  # repeated with every fragment
        ["get_", "get_weather", "get_weather"],  # the name so far
    ],
)
@pytest.mark.parametrize("repeated_id", [None, "a"])
def test_name_in_fragments(index: int | None, names: list[str], repeated_id: str | None) -> None:
    first, *rest = names
    events = run(
        ToolFragment(index, "a", first),
        *(ToolFragment(index, repeated_id, name) for name in rest),
        ToolFragment(index, repeated_id, None, '{"x": '),
        ToolFragment(index, repeated_id, names[-1] if first == names[-1] else None, "1}"),
        Finish("tool_calls"),
    )
    assert calls_of(events) == [("a", "get_weather", {"x": 1})]
    starts = [event for event in events if event.type == "toolcall_start"]
    assert [event.partial.tool_calls[0].name for event in starts] == [first]


def test_last_piece_of_a_name_beside_the_arguments() -> None:
    events = run(
        ToolFragment(0, "a", "get_"), ToolFragment(0, None, "weather", '{"x": 1}'),
        ToolFragment(1, "b", "get_"), ToolFragment(1, None, "time", "{}"), Finish("stop"),
    )  # fmt: skip
    assert calls_of(events) == [("a", "get_weather", {"x": 1}), ("b", "get_time", {})]


def test_name_and_arguments_in_pieces_together() -> None:
    events = run(
        ToolFragment(0, "a", "get_wea", '{"ci'), ToolFragment(0, None, "ther", 'ty": "Rome"}'),
        Finish("stop"),
    )  # fmt: skip
    assert calls_of(events) == [("a", "get_weather", {"city": "Rome"})]


def test_other_name_after_arguments_is_another_call() -> None:
    for arguments in ('{"x": 1}', "{}"):
        events = run(
            ToolFragment(0, None, "f", arguments), ToolFragment(0, None, "g", '{"y": 2}'),
            Finish("stop"),
        )  # fmt: skip
        assert [call[1:] for call in calls_of(events)] == [
            ("f", {} if arguments == "{}" else {"x": 1}), ("g", {"y": 2}),
        ]  # fmt: skip


def test_calls_of_one_name_without_arguments_are_separated() -> None:
    events = run(
        ToolFragment(name="f", arguments="{}"), ToolFragment(name="f", arguments="{}"),
        Finish("stop"),
    )  # fmt: skip
    assert [call[1:] for call in calls_of(events)] == [("f", {}), ("f", {})]
