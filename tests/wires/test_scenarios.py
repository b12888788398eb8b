"""Test every scenario on every wire, directly and through LiteLLM, cut and split at every byte."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from pipy_ai import AssistantMessage, acomplete, complete, stream

from ..support.event_grammar import check_events
from ..support.event_stream import whole_frames
from ..support.scenarios import CASES, body, shape, sign_at
from ..support.scripted_server import FIN, RESET, Lab
from ..support.wire_formats import CONVERSE, WIRES, Counts, Wire, say, think, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True, params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with both transports."""
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


KEY = "sk-very-secret-0123456789"


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def ask(lab: Lab, wire: Wire, **options: Any) -> AssistantMessage:
    options = {"api_key": KEY, "max_retries": 0, "api_base": wire.base(lab), **options}
    return check_events(list(stream(wire.model, "q", **options)))


TABLE = [
    pytest.param(wire, name, id=f"{wire.name}: {name}")
    for name, case in CASES.items()
    for wire in WIRES
    if case.on(wire)
]


@pytest.mark.parametrize(("wire", "name"), TABLE)
def test_scenarios(lab: Lab, wire: Wire, name: str) -> None:
    case = CASES[name]
    scene = wire.scene(*case.steps, stop=case.stop)
    lab.play(scene, scene, wire.scene(*case.steps, stop=case.stop, newline="\r\n"))
    message = ask(lab, wire)
    assert shape(message) == case.content
    assert message.stop_reason == case.reason
    assert message.api == wire.api
    if wire.ids:
        assert message.response_id
    if wire.ids or wire.lines:
        assert message.response_model == ("m" if wire.names_model else None)
    if case.reason != "error":
        assert message.error is None
        assert not message.usage.estimated
    options: dict[str, Any] = {"api_base": wire.base(lab), "api_key": KEY}
    for twin in (
        asyncio.run(acomplete(wire.model, "q", **options)),
        complete(wire.model, "q", **options),  # with CRLF
    ):
        assert shape(twin) == case.content
        assert twin.stop_reason == case.reason
    assert len(lab.seen) == 3


RICH = [think("He", "mm 😀", signature="s"), say("Zür", "ich 漢", "字"),
        tool("c1", "f", '{"city": "', 'Zürich 😀"}'), tool("c2", "g", "{}")]  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_splits_change_nothing(lab: Lab, wire: Wire, newline: str) -> None:
    whole = body(wire.scene(*RICH, stop="tool", newline=newline))
    lab.play([whole])
    expected = shape(ask(lab, wire))
    assert len(expected) == 4
    for size in (1, 2, 3, 7, 64, 4096):
        lab.play([whole[i : i + size] for i in range(0, len(whole), size)])
        message = ask(lab, wire)
        assert shape(message) == expected
        assert message.stop_reason == "toolUse"


@pytest.mark.parametrize("end", ["clean", FIN, RESET])
def test_truncated_response_keeps_its_content_and_is_an_error(
    lab: Lab, wire: Wire, end: str
) -> None:
    pieces = [f"word{n} " for n in range(20)]
    scene = wire.scene(say(*pieces))
    whole = body(scene)
    text = "".join(pieces)
    signs = sign_at(wire, whole)
    for percent in range(5, 100, 5):
        cut = whole[: len(whole) * percent // 100]
        lab.play([cut] if end == "clean" else [cut, end])
        message = ask(lab, wire)
        if len(cut) >= signs:
            assert message.text == text
            continue
        assert message.stop_reason == "error"
        assert message.error is not None
        assert message.error.kind in ("incomplete", "connection"), message.error
        seen = whole_frames(cut) if wire is CONVERSE else complete_lines(cut)
        arrived = [piece for piece in pieces if json.dumps(piece)[1:-1].encode() in seen]
        if end == RESET:  # the system may throw away what had arrived
            assert text.startswith(message.text)
        else:
            assert message.text == "".join(arrived)


def complete_lines(cut: bytes) -> bytes:
    """What an independent reader sees as whole events; the last line counts when it is JSON."""
    head, _, last = cut.rpartition(b"\n")
    try:
        json.loads(last.removeprefix(b"data: "))
    except ValueError:
        return head
    return cut


def test_truncated_call_is_not_complete(lab: Lab, wire: Wire) -> None:
    if not wire.fragments:
        pytest.skip("its calls come whole")
    lab.play(wire.scene(say("so "), tool("c1", "f", '{"path": "/et'), FIN, stop=None))
    message = ask(lab, wire)
    assert message.error is not None
    assert message.error.kind == "incomplete"
    assert message.text == "so "
    [call] = message.tool_calls
    assert call.arguments_error
    assert call.raw_arguments == '{"path": "/et'


def test_signatures_are_kept(lab: Lab, wire: Wire) -> None:
    if not wire.signatures:
        pytest.skip("it has none")
    lab.play(wire.scene(think("a", "b", signature="c2ln"), say("c")))
    part = ask(lab, wire).content[0]
    assert part.type == "thinking"
    assert part.thinking == "ab"
    assert part.thinking_signature is not None
    assert "c2ln" in part.thinking_signature


def test_usage(lab: Lab, wire: Wire) -> None:
    written = 7 if wire.writes_cache else 0
    cached = 80 if wire.details else 0
    lab.play(wire.scene(say("a"), counts=Counts(10, 9, cached, written, 4)))
    usage = ask(lab, wire).usage
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_write)
    assert counts == (10, 9, cached, written)
    assert usage.total_tokens == 19 + cached + written
    if wire.details and wire.name != "anthropic" and wire.counts_thinking:
        assert usage.reasoning == 4
    if written:
        assert usage.cache_write_1h == 7


def test_random_faults(lab: Lab, transport: str) -> None:
    from collections import Counter

    from ..support.stream_chaos import answer, run, seeds_for

    lab.always = answer(Counter())
    seeds = seeds_for(transport, range(150))
    outcomes, wrong = asyncio.run(run(lab.url, seeds, 25))
    assert wrong == []
    assert sum(outcomes.values()) == len(seeds) > 100
    assert len(outcomes) > 8
