"""Real requests whose reply is bytes from memory: everything runs but the socket."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from pipy_ai import AssistantMessage, AssistantMessageEvent, astream, preview, user
from pipy_ai.errors import ProviderError
from pipy_ai.failures import classify_exception
from pipy_ai.provider import exchange
from pipy_ai.provider.assembler import Assembler
from pipy_ai.provider.http.client import _ConnectionPool, pools
from pipy_ai.provider.http.connection import Connection
from pipy_ai.provider.profiles import profile_for
from pipy_ai.provider.wires import load_wire
from tests.support.event_grammar import check_events
from tests.support.wire_formats import (
    ANTHROPIC,
    CHAT,
    COHERE,
    CONVERSE,
    GEMINI,
    OLLAMA,
    RESPONSES,
)

HOST = "fuzz.invalid"
KEY = "sk-fuzz-4f9c1d7e2b8a"
MODELS = {
    wire.api: wire.model for wire in (CHAT, ANTHROPIC, GEMINI, RESPONSES, OLLAMA, COHERE, CONVERSE)
}

_PROFILE = profile_for("openrouter", "openrouter")  # its costs are believed
_loop = asyncio.new_event_loop()


class MemoryTransport(asyncio.Transport):
    """Answers the request written to it with `pieces`, one in each iteration of the loop."""

    def __init__(self, protocol: Connection, pieces: Sequence[bytes], cut: bool = False) -> None:
        super().__init__()
        self._protocol = protocol
        self._pieces = list(pieces)
        self._end = ConnectionResetError("reset") if cut else None
        self._closing = self._started = self._paused = False
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        """Begin to answer."""
        if not self._started:
            self._started = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        if self._closing or self._paused:
            return
        if not self._pieces:
            self._closing = True
            self._protocol.connection_lost(self._end)
            return
        piece = self._pieces.pop(0)
        buffer = self._protocol.get_buffer(-1)
        size = min(len(buffer), len(piece))
        if size:
            buffer[:size] = piece[:size]
            self._protocol.buffer_updated(size)
        if piece[size:]:
            self._pieces.insert(0, piece[size:])
        asyncio.get_running_loop().call_soon(self._deliver)

    def pause_reading(self) -> None:
        """Stop delivering."""
        self._paused = True

    def resume_reading(self) -> None:
        """Continue to deliver."""
        self._paused = False
        asyncio.get_running_loop().call_soon(self._deliver)

    def is_closing(self) -> bool:
        """Whether nothing more is delivered."""
        return self._closing

    def abort(self) -> None:
        """Close the connection."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def get_write_buffer_size(self) -> int:
        """Return 0: everything is written at once."""
        return 0


def run(coroutine: Any) -> Any:
    """Run a coroutine in the loop of the fuzzers."""
    return _loop.run_until_complete(coroutine)


async def _ask(
    model: str, pieces: Sequence[bytes], cut: bool, options: dict[str, Any]
) -> list[AssistantMessageEvent]:
    pool = pools.setdefault(asyncio.get_running_loop(), _ConnectionPool())
    connection = Connection()
    MemoryTransport(connection, pieces, cut)
    connection.idle_since = asyncio.get_running_loop().time()
    pool.idle = {(HOST, 80, False, ""): [connection]}
    options = {"api_key": KEY, "api_base": f"http://{HOST}", "max_retries": 0, **options}
    return [event async for event in astream(model, "q", **options)]


def ask(api: str, pieces: Sequence[bytes], cut: bool = False, **options: Any) -> AssistantMessage:
    """Send a request of an API, answer it with bytes, and return the message.

    The conversation must be one that can go on, with any API.
    """
    message = _checked(run(_ask(MODELS[api], pieces, cut, options)))
    for model in MODELS.values():
        preview(model, [message, user("go on")], api_key=KEY)
    return message


class MemoryResponse:
    """A response whose body is in memory, so that nothing ever waits."""

    def __init__(self, pieces: Sequence[bytes], headers: Mapping[str, str]) -> None:
        self.status, self.headers, self.proxy = 200, dict(headers), ""
        self.fully_received = True
        self._pieces = list(reversed(pieces))

    async def read(self) -> bytes:
        """Return the next piece that is not empty, or nothing at the end."""
        while self._pieces:
            if piece := self._pieces.pop():
                return piece
        return b""

    def close(self) -> None:
        """Do nothing."""


async def _send(request: Any) -> Any:
    return request if isinstance(request, MemoryResponse) else await _send_over_connection(request)


_exchange: Any = exchange
_send_over_connection, _exchange.send = _exchange.send, _send


async def _decode(api: str, pieces: Sequence[bytes]) -> list[AssistantMessageEvent]:
    """Do what the engine does, without its timers and tasks."""
    ids = itertools.count()
    assembler = Assembler(
        api=api, provider="p", model="m", make_call_id=lambda: f"call_{next(ids)}"
    )
    events: list[AssistantMessageEvent] = [assembler.start()]
    response: Any = MemoryResponse(pieces, {})
    try:
        async for deltas in exchange.stream_deltas(response, load_wire(api), _PROFILE):
            assembler.feed(deltas, events)
        return events + assembler.finish()
    except Exception as error:
        info = error.error if isinstance(error, ProviderError) else classify_exception(error)
        return events + assembler.fail(info)


def decode(api: str, pieces: Sequence[bytes], check_grammar: bool = True) -> AssistantMessage:
    """Decode the body of a response and return the message: `ask`, ten times as fast."""
    coroutine = _decode(api, pieces)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return _checked(stop.value, check_grammar)
    raise AssertionError("the decoder waits for something")


def _checked(events: list[AssistantMessageEvent], check_grammar: bool = True) -> AssistantMessage:
    """Return the message; events must follow the grammar, and no failure may be one of Python's."""
    message = check_events(events) if check_grammar else events[-1].partial
    error = message.error
    assert error is None or error.kind != "unknown", error
    return message


def head(status: int = 200, *headers: str) -> bytes:
    """Return the head of a response whose body ends with the connection."""
    lines = [f"HTTP/1.1 {status} X", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")
