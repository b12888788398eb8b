"""The client process of `instructions.py`: one child per job, so that the start is counted once."""

import asyncio
import gc
import json
import os
import socket
import sys
import types

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


async def read_with_httpx(model: str, client, options: dict) -> int:
    """Read a response with httpx and `json`, and return how many events it has."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "q"}]}
    count = 0
    url = options["api_base"] + "/chat/completions"
    async with client.stream("POST", url, json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                count += len(json.loads(line[6:])["choices"])
    return count


class Receiver(asyncio.BufferedProtocol):
    """Drops what it receives: what reading costs without HTTP."""

    def __init__(self, read_bytes: int) -> None:
        self._buffer = bytearray(read_bytes)
        self.received = 0
        self.ended = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += nbytes

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(self.received)


async def receive(model: str, port: int, read_bytes: int) -> int:
    """Receive the bytes of a response, and return how many there are."""
    transport, receiver = await asyncio.get_running_loop().create_connection(
        lambda: Receiver(read_bytes), "127.0.0.1", port
    )
    transport.write(f"GET /{model.rpartition('/')[2]} HTTP/1.1\r\n\r\n".encode())
    return await receiver.ended


async def stream_in_part(model: str, context: pipy_ai.Context, options: dict) -> int:
    """Stream a response of which `stop_after` drops the most; return how many events are left."""
    async with pipy_ai.astream(model, context, **options) as events:
        return len([event async for event in events])


def stop_after(part: str) -> None:
    """Let pipy-ai drop what a part of it returns, so that the parts after it do nothing."""
    from pipy_ai.events import TextDeltaEvent
    from pipy_ai.provider import exchange, repeated
    from pipy_ai.utils.channel import Channel

    reader, put = exchange._BodyReader, Channel.put
    create = reader.__init__

    def create_without_delivery(self, *args) -> None:
        create(self, *args)
        self._deliver = lambda deltas: None

    def put_no_text(self, batch, *, last: bool = False) -> None:
        if last or type(batch[0]) is not TextDeltaEvent:
            put(self, batch, last=last)

    match part:
        case "http":
            reader.decode_and_deliver = lambda self, chunk: True
        case "compare":
            reader.__init__ = create_without_delivery
            repeated._parse_texts = lambda texts: ["word "] * len(texts)
            # Events are still learned: that needs the parser.
            code = repeated._is_value.__code__
            repeated._is_value = types.FunctionType(code, dict(vars(repeated)))
            repeated.from_json = len
        case "texts":
            reader.__init__ = create_without_delivery
        case "events":
            Channel.put = put_no_text


def limit_reads(size: int) -> None:
    """Let each read of a socket return at most `size` bytes."""
    from asyncio.selector_events import _SelectorSocketTransport

    from pipy_ai.provider.http.connection import Connection

    get_buffer = Connection.get_buffer
    Connection.get_buffer = lambda self, hint: memoryview(get_buffer(self, hint))[:size]
    _SelectorSocketTransport.max_size = size


def run(job: dict, port: int) -> None:
    """Stream a short response, then the one that is measured."""
    options = {"api_base": job["base"], "api_key": "k" * 20, "max_retries": 0}
    context = pipy_ai.ctx("q", tools=[TOOL] if job["kind"] == "arguments" else None)
    if job["read_bytes"]:
        limit_reads(job["read_bytes"])

    async def arun(function, *args) -> None:
        warm_up, *rest = job["deltas"]
        assert await function(f"{job['model']}-{warm_up}", *args) > 0
        for deltas in rest:
            name = f"{job['model']}-{deltas}"
            calls = [function(name, *args) for _ in range(job["streams"])]
            assert min(await asyncio.gather(*calls)) > 0

    async def arun_httpx() -> None:
        import httpx

        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(limits=limits, timeout=None) as client:
            await arun(read_with_httpx, client, options)

    if "part" in job:
        gc.freeze()  # a collection of all objects in one of two runs would look like a part
        stop_after(job["part"])
    match job["mode"].removeprefix("paced-"):
        case "receive":
            asyncio.run(arun(receive, port, job["read_bytes"] or 16 << 10))
        case "part":
            asyncio.run(arun(stream_in_part, context, options))
        case "floor":
            for deltas in job["deltas"]:
                assert floor(port, f"{job['name']}-floor-{deltas}") > deltas / 2
        case "httpx":
            asyncio.run(arun_httpx())
        case "async" | "paced":
            asyncio.run(arun(astream, context, options))
        case "complete":
            asyncio.run(arun(complete, context, options))
        case "sync":
            for deltas in job["deltas"]:
                assert stream(f"{job['model']}-{deltas}", context, options) > 0


def load(jobs: list[dict], port: int) -> None:
    """Run the shortest jobs once, so that imports and Valgrind's translations are shared."""
    warm_up = {}
    for job in jobs:
        # A thread would not survive the fork, and the changes of `stop_after` would.
        if job["mode"] not in ("sync", "receive", "part") and not job["read_bytes"]:
            warm_up[job["wire"], job["kind"], job["mode"]] = {**job, "deltas": job["deltas"][:1]}
    for job in warm_up.values():
        run(job, port)


def main() -> None:
    """Run each job of stdin in a child, and print the children's process ids."""
    jobs = json.load(sys.stdin)
    load(jobs, int(sys.argv[1]))
    gc.freeze()  # a collection of all objects in one of two runs would look like a difference
    for job in jobs:
        pid = os.fork()
        if pid == 0:
            run(job, int(sys.argv[1]))
            os._exit(0)  # what the interpreter does at its end is not of interest
        _, status = os.waitpid(pid, 0)
        assert status == 0, job
        print(pid, flush=True)


if __name__ == "__main__":
    main()
