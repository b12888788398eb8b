"""HTTP as it goes: connections that are kept, cancelled and closed, compression, proxies, addresses
that are none. What hosts and networks do wrong is in `test_bad_input`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import socket
import struct
import sys
import warnings
import zlib
from collections import Counter
from typing import Any

import pytest

from pipy_ai import AssistantMessage, acomplete, complete
from pipy_ai.provider.exchange import stream_deltas
from pipy_ai.provider.http import client as http
from pipy_ai.provider.http.client import HTTPRequest, proxy_for
from pipy_ai.provider.wires import OpenAIChatDecoder

from .wire.lab import Lab
from .wire.raw import Raw, response
from .wire.wires import CHAT, say

ANSWER = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ANSWER)}\r\n\r\n".encode()
        writer.write(head + ANSWER)
        await writer.drain()
        await reader.read()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.transport.abort()


async def test_cancelling_leaves_no_old_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a request is cancelled, dead connections of earlier ones are closed."""
    left: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda failure: left.append(repr(failure)))

    async def ask(port: int) -> None:
        call = HTTPRequest("POST", f"http://127.0.0.1:{port}/", [])
        async for _ in stream_deltas(call, OpenAIChatDecoder()):
            pass

    for turns in range(0, 45, 3):
        alive = await asyncio.start_server(_serve, "127.0.0.1", 0)
        writers: list[asyncio.StreamWriter] = []

        async def dying(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            writers: list[asyncio.StreamWriter] = writers,
        ) -> None:
            writers.append(writer)
            await _serve(reader, writer)

        dead = await asyncio.start_server(dying, "127.0.0.1", 0)
        port = dead.sockets[0].getsockname()[1]
        await asyncio.gather(*(ask(port) for _ in range(12)))
        assert len(writers) == 12
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        dead.close()
        task = asyncio.ensure_future(ask(alive.sockets[0].getsockname()[1]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await http._pools.pop(asyncio.get_running_loop())._loop_guard.aclose()  # type: ignore[union-attr]
        alive.close()
        for _ in range(3):  # the servers' sides end, too
            await asyncio.sleep(0)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ResourceWarning)
            gc.collect()
        left += [str(one.message) for one in told]
    assert left == []


@pytest.mark.parametrize("reset", [False, True])
async def test_a_kept_connection_that_is_closed_costs_nothing(reset: bool) -> None:
    """Another one is opened at once; but a new one that is closed without a word is a failure."""
    requests: list[str] = []  # connection and number of the request on it
    dead: set[int] = set()
    sides: set[Any] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides.add(asyncio.current_task())
        connection = len({name.split()[0] for name in requests})
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for number in range(10):
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                requests.append(f"{connection} {number}")
                await reader.readexactly(size)
                if number or connection in dead:  # it was closing while the request came
                    break
                writer.write(b"HTTP/1.1 200 OK\r\n")
                writer.write(f"content-length: {len(ANSWER)}\r\n\r\n".encode() + ANSWER)
        if reset:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        for _ in range(3):
            message = await acomplete("hosted_vllm/m", "q", api_base=base, max_retries=0)
            assert message.text == "a", message.error
        assert requests == ["0 0", "0 1", "1 0", "1 1", "2 0"]
        dead.add(3)
        message = await acomplete("hosted_vllm/m", "q", api_base=base, max_retries=0)
        assert message.error is not None
        assert message.error.kind == "connection"
        assert requests[5:] == ["2 1", "3 0"]
        await asyncio.wait(sides)


async def test_a_request_costs_the_same_however_many_connections_there_are() -> None:
    async def ask(port: int) -> None:
        async for _ in stream_deltas(
            HTTPRequest("POST", f"http://127.0.0.1:{port}/", []), OpenAIChatDecoder()
        ):
            pass

    sides: set[Any] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ANSWER)}\r\n\r\n".encode()
                writer.write(head + ANSWER)
        writer.close()

    calls: Counter[int] = Counter()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for connections in (2, 90):
            await asyncio.gather(*(ask(port) for _ in range(connections)))
            sys.setprofile(lambda *_, n=connections: calls.update([n]))
            for _ in range(5):
                await ask(port)
            sys.setprofile(None)
        await http._pools.pop(asyncio.get_running_loop())._loop_guard.aclose()  # type: ignore[union-attr]
        await asyncio.wait(sides)
    assert calls[90] < 1.5 * calls[2], calls


# --- Bodies ---------------------------------------------------------------------------------

BODY = b"".join(CHAT.scene(say("Hel", "lo")))


def asked(answer: bytes) -> AssistantMessage:
    with Raw(answer) as server:
        return complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
        ("identity", BODY),
    ],
)
def test_compression_that_nobody_asked_for_is_undone(coding: str, body: bytes) -> None:
    with Raw(response(body, f"content-encoding: {coding}")) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
    assert message.text == "Hello"
    assert "accept-encoding: identity" in server.seen[0]


@pytest.mark.parametrize(
    "raw", [b"not http at all\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"]
)
def test_what_is_no_http_is_an_error(raw: bytes) -> None:
    message = asked(raw)
    assert message.error is not None
    assert message.error.kind in ("connection", "bad_request")
    assert message.error.message


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("127.0.0.1/v1", "http://"), ("ftp://x/v1", "http://"), ("http://", "host"),
        ("http://x:99999/v1", "is no address"), ("http://[::1/v1", "is no address"),
    ],
)  # fmt: skip
def test_an_address_that_is_none(base: str, said: str) -> None:
    message = complete("hosted_vllm/m", "q", api_base=base, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert said in message.error.message


def test_a_key_that_http_cannot_say() -> None:
    message = complete("openai/gpt-4o", "q", api_key="sk-ключ-0123456789", max_retries=0)
    assert message.error is not None
    assert "ключ" not in message.error.message
    assert message.error.kind == "bad_request"


# --- The way there -----------------------------------------------------------------------


def test_the_environments_proxy_is_used(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("https", "api.openai.com") == ""
    lab.play(CHAT.scene(say("by proxy")))
    monkeypatch.setenv("HTTP_PROXY", lab.url.removesuffix("/v1"))
    message = complete("hosted_vllm/m", "q", api_base="http://provider.example/v1", max_retries=0)
    assert message.text == "by proxy", message.error
    assert lab.seen[0].headers["host"] == "provider.example"
    monkeypatch.setenv("NO_PROXY", "provider.example")
    assert proxy_for("http", "provider.example") == ""
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:9")
    message = complete("hosted_vllm/m", "q", api_base="http://other.example/v1", max_retries=0)
    assert message.error is not None
    assert message.error.kind == "connection"


def test_loop_after_loop_leaves_nothing(lab: Lab) -> None:
    """Each `asyncio.run` has its own connections, which end with it."""
    lab.play(lambda _: CHAT.scene(say("ok")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            lab.play(CHAT.scene(say("ok")), CHAT.scene(say("ok")))

            async def twice() -> list[str]:
                return [(await acomplete("hosted_vllm/m", "q", api_base=lab.url)).text] * 2

            assert asyncio.run(twice()) == ["ok", "ok"]
        gc.collect()
    assert len(http._pools) <= 2
