"""Test the ledger."""

from __future__ import annotations

import math
import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from pipy_ai import LedgerEntry, Model, ModelCost, budget, complete, ctx, read_ledger
from pipy_ai.accounting.ledger import append_entry

from ..support.scripted_server import Lab, chat, finish, text, usage

PRICE = ModelCost(input=1.0, output=10.0)  # $/1M tokens


def priced(lab: Lab, cost: ModelCost = PRICE, provider: str = "own", id: str = "m") -> Model:
    return Model(id=id, provider=provider, api=lab.url, env=[], cost=cost)


def test_ledger_holds_no_text(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("expected", ["", "0"])
def test_ledger_is_off_by_default(expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_LEDGER", expected)
    complete("faux/echo", "Hi")
    assert not (Path(os.environ["PIPY_DATA_DIR"]) / "ledger.jsonl").exists()


def test_ledger_has_one_line_per_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "l.jsonl"
    monkeypatch.setenv("PIPY_LEDGER", str(path))
    with budget(ledger=path), budget(ledger=tmp_path / "other"), budget(ledger=path):
        complete("faux/echo", "Hi")
    assert len(list(read_ledger(path))) == len(list(read_ledger(tmp_path / "other"))) == 1


def test_one_ledger_reached_under_two_paths_has_one_line_per_request(
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
def test_full_disk_is_a_warning() -> None:
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


def test_concurrent_processes_write_whole_lines(tmp_path: Path) -> None:
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
