"""Random responses with random faults; a seed gives the same response on both sides.

    python -m tests.support.stream_chaos STREAMS CONCURRENCY [--transport direct] [--way both]

runs a soak against a server process of its own, prints what came of it, and fails when a stream was
wrong or hung, when anything stays open, or when memory grows by more than 1 KB a stream. On Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import faulthandler
import gc
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipy_ai import AssistantMessage, astream, stream
from pipy_ai.utils import event_loop as loops

from .event_grammar import Follower
from .event_stream import frame_end, read_frames, whole_frames
from .scripted_server import FIN, RESET, STALL, Lab, Scene, Seen, Status
from .wire_formats import CONVERSE, WIRES, Step, Wire, say, think, tool

KEY = "sk-soak-secret-0123456789"
IDLE = 4.0  # seconds after which a stall counts
HANG = 60.0  # seconds after which a stream hangs that has no stall
GROWTH = 1024  # bytes that a stream may leave behind
WORDS = ("word ", "Zürich ", "😀 ", "漢字 ", "line\n", '"quoted" ', "data: x\n\n", "\u2028", "0 ")


@dataclass
class Plan:
    """A response, and what the client must receive of it."""

    wire: Wire
    fault: str
    scenes: list[Scene | Status]  # one a request: some are tried again
    text: str  # all text that must have arrived
    thinking: str  # and, where the answer is whole, all thinking
    calls: list[Any]  # and the arguments of all calls
    whole: bool  # whether the answer is complete
    at_most: bool  # a reset may cost some of the text


def plan(seed: int) -> Plan:
    """Return the response of a seed."""
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
    said, thought = (
        "".join("".join(step.pieces) for step in steps if step.kind == kind)
        for kind in ("say", "think")
    )
    calls = [json.loads("".join(step.pieces)) for step in steps if step.kind == "tool"]
    stop = "tool" if calls else "stop"
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
            heard = _complete(wire, body)
            whole = len(heard) > sign
        said = said if whole else _text(wire, heard)
        at_most = fault == "reset"
    elif fault in ("error", "junk"):
        lines = body[: rng.randrange(len(body))]
        if wire is CONVERSE:
            lines = whole_frames(lines)
        else:
            end = b"\n" if wire.lines else b"\n\n"
            lines = lines[: lines.rfind(end) + len(end)] if end in lines else b""
        whole = len(lines) > sign
        said = said if whole else _text(wire, lines)
        last = wire.error("broken", "server_error") if fault == "error" else "{not json"
        if wire is CONVERSE:
            body = lines + (last if fault == "error" else bytes(rng.randbytes(40)))
        else:
            data = last if isinstance(last, str) else json.dumps(last)
            body = lines + (f"{data}\n" if wire.lines else f"data: {data}\n\n").encode()
        whole = whole and wire.name == "cohere"  # whose last event but one is the end
    pieces_: list[Any] = []
    while body:
        size = rng.choice([1, 3, 17, 200, 5000])
        pieces_.append(body[:size])
        body = body[size:]
    end = {"fin": [FIN], "reset": [RESET], "stall": [STALL]}.get(fault, [])
    return Plan(wire, fault, [*before, [*pieces_, *end]], said, thought, calls, whole, at_most)


def _complete(wire: Wire, body: bytes) -> bytes:
    """Return the part of a body that ends with a whole event."""
    if wire is CONVERSE:
        return whole_frames(body)
    ends = (b"\n",) if wire.lines else (b"\n\n", b"\n\r")
    return body[: max(map(body.rfind, ends)) + 1]


def seeds_for(transport: str, seeds: Iterable[int]) -> list[int]:
    """Return the seeds whose responses a transport can read."""
    return [seed for seed in seeds if transport == "direct" or plan(seed).wire.litellm]


def _sign(wire: Wire, body: bytes) -> int:
    if wire is CONVERSE:
        return frame_end(body, body.index(b'"stopReason"')) - 1
    mark = {
        "chat": b'"finish_reason": "',
        "anthropic": b'"stop_reason": "',
        "gemini": b'"finishReason"',
        "responses": b'"response.completed"',
        "ollama": b'"done":true',
        "cohere": b'"finish_reason": "',
    }[wire.name]
    return body.rindex(b"}", 0, body.index(b"\n", body.index(mark)))


def _text(wire: Wire, body: bytes) -> str:
    """Return the text of the complete events in a part of a body, without the package's
    decoders."""
    text = ""
    if wire is CONVERSE:
        events = [payload for name, payload in read_frames(body) if name == "contentBlockDelta"]
        return "".join(event["delta"].get("text", "") for event in events)
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
        elif wire.name == "ollama":
            text += event["message"]["content"]
        elif wire.name == "cohere":
            if event["type"] == "content-delta":
                text += event["delta"]["message"]["content"].get("text", "")
        elif event.get("type") == "response.output_text.delta":
            text += event["delta"]
    return text


def judge(plan: Plan, events: list[Any]) -> str | None:
    """Return what is wrong with a stream, or None."""
    follower = Follower()
    try:
        for event in events:
            follower.follow(event)
        message: AssistantMessage = events[-1].partial
        follower.check(message, final=True)
    except AssertionError as error:
        return f"events: {error}"
    if follower.terminal is None:
        return "no last event"
    if plan.whole and not plan.at_most and message.error is not None:
        return f"failed: {message.error_message}"
    if not plan.whole and message.error is None and not plan.at_most:
        return "claims success"
    if plan.at_most and message.error is not None:
        if not plan.text.startswith(message.text):
            return f"text {message.text!r} is no beginning of {plan.text!r}"
    elif message.text != plan.text:
        return f"text {message.text!r}, not {plan.text!r}"
    if message.error is None:
        thinking = "".join(part.thinking for part in message.content if part.type == "thinking")
        if thinking != plan.thinking:
            return f"thinking {thinking!r}, not {plan.thinking!r}"
        if [call.arguments for call in message.tool_calls] != plan.calls:
            return f"calls {message.tool_calls}, not {plan.calls}"
    if KEY in message.model_dump_json():
        return "the key is told"
    return None


Verdicts = tuple[Counter[str], list[str]]


async def run(
    urls: str, seeds: list[int], concurrency: int, *, transport: str | None = None,
    way: str = "async", idle: float = IDLE,
) -> Verdicts:  # fmt: skip
    """Run every seed, and return the counts by outcome and the errors.

    `way` says who asks: tasks of this loop (`async`), threads (`sync`), or as many of each
    (`both`). Nothing of a stream is kept once it has been judged.
    """
    shares = [seeds[worker::concurrency] for worker in range(concurrency)]
    in_threads = {"async": [], "sync": shares, "both": shares[::2]}[way]
    in_tasks = {"async": shares, "sync": [], "both": shares[1::2]}[way]
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []

    def options(expected: Plan) -> dict[str, Any]:
        base = urls.removesuffix("/v1") if expected.wire.root else urls
        return {
            "api_base": base, "api_key": KEY, "timeout": HANG, "transport": transport,
            "idle_timeout": idle if expected.fault == "stall" else None,
        }  # fmt: skip

    def note(seed: int, expected: Plan, events: list[Any] | Exception) -> Verdicts:
        raised = isinstance(events, Exception)
        fault = f"raised {events!r}" if raised else judge(expected, events)
        name = f"{expected.fault} {'whole' if expected.whole else 'broken'}"
        where = f"seed {seed}, {expected.wire.name}, {expected.fault}"
        return Counter([name]), [] if fault is None else [f"{where}: {fault}"]

    def add(verdicts: Verdicts) -> None:  # in the loop's thread only
        outcomes.update(verdicts[0])
        wrong.extend(verdicts[1])

    async def worker(share: list[int]) -> None:
        for seed in share:
            expected = plan(seed)
            events: list[Any] | Exception
            try:
                s = astream(expected.wire.model, f"seed={seed};", **options(expected))
                events = [event async for event in s]
            except Exception as error:
                events = error
            add(note(seed, expected, events))

    def thread(share: list[int]) -> Verdicts:
        total: Verdicts = (Counter(), [])
        for seed in share:
            expected = plan(seed)
            events: list[Any] | Exception
            try:
                events = list(stream(expected.wire.model, f"seed={seed};", **options(expected)))
            except Exception as error:
                events = error
            counts, faults = note(seed, expected, events)
            total[0].update(counts)
            total[1].extend(faults)
        return total

    with ThreadPoolExecutor(len(in_threads) or 1) as threads:
        loop = asyncio.get_running_loop()
        blocking = [loop.run_in_executor(threads, thread, share) for share in in_threads]
        await asyncio.gather(*(worker(share) for share in in_tasks))
        for done in await asyncio.gather(*blocking):
            add(done)
    return outcomes, wrong


def answer(tries: Counter[int]) -> Any:
    """Return the server's responses: the scene of the seed in the prompt, one per attempt."""

    def scene(seen: Seen) -> Scene | Status:
        found = re.search(r"seed=(\d+);", json.dumps(seen.json))
        assert found is not None
        seed = int(found[1])
        scenes = plan(seed).scenes
        number = min(tries[seed], len(scenes) - 1)
        tries[seed] += 1
        return scenes[number]

    return scene


def census() -> dict[str, Any]:
    """Return what the process holds open."""
    files = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    links = [os.readlink(name) for name in files if os.path.lexists(name)]
    threads = sorted(thread.name for thread in threading.enumerate())
    sockets = sum(link.startswith("socket:") for link in links)
    return {"threads": threads, "files": len(links), "sockets": sockets}


async def tasks() -> int:
    """Count the tasks of this loop and of the background loop, without the caller's."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    mine, thread = await count(), loops.existing_loop()
    if thread is None:
        return mine
    other = asyncio.run_coroutine_threadsafe(count(), thread.loop)
    return mine + await asyncio.wrap_future(other)


def memory() -> int:
    """Return the bytes that the process uses after freeing unused memory."""
    for _ in range(3):
        gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def soak(url: str, streams: int, concurrency: int, **how: Any) -> list[str]:
    """Run two halves, and return the errors."""
    transport = how["transport"]
    await run(url, seeds_for(transport, range(100)), concurrency, **how)  # imports, pools, …
    began, cpu = time.perf_counter(), time.process_time()
    seeds = seeds_for(transport, range(1000, 1000 + streams))
    streams = len(seeds)
    outcomes, wrong = await run(url, seeds[: streams // 2], concurrency, **how)
    half = memory()
    more, faults = await run(url, seeds[streams // 2 :], concurrency, **how)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    outcomes.update(more)
    wrong += faults
    await asyncio.sleep(0.5)  # the tasks of the last streams end after their last event
    end, left = memory(), await tasks()
    growth = (end - half) / (streams - streams // 2)
    out = sys.stdout.write
    out(f"{streams:,} streams, {concurrency} at a time, {how}: {took:.1f} s, {cpu:.1f} s of CPU\n")
    out("".join(f"  {count:6,}  {name}\n" for name, count in sorted(outcomes.items())))
    out(f"memory {half >> 10:,} KB at half, {end >> 10:,} at the end: {growth:.0f} B a stream\n")
    if growth > GROWTH:
        wrong.append(f"memory grows by {growth:.0f} bytes a stream")
    if left:
        wrong.append(f"{left} tasks are left")
    return wrong


def main() -> None:
    """Run the soak test."""
    if sys.argv[1:] == ["serve"]:
        with Lab() as lab:
            lab.always = answer(Counter())
            sys.stdout.write(f"{lab.url}\n")
            sys.stdout.flush()
            sys.stdin.read()
        return
    parser = argparse.ArgumentParser(prog="python -m tests.support.stream_chaos")
    parser.add_argument("streams", type=int)
    parser.add_argument("concurrency", type=int)
    parser.add_argument("--transport", choices=["direct", "litellm"], default="direct")
    parser.add_argument("--way", choices=["async", "sync", "both"], default="both")
    asked = parser.parse_args()
    os.environ |= {
        "PIPY_OFFLINE": "1",
        "PIPY_DATA_DIR": tempfile.mkdtemp(),
    }  # an empty data directory
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.stream_chaos", "serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert server.stdout is not None
    assert server.stdin is not None
    url = server.stdout.readline().strip()
    faulthandler.dump_traceback_later(5 * HANG + asked.streams / 5, exit=True)  # a hang
    before = census()
    how = {"transport": asked.transport, "way": asked.way, "idle": 2.5 * IDLE}  # a busy machine
    wrong = asyncio.run(soak(url, asked.streams, asked.concurrency, **how))
    loops.shutdown()
    deadline = time.monotonic() + 5
    while (after := census()) != before and time.monotonic() < deadline:
        time.sleep(0.05)  # threads end after their executor shuts down
    server.stdin.close()
    server.wait(10)
    shutil.rmtree(os.environ["PIPY_DATA_DIR"])
    if after != before:
        wrong.append(f"open before {before}, after {after}")
    out = sys.stdout.write
    out(f"open before {before}, after {after}\n")
    out(f"{len(wrong)} wrong\n" + "".join(f"  {line}\n" for line in wrong[:20]))
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
