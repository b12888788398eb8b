"""Test the results file of `pipy batch`: resuming, torn lines and failed rows."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.results import ResultLine, ResultLines
from pipy_ai.cli.main import main

from ..support.scripted_server import Lab, Scene, Seen, Status, chat, finish, text, usage


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def questions(*rows: Any, name: str = "in.jsonl") -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return name


def answers(name: str = "out.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text(encoding="utf-8").splitlines()]


def texts(name: str = "out.jsonl") -> dict[Any, str]:
    return {one["id"]: one["text"] for one in answers(name)}


def batch(*arguments: str, model: str = "faux/echo") -> int:
    return main(["batch", "in.jsonl", "-o", "out.jsonl", "-m", model, *arguments])


def prompt(seen: Seen) -> str:
    return str(seen.json["messages"][-1]["content"])


def at(lab: Lab) -> list[str]:
    return ["--api-base", lab.url]


def upper(seen: Seen) -> Scene:
    return chat(text(prompt(seen).upper()), finish("stop"), usage(5, 3))


HOST = "hosted_vllm/m"


def test_resume_sends_no_request_twice(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(10)])
    assert batch(*at(lab), model=HOST) == 0
    whole = Path("out.jsonl").read_bytes()
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 10
    assert Path("out.jsonl").read_bytes() == whole
    assert "nothing to send: 10 rows were answered earlier → out.jsonl" in capsys.readouterr().err
    # More rows, in another order: the old ones are known by their ids.
    questions(*[{"id": n, "prompt": f"q{n}"} for n in reversed(range(15))])
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 15
    assert [one["id"] for one in answers()] == list(reversed(range(15)))
    # Fewer rows: what is not among them stays, behind the others.
    questions({"id": 3, "prompt": "q3"}, {"id": 20, "prompt": "q20"})
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 16
    assert [one["id"] for one in answers()][:2] == [3, 20]
    assert len(texts()) == len(answers()) == 16


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_torn_line_is_requested_again(lab: Lab, cut: int) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(5)])
    assert batch(*at(lab), model=HOST) == 0
    whole = Path("out.jsonl").read_bytes()
    Path("out.jsonl").write_bytes(whole[:-cut])
    assert batch(*at(lab), model=HOST) == 0
    assert Path("out.jsonl").read_bytes() == whole
    assert len(lab.seen) == (5 if cut == 1 else 6)  # only its line break was missing


@pytest.mark.parametrize("left", [b"", b'{"id": 4, "te'])
def test_zeros_after_a_power_cut_are_requested_again(left: bytes) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(6)])
    assert batch() == 0
    whole = Path("out.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    zeros = left + bytes(4096)
    for damaged in (lines[0] + zeros + lines[2] + lines[3], lines[0] + zeros, zeros):
        Path("out.jsonl").write_bytes(damaged)
        assert batch() == 0
        assert Path("out.jsonl").read_bytes() == whole


@pytest.mark.parametrize("long", [60_000, 100_000, 200_000])
def test_torn_long_line_does_not_affect_other_lines(long: int, lab: Lab) -> None:
    lab.always = upper
    questions(
        *[{"id": n, "prompt": f"{n}".ljust(2000, "a")} for n in range(9)], {"prompt": "z" * long}
    )
    assert batch(*at(lab), model=HOST) == 0
    whole, asked = Path("out.jsonl").read_bytes(), len(lab.seen)
    Path("out.jsonl").write_bytes(whole[:-200])
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == asked + 1
    assert Path("out.jsonl").read_bytes() == whole


def test_torn_first_line(lab: Lab) -> None:
    questions({"prompt": "a"})
    Path("out.jsonl").write_text('{"id": 1, "te')
    assert batch() == 0
    assert texts() == {1: "a"}


def test_failed_rows_are_kept_and_retried_on_demand(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Status(400, {"error": {"message": "no such thing"}})

    def scene(seen: Seen) -> Scene | Status:
        return bad if prompt(seen) in ("q1", "q3") else upper(seen)

    lab.always = scene
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(5)])
    assert batch(*at(lab), model=HOST) == 1
    assert answers()[1]["error"] == {"kind": "bad_request", "message": "no such thing"}
    assert len(lab.seen) == 5
    output = capsys.readouterr().err
    assert "2 failed (bad_request 2)" in output
    assert "--retry-errors" in output
    assert batch(*at(lab), model=HOST) == 1  # they are done, after all
    assert len(lab.seen) == 5
    lab.always = upper
    assert batch(*at(lab), "--retry-errors", model=HOST) == 0
    assert len(lab.seen) == 7
    assert [(one["id"], one["text"]) for one in answers()] == [(n, f"Q{n}") for n in range(5)]


def test_empty_prompt_fails_alone() -> None:
    questions({"prompt": "a"}, {"prompt": " "}, {"prompt": "c"})
    assert batch() == 1
    assert [one["error"] and one["error"]["kind"] for one in answers()] == [
        None, "bad_request", None
    ]  # fmt: skip


def test_results_of_other_options_are_not_mixed_in(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(3)])
    assert batch(*at(lab), model=HOST) == 0
    whole = Path("out.jsonl").read_bytes()
    assert batch(*at(lab), model="hosted_vllm/other") == 2
    assert "line 1 (id 0) and 2 more were already answered with a different model" in (
        capsys.readouterr().err
    )
    assert batch(*at(lab), "--temperature", "1", model=HOST) == 2
    assert batch(*at(lab), "-s", "Be brief.", model=HOST) == 2
    questions({"id": 0, "prompt": "q0"}, {"id": 1, "prompt": "changed"}, {"id": 2, "prompt": "q2"})
    capsys.readouterr()
    assert batch(*at(lab), model=HOST) == 2
    assert "line 2 (id 1) was already answered to a different prompt" in capsys.readouterr().err
    assert len(lab.seen) == 3
    assert Path("out.jsonl").read_bytes() == whole
    assert batch(*at(lab), "--redo-changed", model=HOST) == 0
    assert len(lab.seen) == 4
    assert list(texts().values()) == ["Q0", "CHANGED", "Q2"]


def test_disk_that_refuses_the_results_is_reported() -> None:
    questions({"prompt": "a"}, {"prompt": "b"})
    code = """
import errno, os, sys
from pipy_ai.batch.results import ResultLine, ResultLines
from pipy_ai.cli.main import main
def fail(fd):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
os.fsync = fail
sys.exit(main(["batch", "in.jsonl", "-o", "out.jsonl", "-m", "faux/echo"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{Path.cwd() / 'out.jsonl'}: No space left on device" in done.stderr


def test_lines_are_kept_in_little_memory() -> None:
    lines = ResultLines()
    tracemalloc.start()
    try:
        for number in range(20_000):
            fingerprint = f"{number:016x}-{number * 7919:016x}"
            kind = "timeout" if number % 10 == 0 else None
            lines.add(number * 10**12, ResultLine(number * 100, fingerprint, kind))
        size = tracemalloc.get_traced_memory()[0] / 20_000
    finally:
        tracemalloc.stop()
    assert size < 200
    lines.add(3 * 10**12, ResultLine(5, f"{8:016x}-{9:016x}", "server"))  # newer
    assert len(lines) == 20_000
    assert lines.get(3 * 10**12) == ResultLine(5, f"{8:016x}-{9:016x}", "server")
    assert lines.pop(10 * 10**12) == ResultLine(1000, f"{10:016x}-{79190:016x}", "timeout")
    assert lines.pop(10 * 10**12) is None
    lines.add(1, ResultLine(7, "not from pipy batch", None))
    assert [line.offset for line in lines][-1] == 7
