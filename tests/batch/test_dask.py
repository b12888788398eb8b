"""Test batches on a Dask cluster of two real workers, one of which is killed."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import Model, ModelCost, budget, complete_many, read_ledger, stream_many
from pipy_ai.cli.main import main

from ..support import batch_chaos
from ..support.dask_cluster import Cluster, started
from ..support.scripted_server import Lab, Status, chat, finish, text, usage

distributed = pytest.importorskip("distributed")  # the dev extra has it
dask = pytest.importorskip("dask")


KEY = "sk-of-the-workers-12345"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with started(tmp_path_factory.mktemp("dask"), 2, HOSTED_VLLM_API_KEY=KEY) as made:
        yield made


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Any]:
    with distributed.Client(cluster.address, timeout=30, set_as_default=False) as made:
        made.wait_for_workers(2, timeout=60)
        yield made


def test_workers_use_keys_from_their_own_environment(client: Any, lab: Lab) -> None:
    @dataclass
    class Answer:
        n: int

    lab.always = chat(text('{"n": 7}'), finish("stop"))
    found = complete_many(
        "hosted_vllm/gpt-oss-20b", ["a", "b"], executor=client, api_base=lab.url, output=Answer
    )
    assert [message.parsed for message in found] == [Answer(7), Answer(7)]
    assert {seen.headers["authorization"] for seen in lab.seen} == {f"Bearer {KEY}"}


def test_errors_retries_and_stopping_work_as_in_any_batch(client: Any, lab: Lab) -> None:
    slow = Status(429, {"error": {"message": "slow"}}, {"retry-after-ms": "5"})
    lab.play(slow, slow, slow)
    found = complete_many("hosted_vllm/m", ["a"] * 12, executor=client, api_base=lab.url)
    assert [message.text for message in found] == ["ok"] * 12
    assert len(lab.seen) == 15
    lab.always = Status(401, {"error": {"message": "wrong key"}})
    found = complete_many(
        "hosted_vllm/m", ["a"] * 40, executor=client, api_base=lab.url, concurrency=4
    )
    kinds = {message.error and message.error.kind for message in found}
    assert kinds == {"auth", "aborted"}
    assert len(lab.seen) < 15 + 8


def test_budget_counts_what_workers_spend(client: Any, lab: Lab, tmp_path: Path) -> None:
    price = ModelCost(input=1.0, output=10.0)
    model = Model(id="m", provider="own", api=lab.url, env=[], cost=price)
    lab.always = chat(text("ok"), finish("stop"), usage(100, 100))  # $0.0011
    with budget(usd=0.01, ledger=tmp_path / "ledger.jsonl") as b:
        found = complete_many(model, ["a"] * 100, executor=client, concurrency=4)
    cost = math.fsum(message.usage.cost.total or 0.0 for message in found)
    assert b.spent == pytest.approx(cost, abs=1e-12)
    assert 0.01 < cost < 0.01 + 4 * 0.0011
    assert {message.error.kind for message in found if message.error} == {"budget", "aborted"}
    assert len(lab.seen) == sum(message.error is None for message in found)
    assert math.fsum(one.cost or 0.0 for one in read_ledger(tmp_path / "ledger.jsonl")) == b.spent
    with budget(usd=1), pytest.raises(ValueError, match="single model"):
        complete_many([model, "faux/echo"], ["a"], executor=client)


@pytest.mark.parametrize(
    "options",
    [{"api_key": "sk-123456789"}, {"headers": {"X-Api-Key": "sk-123456789"}},
     {"extra": {"api_key": "sk-123456789"}},
     {"extra": {"extra_headers": {"authorization": "Bearer sk-123456789"}}}],
)  # fmt: skip
def test_keys_never_enter_the_task_graph(client: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="environment variable on each worker") as raised:
        complete_many("openai/gpt-5-mini", ["a"], executor=client, **options)
    assert "123456789" not in str(raised.value)


def test_asynchronous_client_requires_the_async_functions(cluster: Cluster) -> None:
    from pipy_ai import acomplete_many

    async def run() -> list[str]:
        client = await distributed.Client(cluster.address, asynchronous=True, timeout=30)
        async with client:
            with pytest.raises(ValueError, match="acomplete_many"):
                stream_many("faux/echo", ["a"], executor=client)
            found = await acomplete_many("faux/echo", ["a", "b"], executor=client)
            return [message.text for message in found]

    assert asyncio.run(run()) == ["a", "b"]


def test_killed_worker_loses_no_row(tmp_path: Path) -> None:
    """The small version of `python -m tests.support.batch_chaos 100000 --dask 2 --kills 1`."""
    found = batch_chaos.run(
        rows=400, kills=1, concurrency=16, rate=400, faults=0.02, directory=tmp_path, dask=2
    )
    assert batch_chaos.wrong(found, speed=0) == [], found


def test_dead_scheduler_stops_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.batch.scheduler.OUTAGE_TIMEOUT_S", 1.0)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        started(tmp_path, 1) as made,
        distributed.Client(made.address, timeout=5, set_as_default=False) as client,
    ):
        failed, answered = [], 0
        for _, message in stream_many("faux/echo", ["a"] * 3000, executor=client):
            answered += message.error is None
            failed += [] if message.error is None else [message.error.kind]
            if answered == 50:
                made.scheduler.kill()
        assert set(failed) == {"connection"}
        assert len(failed) < 64  # those that were read ahead, 32, and hardly more
        assert answered < 3000


def test_missing_scheduler(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    batch_chaos.write_questions(tmp_path / "in.jsonl", 1)
    files = [str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    assert main(["batch", *files, "-m", "faux/echo", "--dask", "nonsense://x"]) == 2
    assert "--dask" in capsys.readouterr().err


def test_requests_of_openai_batches(
    client: Any, cluster: Cluster, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lab.always = chat(text('{"n": 7}'), finish("stop"))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    body = {
        "model": "hosted_vllm/theirs",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_completion_tokens": 9,
        "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
    }
    line = {"custom_id": "a", "url": "/v1/chat/completions", "body": body}
    Path("in.jsonl").write_text(json.dumps(line) + "\n")
    asked = ["batch", "in.jsonl", "-o", "out.jsonl", "--dask", cluster.address]
    assert main([*asked, "--api-base", lab.url]) == 0
    assert (lab.seen[0].json["model"], lab.seen[0].json["max_tokens"]) == ("theirs", 9)
    answer = json.loads(Path("out.jsonl").read_text())
    assert (answer["custom_id"], answer["parsed"]) == ("a", {"n": 7})
