"""Test retries after invalid typed output."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from pipy_ai import InvalidOutputError, acomplete, complete, ctx, faux
from pipy_ai.errors import AuthenticationError

from ..support.scripted_server import FIN, Lab, Status
from ..support.vendor_rules import violations
from ..support.wire_formats import CHAT, CONVERSE, WIRES, Counts, Wire, say, tool

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


def answer(wire: Wire, mode: str, text: str, **more: Any) -> Any:
    """Return a response in an output mode: a call, text, or text with other text around it."""
    if mode == "tool":
        return wire.scene(tool("c1", "Bill", text[:9], text[9:]), stop="tool", **more)
    if mode == "prompt":
        return wire.scene(say("Here {it} is:\n```json\n", text, "\n```\nAnything else?"), **more)
    return wire.scene(say(text[:9], text[9:]), **more)


@pytest.mark.parametrize("mode", ["native", "tool", "prompt"])
def test_invalid_output_is_retried(lab: Lab, wire: Wire, mode: Any, transport: str) -> None:
    if transport == "litellm" and wire is CONVERSE and mode == "native":
        pytest.skip("LiteLLM replaces the schema by a tool, and does not stream")
    lab.play(
        answer(wire, mode, BAD, counts=Counts(10, 5)),
        answer(wire, mode, GOOD, counts=Counts(30, 7, reasoning=2)),
    )
    context = ctx("q")
    message = complete(wire.model, context, output=Bill, output_mode=mode, **way(lab, wire))
    assert message.parsed == BILL
    assert (message.usage.input, message.usage.output) == (40, 12)
    assert message.usage.total_tokens == 52
    assert len(context.messages) == 1
    first, second = lab.seen
    assert violations(second.path, second.json) == []
    said = json.dumps(second.json)
    assert "The answer does not match its schema:\\ntotal: Field required" in said
    assert said.count('\\"number\\": \\"7\\"') == 1  # the bad answer, as text
    # All else is as it was.
    for body in (first.json, second.json):
        for key in ("messages", "input", "contents"):
            body.pop(key, None)
    assert first.json == second.json


async def test_async_version_retries(lab: Lab) -> None:
    lab.play(CHAT.scene(say("no")), CHAT.scene(say(GOOD)))
    message = await acomplete(CHAT.model, "q", output=Bill, **way(lab, CHAT))
    assert message.parsed == BILL


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_output_that_stays_invalid_is_an_error(retries: int) -> None:
    with faux.script(*[BAD] * 9) as provider:
        message = complete("faux/x", "q", output=Bill, output_retries=retries)
    assert provider.calls == retries + 1
    assert message.text == BAD
    assert message.error is not None
    assert message.error.kind == "invalid_output"
    assert message.error.message == "The answer does not match its schema:\ntotal: Field required"
    assert message.stop_reason == "error"
    with pytest.raises(InvalidOutputError, match="total: Field required") as caught:
        message.parsed  # noqa: B018
    assert caught.value.response is message


def test_raw_tool_call_is_kept(lab: Lab) -> None:
    lab.play(*[CHAT.scene(tool("c1", "Bill", '{"number": '), stop="tool")] * 2)
    message = complete(CHAT.model, "q", output=Bill, output_mode="tool", **way(lab, CHAT))
    assert message.text == '{"number": '
    assert message.error is not None
    assert "not valid JSON" in message.error.message


def test_truncated_output_is_not_retried(lab: Lab, wire: Wire, transport: str) -> None:
    if transport == "litellm" and wire is CONVERSE:
        pytest.skip("LiteLLM replaces the schema by a tool, and does not stream")
    lab.play(wire.scene(say('{"number": "7", "to'), stop="length"))
    keywords = way(lab, wire, output=Bill, output_mode="native")
    message = complete(wire.model, "q", **keywords)
    assert len(lab.seen) == 1
    assert message.error is not None
    assert message.error.kind == "invalid_output"
    assert "raise max_tokens" in message.error.message
    assert message.text == '{"number": "7", "to'
    lab.play(wire.scene(say(GOOD, "  "), stop="length"))  # enough of it has come
    message = complete(wire.model, "q", **keywords)
    assert message.parsed == BILL
    assert message.stop_reason == "length"


def test_other_errors_are_unchanged(lab: Lab, wire: Wire) -> None:
    lab.play(
        Status(401, {"error": {"message": "no such key"}}),
        wire.scene(say('{"number"'), stop="filter"),
        wire.scene(say('{"number"'), FIN, stop=None),
    )
    for kind in ("auth", "content_filter", "incomplete"):
        message = complete(wire.model, "q", output=Bill, **way(lab, wire))
        assert message.error is not None
        assert message.error.kind == kind
        with pytest.raises(AuthenticationError if kind == "auth" else Exception):
            message.parsed  # noqa: B018
    assert len(lab.seen) == 3
