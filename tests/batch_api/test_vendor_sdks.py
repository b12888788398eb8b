"""Cross-check the laboratory and our requests with the vendors' SDKs, where those are installed.

`pip install openai anthropic google-genai mistralai pytest`, then run this file. Each SDK reads the
jobs that pipy-ai has created, and pipy-ai reads jobs that an SDK has created from the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import BatchHandle, collect, submit_many

from ..support.batch_api_lab import BatchLab

KEY = "k" * 40
POLL = 0.01
PROMPTS = ["one", "two words", "three more words"]
UPPER = [prompt.upper() for prompt in PROMPTS]


def submit(model: str, address: str) -> BatchHandle:
    return submit_many(model, PROMPTS, api_base=address, api_key=KEY)


def adopt(handle: BatchHandle, id: str) -> list[str]:
    """Return the texts that pipy-ai reads from the job that an SDK created from the same rows."""
    assert handle.jobs[0].id != id
    handle.jobs[0].id = id
    return [message.text for message in collect(handle, poll=POLL)]


def poll(call: Callable[[], Any], is_done: Callable[[Any], bool]) -> Any:
    for _ in range(10):
        if is_done(found := call()):
            return found
    raise AssertionError("the job does not end")


def position(custom_id: str) -> int:
    return int(custom_id.split("-")[1])


def test_openai(batch_lab: BatchLab, tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=batch_lab.openai, api_key=KEY)
    handle = submit("openai/gpt-5-mini", batch_lab.openai)
    id, input_file = handle.jobs[0].id, handle.jobs[0].input_file
    assert [one.id for one in client.batches.list()] == [id]
    found = poll(lambda: client.batches.retrieve(id), lambda one: one.status == "completed")
    assert found.request_counts.completed == 3
    assert found.metadata == {"pipy_job": handle.jobs[0].key}
    lines = client.files.content(found.output_file_id).text.splitlines()
    texts = {
        position(line["custom_id"]): openai.types.chat.ChatCompletion.model_validate(
            line["response"]["body"]
        ).choices[0].message.content
        for line in map(json.loads, lines)
    }  # fmt: skip
    assert [texts[n] for n in range(3)] == UPPER
    requests = tmp_path / "requests.jsonl"
    requests.write_bytes(batch_lab.files[input_file or ""])
    uploaded = client.files.create(file=requests, purpose="batch")
    created = client.batches.create(
        input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert adopt(handle, created.id) == UPPER


def test_anthropic(batch_lab: BatchLab) -> None:
    anthropic = pytest.importorskip("anthropic")
    client = anthropic.Anthropic(base_url=batch_lab.url, api_key=KEY)
    handle = submit("anthropic/claude-sonnet-4-5", batch_lab.url)
    id = handle.jobs[0].id
    assert [one.id for one in client.messages.batches.list()] == [id]
    found = poll(
        lambda: client.messages.batches.retrieve(id), lambda one: one.processing_status == "ended"
    )
    assert found.request_counts.succeeded == 3
    results = {
        position(one.custom_id): one.result.message.content[0].text
        for one in client.messages.batches.results(id)
    }
    assert [results[n] for n in range(3)] == UPPER
    requests = [
        {"custom_id": custom_id, "params": params}
        for custom_id, params in batch_lab.jobs[id or ""].requests
    ]
    created = client.messages.batches.create(requests=requests)
    assert adopt(handle, created.id) == UPPER


def test_gemini(batch_lab: BatchLab, tmp_path: Path) -> None:
    genai = pytest.importorskip("google.genai")
    client = genai.Client(
        api_key=KEY, http_options={"base_url": batch_lab.url, "api_version": "v1beta"}
    )
    handle = submit("google/gemini-2.5-flash", f"{batch_lab.url}/v1beta")
    id, input_file = handle.jobs[0].id, handle.jobs[0].input_file or ""
    assert [one.name for one in client.batches.list()] == [id]
    found = poll(
        lambda: client.batches.get(name=id), lambda one: one.state.name == "JOB_STATE_SUCCEEDED"
    )
    assert found.display_name == handle.jobs[0].key
    lines = client.files.download(file=found.dest.file_name).splitlines()
    texts = {
        position(line["key"]): genai.types.GenerateContentResponse.model_validate(
            line["response"]
        ).text
        for line in map(json.loads, lines)
    }  # fmt: skip
    assert [texts[n] for n in range(3)] == UPPER
    requests = tmp_path / "requests.jsonl"
    requests.write_bytes(batch_lab.files[input_file.removeprefix("files/")])
    uploaded = client.files.upload(file=requests, config={"mime_type": "application/jsonl"})
    created = client.batches.create(model="gemini-2.5-flash", src=uploaded.name)
    assert adopt(handle, created.name) == UPPER


def test_gemini_inline(batch_lab: BatchLab) -> None:
    """A job whose requests were not uploaded has its results in its description."""
    genai = pytest.importorskip("google.genai")
    client = genai.Client(
        api_key=KEY, http_options={"base_url": batch_lab.url, "api_version": "v1beta"}
    )
    handle = submit("google/gemini-2.5-flash", f"{batch_lab.url}/v1beta")
    requests = [
        {"contents": body["contents"], "metadata": {"key": key}}
        for key, body in batch_lab.jobs[handle.jobs[0].id or ""].requests
    ]
    created = client.batches.create(model="gemini-2.5-flash", src=requests)
    assert adopt(handle, created.name) == UPPER


def test_mistral(batch_lab: BatchLab) -> None:
    mistral = pytest.importorskip("mistralai.client")
    client = mistral.Mistral(api_key=KEY, server_url=batch_lab.url)
    handle = submit("mistral/mistral-small-latest", batch_lab.openai)
    id, input_file = handle.jobs[0].id or "", handle.jobs[0].input_file or ""
    assert [one.id for one in client.batch.jobs.list().data] == [id]
    found = poll(lambda: client.batch.jobs.get(job_id=id), lambda one: one.status == "SUCCESS")
    assert found.succeeded_requests == 3
    content = client.files.download(file_id=found.output_file).read()
    texts = {
        position(line["custom_id"]): line["response"]["body"]["choices"][0]["message"]["content"]
        for line in map(json.loads, content.splitlines())
    }
    assert [texts[n] for n in range(3)] == UPPER
    created = client.batch.jobs.create(
        input_files=[input_file], model="mistral-small-latest", endpoint="/v1/chat/completions"
    )
    assert adopt(handle, created.id) == UPPER
