"""Test what counts towards a budget: retries, fallbacks, threads, tools, batches and tokens."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    Model,
    ModelCost,
    acomplete,
    astream,
    budget,
    complete,
    complete_many,
    faux,
    read_ledger,
    register_provider,
    run_tools,
    stream,
)
from pipy_ai.provider import Request, Text, UsageReport
from pipy_ai.provider.registered import unregister_provider

from ..support.scripted_server import STALL, Lab, Seen, Status, chat, finish, sse, text, usage
from ..support.wire_formats import CHAT, Counts, say, tool

PRICE = ModelCost(input=1.0, output=10.0)  # $/1M tokens


def priced(lab: Lab, cost: ModelCost = PRICE, provider: str = "own", id: str = "m") -> Model:
    return Model(id=id, provider=provider, api=lab.url, env=[], cost=cost)


def fsum(messages: Any) -> float:
    return math.fsum(message.usage.cost.total or 0.0 for message in messages)


def test_billed_retries_count(lab: Lab, tmp_path: Path) -> None:
    first, second = priced(lab, id="a"), priced(lab, id="b")
    dead = sse({"choices": [], "usage": {"prompt_tokens": 500, "completion_tokens": 0}})
    lab.play(Status(503), dead, chat(text("yes"), finish("stop"), usage(100, 10)))
    with budget(usd=1, ledger=tmp_path / "l") as b:
        message = complete([first, second], "Hi", max_retries=1)
    assert message.text == "yes"
    costs = [one.usage.cost.total for one in message.attempts]
    assert costs == [None, pytest.approx(500e-6), pytest.approx(200e-6)]
    assert message.usage.cost.total == costs[2]
    assert b.spent == pytest.approx(700e-6)
    assert {name: one.requests for name, one in b.by_model().items()} == {"own/a": 1, "own/b": 1}
    entries = list(read_ledger(tmp_path / "l"))
    assert [(one.model, one.error, one.cost) for one in entries] == [
        ("a", "incomplete", costs[1]), ("b", None, costs[2]),
    ]  # fmt: skip


def test_exhausted_budget_does_not_trigger_a_fallback(lab: Lab) -> None:
    with budget(usd=0.000001) as b:
        message = complete([priced(lab), priced(lab, id="other")], "Hi there, you")
    assert message.error is not None
    assert message.error.kind == "budget"
    assert (b.spent, lab.seen, message.attempts) == (0.0, [], [])


def test_nested_budgets_all_count(lab: Lab) -> None:
    lab.always = chat(text("yes"), finish("stop"), usage(1000, 100))
    model = priced(lab)
    with budget(usd=1) as outer:
        assert complete(model, "x").error is None
        with budget(usd=0.001) as inner, inner:  # twice the same counts once
            assert complete(model, "x").error is None
            refused = complete(model, "x")
        assert complete(model, "x").error is None
    assert complete(model, "x").error is None
    assert refused.error is not None
    assert "The budget of $0.001 is used up: $0.002 spent" in refused.error.message
    assert (outer.spent, inner.spent) == (0.006, 0.002)
    small = budget(usd=0.000001)
    with budget(usd=1) as outer, small:
        complete(model, "a longer prompt")
    assert outer.spent == 0.0  # what the inner one refused is given back
    assert outer.by_model() == {}


async def test_tasks_threads_and_tools_inherit_the_budget(lab: Lab) -> None:
    lab.always = chat(text("yes"), finish("stop"), usage(1000, 100))
    model = priced(lab)
    async with budget(usd=1) as b:
        await asyncio.to_thread(complete, model, "x")
        await asyncio.create_task(acomplete(model, "x"))
        late = astream(model, "x")
    await late.result()  # begun within
    await acomplete(model, "x")
    assert b.spent == 0.006
    thread = threading.Thread(target=complete, args=(model, "x"))
    with b:
        thread.start()
        thread.join()
    assert b.spent == 0.006  # a thread of one's own enters it itself


def test_tool_loop_stops_at_the_budget(lab: Lab) -> None:
    model = priced(lab)

    def ask(question: str) -> str:
        return complete(model, question).text

    def scene(seen: Seen) -> Any:
        if len(seen.json["messages"]) == 1 and "tools" in seen.json:
            return CHAT.scene(
                tool("1", "ask", '{"question": "a"}'), tool("2", "ask", '{"question": "b"}'),
                stop="tool", counts=Counts(1000, 100),
            )  # fmt: skip
        return CHAT.scene(say("yes"), counts=Counts(1000, 100))

    lab.always = scene
    with budget(usd=1) as b:
        run = run_tools(model, "Ask twice.", [ask])
        assert run.result().text == "yes"
    assert b.spent == 0.008
    assert b.by_model()["own/m"].requests == 4


def test_batches_inherit_the_budget(lab: Lab) -> None:
    lab.always = chat(text("yes"), finish("stop"), usage(1000, 100))
    with budget(usd=0.01) as b:  # five rows at $0.002
        messages = complete_many(priced(lab), ["x"] * 40, concurrency=4)
    answered = [message for message in messages if message.error is None]
    assert 5 <= len(answered) <= len(lab.seen) <= 8
    assert {message.error.kind for message in messages if message.error} <= {"budget", "aborted"}
    assert b.spent == pytest.approx(fsum(messages), abs=1e-12)


def test_output_retries_count(lab: Lab) -> None:
    lab.play(CHAT.scene(say("no"), counts=Counts(1000, 100)))
    lab.play(CHAT.scene(say('{"value": 7}'), counts=Counts(1000, 100)))
    with budget(usd=1) as b:
        message = complete(priced(lab), "A number?", output=int)
    assert message.parsed == 7
    assert b.spent == message.usage.cost.total == 0.004


def test_stopped_and_failed_requests_are_settled(lab: Lab) -> None:
    lab.play(sse(*text("some words"), STALL), Status(400, {"error": {"message": "no"}}))
    model = priced(lab)
    with budget(usd=1) as b:
        s = stream(model, "x")
        for event in s:
            if event.type == "text_delta":
                assert b.spent > 0  # what is under way counts
                break
        aborted = s.result()
        assert b.spent == aborted.usage.cost.total
        before = b.spent
        complete(model, "x", max_retries=0)
        assert b.spent == before
    assert b.by_model()["own/m"].requests == 1


def test_unsent_requests_cost_nothing(lab: Lab, tmp_path: Path) -> None:
    controller = AbortController()
    controller.abort("no longer needed")
    with budget(usd=1, ledger=tmp_path / "l") as b:
        message = complete(priced(lab), "x", signal=controller.signal)
    assert message.stop_reason == "aborted"
    assert (lab.seen, b.spent, b.by_model()) == ([], 0.0, {})
    assert [entry.error for entry in read_ledger(tmp_path / "l")] == ["aborted"]


@pytest.mark.parametrize("cost", [math.nan, math.inf, -1.0, "much"])
def test_invalid_reported_cost_is_ignored(overridden: str, cost: Any) -> None:
    async def mad(request: Request) -> AsyncIterator[Any]:
        yield Text("a")
        yield UsageReport(input=1000, output=100, cost=cost)

    register_provider("acme", mad)
    try:
        with budget(usd=0.003) as b:
            messages = [complete("acme/any", "Hi") for _ in range(3)]
    finally:
        unregister_provider("acme")
    assert messages[0].usage.cost.total == 0.002
    assert messages[2].error is not None
    assert messages[2].error.kind == "budget"
    assert b.spent == 0.004


def test_token_limit(overridden: str) -> None:
    unknown = "faux/any"  # no price is needed
    with faux.script("a" * 70, "b" * 700), budget(tokens=100) as b:
        assert complete(unknown, "Hi").error is None
        assert b.tokens_spent == 21
        message = complete(unknown, "Hi")
        third = complete(unknown, "Hi")
    assert message.error is not None
    assert "The budget of 100 tokens is exceeded" in message.error.message
    assert 100 < b.tokens_spent < 104
    assert third.error is not None
    assert third.error.message.startswith("The budget of 100 tokens is used up: 10")
    assert (b.left, b.usd) == (None, None)


def test_budget_table(lab: Lab) -> None:
    lab.always = chat(text("yes"), finish("stop"), usage(1_000_000, 100_000))
    with budget(usd=5, unknown="ignore") as b:
        complete(priced(lab), "x")
        complete(Model(id="unpriced", provider="own", api=lab.url, env=[]), "x")
    assert b.table().splitlines() == [
        "model         requests      input   output               cost",
        "own/m                1  1,000,000  100,000              $2.00",
        "own/unpriced         1  1,000,000  100,000            unknown",
        "total                2  2,000,000  200,000  $2.00 + 1 unknown",
        "$3.00 of $5.00 left",
    ]
    assert budget(tokens=5).table().splitlines()[-1].split() == ["total", "0", "0", "0", "$0.00"]


def test_nothing_is_metered_without_a_budget() -> None:
    from pipy_ai._requests import create_run

    run, _ = create_run("faux/echo", "Hi", None, {}, None, None)
    assert run._meter is None
    run.abort()
