"""Test when a batch stops early: budgets, dead servers, full disks and file limits."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def test_fatal_error_leaves_rows_open(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(100)])
    lab.always = lambda seen: (
        Status(401, {"error": {"message": "wrong key"}}) if len(lab.seen) > 10 else upper(seen)
    )
    assert batch(*at(lab), "-j", "4", model=HOST) == 1
    output = capsys.readouterr().err
    assert re.search(r"stopped: line \d+ \(id \d+, hosted_vllm/m\): wrong key", output)
    assert "run the same command again to resume" in output
    assert len(lab.seen) < 20
    assert all(one["error"] is None for one in answers())
    lab.always = upper
    assert batch(*at(lab), model=HOST) == 0
    assert texts() == {n: f"Q{n}" for n in range(100)}


@pytest.mark.usefixtures("july")
def test_exhausted_budget_stops_the_run_and_the_next_one_resumes(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1234567890")
    lab.always = chat(text("ok"), finish("stop"), usage(1000, 1000))
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    asked = ("-j", "1", "--budget", "0.05", *at(lab))
    assert batch(*asked, model="openai/gpt-5-mini") == 1
    output = capsys.readouterr().err
    assert "budget of $0.05" in output
    assert "run the same command again" in output
    first = answers()
    cost = sum(one["cost"] for one in first)
    assert 0.05 <= cost < 0.05 + 2 * first[0]["cost"]
    assert batch(*asked, model="openai/gpt-5-mini") in (0, 1)
    assert len(answers()) > len(first)
    assert batch("--budget", "-1", *at(lab)) == 2


def test_unreachable_server_leaves_rows_open(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipy_ai.batch.scheduler.OUTAGE_TIMEOUT_S", 1.0)
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(300)])
    with Lab() as leaving:

        def answer(seen: Seen) -> Scene:
            if len(leaving.seen) == 30:
                leaving.leave()
            return upper(seen)

        leaving.always = answer
        assert batch(*at(leaving), "-j", "4", model=HOST) == 1
    output = capsys.readouterr().err
    assert re.search(
        r"stopped: .*cannot be reached: Connection refused.* succeeded for \d+ s\.", output
    )
    assert "run the same command again to resume" in output
    assert len(answers()) >= 26
    assert all(one["error"] is None for one in answers())
    lab.always = upper
    assert batch(*at(lab), model=HOST) == 0
    assert texts() == {n: f"Q{n}" for n in range(300)}


def test_full_disk_stops_the_run_and_loses_one_line(lab: Lab) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
    run = "import sys; from pipy_ai.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", limited + run, "batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST,
         *at(lab)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "out.jsonl: File too large; fix this, then run the same" in done.stderr
    there = Path("out.jsonl").read_bytes()
    assert 1800 < len(there) <= 2000
    assert there.endswith(b"\n")  # the line that did not fit is cut off
    kept = there.count(b"\n")
    asked = len(lab.seen)
    assert batch(*at(lab), model=HOST) == 0
    assert texts() == {n: f"Q{n}" for n in range(30)}
    assert len(answers()) == 30
    assert len(lab.seen) == asked + 30 - kept


def test_full_disk_while_sorting_loses_nothing() -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    assert batch() == 0
    there = Path("out.jsonl").read_bytes()
    questions(*[{"id": n, "prompt": f"q{n}"} for n in reversed(range(30))])
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
    run = "import sys; from pipy_ai.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", limited + run, "batch", "in.jsonl", "-o", "out.jsonl",
         "-m", "faux/echo"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "out.jsonl: File too large; all results are saved, but not in order" in done.stderr
    assert Path("out.jsonl").read_bytes() == there
    assert not list(Path().glob(".out.jsonl.*.tmp"))
    assert batch() == 0
    assert [one["id"] for one in answers()] == [*reversed(range(30))]


def test_rows_added_while_running_wait_for_the_next_run(lab: Lab) -> None:
    def grow(seen: Seen) -> Scene:
        if len(lab.seen) == 1:
            with Path("in.jsonl").open("a") as file:
                file.write('{"id": "late", "prompt": "late"}\n' * 2)  # and not yet right
        return upper(seen)

    lab.always = grow
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(90)])
    assert batch("-j", "1", *at(lab), model=HOST) == 0
    assert [*texts()] == [*range(90)]


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
from pipy_ai.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


def test_concurrency_above_the_open_file_limit(lab: Lab) -> None:
    """A connection that could not be opened used to leave its row waiting for ever."""
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(300)])
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "128", "batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST,
         "-j", "2000", *at(lab)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
    assert texts() == {n: f"Q{n}" for n in range(300)}


NO_MORE = """
import os, resource, sys
from pipy_ai import complete
print(complete("hosted_vllm/m", "a", api_base=sys.argv[1]).text)
kind = resource.RLIMIT_NOFILE
resource.setrlimit(kind, (max(map(int, os.listdir("/dev/fd"))), resource.getrlimit(kind)[1]))
print(complete("hosted_vllm/m", "a", api_base="http://127.0.0.2:9", max_retries=0).error.message)
"""


@pytest.mark.skipif(not os.path.exists("/proc"), reason="of Linux")
def test_request_fails_when_no_file_can_be_opened(lab: Lab) -> None:
    lab.always = upper
    done = subprocess.run(
        [sys.executable, "-c", NO_MORE, lab.url],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("A\n127.0.0.2:9 cannot be reached: Too many open files"), done
    assert not done.stderr
