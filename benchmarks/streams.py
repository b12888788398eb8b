"""Open many streams in one event loop: stalls of the loop, lost deltas, memory, CPU.

    python benchmarks/streams.py [--streams 200 1000 5000] [--rounds 1]

A server in a process of its own answers with Chat Completions over chunked HTTP: the head and one
delta at once, then one delta at a time in turn ("paced"), or the rest of all responses in one
burst. Each row is a client process that first opens 50 streams to warm up. All streams of a row
are opened at the same time. A task that sleeps for 5 ms in a loop measures stalls: how late it
wakes up, and in brackets the CPU time that the thread used between two wake-ups, which other work
on the machine does not change. Memory is the growth of the process (RSS) from before the streams
are opened to when each has received its first delta. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

WARM_UP_STREAMS = 50
DELTAS = 40_000  # of all streams of a row
MAX_DELTAS_PER_STREAM = 100
PACED_PER_S = 4_000
HTTPX_STREAMS = (200, 1000)
NAP_S = 0.005
WORD = "word "
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def raise_fd_limit() -> None:
    """Allow as many open sockets as the system does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- The server -----------------------------------------------------------------------------


def event(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    """Return a chunk of HTTP with one event."""
    body = {
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }  # fmt: skip
    return chunk(b"data: " + json.dumps(body).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    """Return a chunk of HTTP."""
    return b"%x\r\n%s\r\n" % (len(data), data)


DELTA = event({"content": WORD})
END = event({}, "stop") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Response(asyncio.Protocol):
    """A connection to the server. `GET /paced-9` sends 9 more deltas to all open streams."""

    open: list[asyncio.WriteTransport] = []  # noqa: RUF012

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        size = re.search(rb"(?i)content-length: (\d+)", head)
        if not separator or len(body) < int(size[1] if size else 0):
            return
        self._received = b""
        if command := re.match(rb"GET /(\w+)-(\d+)", head):
            send = send_paced if command[1] == b"paced" else send_burst
            self._task = asyncio.ensure_future(send(int(command[2])))
            self._transport.close()
        else:
            self._transport.write(HEAD + DELTA)
            self.open.append(self._transport)


async def send_paced(deltas: int) -> None:
    """Send one delta at a time, in turn to all streams, at `PACED_PER_S`."""
    streams, Response.open = Response.open, []
    started, sent = time.perf_counter(), 0
    for piece in [DELTA] * deltas + [END]:
        for stream in streams:
            while sent > (time.perf_counter() - started) * PACED_PER_S:
                await asyncio.sleep(0.001)
            stream.write(piece)
            sent += 1


async def send_burst(deltas: int) -> None:
    """Send the rest of all responses at once."""
    streams, Response.open = Response.open, []
    for stream in streams:
        stream.write(DELTA * deltas + END)


async def serve() -> None:
    """Print the port, and serve until the process is killed."""
    raise_fd_limit()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Response, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# --- The clients ----------------------------------------------------------------------------


async def with_pipy(base: str) -> AsyncGenerator[str, None]:
    """Yield the text deltas of a stream."""
    from pipy_ai import astream

    async with astream("hosted_vllm/m", "q", api_base=base, max_retries=0) as events:
        async for item in events:
            if item.type == "text_delta":
                yield item.delta
        (await events.result()).raise_for_error()


async def with_httpx(base: str) -> AsyncGenerator[str, None]:
    """Yield the text deltas of a stream, read with minimal code."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "q"}]}
    async with httpx_client().stream("POST", f"{base}/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        yield text


@functools.cache
def httpx_client() -> Any:
    """Return the client that all streams share."""
    import httpx

    return httpx.AsyncClient(limits=httpx.Limits(max_connections=None), timeout=None)


CLIENTS: dict[str, Callable[[str], AsyncGenerator[str, None]]] = {
    "pipy": with_pipy,
    "httpx": with_httpx,
}


class Stalls:
    """Measure how late a task wakes up, and the CPU time that the loop's thread used meanwhile."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._task = asyncio.ensure_future(self._watch())

    async def _watch(self) -> None:
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(NAP_S)
            self.wall_s = max(self.wall_s, time.perf_counter() - wall - NAP_S)
            self.cpu_s = max(self.cpu_s, time.thread_time() - cpu)

    async def stop(self) -> None:
        """End, once the task has woken up."""
        await asyncio.sleep(2 * NAP_S)
        self._task.cancel()


def rss_kb() -> float:
    """Return the memory that the process uses now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024


async def measure(client: str, mode: str, streams: int, deltas: int, port: int) -> dict[str, Any]:
    """Open streams, wait for a delta of each, let the server send the rest."""
    base = f"http://127.0.0.1:{port}/v1"
    waiting, all_open, received = streams, asyncio.Event(), [0] * streams

    async def read(number: int) -> None:
        nonlocal waiting
        async with contextlib.aclosing(CLIENTS[client](base)) as texts:
            async for text in texts:
                if not received[number]:
                    waiting -= 1
                    if not waiting:
                        all_open.set()
                received[number] += len(text)

    memory_kb, cpu = rss_kb(), time.process_time()
    stalls = Stalls()
    tasks = [asyncio.ensure_future(read(number)) for number in range(streams)]
    await asyncio.wait(
        [asyncio.ensure_future(all_open.wait()), *tasks], return_when="FIRST_COMPLETED"
    )
    assert all_open.is_set(), next(task.exception() for task in tasks if task.done())
    open_ms = (time.process_time() - cpu) / streams * 1e3
    memory_kb = (rss_kb() - memory_kb) / streams
    await stalls.stop()
    opening, stalls = stalls, Stalls()
    cpu, started = time.process_time(), time.perf_counter()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /{mode}-{deltas - 1} HTTP/1.1\r\n\r\n".encode())
    await asyncio.gather(*tasks)
    cpu, duration = time.process_time() - cpu, time.perf_counter() - started
    await stalls.stop()
    writer.close()
    return {
        "received": sum(received) // len(WORD), "sent": streams * deltas,
        "whole": sum(size == deltas * len(WORD) for size in received),
        "opening": [opening.wall_s, opening.cpu_s], "streaming": [stalls.wall_s, stalls.cpu_s],
        "memory_kb": memory_kb, "open_ms": open_ms, "per_s": streams * (deltas - 1) / duration,
        "cpu_us": cpu / streams / (deltas - 1) * 1e6,
    }  # fmt: skip


async def run_client(client: str, mode: str, streams: int, port: int) -> None:
    """Warm up, measure, and print the figures."""
    raise_fd_limit()
    await measure(client, mode, WARM_UP_STREAMS, 5, port)
    deltas = min(DELTAS // streams, MAX_DELTAS_PER_STREAM)
    print(json.dumps(await measure(client, mode, streams, deltas, port)))


# --- The table ------------------------------------------------------------------------------


def run_row(client: str, mode: str, streams: int, rounds: int, port: int) -> str:
    """Return a row of the table: medians, but the longest stalls and the fewest deltas."""
    environment = {**os.environ, "PIPY_OFFLINE": "1", "no_proxy": "*"}
    command = [sys.executable, __file__, "--client", client, mode, str(streams), str(port)]
    runs = [
        json.loads(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)
        for _ in range(rounds)
    ]
    worst = min(runs, key=lambda run: run["whole"])
    opening = [max(run["opening"][number] for run in runs) for number in (0, 1)]
    streaming = [max(run["streaming"][number] for run in runs) for number in (0, 1)]
    memory, open_ms, per_s, cpu = (
        statistics.median(run[name] for run in runs)
        for name in ("memory_kb", "open_ms", "per_s", "cpu_us")
    )
    return (
        f"| {client} | {mode} | {streams:,} | {worst['received']:,} of {worst['sent']:,} |"
        f" {opening[0]:.3f} ({opening[1]:.3f}) | {streaming[0]:.3f} ({streaming[1]:.3f}) |"
        f" {memory:.1f} | {open_ms:.2f} | {per_s:,.0f} | {cpu:.1f} |"
    )


def main() -> None:
    """Start the server and measure each row in a process of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[200, 1000, 5000])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=CLIENTS, help="measure only this client")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return asyncio.run(serve())
    if args.client:
        client, mode, streams, port = args.client
        return asyncio.run(run_client(client, mode, int(streams), int(port)))
    command = [sys.executable, __file__, "--serve"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        print(
            "| client | deltas | streams | received | stall opening, s (CPU) | stall streaming, s"
            " (CPU) | KB per stream | CPU ms to open | deltas/s | CPU µs per delta |"
        )
        print("| --- " * 10 + "|")
        for client in CLIENTS:
            for streams in args.streams:
                if args.only not in (None, client) or (
                    client == "httpx" and streams not in HTTPX_STREAMS
                ):
                    continue
                for mode in ("paced", "burst"):
                    print(run_row(client, mode, streams, args.rounds, port), flush=True)
    finally:
        server.kill()
        server.communicate()


if __name__ == "__main__":
    main()
