"""One client of `lanes.py` in a process of its own: jobs come as lines of JSON, results go so, too.

    python -P lanes_client.py clients/NAME.py sync|async

A client defines `stream(base, wire, model, tools)` or its asynchronous twin `astream`; both yield
pairs of a kind ("thinking", "text", "tool") and a piece of text. `PACKAGE` names what it measures.
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


def arguments(job: Job) -> tuple[str, str, str, list[Any]]:
    """What a client is called with."""
    tools = TOOLS if job["kind"] == "tool" else []
    return job["base"], job["wire"], f"{job['kind']}-{job['deltas']}", tools


def nothing() -> dict[str, int]:
    """Characters of each kind, none yet."""
    return {"thinking": 0, "text": 0, "tool": 0}


def peak() -> float:
    """The most memory that this process ever had, in MB."""
    try:
        with open("/proc/self/status") as file:  # getrusage counts what the runner had, too
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def one(client: dict[str, Any], job: Job) -> Job:
    """One stream, synchronously."""
    got, began = nothing(), time.process_time()
    for kind, piece in client["stream"](*arguments(job)):
        got[kind] += len(piece)
    return {"cpu": time.process_time() - began, "mb": peak(), "got": [got]}


async def aone(client: dict[str, Any], job: Job) -> Job:
    """One stream, asynchronously."""
    got, began = nothing(), time.process_time()
    async for kind, piece in client["astream"](*arguments(job)):
        got[kind] += len(piece)
    return {"cpu": time.process_time() - began, "mb": peak(), "got": [got]}


async def many(client: dict[str, Any], job: Job) -> Job:
    """Many streams at once, with a watch on how long the loop is away."""
    stall, running = 0.0, True

    async def watch() -> None:
        nonlocal stall
        last = time.perf_counter()
        while running:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            stall, last = max(stall, now - last - 0.005), now

    async def follow() -> tuple[dict[str, int], float]:
        got, first = nothing(), 0.0
        async for kind, piece in client["astream"](*arguments(job)):
            first = first or time.perf_counter() - began
            got[kind] += len(piece)
        return got, first

    watcher = asyncio.ensure_future(watch())
    await asyncio.sleep(0.01)
    cpu, began = time.process_time(), time.perf_counter()
    results = await asyncio.gather(*(follow() for _ in range(job["streams"])))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    running = False
    await watcher
    firsts = statistics.median(first for _, first in results)
    got = [got for got, _ in results]
    return {"cpu": cpu, "wall": wall, "stall": stall, "first": firsts, "mb": peak(), "got": got}


def tell(result: Job) -> None:
    """Answer the runner."""
    print(json.dumps(result), flush=True)


async def follow_jobs(client: dict[str, Any]) -> None:
    """The asynchronous client's life, in one loop: what it leaves behind runs between jobs."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        job = json.loads(line)
        gc.collect()
        try:
            tell(await (many if job.get("streams") else aone)(client, job))
        except Exception as error:
            tell({"error": f"{type(error).__name__}: {error}"})


def main() -> None:
    """Say what is measured, then take jobs until stdin ends."""
    client: dict[str, Any] = {"__name__": "client"}
    with open(sys.argv[1]) as file:
        exec(compile(file.read(), sys.argv[1], "exec"), client)
    tell({client["PACKAGE"]: client.get("VERSION") or version(client["PACKAGE"])})
    if sys.argv[2] == "async":
        asyncio.run(follow_jobs(client))
        return
    while line := sys.stdin.readline():
        gc.collect()
        try:
            tell(one(client, json.loads(line)))
        except Exception as error:
            tell({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
