"""Kill `pipy batch --batch-api` at random moments, against a laboratory of a batch API.

python -m tests.crash.batch_api [KILLS] [ROWS] [SEED] [VENDOR …]

Each vendor has its own batches: openai, anthropic, google and mistral. The laboratory loses answers
to the calls that create jobs, fails other calls, and returns results in any order, with duplicates
and foreign lines. When a batch is complete, the next one begins. Each row must be in the output
exactly once, in the order of the input, with its own answer; each row must be in exactly one job;
and memory must not grow with the rows.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.batch_api_lab import ERROR, ERROR_CREATED, LOST, BatchLab, prompt_of

FIRST_MOMENT_S = 0.5  # about when the command begins to work

# The model, the address below that of the laboratory, and the class whose limit is lowered.
VENDORS = {
    "openai": ("openai/gpt-5-nano", "/v1", "openai.OpenAIBatches"),
    "anthropic": ("anthropic/claude-haiku-4-5", "", "anthropic.AnthropicBatches"),
    "google": ("google/gemini-2.5-flash", "/v1beta", "gemini.GeminiBatches"),
    "mistral": ("mistral/mistral-small-latest", "/v1", "mistral.MistralBatches"),
}
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY")

# The provider's limit is lowered, so that each batch has several jobs.
COMMAND = """
import sys
from pipy_ai.batch_api.{module} import {name}
from pipy_ai.cli.main import main
{name}.max_rows = {rows}
code = main([
    "batch", "in.jsonl", "-o", "out.jsonl", "-m", {model!r}, "--api-base", {url!r},
    "--batch-api", "--poll", "0.05", "--max-tokens", "100",
])
with open("/proc/self/status") as status, open("status", "w") as copy:
    copy.write(status.read())
sys.exit(code)
"""


class BatchKills:
    """The killed processes of one batch after another."""

    def __init__(self, path: Path, lab: BatchLab, rows: int, seed: int, vendor: str) -> None:
        self.path = path
        self.lab = lab
        self.rows = rows
        model, address, limited = VENDORS[vendor]
        module, name = limited.split(".")
        self.command = COMMAND.format(
            module=module, name=name, rows=max(1, rows // 3), model=model, url=lab.url + address
        )
        self.dice = random.Random(seed)
        self.killed = self.finished = 0
        self.duration = self.peak_mb = 0.0
        lines = [json.dumps({"id": n, "prompt": f"row {n}"}) for n in range(rows)]
        (path / "in.jsonl").write_text("\n".join(lines) + "\n")

    def run(self, kills: int) -> None:
        """Kill as many processes, and let the last batch end."""
        began = time.monotonic()
        assert self._run_process()
        self.duration = time.monotonic() - began
        self._begin_batch()
        while self.killed < kills:
            self._misbehave()
            if self._run_process(self._moment()):
                self._begin_batch()
        assert self._run_process()
        self._check_batch()

    def _moment(self) -> float:
        """Return when to kill a process, in seconds: in each of its phases alike.

        The long phases are those that write requests and read answers. As many kills hit the short
        ones between and before them: to find the job, create it and download the results.
        """
        longest = max(1.2 * self.duration, 2 * FIRST_MOMENT_S)
        return math.exp(self.dice.uniform(math.log(FIRST_MOMENT_S), math.log(longest)))

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

    def _run_process(self, delay_s: float | None = None) -> bool:
        """Run the command, perhaps until it is killed; return whether it finished."""
        env = {
            **os.environ, **dict.fromkeys(KEYS, "sk-" + "k" * 40),
            "PIPY_DATA_DIR": str(self.path / "data"), "PIPY_OFFLINE": "1",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-c", self.command],
            stderr=subprocess.PIPE, text=True, cwd=self.path, env=env,
        )  # fmt: skip
        try:
            _, errors = process.communicate(timeout=delay_s)
            self._note_memory(self.path / "status")
        except subprocess.TimeoutExpired:
            self._note_memory(Path(f"/proc/{process.pid}/status"))
            process.kill()
            _, errors = process.communicate()
        if process.returncode == -9:
            self.killed += 1
            return False
        assert process.returncode == 0, errors
        self.finished += 1
        return True

    def _note_memory(self, status: Path) -> None:
        """Note the peak of a process. That of `getrusage` includes the laboratory, before exec."""
        if (peak := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())) is not None:
            self.peak_mb = max(self.peak_mb, int(peak[1]) / 1024)

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
        names = [job.name for job in jobs if job.name]  # Anthropic has none
        assert len(set(names)) == len(names), "a job was created twice"
        sent = [prompt_of(body) for job in jobs for _, body in job.requests]
        assert len(sent) == len(set(sent)) == self.rows, "a row was sent twice"
        leftovers = [path.name for path in self.path.glob(".out.jsonl.batch*")]
        assert not leftovers, leftovers


def run(kills: int, rows: int, seed: int, path: Path, vendor: str) -> BatchKills:
    """Kill the command as often, and check every batch."""
    with BatchLab() as lab:
        runs = BatchKills(path, lab, rows, seed, vendor)
        runs.run(kills)
    return runs


def main() -> None:
    numbers = [int(word) for word in sys.argv[1:4]]
    kills, rows, seed = numbers + [50, 100_000, 1][len(numbers) :]
    for vendor in sys.argv[4:] or VENDORS:
        with tempfile.TemporaryDirectory() as directory:
            runs = run(kills, rows, seed, Path(directory), vendor)
        sys.stdout.write(
            f"{vendor}: {rows:,} rows, {runs.killed} kills, {runs.finished} runs to the end: each"
            f" row once; {rows / runs.duration:,.0f} rows/s without kills;"
            f" at most {runs.peak_mb:,.0f} MB\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
