"""Count the instructions of a streamed delta with Valgrind's callgrind: no clock, no noise.

    python benchmarks/instructions.py                 # a table of all APIs
    python benchmarks/instructions.py --check         # what CI runs: no API above its limit
    python benchmarks/instructions.py --write         # set the limits to the figures of this run
    python benchmarks/instructions.py --src OTHER/src # measure another version of pipy-ai

The floor is the least that a client can do: read from a socket, split the events, parse their JSON.
The limits in `instructions.json` are multiples of the floor, so that they hold for other builds of
Python. The tests' wire formats render the responses.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from tests.support.wire_formats import WIRES, Wire, say, tool  # noqa: E402

LIMITS = HERE / "instructions.json"
TOLERANCE = 1.03
SHORT, LONG = 200, 1200  # deltas; the difference is measured
CLIENT = HERE / "instructions_client.py"
FRAMES_PER_CHUNK = 16


def body(wire: Wire, kind: str, deltas: int) -> list[bytes]:
    """Return the events of a response."""
    if kind == "text":
        scene = wire.scene(say(*["word "] * deltas))
    else:
        arguments = json.dumps({"x": "a" * (4 * deltas - 9)})
        pieces = [arguments[at : at + 4] for at in range(0, len(arguments), 4)]
        scene = wire.scene(tool("call_1", "f", *pieces), stop="tool")
    return [event for event in scene if isinstance(event, bytes)]


class Server:
    """Serve responses on loopback; the model or the path of a request names the response."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.responses: dict[str, list[bytes]] = {}
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as reader:
            while head := _read_head(reader):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                content = reader.read(int(length[1])) if length else b""
                found = re.search(rb"job-[\w.-]+", head + content)
                if found is None:
                    return
                events = self.responses[found[0].decode()]
                if head.startswith(b"GET"):  # the floor: no framing but the end
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(events))
                    return
                connection.sendall(b"".join(self._framed(events)))

    def _framed(self, events: list[bytes]) -> Iterator[bytes]:
        kind = b"application/json" if events[0][:1] == b"{" else b"text/event-stream"
        yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: %s\r\n\r\n" % kind
        for at in range(0, len(events), FRAMES_PER_CHUNK):
            piece = b"".join(events[at : at + FRAMES_PER_CHUNK])
            yield b"%x\r\n%s\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"


def _read_head(reader: BinaryIO) -> bytes:
    """Return the head of a request; empty at the end of the connection."""
    head = b""
    while (line := reader.readline()) not in (b"", b"\r\n"):
        head += line
    return head


def jobs_for(server: Server) -> list[dict[str, Any]]:
    """Return the jobs: each API with text, and with the arguments of a call that come in pieces."""
    jobs = []
    for wire in WIRES:
        for kind in ("text", "arguments") if wire.fragments else ("text",):
            for mode in ("floor", "async", "sync", "complete"):
                for deltas in (20, SHORT, LONG):
                    server.responses[f"job-{wire.name}-{kind}-{deltas}"] = body(wire, kind, deltas)
                jobs.append(
                    {
                        "wire": wire.name, "kind": kind, "mode": mode,
                        "model": f"{wire.model.rpartition('/')[0]}/job-{wire.name}-{kind}",
                        "name": f"job-{wire.name}-{kind}",
                        "base": wire.base(_Address(server.port)),
                    }
                )  # fmt: skip
    return jobs


class _Address:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"


def count(jobs: list[dict[str, Any]], src: str, port: int) -> list[float]:
    """Return the instructions per delta of each job."""
    runs = [{**job, "deltas": deltas} for job in jobs for deltas in (SHORT, LONG)]
    environment = {
        **os.environ, "PYTHONPATH": src, "PYTHONHASHSEED": "0", "PIPY_OFFLINE": "1",
        "no_proxy": "*", "COVERAGE_PROCESS_START": "",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as directory:
        environment["PIPY_DATA_DIR"] = f"{directory}/data"
        command = [
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
            f"--log-file={directory}/%p", sys.executable, str(CLIENT), str(port),
        ]  # fmt: skip
        done = subprocess.run(
            command, input=json.dumps(runs), env=environment, text=True, stdout=subprocess.PIPE,
            check=True,
        )  # fmt: skip
        pids = done.stdout.split()
        logs = [Path(directory, pid).read_text() for pid in pids]
    totals = [int(re.findall(r"Collected : (\d+)", log)[-1]) for log in logs]
    assert len(totals) == len(runs), "a job failed"
    return [(totals[at + 1] - totals[at]) / (LONG - SHORT) for at in range(0, len(totals), 2)]


def main() -> int:
    """Measure, print, and check or write the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--src", default=str(HERE.parent / "src"), help="the source to measure")
    parser.add_argument("--check", action="store_true", help="fail if a limit is exceeded")
    parser.add_argument("--write", action="store_true", help="write the limits")
    parser.add_argument("--wire", action="append", help="measure only this API")
    parser.add_argument("--mode", action="append", help="measure only async, sync or complete")
    args = parser.parse_args()
    server = Server()
    jobs = [
        job
        for job in jobs_for(server)
        if (not args.wire or job["wire"] in args.wire)
        and (not args.mode or job["mode"] in ("floor", *args.mode))
    ]
    counts = count(jobs, args.src, server.port)
    limits = json.loads(LIMITS.read_text()) if LIMITS.exists() else {}
    exceeded, floor, table = [], 1.0, {}
    print(f"{'API':12} {'delta':10} {'mode':9} {'instructions':>12} {'x floor':>8} {'limit':>7}")
    for job, instructions in zip(jobs, counts, strict=True):
        name = f"{job['wire']} {job['kind']} {job['mode']}"
        floor = instructions if job["mode"] == "floor" else floor
        ratio = table[name] = round(instructions / floor, 3)
        limit = limits.get(name)
        shown = f"{limit * TOLERANCE:7.2f}" if limit else "      –"
        print(
            f"{job['wire']:12} {job['kind']:10} {job['mode']:9} {instructions:12,.0f} {ratio:8.2f}"
            f" {shown}"
        )
        if limit and ratio > limit * TOLERANCE:
            exceeded.append(f"{name}: {ratio:.2f} x the floor, limit {limit * TOLERANCE:.2f}")
    if args.write:
        kept = {name: ratio for name, ratio in table.items() if not name.endswith("floor")}
        LIMITS.write_text(json.dumps(limits | kept, indent=1) + "\n")
    for line in exceeded:
        print(line, file=sys.stderr)
    return 1 if args.check and exceeded else 0


if __name__ == "__main__":
    sys.exit(main())
