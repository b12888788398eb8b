"""Test `pipy batch` with Ctrl-C, on a terminal, and when it is killed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipy_ai.batch.results import ResultsFile
from pipy_ai.cli.main import main

from ..support import batch_chaos
from ..support.scripted_server import Lab, Pause, Scene, Seen, chat, finish, sse, text, usage
from ..support.terminal import Terminal
from .test_signals import SHELL


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


def start(lab: Lab, *more: str, **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipy_ai", "batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST,
         *at(lab), *more],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
    )  # fmt: skip


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_ctrl_c_finishes_rows_in_flight(lab: Lab) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(50)])
    halves = [*sse(*text("half ")), Pause(), *chat(text("whole"), finish("stop"))]
    lab.always = halves
    process = start(lab, "-j", "16")
    lab.wait_for_requests(4)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    first = process.stderr.readline().decode()
    assert first == "pipy: finishing 4 in flight; press Ctrl-C again to drop them\n"
    lab.go()
    _, output = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "46 rows are not sent yet; next: pipy batch " in output.decode()
    assert set(texts().values()) == {"half whole"}
    assert len(texts()) == len(lab.seen) == 4
    lab.always = chat(text("half whole"), finish("stop"))
    assert batch(*at(lab), model=HOST) == 0
    assert len(lab.seen) == 50


def on_terminal(lab: Lab, *before: str) -> Terminal:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(50)])
    lab.always = [*sse(*text("half ")), Pause(), *chat(text("whole"), finish("stop"))]
    command = ["batch", "in.jsonl", "-o", "out.jsonl", "-m", HOST, *at(lab), "-j", "16"]
    return Terminal(*(before or ("-m", "pipy_ai")), *command, columns=40)


def test_ctrl_c_on_a_terminal_leaves_no_progress_line(lab: Lab) -> None:
    with on_terminal(lab) as terminal:
        terminal.wait_for("0/50")
        lab.wait_for_requests(4)
        terminal.interrupt()  # whose echo would wrap: the progress line fills the row
        terminal.wait_for("finishing 4 in flight")
        lab.go()
        assert terminal.wait() == 130
        assert "/50" not in terminal.text
        assert "^C" not in terminal.text


def test_ctrl_z_on_a_terminal_restores_it(lab: Lab) -> None:
    with on_terminal(lab, "-c", SHELL) as terminal:
        terminal.wait_for("0/50")
        lab.wait_for_requests(4)
        terminal.send("\x1a")
        terminal.wait_for("stopped, echo is on")
        shown, _, later = terminal.raw.rpartition(b"stopped, echo")
        assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is visible
        until = time.monotonic() + 30
        while b"0/50" not in later:
            assert time.monotonic() < until
            terminal.read(0.1)
            later = terminal.raw.rpartition(b"stopped, echo")[2]
        terminal.interrupt()
        terminal.wait_for("finishing 4 in flight")
        lab.go()
        assert terminal.wait() == 130
        assert "/50" not in terminal.text


def test_ctrl_c_while_reading_input_exits_at_once(lab: Lab) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(200_000)])
    process = start(lab)
    wait_for(Path("out.jsonl").exists)  # made before the input is read
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=30)
    assert (process.returncode, output) == (130, b"")
    assert not lab.seen


def test_results_are_fsynced_once_a_second(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most once a second; everything written before the last sync survives a power cut."""
    synced: list[tuple[float, int]] = []

    def slow(seen: Seen) -> Scene:
        time.sleep(0.02)
        return upper(seen)

    def sync(answers: ResultsFile) -> None:
        synced.append((time.monotonic(), Path("out.jsonl").read_bytes().count(b"\n")))

    monkeypatch.setattr(ResultsFile, "sync", sync)
    monkeypatch.setattr("pipy_ai.batch.job.SYNC_INTERVAL_S", 0.1)
    lab.always = slow
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(40)])
    assert batch("-j", "1", *at(lab), model=HOST) == 0
    assert len(synced) >= 3
    assert all(b[0] - a[0] >= 0.1 and b[1] > a[1] for a, b in pairwise(synced))


def test_second_ctrl_c_drops_rows_in_flight(lab: Lab) -> None:
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(50)])
    lab.always = [*sse(*text("half ")), Pause()]
    process = start(lab, "-j", "16")
    lab.wait_for_requests(4)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "50 rows are not sent yet" in output.decode()
    assert "Traceback" not in output.decode()
    assert answers() == []


def test_progress_on_a_terminal(lab: Lab) -> None:
    lab.always = upper
    questions(*[{"id": n, "prompt": f"q{n}"} for n in range(30)])
    leader, follower = pty.openpty()
    process = start(lab, stderr=follower, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"})
    os.close(follower)
    shown = b""
    reader = threading.Thread(target=process.wait)
    reader.start()
    while True:
        try:
            piece = os.read(leader, 1 << 16)
        except OSError:  # its other end is closed
            break
        if not piece:
            break
        shown += piece
    reader.join()
    os.close(leader)
    assert process.stdout is not None
    process.stdout.close()
    assert process.returncode == 0
    assert b"30/30" in shown
    assert b"tokens" in shown
    assert b"30 rows: 30 answered" in shown


def test_killed_batch_resumes_against_a_failing_server(tmp_path: Path) -> None:
    """The small version of `python -m tests.support.batch_chaos 100000`."""
    found = batch_chaos.run(
        rows=2000, kills=2, concurrency=32, rate=400, faults=0.03, directory=tmp_path, timeout=1.5
    )
    assert batch_chaos.wrong(found, speed=0.2) == [], found  # on a machine that is busy with tests
    assert found["server"]["beyond the limit"] > 0
