"""Start a local Dask cluster: scheduler and workers are processes that can be killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Cluster:
    """A scheduler and its workers; each is a process."""

    address: str
    environment: dict[str, str]
    directory: Path
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def grow(self) -> subprocess.Popen[bytes]:
        worker = _dask(
            "worker", self.address, "--no-nanny", "--nthreads", "8",
            "--local-directory", str(self.directory), env=self.environment,
        )  # fmt: skip
        self.workers.append(worker)
        return worker


def _dask(command: str, *arguments: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.dask_{command}", *arguments,
         "--host", "127.0.0.1", "--no-dashboard"],
        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


@contextlib.contextmanager
def started(directory: Path, workers: int, **environment: str) -> Iterator[Cluster]:
    """Start a scheduler and workers with `environment` and without this machine's catalogue."""
    env = {
        **os.environ, "PIPY_OFFLINE": "1", "PIPY_DATA_DIR": str(directory / "data"),
        "NO_PROXY": "127.0.0.1", "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", **environment,
    }  # fmt: skip
    about = directory / "scheduler.json"
    scheduler = _dask("scheduler", "--port", "0", "--scheduler-file", str(about), env=env)
    made = Cluster("", env, directory, scheduler)
    try:
        until = time.monotonic() + 60
        while not made.address:
            assert time.monotonic() < until
            assert scheduler.poll() is None
            with contextlib.suppress(OSError, ValueError):
                made.address = json.loads(about.read_text())["address"]
            time.sleep(0.05)
        for _ in range(workers):
            made.grow()
        yield made
    finally:
        for process in [*made.workers, scheduler]:
            process.kill()
            process.wait(10)
