"""Budgets and the ledger: what is refused, what is stopped, and whether the sums are right."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import math
import multiprocessing
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AbortController,
    AssistantMessage,
    Budget,
    LedgerEntry,
    Model,
    ModelCost,
    acomplete,
    astream,
    budget,
    complete,
    complete_many,
    ctx,
    faux,
    read_ledger,
    register_provider,
    reload_registry,
    run_tools,
    stream,
)
from pipy_ai.accounting.ledger import append_entry
from pipy_ai.cli.main import main
from pipy_ai.provider import Finish, Request, Text, UsageReport
from pipy_ai.provider.registered import unregister_provider
from pipy_ai.tokens import estimate_tokens

from .grammar import check_events
from .wire.lab import STALL, Lab, Pause, Seen, Status, chat, finish, sse, text, usage
from .wire.wires import ANTHROPIC, CHAT, WIRES, Counts, Wire, say, think, tool

PRICE = ModelCost(input=1.0, output=10.0)  # $/1M tokens


def priced(lab: Lab, cost: ModelCost = PRICE, provider: str = "own", id: str = "m") -> Model:
    return Model(id=id, provider=provider, api=lab.url, env=[], cost=cost)


@pytest.fixture
def overridden(_alone: None) -> Iterator[str]:
    """A catalogue in which a server of one's own has a price."""
    folder = Path(os.environ["PIPY_DATA_DIR"])
    folder.mkdir(exist_ok=True)
    price, free = {"input": 1.0, "output": 10.0}, {"input": 0, "output": 0}
    prices = {
        "hosted_vllm/any": {"cost": price},
        "acme/any": {"cost": price},
        "acme/free": {"cost": free},
    }
    (folder / "overrides.json").write_text(json.dumps(prices))
    reload_registry()
    yield "hosted_vllm/any"
    (folder / "overrides.json").unlink()
    reload_registry()


def fsum(messages: Any) -> float:
    return math.fsum(message.usage.cost.total or 0.0 for message in messages)


# --- Show 4: many streams at once -----------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 40])
async def test_concurrent_streams_pass_it_by_one_delta_each_at_most(
    overridden: str, lab: Lab, tmp_path: Path, burst: int
) -> None:
    """However many deltas come with one read; and the ledger's sum is that of the messages."""
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
        assert message.error.message.startswith("The budget of $0.01 is passed")
    one_delta = (estimate_tokens(piece) + 1) * 10 / 1e6
    assert 0.01 < fsum(messages) <= 0.01 + count * one_delta
    assert b.spent == pytest.approx(fsum(messages), abs=1e-12)
    assert b.left == 0.0
    for seen in lab.seen:
        assert await asyncio.to_thread(seen.left.wait, 5)  # closed, not read to the end
    assert after.error is not None
    assert after.error.message.startswith("The budget of $0.01 is spent: $0.01")
    assert (len(lab.seen), after.usage.total_tokens) == (before, 0)  # nothing was sent
    entries = list(read_ledger(tmp_path / "spend.jsonl"))
    assert len(entries) == count + 1
    assert math.fsum(entry.cost or 0.0 for entry in entries) == fsum(messages)


def test_many_threads_share_one(lab: Lab) -> None:
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


def test_a_stream_that_waits_is_stopped_when_another_passes_it(lab: Lab) -> None:
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
        assert "passed" in one.error.message
    assert message.text == "Hm"
    assert lab.seen[0].left.wait(5)
    assert b.spent == pytest.approx(fsum([message, loud]), abs=1e-12)


# --- Before ---------------------------------------------------------------------------------


def test_a_prompt_that_alone_would_pass_it_is_not_sent(lab: Lab) -> None:
    model = priced(lab)
    with budget(usd=0.001) as b:
        message = complete(model, "word " * 1000)
        assert complete(model, "word").error is None
    assert message.error is not None
    assert message.error.kind == "budget"
    assert message.error.message == (
        "The prompt alone, about 1,429 tokens or $0.00143, would pass what is left of the budget"
        " of $0.001: $0.001. Nothing was sent."
    )
    assert len(lab.seen) == 1
    assert b.by_model()["own/m"].requests == 1


def test_a_model_without_a_price(lab: Lab, overridden: str) -> None:
    unknown = Model(id="m", provider="own", api=lab.url, env=[])
    with budget(usd=1) as b:
        message = complete(unknown, "Hi")
    assert message.error is not None
    assert message.error.kind == "budget"
    assert "The price of own/m is not known" in message.error.message
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


def test_the_embedded_model_costs_nothing(weights: object) -> None:
    with budget(usd=0.01) as b:
        message = complete("local/smollm2", "Hi", max_tokens=3)
    assert message.error is None
    assert b.spent == 0.0
    one = b.by_model()["local/smollm2"]
    assert (one.requests, one.output, one.unpriced) == (1, 3, 0)


def test_limits_are_numbers_above_nothing() -> None:
    for wrong in ({"usd": 0}, {"usd": -1.0}, {"usd": math.nan}, {"tokens": 0}, {"unknown": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Budget(**wrong)  # type: ignore[arg-type]


# --- Under way ------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_every_wire_is_stopped_and_keeps_what_came(
    wire: Wire, lab: Lab, july: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC", "OPENAI", "GEMINI", "GOOGLE_GENERATIVE_AI"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-0123456789")
    words = [f"word{number} " for number in range(400)]
    lab.always = wire.scene(think("hm"), say(*words), tool("c1", "f", '{"x":', "1}"), stop=None)
    with budget(usd=0.0005) as b:
        model = priced(lab) if wire is CHAT else wire.model
        events = list(stream(model, "Hi", api_base=wire.base(lab)))
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


def test_thinking_and_calls_count_as_text_does(lab: Lab) -> None:
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


def test_an_answer_that_is_whole_is_not_taken_away(lab: Lab) -> None:
    """Its last delta passes the budget; there is nothing more to save, and its usage is told."""
    pieces = ["x" * 70] * 10
    lab.always = [b"".join(chat(text(*pieces), finish("stop"), usage(10, 200)))]
    with budget(usd=10e-6 + 199 * 10e-6) as b:
        message = complete(priced(lab), "Hi")
    assert message.error is None
    assert message.text == "".join(pieces)
    assert b.spent == message.usage.cost.total == pytest.approx(10e-6 + 200 * 10e-6)


def test_real_usage_replaces_the_estimate(lab: Lab) -> None:
    lab.play(chat(text("one two three"), finish("stop"), usage(100, 50, cached=40)))
    model = priced(lab, ModelCost(input=1, output=10, cache_read=0.1))
    with budget(usd=1) as b:
        message = complete(model, "Hi")
    assert b.spent == message.usage.cost.total == pytest.approx(60e-6 + 4e-6 + 500e-6)
    one = b.by_model()["own/m"]
    assert (one.requests, one.input, one.output, one.usd) == (1, 100, 50, b.spent)


def test_what_the_provider_says_it_cost_wins(lab: Lab, overridden: str) -> None:
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


def test_the_prompt_is_corrected_on_the_way(lab: Lab, july: Path, monkeypatch: Any) -> None:
    """Anthropic says at the start how long it was; the answer is then stopped earlier."""
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


def test_counting_is_linear(overridden: str) -> None:
    """Twice the deltas, twice the work: nothing is counted again."""
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


# --- Tries, turns, tools --------------------------------------------------------------------


def test_tries_that_were_billed_count(lab: Lab, tmp_path: Path) -> None:
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


def test_a_budget_is_no_reason_to_ask_another_model(lab: Lab) -> None:
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
    assert "The budget of $0.001 is spent: $0.002 of it" in refused.error.message
    assert (outer.spent, inner.spent) == (0.006, 0.002)
    small = budget(usd=0.000001)
    with budget(usd=1) as outer, small:
        complete(model, "a longer prompt")
    assert outer.spent == 0.0  # what the inner one refused is given back
    assert outer.by_model() == {}


async def test_tasks_threads_and_tools_inherit_it(lab: Lab) -> None:
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


def test_tool_loops(lab: Lab) -> None:
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


def test_batches_inherit_it(lab: Lab) -> None:
    lab.always = chat(text("yes"), finish("stop"), usage(1000, 100))
    with budget(usd=0.01) as b:  # five rows at $0.002
        messages = complete_many(priced(lab), ["x"] * 40, concurrency=4)
    answered = [message for message in messages if message.error is None]
    assert 5 <= len(answered) <= len(lab.seen) <= 8
    assert {message.error.kind for message in messages if message.error} <= {"budget", "aborted"}
    assert b.spent == pytest.approx(fsum(messages), abs=1e-12)


def test_typed_answers_count_each_turn(lab: Lab) -> None:
    lab.play(CHAT.scene(say("no"), counts=Counts(1000, 100)))
    lab.play(CHAT.scene(say('{"value": 7}'), counts=Counts(1000, 100)))
    with budget(usd=1) as b:
        message = complete(priced(lab), "A number?", output=int)
    assert message.parsed == 7
    assert b.spent == message.usage.cost.total == 0.004


def test_stopped_and_failed_requests_settle(lab: Lab) -> None:
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


def test_what_never_began_costs_nothing(lab: Lab, tmp_path: Path) -> None:
    controller = AbortController()
    controller.abort("no longer needed")
    with budget(usd=1, ledger=tmp_path / "l") as b:
        message = complete(priced(lab), "x", signal=controller.signal)
    assert message.stop_reason == "aborted"
    assert (lab.seen, b.spent, b.by_model()) == ([], 0.0, {})
    assert [entry.error for entry in read_ledger(tmp_path / "l")] == ["aborted"]


@pytest.mark.parametrize("cost", [math.nan, math.inf, -1.0, "much"])
def test_a_cost_that_is_no_money_is_not_believed(overridden: str, cost: Any) -> None:
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


def test_tokens_are_a_limit_too(overridden: str) -> None:
    unknown = "faux/any"  # no price is needed
    with faux.script("a" * 70, "b" * 700), budget(tokens=100) as b:
        assert complete(unknown, "Hi").error is None
        assert b.tokens_spent == 21
        message = complete(unknown, "Hi")
        third = complete(unknown, "Hi")
    assert message.error is not None
    assert "The budget of 100 tokens is passed" in message.error.message
    assert 100 < b.tokens_spent < 104
    assert third.error is not None
    assert third.error.message.startswith("The budget of 100 tokens is spent: 10")
    assert (b.left, b.usd) == (None, None)


def test_the_table(lab: Lab) -> None:
    lab.always = chat(text("yes"), finish("stop"), usage(1_000_000, 100_000))
    with budget(usd=5, unknown="ignore") as b:
        complete(priced(lab), "x")
        complete(Model(id="unpriced", provider="own", api=lab.url, env=[]), "x")
    assert b.table().splitlines() == [
        "model         requests      input   output             cost",
        "own/m                1  1,000,000  100,000            $2.00",
        "own/unpriced         1  1,000,000  100,000          unknown",
        "total                2  2,000,000  200,000  $2.00 + unknown",
        "$3.00 of $5.00 left",
    ]
    assert budget(tokens=5).table().splitlines()[-1].split() == ["total", "0", "0", "0", "$0.00"]


def test_without_a_budget_nothing_is_metered() -> None:
    from pipy_ai._requests import create_run

    run, _ = create_run("faux/echo", "Hi", None, {}, None, None)
    assert run._meter is None
    run.abort()


# --- The ledger -----------------------------------------------------------------------------


def test_the_ledger_holds_no_text(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_LEDGER", "1")
    lab.play(chat(text("the answer is secret"), finish("stop"), usage(100, 10, cached=40)))
    message = complete(priced(lab), ctx("my secret", system="a secret"))
    failed = complete("faux/any", "secret")
    path = Path(os.environ["PIPY_DATA_DIR"]) / "ledger.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "secret" not in path.read_text()
    first, second = read_ledger()
    assert first == LedgerEntry(
        time=first.time, provider="own", model="m", input=60, output=10, cache_read=40,
        cost=message.usage.cost.total, source="catalog", stop_reason="stop",
        duration_ms=first.duration_ms,
    )  # fmt: skip
    assert first.time.endswith("Z")
    assert (first.duration_ms or 0) > 0
    assert (second.error, second.cost, second.stop_reason) == (failed.error.kind, None, "error")


@pytest.mark.parametrize("said", ["", "0"])
def test_no_ledger_unless_wanted(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_LEDGER", said)
    complete("faux/echo", "Hi")
    assert not (Path(os.environ["PIPY_DATA_DIR"]) / "ledger.jsonl").exists()


def test_one_line_a_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "l.jsonl"
    monkeypatch.setenv("PIPY_LEDGER", str(path))
    with budget(ledger=path), budget(ledger=tmp_path / "other"), budget(ledger=path):
        complete("faux/echo", "Hi")
    assert len(list(read_ledger(path))) == len(list(read_ledger(tmp_path / "other"))) == 1


def test_one_line_a_ledger_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIPY_LEDGER", "spend.jsonl")
    Path("link").symlink_to(tmp_path)
    with budget(ledger="~/spend.jsonl"), budget(ledger="link/spend.jsonl"):
        complete("faux/echo", "Hi")
    assert len(list(read_ledger("~/spend.jsonl"))) == 1
    assert not Path("~").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_a_warning() -> None:
    with budget(ledger="/dev/full"):
        message = complete("faux/echo", "Hi")
    assert (message.text, message.error) == ("Hi", None)
    assert [one.code for one in message.warnings] == ["ledger"]
    assert "No space left" in message.warnings[0].message


def test_corrupted_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "l"
    entry = LedgerEntry(time="2026-11-22T10:00:00.000Z", provider="a", model="b", cost=0.1)
    append_entry(str(path), entry)
    good = path.read_bytes()
    wrong = [
        b"\xff\n", b"[]\n",
        b'{"time": 1, "provider": "a", "model": "b"}\n', b"\n", good[:20] + b"\n",
        b'{"provider": "a"}\n', b"[" * 200_000 + b"\n",
        *(good.replace(b":0.1", b":" + said) for said in (b'"much"', b"NaN", b"-1", b"9" * 400)),
    ]  # fmt: skip
    newer = good.replace(b"}", b',"mood":"good"}')
    path.write_bytes(b"".join(wrong) + newer + good[:30])  # the last was cut by a full disk
    append_entry(str(path), entry)
    ledger = read_ledger(path)
    assert list(ledger) == [entry, entry]
    assert ledger.corrupted == 11
    assert list(ledger) == [entry, entry]
    assert ledger.corrupted == 11
    with pytest.raises(FileNotFoundError):
        list(read_ledger(tmp_path / "none"))


def _write_many(path: str, name: str) -> None:
    for number in range(300):
        entry = LedgerEntry(
            time="2026-11-22T10:00:00.000Z", provider=name, model="m" * 300, cost=number * 0.1
        )
        append_entry(path, entry)


def test_many_processes_write_whole_lines(tmp_path: Path) -> None:
    path = str(tmp_path / "l")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_write_many, args=(path, f"p{n}")) for n in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    ledger = read_ledger(path)
    costs = [entry.cost for entry in ledger]
    assert (len(costs), ledger.corrupted) == (600, 0)
    assert math.fsum(costs) == math.fsum([number * 0.1 for number in range(300)] * 2)


# --- pipy spend -----------------------------------------------------------------------------


def test_spend_adds_the_ledger_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l"
    monkeypatch.setenv("PIPY_LEDGER", str(path))
    for day, provider, model, cost in (
        ("01", "a", "x", 0.1), ("02", "a", "y", 0.2), ("02", "b", "z", None), ("03", "a", "x", 0.7),
    ):  # fmt: skip
        append_entry(
            str(path),
            LedgerEntry(
                time=f"2026-11-{day}T10:00:00.000Z", provider=provider, model=model,
                input=1000, cache_read=500, output=20, cost=cost,
            ),
        )  # fmt: skip
    assert main(["spend"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model  requests  input  output             cost",
        "a/x           2  3,000      40            $0.80",
        "a/y           1  1,500      20            $0.20",
        "b/z           1  1,500      20          unknown",
        "total         4  6,000      80  $1.00 + unknown",
    ]
    assert main(["spend", "--by", "day", "--since", "2026-11-02", "--json"]) == 0
    second, third = json.loads(capsys.readouterr().out)
    assert second == {
        "day": "2026-11-02", "requests": 2, "input": 3000, "output": 40, "usd": 0.2, "unpriced": 1,
    }  # fmt: skip
    assert (third["day"], third["usd"]) == ("2026-11-03", 0.7)
    with path.open("ab") as file:
        file.write(b"what?\n")
    assert main(["spend", "--by", "provider"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split() == ["a", "3", "4,500", "60", "$1.00"]
    assert "lines that could not be read: 1" in shown.err
    refused = LedgerEntry(time="2026-11-04", provider="c", model="x", error="missing_key")
    append_entry(str(path), refused)
    assert main(["spend", "--since", "2026-11-04"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["c/x", "1", "0", "0", "$0.00"]
    assert main(["spend", "--ledger", str(tmp_path / "none")]) == 1
    assert "there is no ledger at" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["spend", "--since", "yesterday"])
    assert end.value.code == 2
