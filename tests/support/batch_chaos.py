"""Run a batch against a server that fails at random, killing and resuming it.

    python -m tests.support.batch_chaos ROWS [--kills 3] [--rate 600] [-j 64] [--faults 0.03]
    python -m tests.support.batch_chaos ROWS --dask 2 --kills 1 --rate 100

`pipy batch` asks ROWS questions of a server process that keeps a limit of requests a second, and
errs, stalls, refuses and disconnects. The batch is killed (SIGKILL) at random times and run again;
with `--dask` it asks through so many worker processes, and it is those that are killed, for good.
Rows of which each try met a fault are asked again by one more run. It prints what came of it, and
fails when a row is missing or there twice, when more was asked twice than was under way at the
kills, when memory grows, or when it was slower than 80 % of the limit.
On Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from .dask_cluster import started

GROWTH = 16  # MB that the batch may grow between its tenth second and its end
ROOT = Path(__file__).parents[2]


@contextmanager
def server(**given: Any) -> Iterator[str]:
    """Start the server as a process and yield its address."""
    command = [sys.executable, "-m", "tests.support.batch_server", json.dumps(given)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def tally(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/tally", timeout=10) as answer:
        return dict(json.load(answer))


def write_questions(path: Path, rows: int) -> None:
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"id": f"r{number}", "prompt": f"row {number}"}) + "\n")


def command(questions: Path, answers: Path, address: str, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "pipy_ai", "batch", str(questions), "-o", str(answers),
        "-m", "hosted_vllm/m", "--api-base", f"{address}/v1", "--json", *more,
    ]  # fmt: skip


class Memory(threading.Thread):
    """Record a process's resident memory: MB after `after` seconds, and the peak since then."""

    def __init__(self, pid: int, after: float) -> None:
        super().__init__(daemon=True)
        self._file, self._after = f"/proc/{pid}/statm", after
        self.early = self.most = 0.0

    def run(self) -> None:
        began, page = time.monotonic(), os.sysconf("SC_PAGE_SIZE")
        while True:
            try:
                resident = int(Path(self._file).read_text().split()[1]) * page / 2**20
            except (OSError, IndexError):
                return
            if time.monotonic() < began + self._after:
                self.early = max(self.early, resident)
            self.most = max(self.most, resident)
            time.sleep(0.2)


def lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for(mark: float, answers: Path, process: subprocess.Popen[bytes]) -> None:
    while lines(answers) < mark and process.poll() is None:
        time.sleep(0.05)


def run(
    rows: int,
    kills: int,
    concurrency: int,
    rate: float,
    faults: float,
    directory: Path,
    seed: int = 1,
    timeout: float = 2.0,
    warm: float = 10.0,
    dask: int = 0,
) -> dict[str, Any]:
    """Run all rows with kills, and return the checked summary."""
    dice = random.Random(seed)
    questions, answers = directory / "in.jsonl", directory / "out.jsonl"
    write_questions(questions, rows)
    marks = sorted(dice.uniform(0.1, 0.9) * rows for _ in range(kills))
    found: dict[str, Any] = {"rows": rows, "kills": kills, "concurrency": concurrency}
    more = ["-j", str(concurrency), "--option", f"timeout={timeout}", "--retry-errors"]
    with ExitStack() as stack:
        address = stack.enter_context(server(rate=rate, faults=faults, seed=seed))
        cluster = stack.enter_context(started(directory, dask)) if dask else None
        if cluster:
            more += ["--dask", cluster.address]
        asked = command(questions, answers, address, *more)
        began = time.monotonic()
        for mark in [] if cluster else marks:
            process = subprocess.Popen(
                asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT
            )
            wait_for(mark, answers, process)
            process.kill()
            process.wait()
            with answers.open("ab") as file:
                file.write(b'{"id": "r1", "text": "torn')  # what a kill can leave
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        had, at_start = lines(answers), tally(address)
        process = subprocess.Popen(
            asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
        )
        memory = Memory(process.pid, warm)
        memory.start()
        for number, mark in enumerate(marks if cluster else []):
            wait_for(mark, answers, process)
            cluster.workers[number].kill()
        out, _ = process.communicate()
        memory.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        at_end = tally(address)
        found["seconds"] = round(time.monotonic() - began, 1)
        summary, code = json.loads(out), process.returncode
        found["failed at first"] = summary["failed"]
        if summary[
            "failed"
        ]:  # every attempt of a row met a fault: run again, as the summary advises
            again = subprocess.run(
                asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
            )
            summary, code = json.loads(again.stdout), again.returncode
    written = [json.loads(line) for line in answers.read_text().splitlines()]
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    served = at_end["requests"] - at_end.get("beyond the limit", 0)
    served -= at_start.get("requests", 0) - at_start.get("beyond the limit", 0)
    found |= {
        "exit": code,
        "failed": summary["failed"],
        "in order": [one["id"] for one in written] == [f"r{n}" for n in range(rows)],
        "right": all(one["text"] == f"Row {n} is an answer." for n, one in enumerate(written)),
        "asked twice": at_end["twice"],
        "at most": kills * concurrency,
        "last run: rows": rows - had,
        "last run: share of the limit": round(served / at_end["seconds"] / rate, 3),
        "last run: CPU, µs a row": round(cpu / max(rows - had, 1) * 1e6),
        "last run: MB early, at most": [round(memory.early, 1), round(memory.most, 1)],
        "server": at_end,
    }
    return found


def wrong(found: dict[str, Any], speed: float = 0.8) -> list[str]:
    """Return what is wrong with a summary."""
    early, most = found["last run: MB early, at most"]
    checks = {
        "a row failed": found["exit"] == 0 and not found["failed"],
        "a row is missing, twice or out of order": found["in order"],
        "an answer is wrong": found["right"],
        "too much was asked twice": found["asked twice"] <= found["at most"],
        "it is too slow": found["last run: share of the limit"] >= speed,
        "memory grows": most - early <= GROWTH,
    }
    return [what for what, well in checks.items() if not well]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=int)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rate", type=float, default=600.0)
    parser.add_argument("--faults", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-j", "--concurrency", type=int, default=64)
    parser.add_argument("--dask", type=int, default=0, metavar="WORKERS")
    given = parser.parse_args()
    if given.dask and given.kills >= given.dask:
        parser.error("--kills must leave a worker")
    with tempfile.TemporaryDirectory() as directory:
        found = run(
            given.rows, given.kills, given.concurrency, given.rate, given.faults,
            Path(directory), given.seed, dask=given.dask,
        )  # fmt: skip
    for name, value in found.items():
        print(f"{name}: {value}")  # noqa: T201
    complaints = wrong(found)
    for complaint in complaints:
        print(f"WRONG: {complaint}")  # noqa: T201
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
