"""The clients of `lanes.py` as processes: started, asked, checked, ended."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from lanes_server import expected

HERE = Path(__file__).parent
MINUTE = 60.0

Job = dict[str, Any]


class Failed(Exception):
    """A client that cannot be measured, and why."""


@dataclass(frozen=True)
class Client:
    """One file of `clients/`, asked in one way over one wire."""

    name: str
    file: str
    wire: str = "chat"
    way: str = "async"
    theirs: bool = True  # lives in a Python of --rivals

    @property
    def label(self) -> str:
        """Its name in a table."""
        return f"{self.name}, {self.way}"

    @property
    def path(self) -> str:
        """Its file."""
        return str(HERE / "clients" / self.file)

    @property
    def floor(self) -> Client:
        """What it is compared with."""
        return Client("raw httpx", "raw_httpx.py", self.wire, self.way, theirs=False)


@dataclass(frozen=True)
class Homes:
    """Where clients live: Pythons, one of which may be for one client only, and a directory."""

    rivals: Sequence[str]
    node: str

    def python(self, client: Client) -> list[str]:
        """A client's Python, which does not look for modules in this directory."""
        named = dict(rival.split("=", 1) for rival in self.rivals if "=" in rival)
        common = [rival for rival in self.rivals if "=" not in rival] or [sys.executable]
        return [named.get(client.name, common[0]) if client.theirs else sys.executable, "-P"]

    def waiting(self, client: Client) -> list[str]:
        """What starts a client that waits for jobs."""
        if client.path.endswith(".mjs"):
            return self._on_node(client)
        return [*self.python(client), str(HERE / "lanes_client.py"), client.path, client.way]

    def cold(self, client: Client, base: str) -> list[str]:
        """What starts a client that prints its first token."""
        if client.path.endswith(".mjs"):
            return [*self._on_node(client), "cold", base, client.wire]
        return [*self.python(client), str(HERE / "lanes_cold.py"), client.path, base, client.wire]

    def _on_node(self, client: Client) -> list[str]:
        directory = Path(self.node).absolute()
        own = directory / "node_modules" / ".bin" / "node"
        found = str(own) if own.exists() else shutil.which("node") or "node"
        return [found, client.path, str(directory)]


class Process:
    """A client that waits for jobs."""

    def __init__(self, command: Sequence[str], errors: TextIO) -> None:
        self._errors = errors
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            text=True, env=environment(),
        )  # fmt: skip
        self.versions = self._read(MINUTE)

    def ask(self, job: Job) -> Job:
        """The result of a job; `Failed` when a character is missing or too many."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed(last_line(self._errors)) from None
        result = self._read(3 * MINUTE)
        if "error" in result:
            raise Failed(str(result["error"]).splitlines()[0])
        wanted = expected(job["kind"], job["deltas"])
        for got in result.pop("got"):
            if job["kind"] == "thinking" and got == {**wanted, "thinking": 0}:
                result["silent"] = True  # all of the text, nothing of the thoughts
            elif got != wanted:
                raise Failed(f"characters: {got}, sent were {wanted}")
        result["us"] = result["cpu"] / job["deltas"] / job.get("streams", 1) * 1e6
        return result

    def _read(self, limit: float) -> Job:
        assert self._process.stdout is not None
        late = threading.Timer(limit, self._process.kill)
        late.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):  # libraries print, too
                    return dict(json.loads(line))
        finally:
            late.cancel()
        killed = self._process.wait() == -9
        raise Failed(f"took over {limit:.0f} s" if killed else last_line(self._errors))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


class Fleet:
    """Processes of many clients. One that fails is noted and not asked again."""

    def __init__(self, part: str, notes: list[str]) -> None:
        self._part, self._notes = part, notes
        self._running: dict[Client, Process] = {}
        self.versions: dict[str, str] = {}

    def start(self, client: Client, command: Sequence[str]) -> bool:
        """Start a client; False if that fails."""
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (as long as the process)
        try:
            self._running[client] = process = Process(command, errors)
            self.versions |= process.versions
            return True
        except (Failed, OSError) as why:
            if (note := f"{client.name} is left out: {why}") not in self._notes:
                self._notes.append(note)
            return False

    def ask(self, client: Client, job: Job) -> Job | None:
        """What it answers; None once it failed."""
        if client not in self._running:
            return None
        try:
            return self._running[client].ask({**job, "wire": client.wire})
        except Failed as why:
            self._notes.append(f"{client.label} ({client.wire}): {self._part} failed: {why}")
            self._running.pop(client).close()
            return None

    def close(self) -> None:
        """End all."""
        for process in self._running.values():
            process.close()


@contextmanager
def server() -> Iterator[str]:
    """The server; gives its address."""
    command = [sys.executable, str(HERE / "lanes_server.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


def cold_start(command: Sequence[str], **variables: str) -> tuple[float, float]:
    """CPU seconds of a whole process, and wall seconds until the first byte that it prints."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment(**variables), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, bufsize=0,
        )  # fmt: skip
        assert process.stdout is not None
        first = process.stdout.read(1)
        wall = time.perf_counter() - began
        late = threading.Timer(MINUTE, process.kill)
        late.start()
        process.stdout.read()
        failed = process.wait() != 0
        late.cancel()
        process.stdout.close()
        if failed or not first:
            raise Failed(last_line(errors))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def environment(**more: str) -> dict[str, str]:
    """What the processes see: bytecode may be kept, nothing asks the network."""
    quiet = {"PIPY_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1"}
    kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, **quiet, **more}


def last_line(errors: TextIO) -> str:
    """The last line that a process complained with."""
    errors.seek(0)
    return (errors.read().strip().splitlines() or ["it ended without a word"])[-1][:150]
