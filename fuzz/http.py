"""Targets: HTTP responses as bytes, compressed bodies, and the handshakes of proxies."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import Sequence
from typing import Any

from pipy_ai.errors import ErrorKind, ProviderError
from pipy_ai.provider.http.client import HTTPResponse, _ConnectionPool
from pipy_ai.provider.http.connect import _open_tunnel, _socks_handshake
from pipy_ai.provider.http.connection import Connection, ConnectionBroken

from .harness import target
from .replies import HOST, MemoryTransport, run
from .values import ODD_TEXTS, pieces, some_text

_HEADERS = (
    "content-type: text/event-stream", "connection: close", "connection: keep-alive", "a: b", "a:",
    "content-length: 5", "content-length: -1", "content-length: 99999999999999999999", "x: \xe9",
    "transfer-encoding: chunked", "transfer-encoding: gzip, chunked", "transfer-encoding: x",
    "content-encoding: gzip", "content-encoding: deflate", "content-encoding: br", "upgrade: h2c",
    "connection: upgrade", "trailer: a", " folded", ": no name", "no colon", "a\0: b",
)  # fmt: skip
_TOKENS = (
    b"\r\n", b"\n", b"\r", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"0\r\n\r\n",
    b"ffffffffffffffffffff\r\n", b"-1\r\n", b"5;x=y\r\nhello\r\n", b"\0", b"HTTP/2", b"\xff",
    b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"data: x\n\n", b"101",
)  # fmt: skip


def _chunked(rng: random.Random, body: bytes) -> bytes:
    end = b"\r\n"
    chunks = [
        f"{len(piece):{rng.choice('xX')}}{rng.choice(('', '', ';a=b'))}".encode()
        + end
        + piece
        + end
        for piece in pieces(rng, body)
        if piece
    ]
    trailer = rng.choice((b"", b"", b"x: y" + end))
    return b"".join(chunks) + b"0" + end + trailer + end


def _compressed(rng: random.Random, body: bytes) -> tuple[str, bytes]:
    """Return a content encoding and a body in it."""
    kind = rng.randrange(6)
    if kind == 0:
        return "gzip", gzip.compress(body, mtime=0)
    if kind == 1:
        return "deflate", zlib.compress(body)
    if kind == 2:
        squeezer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        return "deflate", squeezer.compress(body) + squeezer.flush()
    return rng.choice(("", "", "identity")), body


def _response(rng: random.Random) -> tuple[bytes, bytes]:
    """Return a valid response as bytes, and its body."""
    body = some_text(rng).encode("utf-8", "replace") * rng.choice((1, 1, 3, 2000))
    encoding, data = _compressed(rng, body)
    lines = [f"HTTP/1.1 {rng.choice((200, 200, 404, 503))} {rng.choice(('OK', '', 'Ünknown'))}"]
    lines += [f"content-encoding: {encoding}"] if encoding else []
    lines += ["x-a: 1"] * rng.randint(0, 2)
    framing = rng.randrange(3)
    if framing == 0:
        lines.append(f"content-length: {len(data)}")
    elif framing == 1:
        lines.append("transfer-encoding: chunked")
        data = _chunked(rng, data)
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    interim = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * rng.choice((0, 0, 0, 1, 2))
    return interim + head + data, body


def _broken(rng: random.Random, data: bytes) -> bytes:
    """Return a response with mistakes."""
    result = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        position = rng.randint(0, min(len(result), rng.choice((40, 200, 10_000))))
        kind = rng.randrange(4)
        if kind == 0:
            result[position:position] = rng.choice(_TOKENS)
        elif kind == 1:
            header = rng.choice(_HEADERS).encode("latin-1") + b"\r\n"
            end_of_line = result.find(b"\r\n", position)
            result[end_of_line + 2 : end_of_line + 2] = header
        elif kind == 2:
            del result[position : position + rng.randint(1, 20)]
        elif result:
            result[position % len(result)] = rng.randrange(256)
    return bytes(result)


async def _fetch(chunks: Sequence[bytes], cut: bool) -> tuple[Any, ...]:
    """Return status, headers, body and failure of one exchange."""
    connection = Connection()
    MemoryTransport(connection, chunks, cut)
    pool = _ConnectionPool()
    body: list[bytes] = []
    failure = ""
    try:
        await connection.send(b"GET / HTTP/1.1\r\n\r\n")
        response = HTTPResponse(connection, pool, (HOST, 80, False, ""))
        while data := await response.read():
            assert len(data) < 200_000
            body.append(data)
        response.close()
    except (ConnectionBroken, ProviderError) as error:
        failure = f"{type(error).__name__}: {error}"
        assert not isinstance(error, ProviderError) or error.error.kind == ErrorKind.SERVER
    finally:
        connection.transport.abort()
    headers = dict(connection.headers) if connection.status else {}
    return connection.status, headers, b"".join(body), failure


@target
def http_responses(rng: random.Random) -> None:
    """Responses in every framing, some of them broken, cut anywhere."""
    data, body = _response(rng)
    valid = rng.random() < 0.4
    cut = False
    if not valid:
        data = _broken(rng, data)
        cut = rng.random() < 0.2
    one_read = run(_fetch([data], cut))
    many_reads = run(_fetch(pieces(rng, data), cut))
    assert one_read == many_reads
    assert not valid or (one_read[2], one_read[3]) == (body, "")


async def _shake_hands(chunks: Sequence[bytes], socks: bool) -> str:
    """Return how a proxy's handshake ends."""
    connection = Connection()
    MemoryTransport(connection, chunks)
    shake = _socks_handshake if socks else _open_tunnel
    scheme = "socks5" if socks else "http"
    try:
        await asyncio.wait_for(
            shake(connection, f"{scheme}://u:secret@proxy:1080", "example.com", 443), 1000
        )
    except ConnectionBroken:
        return "broken"
    except ProviderError as error:
        assert error.error.kind == ErrorKind.CONNECTION
        assert "secret" not in error.error.message
        return error.error.message
    finally:
        connection.transport.abort()
    return ""


@target
def proxies(rng: random.Random) -> None:
    """Handshakes of proxies that misbehave: nothing they send may pass for the host's response."""
    socks = rng.random() < 0.5
    if socks:
        good = b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00\x01" + b"\x7f\0\0\x01\x00\x50"
    else:
        name = rng.choice(ODD_TEXTS).encode("utf-8", "replace").replace(b"\n", b"")
        good = b"HTTP/1.1 200 " + name + b"\r\nx: y\r\n\r\n"
    data = good
    if rng.random() < 0.8:
        data = _broken(rng, good)
    elif rng.random() < 0.5:
        data = good + b"HTTP/1.1 200 OK\r\n\r\n"
    outcome = run(_shake_hands([data], socks))
    cut_outcome = run(_shake_hands(pieces(rng, data), socks))
    early_data = "its own data" in outcome and not cut_outcome  # it may come later, then
    assert outcome == cut_outcome or early_data
    assert not (data.startswith(good) and data != good and outcome == "")
