"""Test `submit_many` and `collect` with OpenAI's batch API in the laboratory."""

from __future__ import annotations

import asyncio
import json
import pickle
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipy_ai import (
    AssistantMessage,
    BatchHandle,
    PipyError,
    acollect,
    asubmit_many,
    budget,
    collect,
    ctx,
    read_ledger,
    register_provider,
    submit_many,
    tool,
    user,
)
from pipy_ai.provider.registered import unregister_provider

from ..support.batch_api_lab import BUSY, ERROR, ERROR_CREATED, LOST, REJECTED, BatchLab
from ..support.batch_host import Host

MODEL = "openai/gpt-5-mini"
KEY = "sk-" + "k" * 40
PROMPTS = ["one", "two words", "three more words"]
POLL = 0.01


class Person(BaseModel):
    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """Look up the weather."""
    return city


def submit(lab: BatchLab, prompts: Any = PROMPTS, **options: Any) -> BatchHandle:
    return submit_many(MODEL, prompts, api_base=lab.openai, api_key=KEY, **options)


def texts(messages: list[AssistantMessage]) -> list[str]:
    return [message.text if message.error is None else message.error.kind for message in messages]


def test_answers_come_in_the_order_of_the_prompts(batch_lab: BatchLab) -> None:
    batch_lab.shuffle = True
    prompts = [f"row {number}" for number in range(100)]
    handle = submit(batch_lab, iter(prompts))
    assert [job.rows for job in handle.jobs] == [100]
    assert texts(collect(handle, poll=POLL)) == [prompt.upper() for prompt in prompts]


async def test_async_versions_take_an_async_iterable(batch_lab: BatchLab) -> None:
    async def prompts() -> AsyncIterator[str]:
        for prompt in PROMPTS:
            yield prompt

    handle = await asubmit_many(MODEL, prompts(), api_base=batch_lab.openai, api_key=KEY)
    assert texts(await acollect(handle, poll=POLL)) == [prompt.upper() for prompt in PROMPTS]


def test_usage_and_cost_are_those_of_the_batch_tier(batch_lab: BatchLab) -> None:
    [message] = collect(submit(batch_lab, ["two words"]), poll=POLL)
    usage = message.usage
    assert (usage.input, usage.output, usage.service_tier) == (10, 2, "batch")
    assert usage.cost.total == pytest.approx((10 * 0.25 + 2 * 2) / 2 / 1e6)
    assert (message.provider, message.model, message.api) == (
        "openai", "gpt-5-mini", "openai-completions",
    )  # fmt: skip


def test_responses_api(batch_lab: BatchLab) -> None:
    handle = submit_many("openai/gpt-5-pro", PROMPTS, api_base=batch_lab.openai, api_key=KEY)
    assert texts(collect(handle, poll=POLL)) == [prompt.upper() for prompt in PROMPTS]
    [job] = batch_lab.jobs.values()
    assert job.document["endpoint"] == "/v1/responses"
    assert not {"stream", "background"} & job.requests[0][1].keys()


def test_structured_output(batch_lab: BatchLab) -> None:
    handle = submit(batch_lab, ["Ada"], output=Person)
    [message] = collect(handle, output=Person, poll=POLL)
    assert message.parsed == Person(name="ADA", age=7)


def test_tools_with_names_that_the_api_does_not_accept(batch_lab: BatchLab, tmp_path: Path) -> None:
    weather = get_weather.model_copy(update={"name": "the weather"})
    prompt = ctx(user("Weather?"), tools=[weather])
    path = tmp_path / "job.json"
    submit(batch_lab, [prompt], path=path)
    [message] = collect(BatchHandle.load(path), poll=POLL, api_key=KEY)
    [call] = message.tool_calls
    assert (call.name, call.arguments) == ("the weather", {"city": "Lima"})


def test_handle_is_plain_data_without_keys(batch_lab: BatchLab, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    handle = submit(batch_lab, path=path)
    assert KEY not in path.read_text()
    assert KEY.encode() not in pickle.dumps(handle)
    assert BatchHandle.from_dict(json.loads(json.dumps(handle.to_dict()))) == handle
    assert list(tmp_path.glob(".job*")) == []  # the requests are gone
    loaded = BatchHandle.load(path)
    assert texts(collect(loaded, api_key=KEY, poll=POLL)) == [p.upper() for p in PROMPTS]
    assert [job.state for job in BatchHandle.load(path).jobs] == ["collected"]


def test_file_of_another_batch_is_refused(batch_lab: BatchLab, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    submit(batch_lab, path=path)
    with pytest.raises(ValueError, match="exists"):
        submit(batch_lab, path=path)
    assert len(batch_lab.jobs) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 2}', '{"version": 1, "jobs": 3}'])
def test_file_that_is_no_handle(tmp_path: Path, text: str) -> None:
    path = tmp_path / "job.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"job\.json"):
        BatchHandle.load(path)


def test_invalid_prompts_are_failures_of_their_rows(batch_lab: BatchLab) -> None:
    handle = submit(batch_lab, ["one", "", "three"])
    assert list(handle.failures) == [1]
    assert texts(collect(handle, poll=POLL)) == ["ONE", "bad_request", "THREE"]
    nothing = submit(batch_lab, [""])
    assert nothing.jobs == []
    assert texts(collect(nothing)) == ["bad_request"]


def test_jobs_are_split_at_the_limits(batch_lab: BatchLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.batch_api.openai.OpenAIBatches.max_rows", 40)
    prompts = [f"row {number}" for number in range(100)]
    handle = submit(batch_lab, prompts)
    assert [job.rows for job in handle.jobs] == [40, 40, 20]
    assert texts(collect(handle, poll=POLL)) == [prompt.upper() for prompt in prompts]
    monkeypatch.setattr("pipy_ai.batch_api.openai.OpenAIBatches.max_bytes", 1000)
    handle = submit(batch_lab, [*prompts[:10], "long " * 300])
    assert len(handle.jobs) > 1
    uploads = [batch_lab.files[job.input_file or ""] for job in handle.jobs]
    assert all(500 < len(content) <= 1000 for content in uploads[:-1])
    assert texts(collect(handle, poll=POLL))[9:] == ["ROW 9", "bad_request"]
    assert "limit" in handle.failures[10]["message"]


@pytest.mark.parametrize("fault", [LOST, ERROR_CREATED])
def test_lost_answer_to_the_creation_finds_the_job(batch_lab: BatchLab, fault: str) -> None:
    batch_lab.creation = [fault]
    batch_lab.hidden_lists = 1  # the job appears late
    handle = submit(batch_lab)
    assert len(batch_lab.jobs) == 1
    assert texts(collect(handle, poll=POLL)) == [prompt.upper() for prompt in PROMPTS]


def test_failed_creation_is_repeated_after_a_search(batch_lab: BatchLab) -> None:
    batch_lab.creation = [ERROR]
    submit(batch_lab)
    assert len(batch_lab.jobs) == 1
    assert batch_lab.calls["GET /v1/batches"] == 4
    assert batch_lab.calls["POST /v1/files"] == 1


def test_rejected_creation_raises_and_leaves_no_files(batch_lab: BatchLab, tmp_path: Path) -> None:
    batch_lab.creation = [REJECTED]
    with pytest.raises(PipyError, match="a rejected batch"):
        submit(batch_lab, path=tmp_path / "job.json")
    assert list(tmp_path.glob("*job*")) == []
    assert batch_lab.files == {}  # the upload was deleted
    assert batch_lab.calls["GET /v1/batches"] == 0


def test_rejection_of_a_later_job(batch_lab: BatchLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.batch_api.openai.OpenAIBatches.max_rows", 1)
    batch_lab.creation = ["", REJECTED]
    handle = submit(batch_lab)
    assert texts(collect(handle, poll=POLL)) == ["ONE", "bad_request", "bad_request"]


def test_process_killed_before_and_after_the_creation(batch_lab: BatchLab, tmp_path: Path) -> None:
    """A handle in the states `prepared` and `creating` continues."""
    path = tmp_path / "job.json"
    handle = submit(batch_lab, path=path)
    [job] = handle.jobs
    # As if the process had been killed before the answer arrived.
    data = handle.to_dict()
    data["jobs"][0] |= {"state": "creating", "id": None}
    path.write_text(json.dumps(data))
    loaded = BatchHandle.load(path)
    assert texts(collect(loaded, api_key=KEY, poll=POLL)) == [p.upper() for p in PROMPTS]
    assert loaded.jobs[0].id == job.id
    assert len(batch_lab.jobs) == 1
    # And before the call.
    content = batch_lab.files[job.input_file or ""]
    batch_lab.jobs.clear()
    batch_lab.files.clear()
    data["jobs"][0] |= {"state": "prepared", "input_file": None}
    path.write_text(json.dumps(data))
    loaded = BatchHandle.load(path)
    loaded.requests_path(loaded.jobs[0]).write_bytes(content)
    assert texts(collect(loaded, api_key=KEY, poll=POLL)) == [p.upper() for p in PROMPTS]
    assert len(batch_lab.jobs) == 1


def test_missing_duplicate_and_unknown_results(batch_lab: BatchLab) -> None:
    batch_lab.missing, batch_lab.duplicated = {1}, {0, 2}
    batch_lab.unknown_ids = ["r-1-00000000", "r-99-12345678", "other", ""]
    messages = collect(submit(batch_lab), poll=POLL)
    assert texts(messages) == ["ONE", "incomplete", "THREE MORE WORDS"]


@pytest.mark.parametrize(("outcome", "kind"), [("expired", "timeout"), ("cancelled", "aborted")])
def test_job_that_ends_partly_done(batch_lab: BatchLab, outcome: str, kind: str) -> None:
    batch_lab.outcome, batch_lab.answered = outcome, 1
    messages = collect(submit(batch_lab), poll=POLL)
    assert texts(messages) == ["ONE", kind, kind]
    assert messages[1].error is not None
    assert messages[1].error.retryable


def test_validation_errors_by_line(batch_lab: BatchLab) -> None:
    batch_lab.validation_errors = [{"line": 2, "message": "Invalid 'temperature'."}]
    messages = collect(submit(batch_lab), poll=POLL)
    assert texts(messages) == ["aborted", "bad_request", "aborted"]
    assert messages[1].error is not None
    assert "temperature" in messages[1].error.message


def test_validation_error_of_the_whole_file(batch_lab: BatchLab) -> None:
    message = "Enqueued token limit reached"
    error = {"line": None, "code": "token_limit_exceeded", "message": message}
    batch_lab.validation_errors = [error]
    messages = collect(submit(batch_lab), poll=POLL)
    assert texts(messages) == ["rate_limit"] * 3


def test_rows_that_the_provider_rejects(batch_lab: BatchLab) -> None:
    batch_lab.failed_rows = {
        0: (400, "This model's maximum context length is 4 tokens."),
        2: (500, "An internal error."),
    }
    messages = collect(submit(batch_lab), poll=POLL)
    assert texts(messages) == ["context_overflow", "TWO WORDS", "server"]
    assert messages[0].usage.total_tokens == 0


def test_deleted_results(batch_lab: BatchLab) -> None:
    batch_lab.deleted_results = True
    messages = collect(submit(batch_lab), poll=POLL)
    assert texts(messages) == ["not_found"] * 3


def test_waiting_survives_failures(batch_lab: BatchLab) -> None:
    handle = submit(batch_lab)
    batch_lab.failing_calls = [500, 503, 502, 429]
    assert texts(collect(handle, poll=POLL)) == [prompt.upper() for prompt in PROMPTS]


@pytest.mark.parametrize("jump_s", [-400 * 86_400, -3600, 3600, 400 * 86_400])
def test_clock_that_jumps(
    batch_lab: BatchLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """The wall clock decides nothing: not how long to wait, nor whether a job has expired."""
    real_time, path = time.time, tmp_path / "job.json"
    batch_lab.retry_after = "Mon, 30 Nov 2026 12:00:00 GMT"
    batch_lab.creation, batch_lab.failing_calls = [BUSY, LOST], [503]
    handle = submit(batch_lab, path=path)
    monkeypatch.setattr(time, "time", lambda: real_time() + jump_s)
    batch_lab.polls, batch_lab.failing_calls = 20, [503, 429]
    loaded = BatchHandle.load(path)
    began = time.monotonic()
    assert texts(collect(loaded, api_key=KEY, poll=POLL)) == [p.upper() for p in PROMPTS]
    assert time.monotonic() - began < 30
    assert len(batch_lab.jobs) == 1
    assert handle.jobs[0].id == loaded.jobs[0].id
    data = json.loads(path.read_text())
    data["jobs"][0] |= {"created_at": "2099-01-01T00:00:00+00:00", "state": "running"}
    path.write_text(json.dumps(data))
    assert len(collect(BatchHandle.load(path), api_key=KEY, poll=POLL)) == 3


def test_busy_provider_gets_one_job(batch_lab: BatchLab) -> None:
    batch_lab.creation, batch_lab.retry_after = [BUSY, BUSY], "0"
    handle = submit(batch_lab)
    assert texts(collect(handle, poll=POLL)) == [prompt.upper() for prompt in PROMPTS]
    assert (len(batch_lab.jobs), batch_lab.calls["POST /v1/files"]) == (1, 1)


def test_results_file_of_another_job(batch_lab: BatchLab) -> None:
    """If two jobs have one file of results, no answer goes to the wrong row."""
    first = submit(batch_lab)
    second = submit(batch_lab, ["four", "five", "six"])
    assert texts(collect(first, poll=POLL)) == [prompt.upper() for prompt in PROMPTS]
    jobs = list(batch_lab.jobs.values())
    jobs[1].files = jobs[0].files
    assert texts(collect(second, poll=POLL)) == ["incomplete"] * 3


def test_service_tiers_are_refused(batch_lab: BatchLab) -> None:
    with pytest.raises(ValueError, match="service_tier='flex' has no effect in a batch"):
        submit(batch_lab, service_tier="flex")
    with pytest.raises(ValueError, match="service_tier='priority' has no effect in a batch"):
        submit(batch_lab, extra={"service_tier": "priority"})
    assert not batch_lab.calls


def test_changed_key(batch_lab: BatchLab, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    submit(batch_lab, path=path)
    batch_lab.failing_calls = [404]
    with pytest.raises(PipyError, match="not the API key that created the batch"):
        collect(BatchHandle.load(path), api_key="sk-another-key-0123456789", poll=POLL)
    loaded = BatchHandle.load(path)
    assert loaded.jobs[0].state == "running"
    assert len(collect(loaded, api_key=KEY, poll=POLL)) == 3


def test_timeout_leaves_the_job_running(batch_lab: BatchLab) -> None:
    batch_lab.polls = 1_000_000
    handle = submit(batch_lab)
    with pytest.raises(TimeoutError, match="is still running"):
        collect(handle, timeout=0.05, poll=POLL)
    next(iter(batch_lab.jobs.values())).polls_left = 1
    assert len(collect(handle, poll=POLL)) == 3
    assert batch_lab.calls["POST /v1/batches/*/cancel"] == 0


def test_budget_reserves_half_the_price(batch_lab: BatchLab) -> None:
    prompt = "word " * 7000  # about 10,000 tokens at $0.25 a million
    with budget(usd=0.0022) as limit:
        handle = submit(batch_lab, [prompt])
        assert limit.spent == pytest.approx(0.00125, rel=0.01)
        collect(handle, poll=POLL)
    assert limit.by_model()[MODEL].requests == 1
    with budget(usd=0.001), pytest.raises(PipyError, match="The batch needs about"):
        submit(batch_lab, [prompt])
    assert len(batch_lab.jobs) == 1


def test_ledger_counts_each_answer_once(
    batch_lab: BatchLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPY_LEDGER", str(tmp_path / "ledger.jsonl"))
    handle = submit(batch_lab)
    collect(handle, poll=POLL)
    collect(handle, poll=POLL)
    entries = list(read_ledger(tmp_path / "ledger.jsonl"))
    assert [(entry.model, entry.output) for entry in entries] == [
        ("gpt-5-mini", 1), ("gpt-5-mini", 2), ("gpt-5-mini", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("model", ["hosted_vllm/m", "faux/echo", "local/smollm2", "mine/m"])
def test_providers_without_batches(model: str) -> None:
    register_provider("mine", Host())
    try:
        with pytest.raises(PipyError, match="does not support batches at half price"):
            submit_many(model, PROMPTS, api_key=KEY)
    finally:
        unregister_provider("mine")


def test_missing_key() -> None:
    with pytest.raises(PipyError, match="OPENAI_API_KEY"):
        submit_many(MODEL, PROMPTS)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="several prompts"):
        submit_many(MODEL, "one prompt")
    with pytest.raises(ValueError, match="fallbacks"):
        submit_many([MODEL, "openai/gpt-5"], PROMPTS)


def test_error_of_the_callers_iterable_sends_nothing(batch_lab: BatchLab) -> None:
    def prompts() -> Any:
        yield "one"
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        submit(batch_lab, prompts())
    assert not batch_lab.calls


async def test_blocking_call_in_an_event_loop(batch_lab: BatchLab) -> None:
    handle = await asyncio.to_thread(submit, batch_lab)
    assert len(await acollect(handle, poll=POLL)) == 3


def test_response_cache_does_not_answer_rows(
    batch_lab: BatchLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results are read as answers to one request, which a cache would answer alike."""
    monkeypatch.setenv("PIPY_CACHE", str(tmp_path / "cache"))
    assert texts(collect(submit(batch_lab), poll=POLL)) == [p.upper() for p in PROMPTS]
    cached = submit(batch_lab, cache=str(tmp_path / "cache"))
    assert texts(collect(cached, poll=POLL)) == [p.upper() for p in PROMPTS]
