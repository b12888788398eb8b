"""Test the batch scheduler: concurrency, retries, outages and stopping."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise

import pytest

from pipy_ai import (
    AbortController,
    AssistantMessage,
    acomplete_many,
    astream_many,
    budget,
    complete_many,
    faux,
    register_provider,
    stream_many,
)
from pipy_ai.batch.scheduler import AdaptiveConcurrency
from pipy_ai.errors import ErrorKind, ProviderError, error_info
from pipy_ai.provider import Request
from pipy_ai.provider.registered import unregister_provider

from ..support.batch_host import Host
from ..support.scripted_server import FIN, STALL, Lab, Scene, Seen, Status, chat, finish, sse, text


@pytest.fixture
def host() -> Iterator[Host]:
    made = Host()
    register_provider("host", made)
    yield made
    unregister_provider("host")


def texts(messages: list[AssistantMessage]) -> list[str]:
    return [message.text for message in messages]


def test_concurrency_starts_small_and_grows_to_its_limit(host: Host) -> None:
    host.wait = 0.3  # long enough for all that may begin to begin
    complete_many("host/m", ["a"] * 8, concurrency=32)
    assert host.most == 8
    host.wait = 0.05
    complete_many("host/m", ["a"] * 300, concurrency=32)
    assert host.most == 32


def test_round_of_refusals_halves_concurrency_but_a_single_one_does_not() -> None:
    pace = AdaptiveConcurrency(64)
    for _ in range(200):
        pace.on_answer()
    assert pace.limit == 64
    pace.on_refusal(0.0)
    assert pace.limit > 63
    for _ in range(63):
        pace.on_refusal(0.0)
    assert pace.limit == 32
    for _ in range(500):
        pace.on_refusal(0.0)
    assert pace.limit == 1
    rounds = 0
    while pace.limit < 64:
        rounds += 1
        for _ in range(int(pace.limit)):
            pace.on_answer()
    assert rounds < 12  # it comes back fast when nothing is refused


def test_concurrency_converges_to_the_providers_capacity() -> None:
    pace = AdaptiveConcurrency(256)
    seen = []
    for _ in range(300):  # rounds against a provider that bears 40
        sent = int(pace.limit)
        seen.append(sent)
        for number in range(sent):
            pace.on_answer() if number < 40 else pace.on_refusal(0.0)
    settled = seen[50:]
    assert sum(min(one, 40) for one in settled) > 0.9 * 40 * len(settled)
    assert sum(max(one - 40, 0) for one in settled) < 0.35 * 40 * len(settled)


def test_rate_limit_pauses_all_rows() -> None:
    with Lab() as lab:
        refused = Status(429, {"error": {"message": "slow"}}, {"retry-after-ms": "400"})
        count = 0
        lock = threading.Lock()
        moments: list[float] = []

        def scene(seen: Seen) -> Scene | Status:
            nonlocal count
            with lock:
                count += 1
                moments.append(time.perf_counter())
                return refused if count == 10 else chat(text("ok"), finish("stop"))

        lab.always = scene
        found = complete_many("hosted_vllm/m", ["a"] * 60, api_base=lab.url, concurrency=4)
    assert texts(found) == ["ok"] * 60
    assert count == 61
    gap, after = max((b - a, n) for n, (a, b) in enumerate(pairwise(moments)))
    assert gap >= 0.35  # of 0.4, which the provider counts from another moment
    assert 9 <= after <= 16  # what was sent before the refusal was read went on, nothing else


def test_busy_provider_loses_no_row(host: Host) -> None:
    """A row may be refused more often than `max_retries`, as long as other rows are answered."""
    busy = error_info(ErrorKind.RATE_LIMIT, "slow down", retry_after=0.001)
    host.faults = {"q7": [busy.model_copy() for _ in range(9)]}
    host.wait = 0.002
    found = complete_many("host/m", [f"q{n}" for n in range(200)], concurrency=4, max_retries=1)
    assert texts(found) == [f"Q{n}" for n in range(200)]
    assert host.asked.count("q7") == 10


@pytest.mark.parametrize("asked", [None, 0.001])
def test_provider_that_always_refuses_stops_the_batch(
    host: Host, monkeypatch: pytest.MonkeyPatch, asked: float | None
) -> None:
    """All rows wait together, and then the batch stops, instead of each row retrying on its own."""
    monkeypatch.setattr("pipy_ai.batch.scheduler.OUTAGE_TIMEOUT_S", 0.8)
    busy = error_info(ErrorKind.OVERLOADED, "full", retry_after=asked)
    host.faults = {f"q{n}": [busy.model_copy() for _ in range(99)] for n in range(400)}
    found = complete_many("host/m", [f"q{n}" for n in range(400)], max_retries=1)
    kinds = [message.error and message.error.kind for message in found]
    assert (kinds[0], kinds[-1]) == ("overloaded", "aborted")
    assert "full No request succeeded for" in found[-1].error_message
    assert len(host.asked) < 20


def test_temporary_refusal_of_all_rows_loses_no_row(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider sends no Retry-After, and the refusal outlasts the retries of a row."""

    def refuse(index: int, message: AssistantMessage) -> None:
        if index == 20:
            host.refuses = error_info(ErrorKind.RATE_LIMIT, "slow down")
            timer.start()

    monkeypatch.setattr("pipy_ai.provider.retry.BACKOFF_BASE_S", 0.05)
    timer = threading.Timer(1.0, lambda: setattr(host, "refuses", None))
    host.wait = 0.001
    prompts = [f"q{n}" for n in range(300)]
    found = complete_many("host/m", prompts, max_retries=1, concurrency=8, on_result=refuse)
    timer.join()
    assert texts(found) == [f"Q{n}" for n in range(300)]
    assert len(host.asked) < 345  # they waited together


def test_no_request_is_repeated_without_retries(host: Host) -> None:
    host.faults = {"a": [error_info(ErrorKind.RATE_LIMIT, "slow", retry_after=0.001)]}
    found = complete_many("host/m", ["b", "a", "b"], max_retries=0, concurrency=1)
    assert [m.error and m.error.kind for m in found] == [None, "rate_limit", None]
    assert len(host.asked) == 3


def test_truncated_response_is_retried_and_billed(lab: Lab) -> None:
    lab.play(sse(*text("half an answer "), FIN), chat(text("whole"), finish("stop")))
    [found] = complete_many("hosted_vllm/m", ["a"], api_base=lab.url)
    assert found.text == "whole"
    assert len(lab.seen) == 2
    lab.play(chat(text("whole"), finish("stop")))
    [once] = complete_many("hosted_vllm/m", ["a"], api_base=lab.url)
    assert found.usage.output > once.usage.output


@pytest.mark.parametrize("models", [1, 2])
def test_prompt_tokens_of_silent_attempts_are_billed(lab: Lab, models: int) -> None:
    """The total of the responses equals what a budget counts."""
    silent = sse(b": hello\n\n", STALL)
    lab.play(*[silent] * models, chat(text("whole"), finish("stop")))
    names = [f"hosted_vllm/{name}" for name in "ab"[:models]]
    with budget() as spent:
        [found] = complete_many(names, ["some words"], api_base=lab.url, idle_timeout=0.1)
    assert found.text == "whole"
    assert found.usage.input > 0
    assert found.usage.total_tokens == spent.tokens_spent


@pytest.mark.parametrize("kind", ["auth", "missing_key", "quota", "budget", "not_found"])
def test_fatal_error_stops_the_batch(host: Host, kind: str) -> None:
    host.wait = 0.001
    host.faults = {"q5": [error_info(ErrorKind(kind), "said why")]}
    found = complete_many("host/m", (f"q{n}" for n in range(500)), concurrency=2)
    assert len(found) == 500
    assert found[5].error is not None
    assert found[5].error.kind == kind
    assert len(host.asked) < 12
    assert found[-1].error is not None
    assert found[-1].error.kind == "aborted"
    assert "said why" in found[-1].error.message
    assert {m.text for m in found[:5]} == {f"Q{n}" for n in range(5)}


async def test_async_batch_stops_and_counts_all_rows(host: Host) -> None:
    async def source() -> AsyncIterator[str]:
        for number in range(100):
            await asyncio.sleep(0)
            yield f"q{number}"

    host.faults = {"q5": [error_info(ErrorKind.AUTH, "wrong key")]}
    found = await acomplete_many("host/m", source(), concurrency=2)
    assert len(found) == 100
    assert found[99].error is not None
    assert "wrong key" in found[99].error.message
    landed = [index async for index, _ in astream_many("host/m", iter(["q5", "a"] * 9))]
    assert len(landed) == 18  # the fault is used up
    host.faults = {"q5": [error_info(ErrorKind.AUTH, "wrong key")]}
    landed = [i async for i, _ in astream_many("host/m", iter(["q5", "a"] * 9), concurrency=1)]
    assert landed == [0]


def test_stop_on_accepts_other_kinds_or_none(host: Host) -> None:
    host.faults = {"b": [error_info(ErrorKind.CONTENT_FILTER, "no") for _ in range(2)]}
    found = complete_many("host/m", ["a", "b", "c"], concurrency=1, stop_on=["content_filter"])
    assert [m.error and m.error.kind for m in found] == [None, "content_filter", "aborted"]
    host.faults["b"] = [error_info(ErrorKind.AUTH, "no")]
    found = complete_many("host/m", ["a", "b", "c"], concurrency=1, stop_on=())
    assert [m.error and m.error.kind for m in found] == [None, "auth", None]


def test_waiting_rows_keep_their_own_error_when_the_batch_stops(host: Host) -> None:
    """The batch stops while the rows wait for a retry."""
    host.faults = {
        "a": [error_info(ErrorKind.SERVER, "broken", retry_after=30)],
        "b": [error_info(ErrorKind.RATE_LIMIT, "slow down", retry_after=30)],
        "c": [error_info(ErrorKind.AUTH, "wrong key")],
    }
    host.wait = 0.01
    began = time.monotonic()
    found = complete_many("host/m", ["a", "b", "c", "d"], concurrency=12)
    assert [m.error and m.error.kind for m in found] == ["server", "rate_limit", "auth", "aborted"]
    assert time.monotonic() - began < 10


def test_retry_after_beyond_the_limit_stops_the_batch(host: Host) -> None:
    host.faults = {"b": [error_info(ErrorKind.RATE_LIMIT, "Daily limit.", retry_after=3600)]}
    found = complete_many("host/m", ["a", "b", "c", "d"], concurrency=1)
    assert [m.error and m.error.kind for m in found] == [None, "rate_limit", "aborted", "aborted"]
    assert "3600 s" in found[1].error_message
    assert "Daily limit" in found[3].error_message


def test_signal_stops_the_batch(host: Host) -> None:
    host.wait = 60.0
    controller = AbortController()
    timer = threading.Timer(0.2, controller.abort)
    timer.start()
    began = time.monotonic()
    found = complete_many("host/m", ["a"] * 100, concurrency=8, signal=controller.signal)
    timer.join()
    assert time.monotonic() - began < 10
    assert {m.error and m.error.kind for m in found} == {"aborted"}
    assert len(host.asked) <= 8
    assert host.under_way == 0


def test_leaving_the_loop_cancels_requests_in_flight(host: Host) -> None:
    host.wait = 0.01
    for _ in stream_many("host/m", ["a"] * 100, concurrency=8):
        host.wait = 60.0
        break
    host.wait_for_requests(0)


def test_exception_in_on_result_is_raised_and_stops_the_batch(host: Host) -> None:
    host.wait = 0.005

    def fail(index: int, message: AssistantMessage) -> None:
        raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        complete_many("host/m", ["a"] * 1000, on_result=fail)
    host.wait_for_requests(0)
    assert len(host.asked) < 100


async def test_cancelling_the_task_stops_the_batch(host: Host) -> None:
    host.wait = 60.0
    task = asyncio.create_task(acomplete_many("host/m", ["a"] * 50))
    await asyncio.to_thread(host.wait_for_requests, 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert host.under_way == 0


def test_ctrl_c_stops_the_batch_at_once(lab: Lab) -> None:
    code = f"""
from pipy_ai import complete_many
try:
    complete_many("hosted_vllm/m", ["a"] * 100, api_base={lab.url!r})
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
    lab.always = [*sse(*text("half")), STALL]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE,
        # A test runner in the background of a shell hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        lab.wait_for_requests(4)
        process.send_signal(signal.SIGINT)
        try:
            out, _ = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, b"stopped\n")
    assert all(seen.left.wait(5) for seen in lab.seen)
    assert len(lab.seen) == 4


def test_exhausted_budget_stops_the_batch() -> None:
    with faux.script(*["four words in it"] * 100), budget(tokens=40) as spent:
        found = complete_many("faux/any", (f"q{n}" for n in range(100)), concurrency=2)
    kinds = [message.error and message.error.kind for message in found]
    assert kinds[0] is None
    assert "budget" in kinds
    assert kinds[-1] == "aborted"
    assert "budget of 40 tokens" in found[-1].error_message
    assert spent.by_model()["faux/any"].requests < 20


def test_fallback_model_is_used_for_failed_rows(host: Host) -> None:
    host.faults = {"b": [error_info(ErrorKind.OVERLOADED, "full")]}
    found = complete_many(["host/m", "faux/echo"], ["a", "b"])
    assert texts(found) == ["A", "b"]


def unreachable() -> ProviderError:
    return ProviderError(error_info(ErrorKind.CONNECTION, "Connection refused."))


@pytest.fixture
def away() -> Iterator[Host]:
    """A host that is unreachable for all rows while its `faults` say so."""

    class Away(Host):
        async def __call__(self, request: Request) -> AsyncIterator[str]:
            async for word in super().__call__(request):
                if self.faults:
                    raise unreachable()
                yield word

    made = Away()
    register_provider("away", made)
    yield made
    unregister_provider("away")


def test_outage_of_the_server_loses_no_row(away: Host) -> None:
    def leave(index: int, message: AssistantMessage) -> None:
        if index == 20:
            away.faults = {"all": [1]}
            timer.start()

    timer = threading.Timer(1.2, lambda: away.faults.clear())
    away.wait = 0.001
    found = complete_many(
        "away/m", (f"q{n}" for n in range(300)), max_retries=1, concurrency=8, on_result=leave
    )
    timer.join()
    assert texts(found) == [f"Q{n}" for n in range(300)]
    assert len(away.asked) < 345  # they waited together


def test_server_that_never_answers_is_given_up_soon(away: Host) -> None:
    away.faults = {"all": [1]}
    found = complete_many("away/m", [f"q{n}" for n in range(1000)], max_retries=2)
    kinds = [message.error and message.error.kind for message in found]
    assert kinds[0] == "connection"
    assert kinds[-1] == "aborted"
    assert "Connection refused. No request succeeded for" in found[-1].error_message
    assert len(away.asked) < 40


def test_single_row_uses_the_ordinary_retries(away: Host) -> None:
    away.faults = {"all": [1]}
    [found] = complete_many("away/m", ["a"], max_retries=1)
    assert found.error_message == "Connection refused."
    assert len(away.asked) == 2


def test_row_that_breaks_the_connection_fails_alone(host: Host) -> None:
    host.wait = 0.002
    host.faults = {"q3": [unreachable().error for _ in range(99)]}
    found = complete_many("host/m", [f"q{n}" for n in range(400)], concurrency=4)
    assert [n for n, message in enumerate(found) if message.error] == [3]
    assert host.asked.count("q3") < 8
