"""Test the HTTP client: connection reuse, cancellation, compression and event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import select
import socket
import struct
import sys
import threading
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, acomplete, complete, stream
from pipy_ai.provider.exchange import stream_deltas
from pipy_ai.provider.http import client as http
from pipy_ai.provider.http.client import FileContent, HTTPRequest
from pipy_ai.provider.http.connection import Connection
from pipy_ai.provider.profiles import Profile
from pipy_ai.provider.wires import openai_chat
from pipy_ai.utils import event_loop as loops

from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.scripted_server import Lab, chat, finish, text
from ..support.wire_formats import CHAT, WIRES, Wire, say

PROFILE = Profile()
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


FILE_BYTES = 8 << 20


@pytest.fixture
def big_file(tmp_path: Path) -> FileContent:
    path = tmp_path / "big"
    path.write_bytes(b"x" * FILE_BYTES)
    return FileContent(str(path), b"<", b">")


def _received(connection: socket.socket, size: int, pause_s: float) -> int:
    received = 0
    while received < size and (data := connection.recv(1 << 20)):
        received += len(data)
        time.sleep(pause_s)
    return received


def test_file_is_sent_no_faster_than_it_is_read(big_file: FileContent) -> None:
    """The rest stays in the file, not in memory."""
    sizes: list[int] = []
    counts: list[int] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n<" not in connection.recv(1 << 16, socket.MSG_PEEK):
                pass
            head = connection.recv(1 << 16, socket.MSG_PEEK).partition(b"<")[0]
            connection.recv(len(head))
            counts.append(_received(connection, FILE_BYTES + 2, 0.001))
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            connection.recv(1)

    class Watched(FileContent):
        def __iter__(self) -> Iterator[bytes]:
            [connection] = filter(_is_open_connection, gc.get_objects())
            for piece in super().__iter__():
                sizes.append(connection.transport.get_write_buffer_size())
                yield piece

    async def send(url: str) -> bytes:
        file = Watched(big_file.path, big_file.before, big_file.after)
        answer = await http.send(HTTPRequest("POST", url, [], file=file))
        body = await answer.read()
        answer.close()
        return body

    with _listener(serve) as url:
        assert asyncio.run(send(url)) == b"ok"
    assert counts == [FILE_BYTES + 2]
    assert max(sizes) < 1 << 20


def _is_open_connection(candidate: object) -> bool:
    return type(candidate) is Connection and not candidate.lost


@contextlib.contextmanager
def _listener(serve: Callable[[socket.socket], None]) -> Generator[str, None, None]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        thread.join(10)
        assert not thread.is_alive()


def test_early_answer_ends_the_upload(big_file: FileContent) -> None:
    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 413 Too large\r\ncontent-length: 2\r\n\r\nno")
            with contextlib.suppress(ConnectionError):
                while connection.recv(1 << 20):  # until the client closes the connection
                    time.sleep(0.01)

    async def send(url: str) -> tuple[int, bytes]:
        answer = await http.send(HTTPRequest("POST", url, [], file=big_file))
        body = await answer.read()
        answer.close()
        assert not any(http.pools[asyncio.get_running_loop()].idle.values())
        return answer.status, body

    with _listener(serve) as url:
        assert asyncio.run(send(url)) == (413, b"no")


def test_request_that_must_be_sent_once_uses_a_new_connection() -> None:
    """An idle connection may be closed, and the request would be sent again."""
    peers: list[object] = []

    def answer_three(listener: socket.socket) -> None:
        open_connections: list[socket.socket] = []
        with contextlib.ExitStack() as stack:
            while len(peers) < 3:
                ready, _, _ = select.select([listener, *open_connections], [], [], 10)
                for one in ready:
                    if one is listener:
                        connection = stack.enter_context(listener.accept()[0])
                        open_connections.append(connection)
                    elif one.recv(1 << 16):
                        peers.append(one.getpeername())
                        one.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def send(url: str) -> None:
        for once in (False, False, True):
            answer = await http.send(HTTPRequest("POST", url, [], once=once))
            assert await answer.read() == b""
            answer.close()

    with _listener(answer_three) as url:
        asyncio.run(send(url))
    assert peers[0] == peers[1] != peers[2]


async def test_cancelling_closes_dead_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a request is cancelled, dead connections of earlier ones are closed."""
    left: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda failure: left.append(repr(failure)))

    async def ask(port: int) -> None:
        call = HTTPRequest("POST", f"http://127.0.0.1:{port}/", [])
        async for _ in stream_deltas(call, openai_chat.WIRE, PROFILE):
            pass

    for turns in range(0, 45, 5):
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
        await http.pools.pop(asyncio.get_running_loop()).loop_guard.aclose()  # type: ignore[union-attr]
        alive.close()
        for _ in range(3):  # the servers' sides end, too
            await asyncio.sleep(0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            gc.collect()
        left += [str(one.message) for one in caught]
    assert left == []


@pytest.mark.parametrize("reset", [False, True])
async def test_closed_idle_connection_is_replaced(reset: bool) -> None:
    """Another connection is opened at once; a new connection that closes early is an error."""
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


async def test_request_time_is_independent_of_open_connections() -> None:
    async def ask(port: int) -> None:
        async for _ in stream_deltas(
            HTTPRequest("POST", f"http://127.0.0.1:{port}/", []), openai_chat.WIRE, PROFILE
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
        await http.pools.pop(asyncio.get_running_loop()).loop_guard.aclose()  # type: ignore[union-attr]
        await asyncio.wait(sides)
    assert calls[90] < 1.5 * calls[2], calls


BODY = b"".join(CHAT.scene(say("Hel", "lo")))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
        ("identity", BODY),
    ],
)
def test_unrequested_compression_is_decoded(coding: str, body: bytes) -> None:
    with Raw(response(body, f"content-encoding: {coding}")) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
    assert message.text == "Hello"
    assert "accept-encoding: identity" in server.seen[0]


def test_each_event_loop_closes_its_connections(lab: Lab) -> None:
    """Each `asyncio.run` has its own connections, which close with it."""
    lab.play(lambda _: CHAT.scene(say("ok")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(5):
            lab.play(CHAT.scene(say("ok")), CHAT.scene(say("ok")))

            async def twice() -> list[str]:
                return [(await acomplete("hosted_vllm/m", "q", api_base=lab.url)).text] * 2

            assert asyncio.run(twice()) == ["ok", "ok"]
        gc.collect()
    assert len(http.pools) <= 2


def test_http_408_on_an_idle_connection(lab: Lab) -> None:
    """A connection on which the server sent HTTP 408 before closing is not reused."""
    answer = b"".join(chat(text("ok"), finish("stop")))
    said, peers = threading.Event(), []

    def serve() -> None:
        for _ in range(2):
            peer, _ = server.accept()
            peers.append(peer)
            while not peer.recv(65536).endswith(b"}"):
                pass
            peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
            if len(peers) == 2:
                return
            assert said.wait(10)
            peer.sendall(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        port = server.getsockname()[1]
        base = f"http://127.0.0.1:{port}/v1"
        assert complete("hosted_vllm/m", "q", api_base=base).text == "ok"
        (kept,) = http.pools[loops.background_loop().loop].idle["127.0.0.1", port, False, ""]
        said.set()
        deadline = time.monotonic() + 10
        while not kept.lost and time.monotonic() < deadline:
            time.sleep(0.001)
        again = complete("hosted_vllm/m", "q", api_base=base, max_retries=0)
        assert again.text == "ok", again.error
        assert len(peers) == 2
        for peer in peers:
            peer.close()


def test_callers_host_header_is_used(lab: Lab) -> None:
    lab.play(chat(text("ok"), finish("stop")))
    message = complete("hosted_vllm/m", "q", api_base=lab.url, headers={"Host": "other.example"})
    assert message.text == "ok", message.error
    assert lab.seen[0].headers["host"] == "other.example"


def test_repr_of_a_request_hides_the_key() -> None:
    assert "sk-" not in repr(
        HTTPRequest("POST", "http://h", [("authorization", "Bearer sk-1")], b"{}")
    )


PLAIN_BODY = b"".join(CHAT.scene(say("by proxy")))


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
        b"HTTP/1.1 200 OK\ncontent-length: %d\n\n" % len(PLAIN_BODY),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
        % len(PLAIN_BODY),
        b"HTTP/1.0 200 OK\r\n\r\n",
    ],
)
def test_lenient_response_heads(head: bytes) -> None:
    with Raw(head + PLAIN_BODY) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
        assert message.text == "by proxy", message.error


@pytest.mark.parametrize(
    "host", ["a" * 64 + ".example", "a..example", ".example", "a." * 127 + "b"]
)
@pytest.mark.parametrize("proxy", ["", "socks5h://127.0.0.1:9"])
def test_names_of_hosts_that_cannot_be(
    monkeypatch: pytest.MonkeyPatch, host: str, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    message = complete("hosted_vllm/m", "q", api_base=f"http://{host}/v1", max_retries=0)
    assert message.error is not None
    assert message.error.kind == "bad_request"
    assert "is not a valid URL" in message.error.message


def test_chunked_response_with_a_content_length() -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PLAIN_BODY), PLAIN_BODY)
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
    with Raw(head + chunks) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
        assert message.text == "by proxy", message.error


@pytest.mark.parametrize(
    ("beginning", "piece"), [(b"5;", b"x" * 65536), (b"0\r\n", b"a: b\r\n" * 9000)]
)
def test_framing_without_end(beginning: bytes, piece: bytes) -> None:
    """Extensions of chunks and trailers count neither as headers nor as body."""

    def answer() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + beginning
        yield from repeat(piece)

    with Raw(answer()) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
    assert message.error is not None
    assert message.error.kind == "connection"
    assert "no end" in message.error.message


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


def body(wire: Wire, *pieces: str) -> bytes:
    return b"".join(wire.scene(say(*pieces)))


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_wrong_content_encoding(wire: Wire, coding: str) -> None:
    with Raw(response(body(wire, "a"), f"content-encoding: {coding}")) as server:
        error = failure(server.url, wire)
    assert error.kind == "server"
    assert coding in error.message


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_truncated_compression(wire: Wire, coding: str) -> None:
    whole = body(wire, "Hel", "2nd")
    squeeze = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    first = squeeze.compress(whole[: whole.index(b"2nd")]) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    head = f"content-encoding: {coding}"
    with Raw(response(first, head)) as server, Raw(response(first[:5], head)) as early:
        message = ask(server.url, wire)
        nothing = failure(early.url, wire)
    assert message.text == "Hel"
    assert message.error is not None
    assert (message.error.kind, nothing.kind) == ("incomplete", "connection")
    for error in (message.error, nothing):
        assert f"ended within its {coding}" in error.message


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_text_before_corrupt_compressed_data_is_kept(coding: str) -> None:
    squeeze = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    event = b'data: {"choices":[{"delta":{"content":"kept"}}]}\n\n'
    squeezed = squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH) + b"\xff" * 20
    with Raw(response(squeezed, f"content-encoding: {coding}")) as server:
        message = complete("hosted_vllm/m", "q", api_base=server.url, max_retries=0)
    assert message.text == "kept"
    assert message.error is not None
    assert message.error.kind == "server"
    assert f"not {coding}, although it claims to be" in message.error.message


async def test_much_from_few_compressed_bytes_does_not_hold_up_the_loop() -> None:
    """Otherwise `timeout=` would have to wait, too."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    squeezed = gzip.compress(bytes(20 << 20))
    with Raw(response(squeezed, "content-encoding: gzip")) as server:
        received = await http.send(HTTPRequest("POST", server.url, []))
        while not received.fully_received:
            await asyncio.sleep(0.001)
        counter = asyncio.create_task(count_turns())
        sizes = []
        while data := await received.read():
            sizes.append(len(data))
        counter.cancel()
        received.close()
    assert sum(sizes) == 20 << 20
    assert max(sizes) <= http.MAX_DECOMPRESSED_BYTES
    assert turns >= len(sizes) - 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_bytes_after_the_compressed_data_are_dropped(coding: str) -> None:
    """They used to be read again and again if the data ended beyond the size of a read."""
    size = http.MAX_DECOMPRESSED_BYTES + 1
    squeezed = (gzip.compress if coding == "gzip" else zlib.compress)(b"a" * size) + b"more"
    with Raw(response(squeezed, f"content-encoding: {coding}")) as server:
        received = await http.send(HTTPRequest("POST", server.url, []))
        body = b""
        while data := await received.read():
            body += data
        received.close()
    assert body == b"a" * size


@pytest.mark.parametrize("size", [0, 1, 3, 100, 258, 1000])
async def test_last_bytes_of_a_deflated_body_without_header_arrive(size: int) -> None:
    """All input may have been read while output beyond the size of a read is left."""
    plain = b"a" * (http.MAX_DECOMPRESSED_BYTES + size)
    with Raw(response(zlib.compress(plain)[2:-4], "content-encoding: deflate")) as server:
        received = await http.send(HTTPRequest("POST", server.url, []))
        pieces = []
        while data := await received.read():
            pieces.append(data)
        received.close()
    assert b"".join(pieces) == plain
    assert max(map(len, pieces)) <= http.MAX_DECOMPRESSED_BYTES
