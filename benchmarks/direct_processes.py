"""Start, run and stop the client processes of `direct.py`."""

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

from direct_server import expected_counts

HERE = Path(__file__).parent
MINUTE_S = 60.0

Job = dict[str, Any]


class ClientFailed(Exception):
    """A client cannot be measured."""


@dataclass(frozen=True)
class Client:
    """A file of `clients/` in one mode over one wire."""

    name: str
    file: str
    wire: str = "chat"
    mode: str = "async"
    rival: bool = True  # runs in a Python of --rivals

    @property
    def label(self) -> str:
        """The name in a table."""
        return f"{self.name}, {self.mode}"

    @property
    def path(self) -> str:
        """The path of the file."""
        return str(HERE / "clients" / self.file)

    @property
    def baseline(self) -> Client:
        """The client to compare with."""
        return Client("raw httpx", "raw_httpx.py", self.wire, self.mode, rival=False)


@dataclass(frozen=True)
class Runtimes:
    """The interpreters of the clients: values of `--rivals`, and the directory of `--node`."""

    rivals: Sequence[str]
    node: str

    def python(self, client: Client) -> list[str]:
        """Return the command of a client's Python, which does not import from this directory."""
        python_by_client = dict(rival.split("=", 1) for rival in self.rivals if "=" in rival)
        default_pythons = [rival for rival in self.rivals if "=" not in rival] or [sys.executable]
        return [
            python_by_client.get(client.name, default_pythons[0])
            if client.rival
            else sys.executable,
            "-P",
        ]

    def job_command(self, client: Client) -> list[str]:
        """Return the command that starts a client process."""
        if client.path.endswith(".mjs"):
            return self._node_command(client)
        return [*self.python(client), str(HERE / "direct_client.py"), client.path, client.mode]

    def cold_command(self, client: Client, base: str) -> list[str]:
        """Return the command that prints a client's first token."""
        if client.path.endswith(".mjs"):
            return [*self._node_command(client), "cold", base, client.wire]
        return [*self.python(client), str(HERE / "direct_cold.py"), client.path, base, client.wire]

    def _node_command(self, client: Client) -> list[str]:
        directory = Path(self.node).absolute()
        local_node = directory / "node_modules" / ".bin" / "node"
        node = str(local_node) if local_node.exists() else shutil.which("node") or "node"
        return [node, client.path, str(directory)]


class Process:
    """A client process that runs jobs."""

    def __init__(self, command: Sequence[str], errors: TextIO) -> None:
        self._errors = errors
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            text=True, env=environment(),
        )  # fmt: skip
        self.versions = self._read(MINUTE_S)

    def run_job(self, job: Job) -> Job:
        """Run a job. Raises `ClientFailed` if the received characters are not those sent."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ClientFailed(last_line(self._errors)) from None
        result = self._read(3 * MINUTE_S)
        if "error" in result:
            raise ClientFailed(str(result["error"]).splitlines()[0])
        sent_counts = expected_counts(job["kind"], job["deltas"])
        for counts in result.pop("got"):
            if job["kind"] == "thinking" and counts == {**sent_counts, "thinking": 0}:
                result["silent"] = True  # the client does not return thinking
            elif counts != sent_counts:
                raise ClientFailed(f"characters: {counts}, sent were {sent_counts}")
        result["us"] = result["cpu"] / job["deltas"] / job.get("streams", 1) * 1e6
        return result

    def _read(self, timeout_s: float) -> Job:
        assert self._process.stdout is not None
        kill_timer = threading.Timer(timeout_s, self._process.kill)
        kill_timer.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):  # libraries may print other lines
                    return dict(json.loads(line))
        finally:
            kill_timer.cancel()
        killed = self._process.wait() == -9
        raise ClientFailed(f"took over {timeout_s:.0f} s" if killed else last_line(self._errors))

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.communicate()


class ClientPool:
    """The processes of several clients. One that fails is noted and not used again."""

    def __init__(self, part: str, notes: list[str]) -> None:
        self._part, self._notes = part, notes
        self._running: dict[Client, Process] = {}
        self.versions: dict[str, str] = {}

    def start(self, client: Client, command: Sequence[str]) -> bool:
        """Start a client. Returns False if that fails."""
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process)
        try:
            self._running[client] = process = Process(command, errors)
            self.versions |= process.versions
            return True
        except (ClientFailed, OSError) as error:
            if (note := f"{client.name} is left out: {error}") not in self._notes:
                self._notes.append(note)
            return False

    def run_job(self, client: Client, job: Job) -> Job | None:
        """Run a job, and return its result or None if the client has failed."""
        if client not in self._running:
            return None
        try:
            return self._running[client].run_job({**job, "wire": client.wire})
        except ClientFailed as error:
            self._notes.append(f"{client.label} ({client.wire}): {self._part} failed: {error}")
            self._running.pop(client).close()
            return None

    def close(self) -> None:
        """Kill all processes."""
        for process in self._running.values():
            process.close()


@contextmanager
def server() -> Iterator[str]:
    """Run the server process, and yield its address."""
    command = [sys.executable, str(HERE / "direct_server.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.communicate()


def cold_start(command: Sequence[str], **variables: str) -> tuple[float, float]:
    """Return the CPU seconds of a process, and the seconds until it prints its first byte."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment(**variables), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, bufsize=0,
        )  # fmt: skip
        assert process.stdout is not None
        first_byte = process.stdout.read(1)
        first_byte_s = time.perf_counter() - started
        kill_timer = threading.Timer(MINUTE_S, process.kill)
        kill_timer.start()
        process.stdout.read()
        failed = process.wait() != 0
        kill_timer.cancel()
        process.stdout.close()
        if failed or not first_byte:
            raise ClientFailed(last_line(errors))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, first_byte_s


def environment(**overrides: str) -> dict[str, str]:
    """Return the environment of the processes: bytecode is cached, the network is not used."""
    fixed = {"PIPY_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1"}
    inherited = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, **fixed, **overrides}


def last_line(errors: TextIO) -> str:
    """Return the last line that a process wrote to stderr."""
    errors.seek(0)
    return (errors.read().strip().splitlines() or ["it ended without a message"])[-1][:150]
