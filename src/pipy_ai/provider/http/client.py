"""Send HTTP requests to providers over pooled connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import weakref
import zlib
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

from ..._version import __version__
from ...errors import ErrorKind, ProviderError, error_info
from ...utils.log import logger
from ...utils.secrets import strip_userinfo
from ...utils.turns import running_turns
from ..interception import current_interceptor
from .connect import broke_before_response, connect, proxy_authorization, proxy_for
from .connection import (
    LARGE_READ_BUFFER_BYTES,
    READ_BUFFER_BYTES,
    Connection,
    ConnectionBroken,
)

USER_AGENT = f"pipy-ai/{__version__}"
MAX_HOST_CHARS = 254  # of a name in the DNS, with a dot at its end
MAX_IDLE_CONNECTIONS = 100  # per event loop
IDLE_EXPIRY_S = 60.0
FEW_CONNECTIONS = 8  # at work in an event loop: each may read much at once
MANY_CONNECTIONS = 128  # at work in an event loop: they take turns
FILE_PIECE_BYTES = 64 << 10
MAX_DECOMPRESSED_BYTES = 64 << 10  # per read: processing more at once would block the event loop

# Failures that a retry may fix; anything else is a `ProviderError`.
CONNECTION_ERRORS = (ConnectionBroken, TimeoutError)

PoolKey: TypeAlias = tuple[str, int, bool, str]  # host, port, TLS, proxy


@dataclass(frozen=True, slots=True)
class FileContent:
    """The content of a file between two texts, read in pieces while it is sent."""

    path: str
    before: bytes = b""
    after: bytes = b""
    start: int = 0  # the first byte of the file that is sent

    @property
    def size(self) -> int:
        """The number of bytes in all."""
        return len(self.before) + os.path.getsize(self.path) - self.start + len(self.after)

    def __iter__(self) -> Iterator[bytes]:
        yield self.before
        with open(self.path, "rb") as file:
            file.seek(self.start)
            while piece := file.read(FILE_PIECE_BYTES):
                yield piece
        yield self.after


@dataclass(slots=True)
class HTTPRequest:
    """An HTTP request. Headers are sent unchanged, with `host` and `content-length` added.

    `file` is sent after `content`. With `once`, the request is never sent again over another
    connection, whatever happens: it must not have its effect twice.
    """

    method: str
    url: str
    headers: list[tuple[str, str]] = field(repr=False)  # one of them holds the API key
    content: bytes = field(default=b"", repr=False)
    file: FileContent | None = field(default=None, repr=False)
    once: bool = False


class HTTPResponse:
    """An HTTP response whose body has not been read. It must be closed."""

    def __init__(self, connection: Connection, pool: _ConnectionPool, pool_key: PoolKey) -> None:
        self._connection, self._pool, self._pool_key = connection, pool, pool_key
        self.proxy: str = pool_key[3]
        self.status: int = connection.status
        self.headers: dict[str, str] = connection.headers
        self._content_encoding = self.headers.get("content-encoding", "").strip().lower()
        self._decompressor: Any = None
        self._compressed_tail = b""  # input that the decompressor has not consumed
        self._output_pending = False  # the decompressor may hold more output, even without input
        self._corrupt = False

    async def read(self) -> bytes:
        """Return the next piece of the body, empty at its end.

        The body is decompressed: some hosts compress although the request does not allow it.

        Raises:
            ProviderError: The body does not match its `content-encoding`.
            Exception: One of `CONNECTION_ERRORS`.
        """
        if self._content_encoding in ("", "identity"):
            return await self._connection.read()
        while True:
            was_pending, compressed = self._output_pending, self._compressed_tail
            if was_pending or compressed:
                await asyncio.sleep(0)  # let timeouts and other streams run meanwhile
            else:
                compressed = await self._connection.read()
            data = self._decompress(compressed)
            if data or not (was_pending or compressed):
                return data

    async def pass_to(self, sink: Callable[[bytes], bool]) -> bool:
        """Call `sink` with each piece of the body until it returns False; return if it has ended.

        Unlike with `read`, the caller's task need not wake up for each piece.

        Raises:
            Exception: As `read`; what `sink` raised.
        """
        if self._content_encoding in ("", "identity"):
            return await self._connection.pass_to(sink)
        while data := await self.read():
            if not sink(data):
                return False
        return True

    def _decompress(self, compressed: bytes) -> bytes:
        if self._content_encoding not in ("gzip", "x-gzip", "deflate"):
            raise _malformed_error(
                f"a response compressed with {self._content_encoding!r}, which was not requested"
            )
        if self._decompressor is None and compressed:
            # Some hosts send "deflate" without the zlib header.
            is_raw_deflate = self._content_encoding == "deflate" and compressed[:1] != b"\x78"
            window_bits = 47 if "gzip" in self._content_encoding else zlib.MAX_WBITS
            self._decompressor = zlib.decompressobj(
                -zlib.MAX_WBITS if is_raw_deflate else window_bits
            )
        if self._corrupt:
            raise _malformed_error(
                f"a response that is not {self._content_encoding}, although it claims to be"
            )
        if self._decompressor is None:
            return b""
        if not (compressed or self._output_pending or self._decompressor.eof):
            raise ConnectionBroken(f"a response that ended within its {self._content_encoding}")
        if self._decompressor.eof:  # what follows is not part of the body
            self._compressed_tail, self._output_pending = b"", False
            return b""
        state = self._decompressor.copy()
        try:
            data: bytes = self._decompressor.decompress(compressed, MAX_DECOMPRESSED_BYTES)
        except zlib.error:
            self._corrupt, self._compressed_tail = True, compressed  # the next read fails
            return _decompress_beginning(state, compressed)
        self._compressed_tail = self._decompressor.unconsumed_tail
        self._output_pending = len(data) == MAX_DECOMPRESSED_BYTES
        return data

    @property
    def fully_received(self) -> bool:
        """Whether the whole body has arrived."""
        return self._connection.complete

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it."""
        self._pool.release(self._pool_key, self._connection)


def _decompress_beginning(decompressor: Any, compressed: bytes) -> bytes:
    """Return the data before an error in compressed data."""
    data = bytearray()
    with contextlib.suppress(zlib.error):
        for position in range(len(compressed)):
            data += decompressor.decompress(compressed[position : position + 1])
    return bytes(data)


def _malformed_error(description: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.SERVER, f"The provider sent {description}."))


class _ConnectionPool:
    """The idle connections of one event loop. They close with the loop."""

    def __init__(self) -> None:
        self.idle: dict[PoolKey, list[Connection]] = {}
        self._at_work: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._last_sweep = 0.0
        self.loop_guard: AsyncGenerator[None, None] | None = None

    async def acquire(self, key: PoolKey, new: bool = False) -> tuple[Connection, bool]:
        """Return an idle or a new connection, and whether it was idle."""
        connection, was_idle = await self._acquire(key, new)
        self._at_work.add(connection)
        is_few = len(self._at_work) <= FEW_CONNECTIONS
        connection.set_read_size(LARGE_READ_BUFFER_BYTES if is_few else READ_BUFFER_BYTES)
        connection.is_tls |= key[2]  # a proxy may have TLS too
        are_many = len(self._at_work) > MANY_CONNECTIONS
        connection.turns = running_turns() if are_many else None
        return connection, was_idle

    async def _acquire(self, key: PoolKey, new: bool) -> tuple[Connection, bool]:
        if self.loop_guard is None:  # a closing loop also closes its asynchronous generators
            self.loop_guard = self._close_with_loop()
            await anext(self.loop_guard)
        idle = [] if new else self.idle.get(key, [])
        while idle:
            connection = idle.pop()
            if not connection.lost and connection.idle_since > self._now() - IDLE_EXPIRY_S:
                return connection, True
            connection.transport.abort()
        return await connect(*key), False

    def release(self, key: PoolKey, connection: Connection) -> None:
        """Keep a connection for another request, or close it if it cannot be reused."""
        self._at_work.discard(connection)
        self._sweep()
        idle_count = sum(map(len, self.idle.values()))
        if (
            connection.reusable
            and idle_count < MAX_IDLE_CONNECTIONS
            and self.loop_guard is not None
        ):
            connection.idle_since = self._now()
            self.idle.setdefault(key, []).append(connection)
        else:
            connection.transport.abort()  # `close` would wait for TLS to shut down

    def _sweep(self) -> None:
        """Once per second, close expired connections and drop those that the host closed."""
        now = self._now()
        if now < self._last_sweep + 1.0:
            return
        self._last_sweep = now
        for key, idle in list(self.idle.items()):
            for connection in idle:
                if connection.idle_since <= now - IDLE_EXPIRY_S:
                    connection.transport.abort()
            self.idle[key] = [connection for connection in idle if not connection.lost]
            if not self.idle[key]:
                del self.idle[key]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.loop_guard = None  # from now on, `release` closes every connection
            for idle in self.idle.values():
                for connection in idle:
                    connection.transport.abort()
            self.idle.clear()
            pools.pop(asyncio.get_running_loop(), None)
            await asyncio.sleep(0)  # asyncio closes sockets in the next iteration
            await asyncio.sleep(0)


pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _ConnectionPool]
pools = weakref.WeakKeyDictionary()


async def send(http_request: HTTPRequest) -> HTTPResponse:
    """Send a request, or let an open cassette answer it; see `send_over_network`."""
    if (cassette := current_interceptor()) is not None:
        response: HTTPResponse = await cassette.send(http_request)
        return response
    return await send_over_network(http_request)


async def send_over_network(http_request: HTTPRequest) -> HTTPResponse:
    """Send a request and wait for the head of its response. Safe to cancel.

    If an idle connection turns out to be closed, the request is sent over another one. llama.cpp
    closes its connections after every stream without announcing it.

    Raises:
        ProviderError: The URL or a header is invalid, the certificate is not trusted, or the proxy
            rejects the request.
        Exception: One of `CONNECTION_ERRORS`.
    """
    pool_key, payload = _serialize_request(http_request)
    log_enabled = logger.isEnabledFor(logging.DEBUG)
    if log_enabled:
        logger.debug("HTTP %s %s", http_request.method, redacted_url(http_request.url))
    pool = pools.setdefault(asyncio.get_running_loop(), _ConnectionPool())
    while True:
        connection, reused = await pool.acquire(pool_key, http_request.once)
        try:
            await connection.send(payload, http_request.file or ())
        except BaseException as error:
            connection.transport.abort()
            if not isinstance(error, ConnectionBroken):
                raise
            if not (reused and connection.nothing_received):
                host, _, _, proxy = pool_key
                raise broke_before_response(host, proxy, error) from None
        else:
            if log_enabled:
                url = redacted_url(http_request.url)
                logger.debug("HTTP %s %s: %d", http_request.method, url, connection.status)
            return HTTPResponse(connection, pool, pool_key)


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _serialize_request(http_request: HTTPRequest) -> tuple[PoolKey, bytes]:
    """Return the connection that a request needs, and the bytes to send."""
    scheme, host, port, target = split_url(http_request.url)
    use_tls = scheme == "https"
    netloc = f"[{host}]" if ":" in host else host
    netloc += "" if port is None else f":{port}"
    port = port or (443 if use_tls else 80)
    size = len(http_request.content)
    if http_request.file is not None:
        size += http_request.file.size
    headers = [("content-length", str(size)), *http_request.headers]
    if not any(name.lower() == "host" for name, _ in http_request.headers):
        headers.insert(0, ("host", netloc))
    proxy = proxy_for(scheme, host, port)
    if proxy.startswith("http") and not use_tls:  # the proxy sends the request, and needs the URL
        target = f"http://{netloc}{target}"
        if authorization := proxy_authorization(proxy):
            headers.append(("proxy-authorization", authorization))
    head = _serialize_head(f"{http_request.method} {target} HTTP/1.1", headers)
    return (host, port, use_tls, proxy), head + http_request.content


def split_url(text: str) -> tuple[str, str, int | None, str]:
    """Return scheme, ASCII host, port (if any) and request target (path and query)."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise _invalid_url_error(text, str(error)) from None
    if url.scheme not in ("http", "https") or not host:
        raise _invalid_url_error(text, "it must start with http:// or https:// and a host")
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise _invalid_url_error(text, str(error)) from None
    labels = [] if ":" in host else host.removesuffix(".").split(".")
    if len(host) > MAX_HOST_CHARS or any(not 0 < len(label) < 64 for label in labels):
        raise _invalid_url_error(text, "a part of its host name is empty or too long")
    path = quote(url.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(url.query, safe="/%:@!$&'()*+,;=~-._?")
    return url.scheme, host, port, urlunsplit(("", "", path, query, ""))


def _serialize_head(request_line: str, headers: list[tuple[str, str]]) -> bytes:
    lines = [request_line]
    for name, value in headers:
        value = value.strip()  # a key read from a file may end in a line break
        if not _HEADER_NAME.fullmatch(name) or _CONTROL_CHARACTERS.search(value):
            raise _invalid_header_error(name)
        lines.append(f"{name}: {value}")
    try:
        return "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        text = "The API key or a header contains characters that HTTP does not allow."
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text)) from None


def _invalid_header_error(name: str) -> ProviderError:
    text = (
        f"The header {name!r} contains a line break or another character that HTTP does not allow."
    )
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text))


def _invalid_url_error(url: str, reason: str) -> ProviderError:
    safe_url = strip_userinfo(url.partition("?")[0])
    return ProviderError(
        error_info(ErrorKind.BAD_REQUEST, f"{safe_url!r} is not a valid URL: {reason}.")
    )


def redacted_url(url: str) -> str:
    """Return a URL without user name, password, query and fragment, where secrets may be.

    Example:
        >>> redacted_url("https://me:secret@host:8080/v1/chat?key=secret")
        'https://host:8080/v1/chat'
    """
    return re.split("[?#]", strip_userinfo(url), maxsplit=1)[0]


def endpoint_url(base_url: str, path: str, query: str = "") -> str:
    """Append `path` to a base URL, unless the URL ends with it. The query stays at the end.

    Example:
        >>> endpoint_url("https://host/v1/?tenant=a", "/chat/completions")
        'https://host/v1/chat/completions?tenant=a'
    """
    url, _, base_query = base_url.partition("#")[0].partition("?")
    url = url.rstrip("/").removesuffix(path)
    joined_query = "&".join(part for part in (base_query, query) if part)
    return f"{url.rstrip('/')}{path}" + (f"?{joined_query}" if joined_query else "")


def replace_path_end(url: str, end: str, replacement: str) -> str:
    """Replace the end of a URL's path. The query stays.

    Example:
        >>> replace_path_end("https://host/v1/responses?tenant=a", "/responses", "/models")
        'https://host/v1/models?tenant=a'
    """
    path, separator, query = url.partition("?")
    return path.removesuffix(end) + replacement + separator + query


def add_query(url: str, fields: str) -> str:
    """Add fields to the query of a URL.

    Example:
        >>> add_query("https://host/v1/models?tenant=a", "limit=10")
        'https://host/v1/models?tenant=a&limit=10'
    """
    return f"{url}{'&' if '?' in url else '?'}{fields}"


def _after_fork() -> None:
    """Drop the parent's connections: a forked child must not use its copies of them."""
    _inherited_pools.extend(pools.values())
    pools.clear()


_inherited_pools: list[_ConnectionPool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
