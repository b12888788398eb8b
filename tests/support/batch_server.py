"""The server of `batch_chaos.py`: keeps a limit of requests a second and fails at random.

    python -m tests.support.batch_server '{"rate": 600, "faults": 0.05, "seed": 1}'

prints its port. It speaks Chat Completions to prompts like `row 17`, in as little time as it can,
and remembers how often each was answered to the end. `GET /tally` tells that, and the seconds from
the first request since the last tally to the newest.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
from collections import Counter
from typing import Any

ASKED = re.compile(rb'"row (\d+)[ "]')
LENGTH = re.compile(rb"content-length: ?(\d+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FAULTS = ("error", "overloaded", "limit", "drop", "cut", "stall")


def _frame(**fields: Any) -> bytes:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: %s\n\n" % json.dumps({**head, **fields}).encode()


def _choice(text: str | None, reason: str | None = None) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    return {"index": 0, "delta": delta, "finish_reason": reason}


USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
REST = b"".join(
    [
        *[_frame(choices=[_choice(word)]) for word in (" is", " an", " answer", ".")],
        _frame(choices=[_choice(None, "stop")]),
        _frame(choices=[], usage=USAGE),
        b"data: [DONE]\n\n",
    ]
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Host:
    """The state that connections share: the rate limit, random faults, and counts."""

    def __init__(self, rate: float, faults: float, seed: int, latency: float) -> None:
        self.rate, self.faults, self.latency = rate, faults, latency
        self.dice = random.Random(seed)
        self.tokens = self.burst = max(1.0, rate / 20)
        self.at = 0.0
        self.answered: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()
        self.began = self.ended = 0.0

    def admit(self, now: float) -> float:
        """Take a token, or return the seconds until one is available."""
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / self.rate

    def tally(self) -> dict[str, Any]:
        twice = sum(count - 1 for count in self.answered.values())
        busy, self.began = self.ended - self.began, 0.0
        return {**self.counts, "rows": len(self.answered), "twice": twice, "seconds": busy}


class Connection(asyncio.Protocol):
    def __init__(self, host: Host) -> None:
        self.host = host
        self.loop = asyncio.get_running_loop()
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            found = LENGTH.search(self.data, 0, end)
            whole = end + 4 + (int(found[1]) if found else 0)
            if len(self.data) < whole:
                return
            request, self.data = self.data[:whole], self.data[whole:]
            self.answer(request)

    def answer(self, request: bytes) -> None:
        host, now = self.host, self.loop.time()
        if request.startswith(b"GET"):
            self.send(200, json.dumps(host.tally()).encode())
            return
        host.counts["requests"] += 1
        host.began, host.ended = host.began or now, now
        if wait := host.admit(now):
            host.counts["beyond the limit"] += 1
            self.send(429, b'{"error":{"message":"Slow down."}}', wait)
            return
        fault = None
        if host.dice.random() < host.faults:
            fault = host.dice.choice(FAULTS)
            host.counts[fault] += 1
        found = ASKED.search(request)
        row = int(found[1]) if found else -1
        latency = host.latency * host.dice.uniform(0.5, 1.5)
        self.loop.call_later(latency, self.go, row, fault)

    def go(self, row: int, fault: str | None) -> None:
        if self.transport.is_closing():
            return
        first = _chunk(_frame(choices=[_choice(f"Row {row}")]))
        if fault is None:
            self.transport.write(HEAD + first + _chunk(REST) + b"0\r\n\r\n")
            self.host.answered[row] += 1
        elif fault == "error":
            self.send(500, b'{"error":{"message":"Oops."}}')
        elif fault == "overloaded":
            self.send(503, b'{"error":{"message":"Overloaded."}}')
        elif fault == "limit":
            self.send(429, b'{"error":{"message":"Slow down."}}', 0.05)
        elif fault == "drop":
            self.transport.abort()
        elif fault == "cut":
            self.transport.write(HEAD + first)
            self.loop.call_later(0.01, self.transport.close)
        else:  # stall
            self.transport.write(HEAD + first)

    def send(self, status: int, body: bytes, wait: float | None = None) -> None:
        after = b"" if wait is None else b"retry-after-ms: %d\r\n" % max(1, round(wait * 1000))
        head = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
        self.transport.write(head % (status, after, len(body)) + body)


async def serve(given: dict[str, Any]) -> None:
    host = Host(
        given.get("rate", 600.0), given.get("faults", 0.0), given.get("seed", 1),
        given.get("latency", 0.03),
    )  # fmt: skip
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(host), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
