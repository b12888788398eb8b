"""Test events: serialization, copies and strictness."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from pipy_ai import (
    AssistantMessageEvent,
    PipyError,
    complete,
    event_from_dict,
    faux,
    run_tools,
    stream,
)
from pipy_ai.errors import RateLimitError
from pipy_ai.provider.registered import register_provider, unregister_provider


def test_every_event_round_trips() -> None:
    reply = faux.reply(
        faux.thinking("hm, ünïcode"), "It is ", faux.tool("get_weather", city="Rome"), "done"
    )
    register_provider("scripted", faux.FauxProvider(reply, faux.error("auth", "no")))
    try:
        told = [*stream("scripted/x", "hi"), *stream("scripted/x", "hi")]
    finally:
        unregister_provider("scripted")
    assert {event.type for event in told} > {"thinking_delta", "toolcall_end", "done", "error"}
    for event in told:
        line = json.dumps(event.to_dict(partial=True))
        again = event_from_dict(json.loads(line))
        assert again == event
        assert json.dumps(again.to_dict(partial=True)) == line
        bare = event_from_dict(event.to_dict())
        assert bare.to_dict() == event.to_dict()


def test_tool_result_round_trips() -> None:
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    register_provider("scripted", faux.FauxProvider(faux.reply(faux.tool("add", a=1, b=2)), "3"))
    try:
        [result] = [
            event for event in run_tools("scripted/x", "1+2?", [add]) if event.type == "tool_result"
        ]
    finally:
        unregister_provider("scripted")
    assert event_from_dict(json.loads(json.dumps(result.to_dict()))) == result


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, "unknown event type None"),
        ([], "unknown event type None"),
        ({"type": "text_dleta"}, "text_dleta"),
        ({"type": "text_delta", "content_index": 0}, "delta is missing"),
        ({"type": "text_delta", "content_index": "0", "delta": "x"}, "content_index"),
        ({"type": "done", "reason": "because", "message": {}}, "because"),
        ({"type": "done", "reason": "stop"}, "message"),
        ({"type": "toolcall_end", "content_index": 0, "tool_call": "x"}, "tool_call"),
    ],
)
def test_invalid_event_is_rejected(data: object, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        event_from_dict(data)  # type: ignore[arg-type]


def test_events_messages_and_errors_survive_pickle_and_deepcopy() -> None:
    with faux.script(
        faux.reply(faux.thinking("t", "s"), "x", faux.tool("f", a=1)), faux.error("rate_limit")
    ):
        events = list(stream("faux/m", "q"))
        failed = complete("faux/m", "q", max_retries=0)
    for event in events:
        for twin in (pickle.loads(pickle.dumps(event)), copy.deepcopy(event), copy.copy(event)):
            assert twin == event
            assert twin.partial == event.partial
    with pytest.raises(PipyError) as caught:
        failed.raise_for_error()
    twin = pickle.loads(pickle.dumps(caught.value))
    assert type(twin) is RateLimitError
    assert twin.error == failed.error
    assert twin.response == failed
    assert copy.deepcopy(failed) == failed


def test_events_are_strict_about_their_fields() -> None:
    for kind in get_args(AssistantMessageEvent):
        fields = {name: None for name in kind.__dataclass_fields__ if name != "type"}
        event = kind(**fields)
        assert event.type == kind.__dataclass_fields__["type"].default
        with pytest.raises(AttributeError):
            event.misspelt = 1
        for name in fields:  # nothing has a default, least of all the message
            with pytest.raises(TypeError):
                kind(**{other: None for other in fields if other != name})


def test_events_are_a_discriminated_union() -> None:
    with faux.script(faux.reply(faux.thinking("t"), "x", faux.tool("f", a=1))):
        events = list(stream("faux/m", "q"))
    adapter: TypeAdapter[Any] = TypeAdapter(AssistantMessageEvent)
    for event in events:
        line = json.dumps(event.to_dict(partial=True))
        assert adapter.validate_python(json.loads(line)) == event
        assert "partial" not in event.to_dict()
