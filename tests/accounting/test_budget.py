"""Test budgets: requests that are refused or stopped, and the totals."""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    Budget,
    Model,
    ModelCost,
    acomplete,
    astream,
    budget,
    complete,
    faux,
    read_ledger,
    register_provider,
    stream,
)
from pipy_ai.provider import Finish, Request, Text, UsageReport
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.tokens import estimate_tokens

from ..support.event_grammar import check_events
from ..support.scripted_server import STALL, Lab, Pause, chat, finish, sse, text, usage
from ..support.wire_formats import (
    ANTHROPIC,
    CHAT,
    CONVERSE,
    OLLAMA,
    WIRES,
    Counts,
    Wire,
    say,
    think,
    tool,
)

PRICE = ModelCost(input=1.0, output=10.0)  # $/1M tokens


def priced(lab: Lab, cost: ModelCost = PRICE, provider: str = "own", id: str = "m") -> Model:
    return Model(id=id, provider=provider, api=lab.url, env=[], cost=cost)


def model_with_price(wire: Wire, lab: Lab) -> str | Model:
    if wire is OLLAMA:
        return Model(id="m", provider="ollama", cost=PRICE)
    return priced(lab) if wire is CHAT else wire.model


def fsum(messages: Any) -> float:
    return math.fsum(message.usage.cost.total or 0.0 for message in messages)


@pytest.mark.parametrize("burst", [1, 40])
async def test_concurrent_streams_overspend_by_at_most_one_delta_each(
    overridden: str, lab: Lab, tmp_path: Path, burst: int
) -> None:
    """However many deltas arrive in one read; the ledger's total equals that of the messages."""
    count, piece = 20, "fifteen letters"
    much = b"".join(sse(*text(*[piece] * burst)))
    lab.always = sse(*text(piece), Pause(), *[much] * (1000 // burst), STALL)
    with budget(usd=0.01, ledger=tmp_path / "spend.jsonl") as b:
        streams = [astream(overridden, "Go on for ever.", api_base=lab.url) for _ in range(count)]
        readers = [aiter(one) for one in streams]
        for events in readers:
            while (await anext(events)).type != "text_delta":
                pass
        assert 0 < b.spent < 0.01
        lab.go()
        messages = [await one.result() for one in streams]
        before = len(lab.seen)
        after = await acomplete(overridden, "Once more?", api_base=lab.url)
    for message in messages:
        assert message.error is not None
        assert message.error.kind == "budget"
        assert message.error.message.startswith("The budget of $0.01 is exceeded")
    one_delta = (estimate_tokens(piece) + 1) * 10 / 1e6
    assert 0.01 < fsum(messages) <= 0.01 + count * one_delta
    assert b.spent == pytest.approx(fsum(messages), abs=1e-12)
    assert b.left == 0.0
    for seen in lab.seen:
        assert await asyncio.to_thread(seen.left.wait, 5)  # closed, not read to the end
    assert after.error is not None
    assert after.error.message.startswith("The budget of $0.01 is used up: $0.01")
    assert (len(lab.seen), after.usage.total_tokens) == (before, 0)  # nothing was sent
    entries = list(read_ledger(tmp_path / "spend.jsonl"))
    assert len(entries) == count + 1
    assert math.fsum(entry.cost or 0.0 for entry in entries) == fsum(messages)


def test_threads_share_a_budget(lab: Lab) -> None:
    model = priced(lab)
    lab.always = chat(text("yes"), finish("stop"), usage(1000, 100))
    b = budget(usd=0.01)  # five requests at $0.002

    def ask(number: int) -> AssistantMessage:
        with b:
            return complete(model, "x")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        messages = list(pool.map(ask, range(20)))
    answered = [message for message in messages if message.error is None]
    assert 5 <= len(answered) <= len(lab.seen) <= 8  # five, and what was under way by then
    assert b.spent == pytest.approx(fsum(messages), abs=1e-12)


def test_waiting_stream_stops_when_another_exhausts_the_budget(lab: Lab) -> None:
    lab.play(sse(*text("Hm"), STALL), sse(*text("long " * 2000), STALL))
    model = priced(lab)
    with budget(usd=0.01) as b:
        silent = stream(model, "One")
        events = iter(silent)
        while next(events).type != "text_delta":
            pass
        loud = complete(model, "Two")
    message = silent.result()
    for one in (message, loud):
        assert one.error is not None
        assert one.error.kind == "budget"
        assert "exceeded" in one.error.message
    assert message.text == "Hm"
    assert lab.seen[0].left.wait(5)
    assert b.spent == pytest.approx(fsum([message, loud]), abs=1e-12)


def test_counts_of_one_in_the_texts_of_a_budget(lab: Lab) -> None:
    with budget(tokens=1) as b:
        message = complete(priced(lab), "one two three")
    assert message.error is not None
    assert message.error.message == (
        "The prompt alone needs about 4 tokens or $0.000004, but the budget of 1"
        " token has only 1 token left. Nothing was sent."
    )
    assert "0 tokens spent" in repr(b)


def test_prompt_that_exceeds_the_budget_is_not_sent(lab: Lab) -> None:
    model = priced(lab)
    with budget(usd=0.001) as b:
        message = complete(model, "word " * 1000)
        assert complete(model, "word").error is None
    assert message.error is not None
    assert message.error.kind == "budget"
    assert message.error.message == (
        "The prompt alone needs about 1,429 tokens or $0.00143, but the budget of $0.001"
        " has only $0.001 left. Nothing was sent."
    )
    assert len(lab.seen) == 1
    assert b.by_model()["own/m"].requests == 1


def test_model_without_a_price(lab: Lab, overridden: str) -> None:
    unknown = Model(id="m", provider="own", api=lab.url, env=[])
    with budget(usd=1) as b:
        message = complete(unknown, "Hi")
    assert message.error is not None
    assert message.error.kind == "budget"
    assert "The price of own/m is unknown" in message.error.message
    assert 'unknown="ignore"' in message.error.message
    assert (lab.seen, b.spent, b.by_model()) == ([], 0.0, {})
    with budget(usd=1, unknown="ignore") as b:
        message = complete(unknown, "Hi")
    assert (message.text, b.spent) == ("ok", 0.0)
    assert b.by_model()["own/m"].unpriced == 1
    assert "unknown" in b.table()
    with faux.script("free", name="acme"), budget(usd=1) as b:  # 0 is a price
        assert complete("acme/free", "Hi").text == "free"
    assert b.spent == 0.0
    assert b.by_model()["acme/free"].unpriced == 0


def test_response_of_unknown_cost_stops_the_budget(lab: Lab) -> None:
    """Its tokens count at the listed prices, and nothing more is sent."""
    lab.always = chat(text("ok"), [finish("stop")], usage(1_000, 100) | {"service_tier": "scale"})
    with budget(usd=1) as b:
        first, second = complete(priced(lab), "Hi"), complete(priced(lab), "Hi")
    assert first.error is None
    assert (first.usage.cost.total, first.usage.cost.source) == (None, "unknown")
    assert [warning.code for warning in first.warnings] == ["cost_unknown"]
    assert "'scale'" in first.warnings[0].message
    assert second.error is not None
    assert second.error.kind == "budget"
    assert second.error.message == (
        "The cost of a response from own/m is unknown, and so is the rest of the budget of $1.00."
        ' Nothing was sent. To continue after such a response, use budget(unknown="ignore").'
    )
    assert len(lab.seen) == 1
    assert b.spent == 0.002
    assert b.by_model()["own/m"].unpriced == 1


def test_response_of_unknown_cost_counts_what_is_known(lab: Lab) -> None:
    lab.always = chat(text("ok"), [finish("stop")], usage(1_000, 100) | {"service_tier": "scale"})
    with budget(usd=0.003, unknown="ignore") as b:
        messages = [complete(priced(lab), "Hi") for _ in range(3)]
    assert [message.error is None for message in messages] == [True, True, False]
    assert b.spent == 0.004
    with budget(tokens=1_500) as b:  # without a limit in dollars, prices do not matter
        assert [complete(priced(lab), "Hi").error is None for _ in range(3)] == [True, True, False]


def test_requested_tier_without_a_price_is_refused(lab: Lab) -> None:
    with budget(usd=1):
        message = complete(priced(lab), "Hi", extra={"service_tier": "scale"})
    assert message.error is not None
    assert "The price of own/m is unknown" in message.error.message
    assert lab.seen == []


def test_own_key_at_openrouter_counts(lab: Lab, july: Path) -> None:
    billed = {
        "prompt_tokens": 9_171,
        "completion_tokens": 113,
        "cost": 0,
        "is_byok": True,
        "cost_details": {"upstream_inference_cost": 0.0360795},
    }
    lab.always = chat(text("ok"), [finish("stop")], usage(0, 0) | {"usage": billed})
    with budget(usd=0.05) as b:
        messages = [
            complete("openrouter/openai/gpt-5", "Hi", api_base=lab.url, api_key="k")
            for _ in range(4)
        ]
    assert [message.error is None for message in messages] == [True, True, False, False]
    assert b.spent == 0.072159


def test_embedded_model_costs_nothing(weights: object) -> None:
    with budget(usd=0.01) as b:
        message = complete("local/smollm2", "Hi", max_tokens=3)
    assert message.error is None
    assert b.spent == 0.0
    one = b.by_model()["local/smollm2"]
    assert (one.requests, one.output, one.unpriced) == (1, 3, 0)


def test_limits_must_be_positive_numbers() -> None:
    for wrong in ({"usd": 0}, {"usd": -1.0}, {"usd": math.nan}, {"tokens": 0}, {"unknown": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Budget(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_exhausted_budget_stops_every_wire_and_keeps_the_partial_message(
    wire: Wire, lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC", "OPENAI", "GEMINI", "GOOGLE_GENERATIVE_AI"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-0123456789")
    words = [f"word{number} " for number in range(400)]
    lab.always = wire.scene(think("hm"), say(*words), tool("c1", "f", '{"x":', "1}"), stop=None)
    with budget(usd=0.0005) as b:
        model = model_with_price(wire, lab)
        key = "k" if wire is CONVERSE else None  # AWS's own login is for its own addresses
        events = list(stream(model, "Hi", api_base=wire.base(lab), api_key=key))
    message = check_events(events)
    assert message.error is not None
    assert (message.error.kind, message.stop_reason) == ("budget", "error")
    assert message.text
    assert "".join(words).startswith(message.text)
    assert not message.tool_calls
    assert b.spent == message.usage.cost.total
    most = max(0.0005 * 1.2, 0.0005 + 0.0002)  # a delta; a tier of prices is not so fine
    assert 0.0005 < b.spent < most
    assert message.usage.estimated


def test_thinking_and_tool_calls_count_like_text(lab: Lab) -> None:
    lab.play(CHAT.scene(think(*["hm "] * 1000), stop=None))
    lab.play(CHAT.scene(tool("c1", "f", '{"x": "', *["yes "] * 1000), stop=None))
    model = priced(lab)
    for _ in range(2):
        with budget(usd=0.001) as b:
            message = complete(model, "Hi")
        assert message.error is not None
        assert message.error.kind == "budget"
        assert b.spent == pytest.approx(0.001, abs=3e-5)
        assert len(message.thinking_text or message.content[0].raw_arguments) > 300


def test_complete_response_is_kept_when_its_last_delta_exceeds_the_budget(lab: Lab) -> None:
    """Cancelling would save nothing at that point, and the response reports its usage."""
    pieces = ["x" * 70] * 10
    lab.always = [b"".join(chat(text(*pieces), finish("stop"), usage(10, 200)))]
    with budget(usd=10e-6 + 199 * 10e-6) as b:
        message = complete(priced(lab), "Hi")
    assert message.error is None
    assert message.text == "".join(pieces)
    assert b.spent == message.usage.cost.total == pytest.approx(10e-6 + 200 * 10e-6)


def test_reported_usage_replaces_the_estimate(lab: Lab) -> None:
    lab.play(chat(text("one two three"), finish("stop"), usage(100, 50, cached=40)))
    model = priced(lab, ModelCost(input=1, output=10, cache_read=0.1))
    with budget(usd=1) as b:
        message = complete(model, "Hi")
    assert b.spent == message.usage.cost.total == pytest.approx(60e-6 + 4e-6 + 500e-6)
    one = b.by_model()["own/m"]
    assert (one.requests, one.input, one.output, one.usd) == (1, 100, 50, b.spent)


def test_cost_reported_by_the_provider_takes_precedence(lab: Lab, overridden: str) -> None:
    async def costly(request: Request) -> AsyncIterator[Any]:
        yield Text("a")
        yield [UsageReport(input=1, output=1, cost=0.4), Finish()]

    register_provider("acme", costly)
    try:
        with budget(usd=0.5) as b:
            first, second, third = [complete("acme/any", "Hi") for _ in range(3)]
    finally:
        unregister_provider("acme")
    assert first.error is None
    assert second.error is None  # it passed the budget, and was whole
    assert third.error is not None
    assert third.error.kind == "budget"
    assert b.spent == 0.8


def test_prompt_tokens_are_corrected_when_reported_at_the_start(
    lab: Lab, july: Path, monkeypatch: Any
) -> None:
    """Anthropic reports prompt tokens at the start; the response is then stopped earlier."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-0123456789")
    scenes = [
        ANTHROPIC.scene(say(*["word "] * 500), stop=None, counts=Counts(input=count))
        for count in (10, 2000)
    ]
    lab.play(*scenes)
    texts = []
    for _ in scenes:
        with budget(usd=0.01) as b:
            message = complete("anthropic/claude-sonnet-4-5", "Hi", api_base=lab.url[:-3])
        texts.append(message.text)
        assert 0.01 < b.spent < 0.0101
    assert 0 < len(texts[1]) < len(texts[0])


def test_metering_time_is_linear_in_deltas(overridden: str) -> None:
    """Twice the deltas take twice the work: nothing is counted again."""
    from pipy_ai.accounting.meter import Meter

    def work(count: int) -> float:
        meter = Meter([b], None, lambda why: None)
        meter.start_attempt(request)
        deltas = [[Text("wörd ")] for _ in range(count)]
        begun = time.process_time()
        for batch in deltas:
            kept, why = meter.count_deltas(batch)
            assert kept is batch
            assert why is None
        spent = time.process_time() - begun
        meter.abandon()
        return spent

    from pipy_ai._requests import build_request

    request = build_request(overridden, "Hi", None, {})
    b = budget(usd=1e6)
    work(1000)
    few, many = min(work(10_000) for _ in range(3)), min(work(40_000) for _ in range(3))
    assert many < few * 4 * 2
