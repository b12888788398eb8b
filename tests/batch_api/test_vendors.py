"""Test the batch APIs of all vendors alike, each in the laboratory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import (
    AssistantMessage,
    BatchHandle,
    PipyError,
    calculate_cost,
    collect,
    submit_many,
)

from ..support.batch_api_lab import ERROR, ERROR_CREATED, LOST, REJECTED, BatchLab

KEY = "k" * 40
POLL = 0.01
PROMPTS = ["one", "two words", "three more words"]
UPPER = [prompt.upper() for prompt in PROMPTS]
# The address of each vendor below that of the laboratory.
VENDORS = {
    "openai/gpt-5-mini": "/v1",
    "openai/gpt-5-pro": "/v1",
    "groq/llama-3.3-70b-versatile": "/openai/v1",
    "mistral/mistral-small-latest": "/v1",
    "anthropic/claude-sonnet-4-5": "",
    "google/gemini-2.5-flash": "/v1beta",
    "azure/gpt-5-mini": "/openai/v1",
}
every_vendor = pytest.mark.parametrize("model", VENDORS)


def submit(lab: BatchLab, model: str, prompts: Any = PROMPTS, **options: Any) -> BatchHandle:
    return submit_many(model, prompts, api_base=lab.url + VENDORS[model], api_key=KEY, **options)


def texts(messages: list[AssistantMessage]) -> list[str]:
    return [message.text if message.error is None else message.error.kind for message in messages]


@every_vendor
def test_answers_and_cost(batch_lab: BatchLab, model: str) -> None:
    batch_lab.shuffle = True
    messages = collect(submit(batch_lab, model), poll=POLL)
    assert texts(messages) == UPPER
    for message, prompt in zip(messages, PROMPTS, strict=True):
        usage = message.usage
        assert (usage.input, usage.output) == (10, len(prompt.split()))
        assert usage.service_tier == "batch"
        listed = calculate_cost(model, usage.model_copy(update={"service_tier": None})).total
        assert listed is not None
        assert usage.cost.total == pytest.approx(listed / 2)
        assert message.warnings == []
    assert not any("stream" in body for job in batch_lab.jobs.values() for _, body in job.requests)


@every_vendor
@pytest.mark.parametrize("fault", [LOST, ERROR, ERROR_CREATED])
def test_no_job_is_created_twice(batch_lab: BatchLab, model: str, fault: str) -> None:
    submit(batch_lab, model, ["an earlier job", "of two rows"])
    batch_lab.creation, batch_lab.hidden_lists = [fault], 1 if fault == LOST else 0
    handle = submit(batch_lab, model)
    assert len(batch_lab.jobs) == 2
    assert texts(collect(handle, poll=POLL)) == UPPER


@every_vendor
def test_rejected_job(batch_lab: BatchLab, model: str) -> None:
    batch_lab.creation = [REJECTED]
    with pytest.raises(PipyError, match="a rejected batch"):
        submit(batch_lab, model)
    assert batch_lab.files == {}


@every_vendor
def test_rows_that_fail_expire_and_are_missing(batch_lab: BatchLab, model: str) -> None:
    batch_lab.failed_rows = {1: (400, "Invalid request.")}
    assert texts(collect(submit(batch_lab, model), poll=POLL)) == [
        "ONE", "bad_request", "THREE MORE WORDS",
    ]  # fmt: skip
    batch_lab.failed_rows, batch_lab.missing = {}, {0}
    batch_lab.duplicated, batch_lab.unknown_ids = {1}, []
    messages = collect(submit(batch_lab, model), poll=POLL)
    assert texts(messages) == ["incomplete", "TWO WORDS", "THREE MORE WORDS"]
    batch_lab.missing, batch_lab.outcome, batch_lab.answered = set(), "expired", 2
    assert texts(collect(submit(batch_lab, model), poll=POLL))[2] == "timeout"
    batch_lab.outcome = "completed"
    handle = submit(batch_lab, model)
    list(batch_lab.jobs.values())[-1].outcome = "cancelled"
    list(batch_lab.jobs.values())[-1].cancelled = True
    assert texts(collect(handle, poll=POLL)) == ["ONE", "TWO WORDS", "aborted"]


@every_vendor
def test_deleted_results(batch_lab: BatchLab, model: str) -> None:
    batch_lab.deleted_results = True
    assert texts(collect(submit(batch_lab, model), poll=POLL)) == ["not_found"] * 3


@every_vendor
def test_handle_continues_in_another_process(
    batch_lab: BatchLab, tmp_path: Path, model: str
) -> None:
    path = tmp_path / "job.json"
    submit(batch_lab, model, path=path)
    data = json.loads(path.read_text())
    assert KEY not in path.read_text()
    data["jobs"][0] |= {"state": "creating", "id": None}
    path.write_text(json.dumps(data))
    assert texts(collect(BatchHandle.load(path), api_key=KEY, poll=POLL)) == UPPER
    assert len(batch_lab.jobs) == 1


def test_anthropic_jobs_that_cannot_be_told_apart(batch_lab: BatchLab, tmp_path: Path) -> None:
    """Rather than guess, ask the user."""
    model, path = "anthropic/claude-sonnet-4-5", tmp_path / "job.json"
    submit(batch_lab, model, path=path)
    submit(batch_lab, model)
    data = json.loads(path.read_text())
    data["jobs"][0] |= {"state": "creating", "id": None}
    path.write_text(json.dumps(data))
    with pytest.raises(
        PipyError, match=r"several batches could be it: msgbatch_000002, msgbatch_000001"
    ):
        collect(BatchHandle.load(path), api_key=KEY, poll=POLL)
    assert len(batch_lab.jobs) == 2


def test_anthropic_beta_features_are_selected_on_creation(batch_lab: BatchLab) -> None:
    headers = {"anthropic-beta": "output-300k-2026-03-24"}
    submit(batch_lab, "anthropic/claude-sonnet-4-5", headers=headers)
    assert batch_lab.headers[-1]["anthropic-beta"] == headers["anthropic-beta"]


def test_gemini_job_that_failed(batch_lab: BatchLab) -> None:
    batch_lab.validation_errors = [{"message": "Malformed file."}]
    messages = collect(submit(batch_lab, "google/gemini-2.5-flash"), poll=POLL)
    assert texts(messages) == ["bad_request"] * 3
    assert messages[0].error is not None
    assert messages[0].error.message == "Malformed file."


def test_gemini_upload_to_another_host_is_refused(
    batch_lab: BatchLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key would be sent there."""
    url = batch_lab.url
    monkeypatch.setattr(batch_lab, "url", "http://127.0.0.1:1")
    with pytest.raises(PipyError, match="no address for the upload"):
        submit_many("google/gemini-2.5-flash", PROMPTS, api_base=f"{url}/v1beta", api_key=KEY)


def test_azure_deployments_of_older_apis(batch_lab: BatchLab) -> None:
    address = f"{batch_lab.url}/openai/deployments/gpt-5-mini"
    with pytest.raises(PipyError, match="does not support batches"):
        submit_many("azure/gpt-5-mini", PROMPTS, api_base=address, api_key=KEY)
    assert not batch_lab.calls
