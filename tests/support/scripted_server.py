"""A server on loopback that sends exactly what a test scripts and records the requests.

    with Lab() as lab:
        lab.play(sse(text("Hello"), finish("stop"), DONE))
        message = complete("hosted_vllm/m", "Hi", api_base=lab.url)
        assert lab.seen[0].json["messages"] == [...]

A scene is a list of steps: bytes to send, or one of the faults below. It runs in a thread of its
own, over real sockets. A scene that ends without a fault ends the HTTP body cleanly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


class Fault(str):
    """A step that sends no data."""


STALL = Fault("stall")  # send nothing more, keep the connection
FIN = Fault("fin")  # close the connection in the middle of the body
RESET = Fault("reset")  # reset it
BAD_CHUNK = Fault("bad chunk")  # break the framing of the body, keep the connection


@dataclass
class Pause:
    """Wait until the test calls `lab.go()`."""


@dataclass
class Status:
    """Answer with an HTTP status and a body instead of a stream."""

    code: int
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """A request as it reached the server; header names in lower case, times of `perf_counter`."""

    path: str
    headers: dict[str, str]
    json: Any
    body: bytes = b""
    peer: Any = None
    left: threading.Event = field(default_factory=threading.Event)
    left_at: float = 0.0
    sent: int = 0
    method: str = ""
    target: str = ""  # the path with its query, as sent


Scene = list[Any]


def sse(*events: Any, newline: str = "\n") -> Scene:
    """Return server-sent events: dicts become JSON; strings, faults and bytes stay as they are."""
    steps: Scene = []
    for event in events:
        if isinstance(event, Fault | Pause | bytes):
            steps.append(event)
        else:
            data = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            steps.append(f"data: {data}{newline}{newline}".encode())
    return steps


# --- OpenAI Chat Completions ----------------------------------------------------------------

DONE = "[DONE]"


def chunk(delta: dict[str, Any] | None = None, /, **fields: Any) -> dict[str, Any]:
    """Return a chunk of Chat Completions."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": fields.pop("finish_reason", None)}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **fields,
    }


def text(*pieces: str) -> list[dict[str, Any]]:
    return [chunk({"content": piece}) for piece in pieces]


def call(
    index: int | None = None,
    id: str | None = None,
    name: str | None = None,
    args: str | None = None,
) -> dict[str, Any]:
    """Return a fragment of a tool call without the fields that are None."""
    function = {k: v for k, v in (("name", name), ("arguments", args)) if v is not None}
    fragment: dict[str, Any] = {"type": "function", "function": function}
    if index is not None:
        fragment["index"] = index
    if id is not None:
        fragment["id"] = id
    return chunk({"tool_calls": [fragment]})


def finish(reason: str) -> dict[str, Any]:
    return chunk({}, finish_reason=reason)


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    counts = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return chunk(choices=[], usage=counts)


def chat(*events: Any) -> Scene:
    """Return a whole Chat Completions response: the events, then `[DONE]`."""
    flat: list[Any] = []
    for event in events:
        flat.extend(event if isinstance(event, list) else [event])
    return sse(*flat, DONE)


# --- The server -----------------------------------------------------------------------------


class Lab:
    """The server. `play` queues one scene per request; without a scene it responds "ok"."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.always: Scene | Callable[[Seen], Scene | Status] | None = None
        self._scenes: list[Scene | Status | Callable[[Seen], Scene | Status]] = []
        self._loop = asyncio.new_event_loop()
        self._arrived = threading.Condition()
        self._ready = threading.Event()
        self._going = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lab", daemon=True)

    def play(self, *scenes: Scene | Status | Callable[[Seen], Scene | Status]) -> Lab:
        self._scenes.extend(scenes)
        return self

    def go(self) -> None:
        """Release every `Pause`."""
        self._going.set()

    def wait_for_requests(self, count: int) -> None:
        """Wait until at least this many requests have arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.seen) >= count, 30)

    @property
    def url(self) -> str:
        """Return the server's base URL as an OpenAI-compatible host."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Lab:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()
        self._thread.join(10)

    def leave(self) -> None:
        """Shut down: responses in flight break off and new connections are refused."""
        with contextlib.suppress(RuntimeError):  # it is gone
            self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        is_form = "form" in headers.get("content-type", "")
        document = json.loads(body) if body and not is_form else None
        seen = Seen(request.path, headers, document, body)
        seen.method, seen.target = request.method, request.raw_path
        if request.transport is not None:
            seen.peer = request.transport.get_extra_info("peername")
        with self._arrived:
            self.seen.append(seen)
            self._arrived.notify_all()
        scene: Any = self.always or chat(text("ok"), finish("stop"))
        if self._scenes:
            scene = self._scenes.pop(0)
        if callable(scene):
            scene = scene(seen)
        if isinstance(scene, Status):
            content = scene.body if isinstance(scene.body, str) else json.dumps(scene.body)
            kind = "text/html" if content.startswith("<") else "application/json"
            headers = {"content-type": f"{kind}; charset=utf-8", **scene.headers}
            return web.Response(status=scene.code, body=content.encode(), headers=headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        try:
            await self._play(request, response, scene, seen)
        except (asyncio.CancelledError, ConnectionResetError):
            seen.left_at = time.perf_counter()
            seen.left.set()
            raise
        return response

    async def _play(
        self, request: web.Request, response: web.StreamResponse, scene: Iterable[Any], seen: Seen
    ) -> None:
        await response.prepare(request)
        for step in scene:
            if isinstance(step, Pause):
                while not self._going.is_set():
                    await asyncio.sleep(0.002)
            elif step in (STALL, BAD_CHUNK):
                if step == BAD_CHUNK and request.transport is not None:
                    request.transport.write(b"no hex\r\nwhatever\r\n")
                await asyncio.Event().wait()
            elif step in (FIN, RESET):
                transport = request.transport
                assert transport is not None
                if step == RESET:
                    linger = struct.pack("ii", 1, 0)
                    sock = transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                transport.close()
                await asyncio.Event().wait()
            else:
                await response.write(step)
                seen.sent += len(step)
        await response.write_eof()
