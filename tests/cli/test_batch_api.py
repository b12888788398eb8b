"""Test `pipy batch --batch-api` with OpenAI's batch API in the laboratory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import read_ledger
from pipy_ai.cli.main import main

from ..support.batch_api_lab import LOST, REJECTED, BatchLab

MODEL = "openai/gpt-5-mini"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchLab]:
    monkeypatch.chdir(tmp_path)
    with BatchLab() as lab:
        monkeypatch.setenv("OPENAI_BASE_URL", lab.openai)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "k" * 40)
        yield lab


def write_rows(*rows: Any) -> None:
    rows = rows or tuple({"prompt": f"row {number}"} for number in range(20))
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def arguments(*options: str, model: str = MODEL) -> list[str]:
    return ["batch", "in.jsonl", "-o", "out.jsonl", "-m", model, "--poll", "0.02", *options]


def batch(*options: str, model: str = MODEL) -> int:
    return main(arguments("--batch-api", *options, model=model))


def answers() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]


def outcomes() -> list[str]:
    return [one["text"] if one["error"] is None else one["error"]["kind"] for one in answers()]


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "pipy-data")


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipy_ai", *arguments("--batch-api", *options)],
        stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip


def wait_for_job(lab: BatchLab, count: int = 1) -> None:
    until = time.monotonic() + 60
    while len(lab.jobs) < count or not lab.calls["GET /v1/batches/*"]:
        assert time.monotonic() < until
        time.sleep(0.01)


def end_jobs(lab: BatchLab) -> None:
    for job in lab.jobs.values():
        job.polls_left = 1


def test_answers_at_half_price(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    lab.shuffle = True
    assert batch("--max-tokens", "100") == 0
    assert outcomes() == [f"ROW {number}" for number in range(20)]
    first = answers()[0]
    assert first["cost"] == pytest.approx((10 * 0.25 + 2 * 2) / 2 / 1e6)
    assert (first["service_tier"], first["batch"]) == ("batch", next(iter(lab.jobs)))
    assert files() == [".out.jsonl.lock", "in.jsonl", "out.jsonl"]
    shown = capsys.readouterr().err
    assert "estimated cost: now $0.00401, by tomorrow $0.002" in shown
    assert "20 rows: 20 answered" in shown
    assert batch("--max-tokens", "100") == 0
    assert "nothing to send" in capsys.readouterr().err
    assert len(lab.jobs) == 1


def test_only_leftovers_of_the_same_output_are_removed(lab: BatchLab) -> None:
    write_rows()
    own = ".[ab].jsonl.batch.json.pipy-x.requests.jsonl"
    other = ".a.jsonl.batch.json.pipy-x.requests.jsonl"
    for name in (own, other):
        Path(name).touch()
    assert main([*arguments("--batch-api"), "-o", "[ab].jsonl"]) == 0
    assert other in files()
    assert own not in files()


def test_estimate_both_ways(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    assert main(arguments("--estimate", "--json", "--max-tokens", "10")) == 0
    estimate = json.loads(capsys.readouterr().out)
    assert estimate["batch_cost"] == pytest.approx(estimate["cost"] / 2)
    assert main(arguments("--estimate", "--max-tokens", "10")) == 0
    assert "With --batch-api at half price: now $" in capsys.readouterr().err
    assert main(arguments("--estimate", model="xai/grok-4-fast")) == 0
    assert "half price" not in capsys.readouterr().err
    assert not lab.calls


def test_ctrl_c_leaves_the_job_running(lab: BatchLab) -> None:
    write_rows()
    lab.polls = 1_000_000
    process = start()
    wait_for_job(lab)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert (
        "the batch keeps running; to fetch the answers: pipy batch in.jsonl -o out.jsonl -m"
        " openai/gpt-5-mini --poll 0.02 --batch-api" in errors
    )
    assert lab.calls["POST /v1/batches/*/cancel"] == 0
    end_jobs(lab)
    assert batch() == 0
    assert outcomes() == [f"ROW {number}" for number in range(20)]
    assert len(lab.jobs) == 1


def test_status_while_another_run_waits(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    lab.polls = 1_000_000
    process = start()
    wait_for_job(lab)
    assert main(arguments("--status", "--json")) == 0
    [job] = json.loads(capsys.readouterr().out)["jobs"]
    assert (job["rows"], job["status"], job["model"]) == (20, "in_progress", MODEL)
    assert main(arguments("--status")) == 0
    assert job["id"] in capsys.readouterr().out
    end_jobs(lab)
    assert process.wait(30) == 0
    assert process.stderr is not None
    process.stderr.close()
    assert outcomes()[0] == "ROW 0"
    assert main(arguments("--status")) == 0
    assert "no batch was sent" in capsys.readouterr().err


def test_cancel_keeps_what_was_answered(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    lab.polls, lab.answered = 1_000_000, 5
    process = start()
    wait_for_job(lab)
    process.kill()
    process.communicate()
    assert main(arguments("--cancel")) == 0
    assert "cancelling 1 batch" in capsys.readouterr().err
    end_jobs(lab)
    assert batch() == 1
    assert outcomes() == [f"ROW {number}" for number in range(5)] + ["aborted"] * 15
    assert "--retry-errors, or at once and at full price with --finish-now" in (
        capsys.readouterr().err
    )
    assert len(lab.jobs) == 1


def test_finish_now_sends_the_missing_rows(lab: BatchLab) -> None:
    write_rows()
    lab.polls, lab.answered = 1_000_000, 5
    process = start()
    wait_for_job(lab)
    process.kill()
    process.communicate()
    for job in lab.jobs.values():
        job.polls_left = 3
    assert main(arguments("--finish-now")) == 0
    assert outcomes() == [f"ROW {number}" for number in range(20)]
    assert lab.direct_requests == 15
    assert [one.get("batch") is not None for one in answers()] == [True] * 5 + [False] * 15


def test_rows_of_a_running_batch_are_not_sent_at_once(
    lab: BatchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be paid for twice."""
    write_rows()
    lab.polls = 1_000_000
    process = start()
    wait_for_job(lab)
    process.kill()
    process.communicate()
    assert main(arguments()) == 2
    [job] = lab.jobs
    assert f"a batch at the provider has rows of this file ({job})" in capsys.readouterr().err
    assert (lab.direct_requests, Path("out.jsonl").read_text()) == (0, "")


def test_other_input_for_the_output_of_a_running_batch(
    lab: BatchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers that were paid for are kept, and nothing is sent without being asked for."""
    write_rows()
    lab.polls = 1_000_000
    process = start()
    wait_for_job(lab)
    second = subprocess.run(
        process.args,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},  # type: ignore[call-overload]
    )
    assert (second.returncode, "another run is writing to it" in second.stderr) == (2, True)
    process.kill()
    process.communicate()
    end_jobs(lab)
    lab.polls = 1
    write_rows(*({"prompt": f"other {number}"} for number in range(20)))
    assert batch() == 2
    assert "already answered to a different prompt" in " ".join(capsys.readouterr().err.split())
    assert outcomes() == [f"ROW {number}" for number in range(20)]
    assert len(lab.jobs) == 1
    assert batch("--redo-changed") == 0
    assert outcomes() == [f"OTHER {number}" for number in range(20)]
    assert len(lab.jobs) == 2


def test_rows_of_a_batch_that_were_deleted(
    lab: BatchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows()
    lab.polls = 1_000_000
    process = start()
    wait_for_job(lab)
    process.kill()
    process.communicate()
    [rows] = Path().glob(".out.jsonl.batch.json.*.rows.jsonl")
    rows.unlink()
    for option in ("--batch-api", "--status", "--cancel"):
        assert main(arguments(option)) == 2
        shown = " ".join(capsys.readouterr().err.split())
        assert f"{rows.name}: the file is missing" in shown
        assert "out.jsonl.batch.json to forget the batch" in shown
    assert len(lab.jobs) == 1


def test_commands_that_fetch_the_answers(lab: BatchLab) -> None:
    """Each command that ends before the batch prints one that does."""
    write_rows()
    lab.polls = 1_000_000
    process = start()
    wait_for_job(lab)
    process.kill()
    process.communicate()
    for option in ("--cancel", "--finish-now"):
        lab.failing_calls = [] if option == "--cancel" else [401] * 5
        command = [sys.executable, "-m", "pipy_ai", *arguments(option)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        shown = " ".join(done.stderr.split())
        assert shown.endswith(
            f"pipy batch in.jsonl -o out.jsonl -m {MODEL} --poll 0.02 --batch-api"
        )


def test_row_above_the_limit_is_reported(
    lab: BatchLab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipy_ai.batch_api.openai.OpenAIBatches.max_bytes", 1000)
    write_rows({"prompt": "one"}, {"id": "big", "prompt": "long " * 300}, {"prompt": "three"})
    assert batch() == 1
    assert outcomes() == ["ONE", "bad_request", "THREE"]
    shown = " ".join(capsys.readouterr().err.split())
    assert f"line 2 (id 'big', {MODEL}): The request has" in shown
    assert batch() == 1  # it is not sent, and not tried again
    assert len(lab.jobs) == 1


def test_service_tiers_are_refused(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    assert batch("--option", "service_tier=flex") == 2
    assert "service_tier='flex' has no effect in a batch" in capsys.readouterr().err
    assert not lab.calls
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    write_rows({**line, "body": {**body, "service_tier": "flex"}})
    assert batch() == 1
    assert outcomes() == ["bad_request"]


def test_expired_rows_are_sent_again_on_request(lab: BatchLab) -> None:
    write_rows()
    lab.outcome, lab.answered = "expired", 12
    assert batch() == 1
    assert outcomes() == [f"ROW {number}" for number in range(12)] + ["timeout"] * 8
    lab.outcome = "completed"
    assert batch() == 1  # nothing is sent without being asked for
    assert len(lab.jobs) == 1
    assert batch("--retry-errors") == 0
    assert outcomes() == [f"ROW {number}" for number in range(20)]
    assert [len(job.requests) for job in lab.jobs.values()] == [20, 8]


def test_validation_errors_name_their_rows(
    lab: BatchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows({"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"})
    lab.validation_errors = [{"line": 2, "message": "Invalid value."}]
    assert batch() == 1
    assert outcomes() == ["aborted", "bad_request"]
    assert "line 2 (id 'b', openai/gpt-5-mini): Invalid value." in capsys.readouterr().err


def test_rejected_batch_leaves_the_rows_open(
    lab: BatchLab, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows()
    lab.creation = [REJECTED]
    assert batch() == 1
    assert "a rejected batch" in capsys.readouterr().err
    assert files() == [".out.jsonl.lock", "in.jsonl", "out.jsonl"]
    assert batch() == 0
    assert len(lab.jobs) == 1


def test_lost_answer_to_the_creation(lab: BatchLab) -> None:
    write_rows()
    lab.creation, lab.hidden_lists = [LOST], 1
    assert batch() == 0
    assert len(lab.jobs) == 1
    assert outcomes() == [f"ROW {number}" for number in range(20)]


def test_rows_of_several_models_and_types(lab: BatchLab) -> None:
    schema = {
        "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"], "additionalProperties": False,
    }  # fmt: skip
    output = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}

    def line(number: int, model: str, **fields: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"row {number}"}]
        body = {"model": model, "messages": messages, **fields}
        url = "/v1/chat/completions"
        return {"custom_id": f"c{number}", "method": "POST", "url": url, "body": body}

    write_rows(
        line(0, "gpt-5-mini"), line(1, "gpt-5-nano"), line(2, "gpt-5-mini", response_format=output)
    )
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "--poll", "0.02", "--batch-api"]
    assert main(command) == 0
    assert [one["model"] for one in answers()] == [MODEL, "openai/gpt-5-nano", MODEL]
    assert [one.get("parsed") for one in answers()] == [None, None, {"name": "ROW 2", "age": 7}]
    assert [one["custom_id"] for one in answers()] == ["c0", "c1", "c2"]
    assert len(lab.jobs) == 3


def test_csv_in_and_out(lab: BatchLab) -> None:
    Path("in.csv").write_text("id,word\na,one\nb,two\n")
    command = ["batch", "in.csv", "-o", "out.csv", "-m", MODEL, "--poll", "0.02", "--batch-api"]
    assert main([*command, "--prompt-template", "say {word}"]) == 0
    assert Path("out.csv").read_text().splitlines()[1].startswith("a,one,SAY ONE,")


def test_run_that_was_killed_while_it_read_the_answers(
    lab: BatchLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No row is in the output or in the ledger twice."""
    monkeypatch.setenv("PIPY_LEDGER", "ledger.jsonl")
    write_rows()
    with monkeypatch.context() as patch:
        patch.setattr("pipy_ai.batch.results.ResultsFile.sync", _fail)
        with pytest.raises(ZeroDivisionError):
            batch()
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    Path("out.jsonl").write_bytes(b"".join(lines[:19]) + lines[19][:30])
    assert batch() == 0
    assert outcomes() == [f"ROW {number}" for number in range(20)]
    assert len(list(read_ledger("ledger.jsonl"))) == 21  # the row of the incomplete line twice
    assert len(lab.jobs) == 1


def _fail(*_: object) -> None:
    raise ZeroDivisionError


def test_budget_covers_the_estimate(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    assert batch("--budget", "0.000001") == 1
    assert "The batch needs about 40 tokens" in capsys.readouterr().err
    assert not lab.calls
    assert files() == [".out.jsonl.lock", "in.jsonl", "out.jsonl"]


def test_provider_without_batches(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    assert batch(model="faux/echo") == 1
    assert "does not support batches at half price" in capsys.readouterr().err
    assert not Path("out.jsonl").read_text()


def test_invalid_options(lab: BatchLab, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows()
    assert batch("--poll", "0") == 2
    assert batch("--dask", "tcp://127.0.0.1:1") == 2
    Path("out.jsonl.batch.json").write_text("{}")
    assert batch() == 2
    assert "out.jsonl.batch.json" in capsys.readouterr().err
