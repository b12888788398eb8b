"""Test typed output together with tools."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from pipy_ai import InvalidOutputError, Tool, complete, ctx, preview, tool_result

from ..support.scripted_server import Lab
from ..support.vendor_rules import violations
from ..support.wire_formats import GEMINI, WIRES, Wire, say, think, tool

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


BILL = Bill(number="7", total=1.5)


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


LOOK = Tool(name="look", description="Look.")


@pytest.mark.parametrize("mode", ["native", "tool"])
def test_tool_call_is_returned_unchanged(lab: Lab, wire: Wire, mode: Any) -> None:
    lab.play(wire.scene(tool("c1", "look", '{"x": 1}'), stop="tool"), answer(wire, mode, GOOD))
    context = ctx("q", tools=[LOOK])
    keywords = way(lab, wire, output=Bill, output_mode=mode)
    model = "gemini/gemini-3-flash-preview" if wire is GEMINI else wire.model
    message = complete(model, context, **keywords)
    assert (message.stop_reason, message.error) == ("toolUse", None)
    with pytest.raises(InvalidOutputError, match="called look instead of answering"):
        message.parsed  # noqa: B018
    context.messages += [message, tool_result(message.tool_calls[0], "seen")]
    assert complete(model, context, **keywords).parsed == BILL
    assert len(lab.seen) == 2
    assert context.tools == [LOOK]


def test_tool_with_the_output_name_keeps_it() -> None:
    context = ctx("q", tools=[Tool(name="Bill")])
    body = preview("openai/gpt-4o", context, output=Bill, output_mode="tool").body
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Bill", "Bill_0"]
    assert body["tool_choice"] == "required"


def test_conversation_continues_after_output_by_tool(lab: Lab, wire: Wire) -> None:
    steps = [think("hm", signature="s"), tool("c1", "Bill", GOOD)]
    lab.play(wire.scene(*steps, stop="tool"), wire.scene(say("ok")))
    keywords = way(lab, wire)
    first = complete(wire.model, "q", output=Bill, output_mode="tool", **keywords)
    assert (first.stop_reason, first.tool_calls) == ("stop", [])
    complete(wire.model, [*ctx("q").messages, first, *ctx("Thanks").messages], **keywords)
    assert violations(lab.seen[1].path, lab.seen[1].json, {"s"}) == []
    assert "No result provided" not in json.dumps(lab.seen[1].json)
