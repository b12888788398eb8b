"""A client process of `direct.py`. Reads jobs as lines of JSON and writes results likewise.

    python -P direct_client.py clients/NAME.py sync|async

A client defines `stream(base, wire, model, tools)` or its async version `astream`. Both yield pairs
of a kind ("thinking", "text", "tool") and a piece of text. `PACKAGE` is the measured package.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import statistics
import sys
import time
from importlib.metadata import version
from typing import Any

PARAMETERS = {"type": "object", "properties": {"x": {"type": "string"}}}
FUNCTION = {"name": "f", "description": "d", "parameters": PARAMETERS}
TOOLS = [{"type": "function", "function": FUNCTION}]

Job = dict[str, Any]


def stream_arguments(job: Job) -> tuple[str, str, str, list[Any]]:
    """Return the arguments for a client."""
    tools = TOOLS if job["kind"] == "tool" else []
    return job["base"], job["wire"], f"{job['kind']}-{job['deltas']}", tools


def zero_counts() -> dict[str, int]:
    """Return the initial number of characters of each kind."""
    return {"thinking": 0, "text": 0, "tool": 0}


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB."""
    try:
        with open("/proc/self/status") as file:  # getrusage also counts the parent's
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except OSError:
        max_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return max_rss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def run_stream(client: dict[str, Any], job: Job) -> Job:
    """Run one stream synchronously."""
    counts, started = zero_counts(), time.process_time()
    for kind, piece in client["stream"](*stream_arguments(job)):
        counts[kind] += len(piece)
    return {"cpu": time.process_time() - started, "mb": peak_memory_mb(), "got": [counts]}


async def arun_stream(client: dict[str, Any], job: Job) -> Job:
    """Run one stream asynchronously."""
    counts, started = zero_counts(), time.process_time()
    async for kind, piece in client["astream"](*stream_arguments(job)):
        counts[kind] += len(piece)
    return {"cpu": time.process_time() - started, "mb": peak_memory_mb(), "got": [counts]}


async def run_streams(client: dict[str, Any], job: Job) -> Job:
    """Run many streams concurrently, and measure the longest stall of the event loop."""
    stall, watching = 0.0, True

    async def measure_stall() -> None:
        nonlocal stall
        last = time.perf_counter()
        while watching:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            stall, last = max(stall, now - last - 0.005), now

    async def consume() -> tuple[dict[str, int], float]:
        counts, first = zero_counts(), 0.0
        async for kind, piece in client["astream"](*stream_arguments(job)):
            first = first or time.perf_counter() - started
            counts[kind] += len(piece)
        return counts, first

    watch_task = asyncio.ensure_future(measure_stall())
    await asyncio.sleep(0.01)
    cpu, started = time.process_time(), time.perf_counter()
    results = await asyncio.gather(*(consume() for _ in range(job["streams"])))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - started
    watching = False
    await watch_task
    median_first = statistics.median(first for _, first in results)
    counts = [counts_of_stream for counts_of_stream, _ in results]
    return {
        "cpu": cpu,
        "wall": wall,
        "stall": stall,
        "first": median_first,
        "mb": peak_memory_mb(),
        "got": counts,
    }


def send_result(result: Job) -> None:
    """Write a result for the runner."""
    print(json.dumps(result), flush=True)


async def run_jobs(client: dict[str, Any]) -> None:
    """Run all jobs of an async client in one event loop."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        job = json.loads(line)
        gc.collect()
        try:
            send_result(await (run_streams if job.get("streams") else arun_stream)(client, job))
        except Exception as error:
            send_result({"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Print the measured package and version, then run jobs until stdin ends."""
    client: dict[str, Any] = {"__name__": "client"}
    with open(sys.argv[1]) as file:
        exec(compile(file.read(), sys.argv[1], "exec"), client)
    send_result({client["PACKAGE"]: client.get("VERSION") or version(client["PACKAGE"])})
    if sys.argv[2] == "async":
        asyncio.run(run_jobs(client))
        return
    while line := sys.stdin.readline():
        gc.collect()
        try:
            send_result(run_stream(client, json.loads(line)))
        except Exception as error:
            send_result({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
