"""Test HTTP, HTTPS and SOCKS proxies."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, complete, stream
from pipy_ai.provider.http.connect import connect, proxy_for
from pipy_ai.provider.http.connection import ConnectionBroken
from pipy_ai.utils import event_loop as loops

from ..support.certificate import certificate
from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import Lab, chat, finish, text
from ..support.wire_formats import CHAT, Wire, say

BODY = b"".join(CHAT.scene(say("by proxy")))
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.contextmanager
def listening(handle: Handler, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Run a server in a thread and yield its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    clients: set[asyncio.StreamWriter] = set()

    async def handle_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(writer)
        try:
            await handle(reader, writer)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    started = asyncio.start_server(handle_and_close, "127.0.0.1", 0, ssl=tls)
    server = asyncio.run_coroutine_threadsafe(started, loop).result(10)

    async def end() -> None:
        server.close()
        await asyncio.sleep(0)  # handlers of the last clients start
        for client in clients:  # handlers then end by themselves, with their own connections
            client.transport.abort()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.sleep(0)  # asyncio closes sockets in the next iteration
        await asyncio.sleep(0)

    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Copy bytes in both directions until one side closes."""
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
        away.transport.abort()
        writer.transport.abort()
        await asyncio.gather(*both, return_exceptions=True)


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that sets the environment's proxy for all schemes."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield lambda proxy: monkeypatch.setenv("ALL_PROXY", proxy)
    loops.shutdown()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A TLS context for 127.0.0.1 and lab.example, and the certificate that signs it."""
    folder = tmp_path_factory.mktemp("tls")
    own = certificate(folder, "127.0.0.1", "lab.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own)
    return context, own


def socks(port: int, seen: list[Any], user: bytes = b"", refuses: int = 0) -> Handler:
    """Return a SOCKS 5 proxy that connects every request to `port`."""

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
def test_socks_proxy_resolves_the_host(
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
    ("user", "refuses", "expected"),
    [("you", 0, "rejected the user name and password"), ("me", 2, "its rules")],
)
def test_socks_proxy_that_refuses(
    user: str, refuses: int, expected: str, proxies: Callable[[str], None]
) -> None:
    with listening(socks(9, [], b"me", refuses)) as port:
        proxies(f"socks5://{user}:geheim@127.0.0.1:{port}")
        message = complete("hosted_vllm/m", "q", api_base="http://far.example/v1", max_retries=0)
    assert message.error is not None
    assert message.error.kind == "connection"
    assert f"127.0.0.1:{port}" in message.error.message
    assert expected in message.error.message
    assert "geheim" not in message.error.message


def tunnel(port: int, seen: list[bytes], refuses: bytes = b"") -> Handler:
    """Return an HTTP proxy that opens tunnels to `port`."""

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
def test_tunnel_to_a_tls_host(
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


FORGED = response(b"".join(CHAT.scene(say("forged"))), "content-type: text/event-stream")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + FORGED,
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n" % len(BODY) + BODY,
        b"HTTP/1.1 200 OK\ncontent-length: 0\n\n" + FORGED,
    ],
)
def test_proxy_cannot_answer_for_a_tls_host(
    reply: bytes,
    tls: tuple[ssl.SSLContext, Path],
    proxies: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, authority = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with Raw(response(BODY), context) as server:
        target = int(server.address.rpartition(":")[2])

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            await relay(reader, writer, target)

        with listening(handle) as port:
            proxies(f"http://127.0.0.1:{port}")
            error = failure("https://lab.example/v1")
        assert server.seen == []
    assert (error.kind, error.retryable) == ("connection", False)
    assert f"The proxy http://127.0.0.1:{port} sent its own data" in error.message


@pytest.mark.parametrize("host", ["http://far.example/v1", "https://lab.example/v1"])
def test_socks_proxy_cannot_answer_for_the_host(host: str, proxies: Callable[[str], None]) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(b"\x05\x00")
        await reader.readexactly(5 + len("xxx.example") + 2)
        writer.write(b"\x05\x00\x00\x01" + b"\x00" * 6 + FORGED)
        await reader.read()

    with listening(handle) as port:
        proxies(f"socks5://127.0.0.1:{port}")
        error = failure(host)
    assert (error.kind, error.retryable) == ("connection", False)
    assert "sent its own data" in error.message


async def test_data_before_the_request_is_no_response() -> None:
    accepted = threading.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()

    with listening(handle) as port:
        connection = await connect("127.0.0.1", port, False, "")
        await asyncio.to_thread(accepted.wait, 10)
        connection.get_buffer(-1)[: len(FORGED)] = FORGED
        connection.buffer_updated(len(FORGED))
        with pytest.raises(ConnectionBroken, match="before the request"):
            await connection.send(b"GET / HTTP/1.1\r\n\r\n")
        connection.transport.abort()


def test_refused_tunnel(proxies: Callable[[str], None]) -> None:
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


def test_unknown_proxy_scheme(proxies: Callable[[str], None]) -> None:
    proxies("gopher://me:geheim@127.0.0.1:1")
    message = complete("hosted_vllm/m", "q", api_base="http://far.example/v1")
    assert message.error is not None
    assert "socks5" in message.error.message
    assert "geheim" not in message.error.message


KEY = "sk-very-secret-0123456789"


def ask(base: str, wire: Wire = CHAT, **options: Any) -> AssistantMessage:
    base = base.removesuffix("/v1") if wire.root else base
    options = {"api_key": KEY, "max_retries": 0, "transport": "direct", "timeout": 60, **options}
    message = check_events(list(stream(wire.model, "q", api_base=base, **options)))
    assert KEY not in message.model_dump_json()
    return message


def failure(base: str, wire: Wire = CHAT, **options: Any) -> ErrorInfo:
    """Return the error of a request."""
    message = ask(base, wire, **options)
    assert message.content == []
    assert message.error is not None
    return message.error


PASSWORD = "pass@word-4711"
NAMED = f"http://us%40er:{PASSWORD.replace('@', '%40')}@"
HOSTS = ["https://provider.example/v1", "http://provider.example/v1"]


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def use(address: str) -> None:
        monkeypatch.setenv("HTTP_PROXY", address)
        monkeypatch.setenv("HTTPS_PROXY", address)

    return use


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    ("scheme", "status", "retryable", "expected"),
    [
        ("http://", "407 Proxy Authentication Required", False, "http://name:password@host:port"),
        (NAMED, "407 Proxy Authentication Required", False, "rejected the user name and password"),
        (NAMED, "403 Forbidden", False, "NO_PROXY"),
        (NAMED, "502 Bad Gateway", True, "502"),
    ],
)
def test_http_proxy_that_refuses(
    proxy: Callable[[str], None],
    host: str,
    scheme: str,
    status: str,
    retryable: bool,
    expected: str,
) -> None:
    with Raw(response(b"", status=status)) as server:
        proxy(scheme + server.address)
        error = failure(host)
    assert KEY not in "".join(server.seen) or host.startswith("http:")
    if not status.startswith("407") and host.startswith("http:"):
        return  # it may as well be the provider's own answer
    assert (error.kind, error.retryable) == ("connection", retryable)
    assert f"The proxy http://{server.address} refused: {status[:3]}" in error.message
    assert expected in error.message
    assert "word-4711" not in error.message


@pytest.mark.parametrize("host", HOSTS)
def test_unreachable_proxy(proxy: Callable[[str], None], host: str) -> None:
    proxy(NAMED + "127.0.0.1:9")
    error = failure(host)
    assert (error.kind, error.retryable) == ("connection", True)
    assert "The proxy http://127.0.0.1:9 cannot be reached" in error.message
    assert "HTTPS_PROXY" in error.message
    assert "word-4711" not in error.message


def test_long_credentials_of_a_socks_proxy(proxies: Callable[[str], None]) -> None:
    with Raw(b"") as server:
        proxies(f"socks5://{'u' * 300}:p@{server.address}")
        error = failure(HOSTS[0])
    assert (error.kind, error.retryable) == ("connection", False)
    assert "longer than 255 bytes" in error.message


@pytest.mark.parametrize("host", HOSTS)
def test_proxy_that_closes_the_connection(proxy: Callable[[str], None], host: str) -> None:
    with Raw(b"") as server:
        proxy(NAMED + server.address)
        error = failure(host)
    assert (error.kind, error.retryable) == ("connection", True)
    assert f"provider.example (by the proxy http://{server.address}) broke" in error.message


@pytest.mark.parametrize(
    "address", [f"http://us:{PASSWORD}#x@127.0.0.1:9", f"ftp://us:{PASSWORD}@127.0.0.1", "http://"]
)
def test_invalid_proxy_url(proxy: Callable[[str], None], address: str) -> None:
    proxy(address)
    error = failure(HOSTS[0])
    assert (error.kind, error.retryable) == ("connection", False)
    assert "http://name:password@host:port" in error.message
    assert "word-4711" not in error.message
    assert "pass" not in error.message.replace("name:password", "")


def test_proxy_credentials_are_sent_decoded(lab: Lab, proxy: Callable[[str], None]) -> None:
    proxy(NAMED + lab.url.removeprefix("http://").removesuffix("/v1"))
    lab.play(CHAT.scene(say("by proxy")))
    assert ask(HOSTS[1]).text == "by proxy"
    word = base64.b64encode(f"us@er:{PASSWORD}".encode()).decode()
    assert lab.seen[0].headers["proxy-authorization"] == f"Basic {word}"


def test_proxy_password_and_no_proxy(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", f"http://me:p%40ss%3A@127.0.0.1:{lab.port}")
    lab.play(chat(text("ok"), finish("stop")))
    assert complete("hosted_vllm/m", "q", api_base="http://far.example/v1").text == "ok"
    known = base64.b64decode(lab.seen[0].headers["proxy-authorization"].split()[1])
    assert known == b"me:p@ss:"
    monkeypatch.setenv("no_proxy", "near.example:8000, 10.0.0.0/8,::1")
    asked = {
        ("near.example", 8000): False, ("near.example", 80): True, ("10.1.2.3", None): False,
        ("11.1.2.3", None): True, ("::1", 8000): False, ("ten.example", None): True,
    }  # fmt: skip
    assert {place: bool(proxy_for("http", *place)) for place in asked} == asked
    monkeypatch.setenv("http_proxy", "ftp://me:secret@127.0.0.1:1")
    error = complete("hosted_vllm/m", "q", api_base="http://far.example/v1").error
    assert error is not None
    assert "proxy" in error.message
    assert "secret" not in error.message


def test_proxy_from_the_environment_is_used(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
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
