"""Measure the CPU per streamed delta of requests that LiteLLM builds, compared with its own stream.

    python benchmarks/wire.py [DELTAS] [ROUNDS]

LiteLLM builds the request in both cases, and a server process on loopback sends the same bytes.
Ours is measured from the socket to finished events; LiteLLM's is the iteration of its chunks,
without events or a message. Prints the CPU of the client process per delta: medians of rounds,
ratios within a round.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipy_ai import complete, stream  # noqa: E402
from pipy_ai.provider.litellm import provider as litellm_transport  # noqa: E402
from tests.support.wire_formats import WIRES, Wire  # noqa: E402

DELTAS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5

SERVER_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.support.scripted_server import Lab
from tests.support.wire_formats import WIRES, say
bodies = {}
for wire in WIRES:
    bodies[wire.name] = b"".join(wire.scene(say(*["word "] * int(sys.argv[2]))))
def answer(seen):
    path = seen.path
    name = ("anthropic" if path.endswith("/messages") else "gemini" if "Generate" in path
            else "responses" if path.endswith("/responses") else "chat")
    whole = bodies[name]
    lab.play(answer)
    return [whole[i:i + 16384] for i in range(0, len(whole), 16384)]
with Lab() as lab:
    lab.play(answer)
    print(lab.port, flush=True)
    sys.stdin.read()
"""


class Server:
    """The server process."""

    def __enter__(self) -> Server:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER_SCRIPT, str(ROOT), str(DELTAS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}/v1"
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


def pipy_us_per_delta(wire: Wire, base: str) -> float:
    """Return the CPU per delta in microseconds, including all events."""
    started = time.process_time()
    text = 0
    for event in stream(wire.model, "q", api_base=base, api_key="k", transport="litellm"):
        if event.type == "text_delta":
            text += len(event.delta)
    elapsed = time.process_time() - started
    assert text == DELTAS * 5, text
    return elapsed / DELTAS * 1e6


async def litellm_us_per_delta(litellm: Any, wire: Wire, base: str) -> float:
    """Return the CPU per delta of LiteLLM's own async stream in microseconds."""
    options = {"api_base": base, "api_key": "k", "stream": True, "max_retries": 0}
    started = time.process_time()
    messages = [{"role": "user", "content": "q"}]
    chunks = await litellm.acompletion(
        model=wire.model, messages=messages, num_retries=0, _skip_mcp_handler=True, **options
    )
    count = 0
    async for _ in chunks:
        count += 1
    elapsed = time.process_time() - started
    assert count >= DELTAS, count
    return elapsed / DELTAS * 1e6


def main() -> None:
    """Run and print. Exits with 1 if a ratio is above 0.1."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    with Server() as server:
        for wire in WIRES:  # warms up both
            complete(wire.model, "q", api_base=wire.base(server), api_key="k", transport="litellm")
        litellm = importlib.import_module("litellm")
        assert litellm_transport._litellm_module is litellm
        loop = asyncio.new_event_loop()
        print(f"µs of CPU per delta, {DELTAS:,} deltas, medians of {ROUNDS} rounds")
        print(f"{'wire':12}{'LiteLLM':>10}{'pipy-ai':>10}{'ratio':>8}")
        worst_ratio = 0.0
        for wire in WIRES:
            base = wire.base(server)
            litellm_rounds, pipy_rounds = [], []
            for round_number in range(ROUNDS + 1):
                litellm_us = loop.run_until_complete(litellm_us_per_delta(litellm, wire, base))
                pipy_us = pipy_us_per_delta(wire, base)
                if round_number:  # the first round warms up
                    litellm_rounds.append(litellm_us)
                    pipy_rounds.append(pipy_us)
            ratio = statistics.median(
                b / a for a, b in zip(litellm_rounds, pipy_rounds, strict=True)
            )
            worst_ratio = max(worst_ratio, ratio)
            pipy_median, litellm_median = (
                statistics.median(pipy_rounds),
                statistics.median(litellm_rounds),
            )
            print(
                f"{wire.name:12}{litellm_median:>10.1f}{pipy_median:>10.1f}{ratio:>8.3f}",
                flush=True,
            )
        loop.close()
    verdict = "at most a tenth" if worst_ratio <= 0.1 else "MORE than a tenth"
    print(f"{verdict}: the worst ratio is {worst_ratio:.3f}")
    if worst_ratio > 0.1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
