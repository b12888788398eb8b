"""Test how responses arrive: keep-alive comments, redirects, stalls, framing and large deltas."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import AssistantMessage, complete, stream

from ..support.event_grammar import check_events
from ..support.scenarios import body, sign_at
from ..support.scripted_server import BAD_CHUNK, FIN, RESET, STALL, Lab, Pause, Status
from ..support.wire_formats import ERRORS, WIRES, Wire, say

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


def test_keepalives_comments_and_a_bom_are_ignored(lab: Lab, wire: Wire) -> None:
    if not (wire.sse or wire.lines):
        pytest.skip("it sends frames")
    noise = b": keep-alive\n\nid: 7\nretry: 10\n\n" if wire.sse else b"\n \r\n"
    pieces = wire.scene(say("a", "b"))
    lab.play([b"\xef\xbb\xbf", noise, *[part for piece in pieces for part in (piece, noise)]])
    assert ask(lab, wire).text == "ab"


def test_redirect_is_not_followed(lab: Lab, wire: Wire) -> None:
    with Lab() as other:
        lab.play(Status(307, "", {"location": other.url + "/chat/completions"}))
        message = ask(lab, wire)
        assert other.seen == []
    assert message.error is not None
    assert "redirect" in message.error.message


def test_giant_delta(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("x" * (5 << 20))))
    assert len(ask(lab, wire).text) == 5 << 20


def test_many_deltas(lab: Lab, wire: Wire) -> None:
    lab.play([body(wire.scene(say(*["ab "] * 30_000)))])
    message = complete(wire.model, "q", api_base=wire.base(lab), api_key=KEY)
    assert message.text == "ab " * 30_000


def test_stall_times_out(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("ok")), wire.scene(say("half"), STALL, stop=None))
    ask(lab, wire)  # the first request loads LiteLLM, which counts towards the timeout
    message = ask(lab, wire, idle_timeout=1.0)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "timeout"
    assert lab.seen[-1].left.wait(5)


def test_connection_is_reused(lab: Lab, wire: Wire) -> None:
    for _ in range(3):
        lab.play(wire.scene(say("a")))
        assert ask(lab, wire).text == "a"
    assert len({seen.peer for seen in lab.seen}) == 1


@pytest.mark.parametrize("end", [STALL, FIN, RESET])
def test_complete_response_without_a_clean_end_is_done(lab: Lab, wire: Wire, end: str) -> None:
    scene = wire.scene(say("all"))
    whole = body(scene)
    cut = whole[
        : sign_at(wire, whole) + 2 * wire.sse + wire.lines
    ]  # the event with the sign, and no more
    lab.play([cut, end])
    message = ask(lab, wire, idle_timeout=60)
    if end == RESET and message.error is not None:  # the system may throw away what had arrived
        return
    assert message.text == "all"
    assert message.stop_reason == "stop"


def test_text_and_error_in_one_packet_are_both_emitted(lab: Lab, wire: Wire) -> None:
    scene = wire.scene(say("half"), wire.error("too much", ERRORS[wire.name][0]), stop=None)
    lab.play([body(scene)])
    message = ask(lab, wire)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.message == "too much"


def test_broken_framing_ends_at_once(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("half"), BAD_CHUNK, stop=None))
    message = ask(lab, wire, idle_timeout=60)
    assert message.text == "half"
    assert message.error is not None
    assert message.error.kind == "incomplete"


def test_slow_bytes_are_emitted_as_they_arrive(lab: Lab, wire: Wire) -> None:
    lab.play(wire.scene(say("one "), Pause(), say("two ")))
    heard = ""
    for event in stream(wire.model, "q", api_base=wire.base(lab), api_key=KEY):
        if event.type == "text_delta":
            heard += event.delta
            if heard == "one ":
                lab.go()
    assert heard == "one two "
