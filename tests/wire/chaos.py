"""Random answers with random faults: the same seed makes the same answer on both sides.

    python -m tests.wire.chaos STREAMS CONCURRENCY

runs a soak against a server process of its own and prints what came of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipy_ai import AssistantMessage, astream
from pipy_ai.provider import loop as loops

from .lab import FIN, RESET, STALL, Lab, Scene, Seen, Status
from .wires import WIRES, Step, Wire, say, think, tool

KEY = "sk-soak-secret-0123456789"
IDLE = 4.0  # seconds after which a stall counts
WORDS = ("word ", "Zürich ", "😀 ", "漢字 ", "line\n", '"quoted" ', "data: x\n\n", "\u2028", "0 ")


@dataclass
class Plan:
    """An answer to come, and what is to be heard of it."""

    wire: Wire
    fault: str
    scenes: list[Scene | Status]  # one a request: some are tried again
    text: str  # all text that must have arrived
    whole: bool  # whether the answer is complete
    at_most: bool  # a reset may cost some of the text


def plan(seed: int) -> Plan:
    """The answer of a seed."""
    rng = random.Random(seed)
    wire = rng.choice(WIRES)
    steps: list[Step] = []
    for _ in range(rng.randint(1, 4)):
        pieces = [rng.choice(WORDS) for _ in range(rng.randint(1, 12))]
        kind = rng.random()
        if kind < 0.6:
            steps.append(say(*pieces))
        elif kind < 0.8:
            steps.append(think(*pieces))
        else:
            steps.append(tool(f"c{rng.randint(0, 99)}", "f", '{"x": ', f'"{rng.random()}"', "}"))
    calls = any(step.kind == "tool" for step in steps)
    stop = "tool" if calls else "stop"
    said = "".join("".join(step.pieces) for step in steps if step.kind == "say")
    body = b"".join(wire.scene(*steps, stop=stop, newline=rng.choice(["\n", "\r\n"])))
    fault = rng.choice(["none"] * 6 + ["cut", "fin", "reset", "stall", "error", "status", "junk"])
    sign = _sign(wire, body)
    before: list[Scene | Status] = []
    whole, at_most = True, False
    if fault == "status":
        code = rng.choice([429, 500, 503, 529])
        before = [Status(code, {"error": {"message": f"busy {KEY}"}}, {"retry-after-ms": "1"})]
        before *= rng.randint(1, 2)
    elif fault in ("cut", "fin", "reset", "stall"):
        at = rng.randrange(len(body))
        whole = at > sign
        body = body[:at]
        heard = body  # at the end of a connection, half a separator is enough
        if fault == "stall":
            heard = body[: max(body.rfind(b"\n\n"), body.rfind(b"\n\r\n")) + 1]
        said = said if whole else _text(wire, heard)
        at_most = fault == "reset"
    elif fault in ("error", "junk"):
        lines = body[: rng.randrange(len(body))]
        lines = lines[: lines.rfind(b"\n\n") + 2] if b"\n\n" in lines else b""
        whole = len(lines) > sign
        said = said if whole else _text(wire, lines)
        last = wire.error("broken", "server_error") if fault == "error" else "{not json"
        data = last if isinstance(last, str) else json.dumps(last)
        body = lines + f"data: {data}\n\n".encode()
        whole = False
    pieces_: list[Any] = []
    while body:
        size = rng.choice([1, 3, 17, 200, 5000])
        pieces_.append(body[:size])
        body = body[size:]
    end = {"fin": [FIN], "reset": [RESET], "stall": [STALL]}.get(fault, [])
    return Plan(wire, fault, [*before, [*pieces_, *end]], said, whole, at_most)


def _sign(wire: Wire, body: bytes) -> int:
    mark = {
        "chat": b'"finish_reason": "',
        "anthropic": b'"stop_reason": "',
        "gemini": b'"finishReason"',
        "responses": b'"response.completed"',
    }[wire.name]
    return body.index(b"}", body.index(b"\n", body.index(mark)) - 3)


def _text(wire: Wire, body: bytes) -> str:
    """The text of the whole events in a piece of a body, read by other means than ours."""
    text = ""
    for line in re.split(rb"\r?\n", body):
        try:
            event = json.loads(line.removeprefix(b"data: "))
        except ValueError:
            continue
        if wire.name == "chat":
            for choice in event.get("choices", []):
                text += choice["delta"].get("content") or ""
        elif wire.name == "anthropic":
            delta = event.get("delta") or {}
            text += delta.get("text", "") if delta.get("type") == "text_delta" else ""
        elif wire.name == "gemini":
            for part in event["candidates"][0]["content"]["parts"]:
                text += "" if part.get("thought") else part.get("text", "")
        elif event.get("type") == "response.output_text.delta":
            text += event["delta"]
    return text


def judge(plan: Plan, events: list[Any]) -> str | None:
    """What is wrong with a stream, or None."""
    ends = [event for event in events if event.type in ("done", "error")]
    if len(ends) != 1 or events[-1] is not ends[0]:
        return f"{len(ends)} last events"
    message: AssistantMessage = ends[0].partial
    if plan.whole and message.stop_reason not in ("stop", "toolUse"):
        return f"failed: {message.error_message}"
    if not plan.whole and message.error is None and not plan.at_most:
        return "claims success"
    if plan.at_most and message.error is not None:
        if not plan.text.startswith(message.text):
            return f"text {message.text!r} is no beginning of {plan.text!r}"
    elif message.text != plan.text:
        return f"text {message.text!r}, not {plan.text!r}"
    if KEY in message.model_dump_json():
        return "the key is told"
    for call in message.tool_calls:
        if message.error is None and call.arguments_error:
            return "a broken call"
    return None


async def run(urls: str, seeds: list[int], concurrency: int) -> tuple[Counter[str], list[str]]:
    """Play every seed; returns the counts by outcome, and what was wrong."""
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    gate = asyncio.Semaphore(concurrency)

    async def one(seed: int) -> None:
        expected = plan(seed)
        base = urls.removesuffix("/v1") if expected.wire.root else urls
        async with gate:
            s = astream(
                expected.wire.model, f"seed={seed};", api_base=base, api_key=KEY,
                idle_timeout=IDLE, timeout=60,
            )  # fmt: skip
            try:
                events = [event async for event in s]
                fault = judge(expected, events)
            except Exception as error:
                fault = f"raised {error!r}"
        outcomes[f"{expected.fault} {'whole' if expected.whole else 'broken'}"] += 1
        if fault is not None:
            wrong.append(f"seed {seed}, {expected.wire.name}, {expected.fault}: {fault}")

    await asyncio.gather(*(one(seed) for seed in seeds))
    return outcomes, wrong


def answer(tries: Counter[int]) -> Any:
    """What the server says: the scene of the seed in the prompt, one a try."""

    def scene(seen: Seen) -> Scene | Status:
        found = re.search(r"seed=(\d+);", json.dumps(seen.json))
        assert found is not None
        seed = int(found[1])
        scenes = plan(seed).scenes
        number = min(tries[seed], len(scenes) - 1)
        tries[seed] += 1
        return scenes[number]

    return scene


def census() -> dict[str, int]:
    """What the process holds: threads, files and sockets, tasks of the background loop."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    thread = loops.ensure()
    tasks = asyncio.run_coroutine_threadsafe(count(), thread.loop).result(10)
    return {
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
        "tasks": tasks,
    }


def main() -> None:
    """The soak."""
    if sys.argv[1:] == ["serve"]:
        with Lab() as lab:
            lab.always = answer(Counter())
            sys.stdout.write(f"{lab.url}\n")
            sys.stdout.flush()
            sys.stdin.read()
        return
    streams, concurrency = int(sys.argv[1]), int(sys.argv[2])
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.wire.chaos", "serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert server.stdout is not None
    assert server.stdin is not None
    url = server.stdout.readline().strip()
    asyncio.run(run(url, list(range(100)), concurrency))  # imports, pools, first calls
    time.sleep(1)
    before = census()
    began, cpu = time.perf_counter(), time.process_time()
    outcomes, wrong = asyncio.run(run(url, list(range(1000, 1000 + streams)), concurrency))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    time.sleep(1)
    after = census()
    server.stdin.close()
    server.wait(10)
    out = sys.stdout.write
    out(f"{streams:,} streams, {concurrency} at a time: {took:.1f} s, {cpu:.1f} s of CPU\n")
    out("".join(f"  {count:6,}  {name}\n" for name, count in sorted(outcomes.items())))
    out(f"before {before}\nafter  {after}\n")
    out(f"{len(wrong)} wrong\n" + "".join(f"  {line}\n" for line in wrong[:20]))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
