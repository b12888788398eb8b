"""HTTP to providers: pooled connections and nothing that a stream of events does not need. Nothing
else talks HTTP to providers.
"""

from __future__ import annotations

import asyncio
import os
import re
import weakref
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

from ..._version import __version__
from ...errors import ErrorKind, ProviderError, error_info
from .connect import broke_before_response, connect, proxy_authorization, proxy_for
from .connection import Connection, ConnectionBroken

MAX_IDLE_CONNECTIONS = 100  # idle connections that a loop keeps
IDLE_EXPIRY_S = 60.0  # seconds that it keeps them
MAX_DECOMPRESSED_BYTES = 1 << 20  # bytes that one piece may become at once

# What can go wrong on the way, beside a `ProviderError` for what no other try would mend.
CONNECTION_ERRORS = (ConnectionBroken, TimeoutError)


@dataclass(slots=True)
class HTTPRequest:
    """An HTTP request. Header names are as they are sent; `host` and `content-length` are added."""

    method: str
    url: str
    headers: list[tuple[str, str]] = field(repr=False)  # a key is among them
    content: bytes = field(default=b"", repr=False)


class HTTPResponse:
    """An HTTP response whose body is still to come. Close it."""

    def __init__(self, connection: Connection, pool: _ConnectionPool, pool_key: PoolKey) -> None:
        self._connection, self._pool, self._pool_key = connection, pool, pool_key
        self.proxy: str = pool_key[3]
        self.status: int = connection.status
        self.headers: dict[str, str] = connection.headers
        self._content_encoding = self.headers.get("content-encoding", "").strip().lower()
        self._decompressor: Any = None
        self._compressed_tail = b""  # what it has not taken yet

    async def read(self) -> bytes:
        """The next piece of the body, decompressed where a host compresses unasked; empty: the end.

        Raises:
            ProviderError: it is not compressed the way it says.
            Exception: one of `BROKEN`.
        """
        if self._content_encoding in ("", "identity"):
            return await self._connection.read()
        while True:
            compressed = self._compressed_tail or await self._connection.read()
            data = self._decompress(compressed)
            if data or not compressed:
                return data

    def _decompress(self, compressed: bytes) -> bytes:
        if self._content_encoding not in ("gzip", "x-gzip", "deflate"):
            raise _malformed_error(
                f"an answer compressed with {self._content_encoding!r}, which nobody asked for"
            )
        if self._decompressor is None and compressed:
            is_raw_deflate = (
                self._content_encoding == "deflate" and compressed[:1] != b"\x78"
            )  # some leave it out
            window_bits = 47 if "gzip" in self._content_encoding else zlib.MAX_WBITS
            self._decompressor = zlib.decompressobj(
                -zlib.MAX_WBITS if is_raw_deflate else window_bits
            )
        if self._decompressor is None:
            return b""
        if not compressed and not self._decompressor.eof:
            raise ConnectionBroken(f"the answer ended within the {self._content_encoding}")
        if self._decompressor.eof:
            return b""
        try:
            data: bytes = self._decompressor.decompress(compressed, MAX_DECOMPRESSED_BYTES)
        except zlib.error:
            raise _malformed_error(
                f"an answer that is not {self._content_encoding}, as it says"
            ) from None
        self._compressed_tail = self._decompressor.unconsumed_tail
        return data

    @property
    def fully_received(self) -> bool:
        """Whether all of the body is here."""
        return self._connection.complete

    def close(self) -> None:
        """Keep the connection for the next request if the body was read to its end."""
        self._pool.release(self._pool_key, self._connection)


def _malformed_error(description: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.SERVER, f"The provider sent {description}."))


# --- Connections ----------------------------------------------------------------------------

PoolKey: TypeAlias = tuple[str, int, bool, str]  # host, port, TLS, proxy


class _ConnectionPool:
    """The idle connections of one event loop. They close with the loop."""

    def __init__(self) -> None:
        self._idle: dict[PoolKey, list[Connection]] = {}
        self._last_sweep = 0.0
        self._loop_guard: AsyncGenerator[None, None] | None = None

    async def acquire(self, key: PoolKey) -> tuple[Connection, bool]:
        """A connection that leads there, used last or new, and whether it was kept."""
        if self._loop_guard is None:  # a loop that ends closes the generators that it has begun
            self._loop_guard = self._close_with_loop()
            await anext(self._loop_guard)
        idle = self._idle.get(key, [])
        while idle:
            connection = idle.pop()
            if not connection.lost and connection.idle_since > self._now() - IDLE_EXPIRY_S:
                return connection, True
            connection.transport.abort()
        return await connect(*key), False

    def release(self, key: PoolKey, connection: Connection) -> None:
        """Take a connection back; it is closed if nothing can follow on it."""
        self._sweep()
        idle_count = sum(map(len, self._idle.values()))
        if (
            connection.reusable
            and idle_count < MAX_IDLE_CONNECTIONS
            and self._loop_guard is not None
        ):
            connection.idle_since = self._now()
            self._idle.setdefault(key, []).append(connection)
        else:
            connection.transport.abort()  # TLS would wait for the other end's goodbye

    def _sweep(self) -> None:
        """Now and then: close what is too old, forget what the other end has closed."""
        now = self._now()
        if now < self._last_sweep + 1.0:
            return
        self._last_sweep = now
        for key, idle in list(self._idle.items()):
            for connection in idle:
                if connection.idle_since <= now - IDLE_EXPIRY_S:
                    connection.transport.abort()
            self._idle[key] = [one for one in idle if not one.lost]
            if not self._idle[key]:
                del self._idle[key]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._loop_guard = None  # nothing is kept any more
            for idle in self._idle.values():
                for connection in idle:
                    connection.transport.abort()
            self._idle.clear()
            _pools.pop(asyncio.get_running_loop(), None)
            await asyncio.sleep(0)  # asyncio closes sockets a turn later
            await asyncio.sleep(0)


_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _ConnectionPool]
_pools = weakref.WeakKeyDictionary()


async def send(http_request: HTTPRequest) -> HTTPResponse:
    """Send a request and wait for the head of its answer. Safe to cancel.

    A kept connection may have been closed at its other end just now; then the request is sent over
    another one. llama.cpp closes its own after every stream, without a word.

    Raises:
        ProviderError: the address is none, its certificate is not trusted, a proxy refuses.
        Exception: one of `BROKEN`.
    """
    pool_key, payload = _serialize_request(http_request)
    pool = _pools.setdefault(asyncio.get_running_loop(), _ConnectionPool())
    while True:
        connection, reused = await pool.acquire(pool_key)
        try:
            await connection.send(payload)
        except BaseException as error:
            connection.transport.abort()
            if not isinstance(error, ConnectionBroken):
                raise
            if not (reused and connection.nothing_received):
                host, _, _, proxy = pool_key
                raise broke_before_response(host, proxy, error) from None
        else:
            return HTTPResponse(connection, pool, pool_key)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _serialize_request(http_request: HTTPRequest) -> tuple[PoolKey, bytes]:
    """Where a call goes, and what is sent there."""
    try:
        url = urlsplit(http_request.url)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise _invalid_url_error(http_request.url, str(error)) from None
    if url.scheme not in ("http", "https") or not host:
        raise _invalid_url_error(
            http_request.url, "it has to begin with http:// or https:// and a host"
        )
    use_tls = url.scheme == "https"
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise _invalid_url_error(http_request.url, str(error)) from None
    netloc = f"[{host}]" if ":" in host else host
    netloc += "" if port is None else f":{port}"
    path = quote(url.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(url.query, safe="/%:@!$&'()*+,;=~-._?")
    target = urlunsplit(("", "", path, query, ""))
    headers = [("content-length", str(len(http_request.content))), *http_request.headers]
    if not any(name.lower() == "host" for name, _ in http_request.headers):
        headers.insert(0, ("host", netloc))
    proxy = proxy_for(url.scheme, host, port or (443 if use_tls else 80))
    if proxy.startswith("http") and not use_tls:  # it wants the whole address, and asks for us
        target = f"http://{netloc}{target}"
        if authorization := proxy_authorization(proxy):
            headers.append(("proxy-authorization", authorization))
    lines = [f"{http_request.method} {target} HTTP/1.1"]
    for name, value in headers:
        value = value.strip()  # a key out of a file may end in a line break
        if not _HEADER_NAME.fullmatch(name) or _CONTROL_CHARACTERS.search(value):
            raise _invalid_header_error(name)
        lines.append(f"{name}: {value}")
    try:
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise ProviderError(
            error_info(
                ErrorKind.BAD_REQUEST, "A header or the key holds letters that HTTP has not."
            )
        ) from None
    return (host, port or (443 if use_tls else 80), use_tls, proxy), head + http_request.content


def _invalid_header_error(name: str) -> ProviderError:
    text = f"The header {name!r} holds a line break or another character that HTTP forbids there."
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text))


def _invalid_url_error(url: str, reason: str) -> ProviderError:
    safe_url = re.sub("//.*@", "//", url.partition("?")[0])
    return ProviderError(
        error_info(ErrorKind.BAD_REQUEST, f"{safe_url!r} is no address: {reason}.")
    )


def _after_fork() -> None:
    """A child has copies of its parent's connections; it must not use them."""
    _inherited_pools.extend(_pools.values())
    _pools.clear()


_inherited_pools: list[_ConnectionPool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def endpoint_url(base_url: str, path: str, query: str = "") -> str:
    """An address of a host with `path` behind its own, once; its query stays at the end."""
    url, _, base_query = base_url.partition("?")
    url = url.rstrip("/").removesuffix(path)
    joined_query = "&".join(part for part in (base_query, query) if part)
    return f"{url.rstrip('/')}{path}" + (f"?{joined_query}" if joined_query else "")


USER_AGENT = f"pipy-ai/{__version__}"
