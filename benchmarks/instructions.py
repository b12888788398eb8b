"""Count the instructions of a streamed delta with Valgrind's callgrind: no clock, no noise.

    python benchmarks/instructions.py                 # a table of all APIs
    python benchmarks/instructions.py --check         # what CI runs: no API above its limit
    python benchmarks/instructions.py --write         # set the limits to the figures of this run
    python benchmarks/instructions.py --src OTHER/src # measure another version of pipy-ai

`async`, `sync` and `complete` read a response that arrives in a burst. With `paced` and
`paced-complete`, 50 responses arrive at once, and each read of a socket returns one delta. `httpx`
and `paced-httpx` read the lines with httpx and parse them with `json`, and do nothing else.

The floor is the least that a client can do with Chat Completions: read from a socket, split the
events, parse their JSON. The limits in `instructions.json` are multiples of it, so that they hold
for other builds of the same version of Python. The tests' wire formats render the responses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
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
WARM_UP, SHORT, LONG = 20, 100, 700  # deltas; the difference of the last two is measured
PACED_SHORT, PACED_LONG = 10, 30  # of each response
PACED_STREAMS = 50  # more make no difference
CLIENT = HERE / "instructions_client.py"
FRAMES_PER_CHUNK = 1  # as providers send them
MODES = ("async", "sync", "complete")
PACED_MODES = ("paced", "paced-complete")
PACED_WIRES = ("chat", "anthropic", "responses", "gemini")
CHAT_MODES = {"text": ("floor", "httpx"), "paced": ("paced-httpx",)}  # measured only there
CHECKED_MODES = ("floor", "async")  # by CI, which has little time
CHECKED_CHAT_MODES = (*CHECKED_MODES, "complete", "paced", "paced-complete")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def body(wire: Wire, kind: str, deltas: int) -> list[bytes]:
    """Return the events of a response."""
    if kind == "arguments":
        arguments = json.dumps({"x": "a" * (4 * deltas - 9)})
        pieces = [arguments[at : at + 4] for at in range(0, len(arguments), 4)]
        scene = wire.scene(tool("call_1", "f", *pieces), stop="tool")
    else:
        scene = wire.scene(say(*["word "] * deltas))
    events = [event for event in scene if isinstance(event, bytes)]
    return [with_counts(event, n) for n, event in enumerate(events)] if kind == "usage" else events


def with_counts(event: bytes, number: int) -> bytes:
    """Return an event of Gemini with the usage so far, as Google AI Studio sends it."""
    usage = (
        b'"usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": %d,'
        b' "totalTokenCount": %d, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}]},'
        b' "modelVersion"'
    )
    return event.replace(b'"modelVersion"', usage % (number + 1, number + 9))


def framed(data: bytes) -> bytes:
    """Return a chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def burst(events: list[bytes]) -> Iterator[bytes]:
    """Return the body of a response in few chunks."""
    for at in range(0, len(events), FRAMES_PER_CHUNK):
        yield framed(b"".join(events[at : at + FRAMES_PER_CHUNK]))


def paced(events: list[bytes], read_bytes: int) -> Iterator[bytes]:
    """Return a chunk for each event, padded so that reads of this size begin with a chunk."""
    for event in events:
        padded = event
        while len(framed(padded)) % read_bytes:
            padded = padded.replace(b"\n\n", b" \n\n")
        yield framed(padded)


def delta_bytes(wire: Wire) -> int:
    """Return the size of a chunk with one delta."""
    events = body(wire, "paced", WARM_UP)
    return len(framed(events[len(events) // 2]))


def response(events: list[bytes], read_bytes: int | None) -> bytes:
    """Return a response; with `read_bytes`, reads of this size return an event each."""
    kind = b"application/json" if events[0][:1] == b"{" else b"text/event-stream"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: %s\r\n" % kind
    if read_bytes is not None:
        head += b"x-padding: %s\r\n" % (b"x" * (-len(head + b"x-padding: \r\n\r\n") % read_bytes))
    pieces = burst(events) if read_bytes is None else paced(events, read_bytes)
    return b"".join((head, b"\r\n", *pieces, b"0\r\n\r\n"))


class Server:
    """Serve responses on loopback; the model or the path of a request names the response."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.responses: dict[str, bytes] = {}
        self.all_requested = threading.Barrier(PACED_STREAMS)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with (
            contextlib.suppress(ConnectionError),  # the client has failed, and says why
            connection,
            connection.makefile("rb") as reader,
        ):
            while head := _read_head(reader):
                length = re.search(rb"(?i)content-length: (\d+)", head)
                content = reader.read(int(length[1])) if length else b""
                found = re.search(rb"job-[\w.-]+", head + content)
                if found is None:
                    return
                name = found[0].decode()
                if name.endswith((f"-paced-{PACED_SHORT}", f"-paced-{PACED_LONG}")):
                    self.all_requested.wait()
                connection.sendall(self.responses[name])
                if head.startswith(b"GET"):  # the floor has no framing but the end
                    return


def _read_head(reader: BinaryIO) -> bytes:
    """Return the head of a request; empty at the end of the connection."""
    head = b""
    while (line := reader.readline()) not in (b"", b"\r\n"):
        head += line
    return head


def jobs_for(server: Server) -> list[dict[str, Any]]:
    """Return the jobs: each API with text, arguments of a call that come in pieces, and paced."""
    jobs: list[dict[str, Any]] = []
    for wire in WIRES:
        kinds: dict[str, tuple[str, ...]] = {"text": MODES}
        if wire.fragments:
            kinds["arguments"] = MODES
        if wire.name == "gemini":
            kinds["usage"] = MODES
        if wire.name in PACED_WIRES:
            kinds["paced"] = PACED_MODES
        for kind, modes in kinds.items():
            read_bytes = delta_bytes(wire) if kind == "paced" else None
            name = f"job-{wire.name}-{kind}"
            for deltas in (WARM_UP, SHORT, LONG, PACED_SHORT, PACED_LONG):
                events = body(wire, kind, deltas)
                server.responses[f"{name}-{deltas}"] = response(events, read_bytes)
                server.responses[f"{name}-floor-{deltas}"] = b"".join(
                    (b"HTTP/1.1 200 OK\r\n\r\n", *events)
                )
            if wire.name == "chat":
                modes = (*CHAT_MODES.get(kind, ()), *modes)
            jobs += [
                {
                    "wire": wire.name, "kind": kind, "mode": mode, "name": name,
                    "model": f"{wire.model.rpartition('/')[0]}/{name}",
                    "base": wire.base(_Address(server.port)), "read_bytes": read_bytes,
                    "streams": 1 if read_bytes is None else PACED_STREAMS,
                }
                for mode in modes
            ]  # fmt: skip
    return jobs


class _Address:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"


def sizes(job: dict[str, Any]) -> tuple[int, int]:
    """Return the deltas of the two responses whose difference is measured."""
    return (SHORT, LONG) if job["read_bytes"] is None else (PACED_SHORT, PACED_LONG)


def count(jobs: list[dict[str, Any]], src: str, port: int) -> list[float]:
    """Return the instructions per delta of each job."""
    runs = [{**job, "deltas": [WARM_UP, size]} for job in jobs for size in sizes(job)]
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
    return [
        (totals[2 * number + 1] - totals[2 * number]) / (long - short) / job["streams"]
        for number, job in enumerate(jobs)
        for short, long in [sizes(job)]
    ]


def main() -> int:
    """Measure, print, and check or write the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--src", default=str(HERE.parent / "src"), help="the source to measure")
    parser.add_argument("--check", action="store_true", help="fail if a limit is exceeded")
    parser.add_argument("--write", action="store_true", help="write the limits")
    parser.add_argument("--wire", action="append", help="measure only this API (repeatable)")
    parser.add_argument("--kind", action="append", help="measure only text, arguments or paced")
    parser.add_argument("--mode", action="append", help="measure only this mode (repeatable)")
    args = parser.parse_args()
    kept = json.loads(LIMITS.read_text()) if LIMITS.exists() else {"python": PYTHON, "limits": {}}
    limits: dict[str, float] = kept["limits"]
    if args.check and kept["python"] != PYTHON:
        print(f"The limits are for Python {kept['python']}, and this is {PYTHON}: not checked.")
        return 0
    server = Server()
    jobs = [job for job in jobs_for(server) if is_wanted(job, args)]
    floor, exceeded, table = 1.0, [], {}
    print(f"{'API':10} {'delta':10} {'mode':14} {'instructions':>12} {'x floor':>8} {'limit':>7}")
    for job, instructions in zip(jobs, count(jobs, args.src, server.port), strict=True):
        name = f"{job['wire']} {job['kind']} {job['mode']}"
        floor = instructions if job["mode"] == "floor" else floor  # the first of the jobs
        ratio = table[name] = round(instructions / floor, 3)
        limit = limits.get(name, math.inf) * TOLERANCE
        print(
            f"{job['wire']:10} {job['kind']:10} {job['mode']:14} {instructions:12,.0f}"
            f" {ratio:8.3f} {limit:7.3f}"
        )
        if ratio > limit:
            exceeded.append(f"{name}: {ratio:.3f} x the floor, limit {limit:.3f}")
    if args.write:
        limits |= {name: ratio for name, ratio in table.items() if not name.endswith("floor")}
        LIMITS.write_text(json.dumps({"python": PYTHON, "limits": limits}, indent=1) + "\n")
    for line in exceeded:
        print(line, file=sys.stderr)
    return 1 if args.check and exceeded else 0


def is_wanted(job: dict[str, Any], args: argparse.Namespace) -> bool:
    """Return whether to run a job."""
    modes = args.mode
    if not modes and (args.check or args.write):
        modes = CHECKED_CHAT_MODES if job["wire"] == "chat" else CHECKED_MODES
    return job["mode"] == "floor" or (
        (not args.wire or job["wire"] in args.wire)
        and (not args.kind or job["kind"] in args.kind)
        and (not modes or job["mode"] in modes)
    )


if __name__ == "__main__":
    sys.exit(main())
