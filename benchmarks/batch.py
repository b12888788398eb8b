"""Measure the CPU per row of a batch in the client process, compared with raw httpx.

    python benchmarks/batch.py [--rows 3000] [--rounds 5] [--memory]

Each round sends the same rows to the same server (a separate process) in both ways; the minimum of
the rounds counts. The answers have five deltas of text and a usage. `--memory` prints the bytes
that `acomplete_many` keeps for each message instead.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path

import httpx

from pipy_ai import acomplete_many, astream_many

ROOT = Path(__file__).parents[1]
CONCURRENCY = 32


async def with_pipy(base: str, rows: int) -> None:
    """Use `astream_many`, which returns messages with usage."""
    prompts = (f"row {number}" for number in range(rows))
    async for index, message in astream_many(
        "hosted_vllm/m", prompts, api_base=base, concurrency=CONCURRENCY
    ):
        assert message.text == f"Row {index} is an answer.", message


async def with_httpx(base: str, rows: int) -> None:
    """Read the text with minimal code: lines, JSON, a semaphore."""
    limits = httpx.Limits(max_connections=CONCURRENCY)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def send(number: int) -> None:
            body = {
                "model": "m", "stream": True,
                "messages": [{"role": "user", "content": f"row {number}"}],
            }  # fmt: skip
            text = ""
            async with client.stream("POST", f"{base}/chat/completions", json=body) as response:
                async for line in response.aiter_lines():
                    if line.startswith("data: ") and line != "data: [DONE]":
                        choices = json.loads(line[6:])["choices"]
                        text += choices[0]["delta"].get("content", "") if choices else ""
            assert text == f"Row {number} is an answer.", text

        slots = asyncio.Semaphore(CONCURRENCY)

        async def send_limited(number: int) -> None:
            async with slots:
                await send(number)

        await asyncio.gather(*map(send_limited, range(rows)))


async def memory_per_message(base: str, rows: int) -> float:
    """Return the bytes that `acomplete_many` keeps for each message."""
    await with_pipy(base, 100)  # warms up
    gc.collect()
    tracemalloc.start()
    prompts = [f"row {number}" for number in range(rows)]
    before = tracemalloc.get_traced_memory()[0]
    messages = await acomplete_many(
        "hosted_vllm/m", prompts, api_base=base, concurrency=CONCURRENCY
    )
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / len(messages)


def main() -> None:
    """Measure both alternately."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    command = [
        sys.executable, "-m", "tests.support.batch_server", '{"rate": 1e9, "latency": 0.005}'
    ]  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    clients: list[Callable[[str, int], Coroutine[None, None, None]]] = [with_httpx, with_pipy]
    lowest_us = [float("inf")] * len(clients)
    try:
        assert server.stdout is not None
        base = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
        if arguments.memory:
            bytes_kept = asyncio.run(memory_per_message(base, arguments.rows))
            print(f"{bytes_kept:.0f} bytes a message")
            return
        for round_ in range(arguments.rounds + 1):
            for number, client in enumerate(clients):
                rows = arguments.rows if round_ else 100  # the first round warms up
                started = time.process_time()
                asyncio.run(client(base, rows))
                cpu_us = (time.process_time() - started) / rows * 1e6
                if round_:
                    lowest_us[number] = min(lowest_us[number], cpu_us)
    finally:
        server.kill()
        server.communicate()
    for client, cpu_us in zip(clients, lowest_us, strict=True):
        print(f"{client.__name__[5:]:6} {cpu_us:6.0f} µs a row  {cpu_us / lowest_us[0]:.2f}")


if __name__ == "__main__":
    main()
