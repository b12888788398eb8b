"""Kill `pipy batch --batch-api` at random moments, against a laboratory of a batch API.

python -m tests.crash.batch_api [KILLS] [ROWS] [SEED]

The laboratory loses answers to the calls that create jobs, fails other calls, and returns results
in any order, with duplicates and foreign lines. When a batch is complete, the next one begins.
Each row must be in the output exactly once, in the order of the input, with its own answer; each
row must be in exactly one job; and memory must not grow with the rows.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.support.batch_api_lab import ERROR, ERROR_CREATED, LOST, BatchLab

UNKILLED_S = 7200.0  # the first process shows how long one takes


# The provider's limit is lowered, so that each batch has several jobs.
COMMAND = """
import sys
from pipy_ai.batch_api.openai import OpenAIBatches
from pipy_ai.cli.main import main
OpenAIBatches.max_rows = {rows}
sys.exit(main([
    "batch", "in.jsonl", "-o", "out.jsonl", "-m", "openai/gpt-5-nano", "--batch-api",
    "--poll", "0.05",
]))
"""


class BatchKills:
    """The killed processes of one batch after another."""

    def __init__(self, path: Path, lab: BatchLab, rows: int, seed: int) -> None:
        self.path = path
        self.lab = lab
        self.rows = rows
        self.dice = random.Random(seed)
        self.killed = self.finished = 0
        self.duration = 0.0
        lines = [json.dumps({"id": n, "prompt": f"row {n}"}) for n in range(rows)]
        (path / "in.jsonl").write_text("\n".join(lines) + "\n")

    def run(self, kills: int) -> None:
        """Kill as many processes, and let the last batch end."""
        self._run_process(UNKILLED_S)
        self._begin_batch()
        while self.killed < kills:
            self._misbehave()
            if self._run_process(self.dice.uniform(0.1, 1.2) * self.duration):
                self._begin_batch()
        self._run_process(UNKILLED_S)
        self._check_batch()

    def _begin_batch(self) -> None:
        self._check_batch()
        (self.path / "out.jsonl").unlink()
        self.lab.jobs.clear()
        self.lab.files.clear()

    def _misbehave(self) -> None:
        lab, dice = self.lab, self.dice
        lab.creation = dice.choice([[], [], [LOST], [ERROR], [ERROR_CREATED], [ERROR, LOST]])
        lab.hidden_lists = dice.randint(0, 1)
        lab.failing_calls = [dice.choice([500, 503, 429]) for _ in range(dice.randint(0, 2))]
        lab.polls = dice.randint(1, 4)
        lab.shuffle = True
        lab.duplicated = set(dice.sample(range(self.rows), min(3, self.rows)))
        lab.unknown_ids = ["r-0-00000000", "foreign"]

    def _run_process(self, delay_s: float) -> bool:
        """Run the command, perhaps until it is killed; return whether it finished."""
        env = {
            **os.environ,
            "OPENAI_BASE_URL": self.lab.openai, "OPENAI_API_KEY": "sk-" + "k" * 40,
            "PIPY_DATA_DIR": str(self.path / "data"), "PIPY_OFFLINE": "1",
        }  # fmt: skip
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND.format(rows=max(1, self.rows // 3))],
            stderr=subprocess.PIPE, text=True, cwd=self.path, env=env,
        )  # fmt: skip
        timer = threading.Timer(delay_s, process.kill)
        timer.start()
        _, errors = process.communicate()
        timer.cancel()
        if process.returncode == -9:
            self.killed += 1
            return False
        assert process.returncode == 0, errors
        self.finished += 1
        self.duration = self.duration or time.monotonic() - began
        return True

    def _check_batch(self) -> None:
        with (self.path / "out.jsonl").open() as file:
            records = [json.loads(line) for line in file]
        ids = [one["id"] for one in records]
        counts = Counter(ids)
        twice = [id for id, count in counts.items() if count > 1]
        lost = [id for id in range(self.rows) if id not in counts]
        assert not lost, f"{len(lost)} rows are lost, such as {lost[:3]}"
        assert not twice, f"{len(twice)} rows are there twice, such as {twice[:3]}"
        assert ids == sorted(ids), "the rows are not in order"
        assert [one["text"] for one in records] == [f"ROW {n}" for n in range(self.rows)]
        jobs = self.lab.jobs.values()
        names = [job.name for job in jobs]
        assert len(set(names)) == len(names), "a job was created twice"
        sent = [body["messages"][-1]["content"] for job in jobs for _, body in job.requests]
        assert len(sent) == len(set(sent)) == self.rows, "a row was sent twice"
        leftovers = [path.name for path in self.path.glob(".out.jsonl.batch*")]
        assert not leftovers, leftovers


def run(kills: int, rows: int, seed: int, path: Path) -> BatchKills:
    """Kill the command as often, and check every batch."""
    with BatchLab() as lab:
        runs = BatchKills(path, lab, rows, seed)
        runs.run(kills)
    return runs


def main() -> None:
    kills, rows, seed = map(int, [*sys.argv[1:], *("50", "100000", "1")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as directory:
        runs = run(kills, rows, seed, Path(directory))
    megabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    sys.stdout.write(
        f"{rows:,} rows, {runs.killed} kills, {runs.finished} runs to the end: each row once;"
        f" at most {megabytes:,.0f} MB\n"
    )


if __name__ == "__main__":
    main()
