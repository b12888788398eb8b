"""Test partial values of typed output while it streams."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from pipy_ai import ParsedMessage, astream, faux, stream

from ..support.event_grammar import check_events
from ..support.schema_cases import Colour
from ..support.scripted_server import Lab
from ..support.wire_formats import CONVERSE, WIRES, Wire, say, tool

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Bill(BaseModel):
    """A bill."""

    number: str
    total: Annotated[float, Field(ge=0)]
    tags: list[str] = []


GOOD = '{"number": "7", "total": 1.5}'
BAD = '{"number": "7"}'
BILL = Bill(number="7", total=1.5)


@pytest.fixture(params=["direct", "litellm"])
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PIPY_TRANSPORT", request.param)
    return str(request.param)


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def way(lab: Lab, wire: Wire, **options: Any) -> dict[str, Any]:
    return {"api_base": wire.base(lab), "api_key": "sk-0123456789", "max_retries": 0, **options}


@pytest.mark.parametrize("mode", ["native", "tool", "prompt"])
def test_partial_value(lab: Lab, wire: Wire, mode: Any, transport: str) -> None:
    if transport == "litellm" and wire is CONVERSE and mode == "native":
        pytest.skip("LiteLLM replaces the schema by a tool, and does not stream")
    pieces = ['{"number": ', '"7", "to', 'tal": 1.5', "}"]
    steps = [tool("c1", "Bill", *pieces)] if mode == "tool" else [say(*pieces)]
    lab.play(wire.scene(*steps, stop="tool" if mode == "tool" else "stop"))
    s = stream(wire.model, "q", output=Bill, output_mode=mode, **way(lab, wire))
    events = list(s)
    check_events(events)
    deltas = [event for event in events if event.type in ("text_delta", "toolcall_delta")]
    if mode != "tool" or wire.fragments:
        assert [event.parsed_partial for event in deltas] == [
            {}, {"number": "7"}, {"number": "7", "total": 1.5}, {"number": "7", "total": 1.5},
        ]  # fmt: skip
    assert events[0].parsed_partial is None
    done = events[-1]
    assert done.parsed_partial == {"number": "7", "total": 1.5}
    result: ParsedMessage[Bill] = s.result()
    assert result.parsed == BILL
    if mode == "tool":  # as the events have it
        assert [call.name for call in result.tool_calls] == ["Bill"]
        assert result.stop_reason == "toolUse"


async def test_stream_does_not_retry_invalid_output() -> None:
    with faux.script(BAD, BAD) as provider:
        s = astream("faux/x", "q", output=Bill)
        events = [event async for event in s]
        check_events(events)
        assert events[-1].type == "error"
        message = await s.result()
        assert provider.calls == 1
    assert message.error is not None
    assert message.error.kind == "invalid_output"
    assert message.text == BAD


def test_partial_list_is_unwrapped() -> None:
    with faux.script('{"value": ["red", "blue"]}', chunk_size=15):
        seen = [e.parsed_partial for e in stream("faux/x", "q", output=list[Colour])]
    assert ["red"] in seen
    assert seen[-1] == ["red", "blue"]
    with faux.script("Hi"):
        assert {e.parsed_partial for e in stream("faux/x", "q")} == {None}


def test_partial_value_is_computed_on_access(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    whole = ParsedMessage.parsed_partial
    spy = property(lambda self: looked.append(self) or whole.fget(self))  # type: ignore[attr-defined]
    monkeypatch.setattr(ParsedMessage, "parsed_partial", spy)
    with faux.script(GOOD, GOOD):
        assert stream("faux/x", "q", output=Bill).result().parsed == BILL
        assert not looked
        list(stream("faux/x", "q", output=Bill))[3].parsed_partial  # noqa: B018
        assert len(looked) == 1


def test_leaving_a_stream(lab: Lab) -> None:
    with faux.script(faux.reply('{"number": "7"', faux.stall())):
        s = stream("faux/x", "q", output=Bill)
        for event in s:
            if event.parsed_partial == {"number": "7"}:
                break
        message = s.result()
    assert message.stop_reason == "aborted"
    assert message.parsed_partial == {"number": "7"}
    with pytest.raises(Exception, match="aborted"):
        message.parsed  # noqa: B018
