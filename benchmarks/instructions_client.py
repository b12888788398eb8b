"""The client process of `instructions.py`: one child per job, so that the start is counted once."""

import asyncio
import json
import os
import socket
import sys

import pipy_ai

TOOL = pipy_ai.Tool(
    name="f",
    description="d",
    parameters={"type": "object", "properties": {"x": {"type": "string"}}},
)


def floor(port: int, path: str) -> int:
    """Read a response with a socket and `json`, and return how many events it has."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        buffer, events = b"", 0
        while data := connection.recv(1 << 14):
            buffer += data
            if path.startswith("job-converse"):
                buffer, count = read_frames(buffer)
                events += count
                continue
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                line = line.removeprefix(b"data: ")
                if line[:1] == b"{":
                    json.loads(line)
                    events += 1
    return events


def read_frames(buffer: bytes) -> tuple[bytes, int]:
    """Parse the frames of Bedrock in a buffer, and return the rest of it and their number."""
    start = 0
    if buffer.startswith(b"HTTP"):
        start = buffer.index(b"\r\n\r\n") + 4
    count = 0
    while len(buffer) - start >= 12:
        size = int.from_bytes(buffer[start : start + 4], "big")
        if len(buffer) - start < size:
            break
        headers_size = int.from_bytes(buffer[start + 4 : start + 8], "big")
        json.loads(buffer[start + 12 + headers_size : start + size - 4])
        start += size
        count += 1
    return buffer[start:], count


async def astream(model: str, context: pipy_ai.Context, options: dict) -> int:
    async with pipy_ai.astream(model, context, **options) as events:
        count = 0
        async for event in events:
            count += event.type.endswith("_delta")
        (await events.result()).raise_for_error()
        return count


def stream(model: str, context: pipy_ai.Context, options: dict) -> int:
    with pipy_ai.stream(model, context, **options) as events:
        count = sum(event.type.endswith("_delta") for event in events)
        events.result().raise_for_error()
        return count


async def complete(model: str, context: pipy_ai.Context, options: dict) -> int:
    message = (await pipy_ai.acomplete(model, context, **options)).raise_for_error()
    return len(message.text) + len(message.tool_calls)


def run(job: dict, port: int) -> None:
    """Stream a short response, then the one that is measured."""
    options = {"api_base": job["base"], "api_key": "k" * 20, "max_retries": 0}
    context = pipy_ai.ctx("q", tools=[TOOL] if job["kind"] == "arguments" else None)

    async def both(function) -> None:
        for deltas in (20, job["deltas"]):
            assert await function(f"{job['model']}-{deltas}", context, options) > 0

    match job["mode"]:
        case "floor":
            for deltas in (20, job["deltas"]):
                assert floor(port, f"{job['name']}-{deltas}") > deltas / 2
        case "async":
            asyncio.run(both(astream))
        case "complete":
            asyncio.run(both(complete))
        case "sync":
            for deltas in (20, job["deltas"]):
                assert stream(f"{job['model']}-{deltas}", context, options) > 0


async def load(jobs: list[dict]) -> None:
    """Import what the jobs need, so that it is counted once."""
    for job in jobs:
        await pipy_ai.apreview(f"{job['model']}-20", "q", api_base=job["base"], api_key="k" * 20)


def main() -> None:
    """Run each job of stdin in a child, and print the children's process ids."""
    jobs = json.load(sys.stdin)
    asyncio.run(load(jobs))
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            run(job, int(sys.argv[1]))
            sys.stdout.flush()
            sys.exit(0)
        _, status = os.waitpid(pid, 0)
        assert status == 0, job
        print(pid, flush=True)


if __name__ == "__main__":
    main()
