"""Ways to a host: proxies of each kind, other event loops, servers that are careless with HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import acomplete, complete
from pipy_ai.utils import event_loop as loops

from .wire.certificate import certificate
from .wire.lab import Lab
from .wire.raw import Raw, response
from .wire.wires import CHAT, say

BODY = b"".join(CHAT.scene(say("by proxy")))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.contextmanager
def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server in a thread of its own: its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    started = asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    server = asyncio.run_coroutine_threadsafe(started, loop).result(10)

    async def end() -> None:
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Carry bytes both ways until one side ends."""
    there, away = await asyncio.open_connection("127.0.0.1", port)

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()

    both = [asyncio.ensure_future(carry(reader, away)), asyncio.ensure_future(carry(there, writer))]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        away.transport.abort()
        writer.transport.abort()


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the environment's proxy for everything."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield lambda proxy: monkeypatch.setenv("ALL_PROXY", proxy)
    loops.shutdown()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A context for servers that are called 127.0.0.1 or lab.example, and who vouches for them."""
    folder = tmp_path_factory.mktemp("tls")
    own = certificate(folder, "127.0.0.1", "lab.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)
    return context, own


def socks(port: int, seen: list[Any], user: bytes = b"", refuses: int = 0) -> Handler:
    """A SOCKS 5 proxy that leads to `port`, whatever it is asked for."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        assert version == 5
        writer.write(b"\x05" + (b"\x02" if user else b"\x00"))
        assert (2 if user else 0) in methods
        if user:
            _, length = await reader.readexactly(2)
            name = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            seen.append((name, password))
            writer.write(b"\x01" + (b"\x00" if name == user else b"\x01"))
            if name != user:
                await writer.drain()
                writer.close()
                return
        head = await reader.readexactly(5)
        seen.append(await reader.readexactly(head[4] + 2))
        writer.write(bytes([5, refuses, 0, 1]) + b"\x00" * 6)
        if refuses:
            writer.close()
        else:
            await relay(reader, writer, port)

    return handle


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks_leads_to_the_host_that_it_looks_up(
    scheme: str, lab: Lab, proxies: Callable[[str], None]
) -> None:
    lab.play(CHAT.scene(say("one")), CHAT.scene(say("two")))
    seen: list[Any] = []
    with listening(socks(int(lab.url.rpartition(":")[2].partition("/")[0]), seen, b"me")) as port:
        proxies(f"{scheme}://me:p%40ss@127.0.0.1:{port}")
        base = "http://far.example:81/v1"
        for said in ("one", "two"):
            message = complete("hosted_vllm/m", "q", api_base=base, max_retries=0)
            assert message.text == said, message.error
        loops.shutdown()
    assert seen == [(b"me", b"p@ss"), b"far.example\x00\x51"]  # once: the connection was kept


@pytest.mark.parametrize(
    ("user", "refuses", "said"), [("you", 0, "the name and the password"), ("me", 2, "its rules")]
)
def test_socks_that_refuses(
    user: str, refuses: int, said: str, proxies: Callable[[str], None]
) -> None:
    with listening(socks(9, [], b"me", refuses)) as port:
        proxies(f"socks5://{user}:geheim@127.0.0.1:{port}")
        message = complete("hosted_vllm/m", "q", api_base="http://far.example/v1", max_retries=0)
    assert message.error is not None
    assert message.error.kind == "connection"
    assert f"127.0.0.1:{port}" in message.error.message
    assert said in message.error.message
    assert "geheim" not in message.error.message


def tunnel(port: int, seen: list[bytes], refuses: bytes = b"") -> Handler:
    """An HTTP proxy that opens tunnels to `port`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        if refuses:
            writer.write(b"HTTP/1.1 " + refuses + b"\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
            writer.close()
        else:
            writer.write(b"HTTP/1.0 200 Connection established\r\n\r\n")
            await relay(reader, writer, port)

    return handle


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_tunnel_to_a_host_with_tls(
    scheme: str,
    tls: tuple[ssl.SSLContext, Path],
    proxies: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, authority = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    seen: list[bytes] = []
    with Raw(response(BODY), context) as server:
        target = int(server.address.rpartition(":")[2])
        own = context if scheme == "https" else None
        with listening(tunnel(target, seen), own) as port:
            proxies(f"{scheme}://me:secret@127.0.0.1:{port}")
            asked = "https://lab.example/v1"
            message = complete(
                "hosted_vllm/m", "q", api_base=asked, api_key="sk-0123456789", max_retries=0
            )
            assert message.text == "by proxy", message.error
            loops.shutdown()
    head = seen[0].decode()
    assert head.startswith("CONNECT lab.example:443 HTTP/1.1\r\nhost: lab.example:443\r\n")
    assert "proxy-authorization: Basic bWU6c2VjcmV0" in head
    assert "sk-0123456789" not in head  # the key goes through the tunnel


def test_a_tunnel_that_is_refused(proxies: Callable[[str], None]) -> None:
    refusal = b"407 Proxy Authentication Required"
    with listening(tunnel(9, [], refusal)) as port:
        proxies(f"http://me:geheim@127.0.0.1:{port}")
        message = complete("hosted_vllm/m", "q", api_base="https://far.example/v1")
    assert message.error is not None
    assert message.error.kind == "connection"
    assert not message.error.retryable
    assert f"127.0.0.1:{port}" in message.error.message
    assert "407" in message.error.message
    assert "geheim" not in message.error.message


def test_a_proxy_of_an_unknown_kind(proxies: Callable[[str], None]) -> None:
    proxies("gopher://me:geheim@127.0.0.1:1")
    message = complete("hosted_vllm/m", "q", api_base="http://far.example/v1")
    assert message.error is not None
    assert "socks5" in message.error.message
    assert "geheim" not in message.error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_uvloop(host: str, lab: Lab) -> None:
    uvloop = pytest.importorskip("uvloop")
    lab.play(CHAT.scene(say("fast")))
    base = lab.url.replace("127.0.0.1", host)
    message = uvloop.run(acomplete("hosted_vllm/m", "q", api_base=base, max_retries=0))
    assert message.text == "fast", message.error


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\ncontent-length: %d\n\n" % len(BODY),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY),
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_servers_that_are_careless_with_http(head: bytes) -> None:
    with Raw(head + BODY) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
        assert message.text == "by proxy", message.error


def test_a_chunked_answer_whose_length_is_told_too() -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
    with Raw(head + chunks) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
        assert message.text == "by proxy", message.error
