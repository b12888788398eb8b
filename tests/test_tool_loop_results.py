"""Test tool results, usage and the context of a tool loop."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    Cost,
    ImageContent,
    TextContent,
    ToolResultMessage,
    Usage,
    ctx,
    faux,
    run_tools,
    tool_result,
    user,
)
from pipy_ai.usage import sum_usage

from .support.tool_loop_runs import Go, async_run, sync_run


@pytest.fixture(params=[sync_run, async_run], ids=["sync", "async"])
def go(request: pytest.FixtureRequest) -> Go:
    found: Go = request.param
    return found


def call(name: str, /, **arguments: Any) -> Any:
    return faux.tool(name, **arguments)


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@dataclass
class Weather:
    sky: str
    on: date = date(2026, 1, 2)
    tags: set[str] = field(default_factory=lambda: {"x"})


class Report(BaseModel):
    sky: str
    on: date = date(2026, 1, 2)


class Plain:
    def __str__(self) -> str:
        return "an object"


class Mute:
    def __str__(self) -> str:
        raise LookupError("no words")


PNG = ImageContent(data="aGk=", mime_type="image/png")
VALUES: list[tuple[Any, Any]] = [
    ("text", "text"),
    ("", ""),
    (None, "null"),
    (3, "3"),
    (True, "true"),
    ([], "[]"),
    ([1, "a"], '[1,"a"]'),
    ({"a": {"b": (1, 2)}}, '{"a":{"b":[1,2]}}'),
    (Weather("blue"), '{"sky":"blue","on":"2026-01-02","tags":["x"]}'),
    (Report(sky="blue"), '{"sky":"blue","on":"2026-01-02"}'),
    ([Report(sky="blue")], '[{"sky":"blue","on":"2026-01-02"}]'),
    ("übel".encode(), "übel"),
    (b"bytes \xff", '"Ynl0ZXMg_w=="'),
    ("a name \udcff", "a name \ufffd"),
    ([{"a name \udcff": "\udcff"}], '[{"a name \ufffd":"\ufffd"}]'),
    (Plain(), '"an object"'),
    ("ü" * 200_000, "ü" * 200_000),
    (TextContent(text="t"), [TextContent(text="t")]),
    (PNG, [PNG]),
    ([TextContent(text="t"), PNG], [TextContent(text="t"), PNG]),
    (tool_result("other", "own", is_error=True, details=5), "own"),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=lambda v: f"{v!r:.20}")
def test_results_of_all_kinds(go: Go, value: Any, expected: Any) -> None:
    def give() -> Any:
        return value

    with faux.script(faux.reply(call("give")), "ok") as provider:
        ran = go("faux/m", "q", [give])
    [result] = ran.results
    if isinstance(expected, str):
        assert ran.texts == [expected]
    else:
        assert result.content == expected
    assert result.tool_name == "give"
    assert result.tool_call_id == ran.run.messages[0].tool_calls[0].id
    assert result.is_error == isinstance(value, ToolResultMessage)
    assert result.details is (value if isinstance(value, BaseModel) and value != PNG else None) or (
        result.details == 5 or not isinstance(value, Report)
    )
    assert provider.requests[1].context.messages[-1] == result
    if isinstance(value, ToolResultMessage):
        assert value.tool_call_id == "other"  # the tool's own is left alone


def test_unserializable_result_is_an_error(go: Go) -> None:
    def give() -> Any:
        return Mute()

    with faux.script(faux.reply(call("give")), "ok"):
        [result] = go("faux/m", "q", [give]).results
    assert result.is_error


def test_events_are_serializable(go: Go) -> None:
    with faux.script(faux.reply(call("add", a=1, b=2)), "ok"):
        ran = go("faux/m", "q", [add])
    [event] = [event for event in ran.events if event.type == "tool_result"]
    assert pickle.loads(pickle.dumps(event)) == event
    data = json.loads(json.dumps(event.to_dict()))
    assert data["tool_call"]["arguments"] == {"a": 1, "b": 2}
    assert data["message"]["content"][0]["text"] == "3"


def test_two_calls_with_the_same_id(go: Go) -> None:
    calls = [faux.tool("add", id="c", a=1, b=n) for n in (1, 2)]
    with faux.script(faux.reply(*calls), "ok"):
        ran = go("faux/m", "q", [add])
    assert ran.texts == ["2", "3"]
    assert len({m.tool_call_id for m in ran.results}) == 2


def test_usage_and_cost_are_summed(go: Go) -> None:
    with faux.script(
        faux.reply(call("add", a=1, b=2), faux.usage(10, 2, 3, 4, 1)),
        faux.reply("ok", faux.usage(20, 5, 6)),
    ):
        usage = go("faux/m", "q", [add]).run.usage
    assert (usage.input, usage.output, usage.cache_read, usage.cache_write) == (30, 7, 9, 4)
    assert usage.total_tokens == 50
    assert usage.cost.total is None
    assert not usage.estimated


def test_unknown_cost_of_one_makes_the_total_unknown() -> None:
    paid = Usage(input=1, reasoning=2, cost=Cost(input=1.0, total=1.5, source="catalog"))
    billed = Usage(input=2, estimated=True, cost=Cost(input=None, total=2.0, source="provider"))
    total = sum_usage([paid, billed])
    assert (total.input, total.reasoning, total.estimated) == (3, 2, True)
    assert (total.cost.total, total.cost.input, total.cost.source) == (3.5, None, "catalog")
    assert sum_usage([billed, billed]).cost.source == "provider"
    assert sum_usage([paid, Usage()]).cost == Cost()
    assert sum_usage([]) == Usage()


def test_context_is_not_modified_and_can_be_continued(go: Go) -> None:
    context = ctx("What is 1 + 2?", tools=[add])
    before = context.model_copy(deep=True)
    reply = faux.reply(call("add", a=1, b=2))
    with faux.script(reply, "3", reply, "3 again") as provider:
        ran = go("faux/m", context)
        assert context == before
        context.extend(ran.run.messages)
        context.messages.append(user("Again?"))
        again = go("faux/m", context)
    assert [m.role for m in provider.requests[-1].context.messages] == [
        "user", "assistant", "toolResult", "assistant", "user", "assistant", "toolResult",
    ]  # fmt: skip
    assert [m.role for m in again.run.messages] == ["assistant", "toolResult", "assistant"]


def test_changes_to_the_callers_context_are_not_sent() -> None:
    context = ctx("q")
    with faux.script(faux.reply(call("add", a=1, b=2)), "3") as provider:
        for event in run_tools("faux/m", context, [add]):
            if event.type == "done":  # as one would with a stream
                context.messages.append(event.message)
    assert [m.role for m in provider.requests[1].context.messages] == [
        "user", "assistant", "toolResult",
    ]  # fmt: skip


def test_tool_that_modifies_its_arguments_changes_nothing_else(go: Go) -> None:
    def sort(rows: list) -> list:
        rows[0].clear()
        return rows

    with faux.script(faux.reply(call("sort", rows=[{"a": 1}])), "ok") as provider:
        ran = go("faux/m", "q", [sort])
    assert ran.texts == ["[{}]"]
    sent = provider.requests[1].context.messages[1]
    assert isinstance(sent, AssistantMessage)
    assert sent.tool_calls[0].arguments == {"rows": [{"a": 1}]}
