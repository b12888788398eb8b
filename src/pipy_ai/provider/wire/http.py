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

from ...errors import ErrorKind, ProviderError, error_info
from .connection import Broken, Connection
from .opening import broken_before, connect, proxy_authorization, proxy_for

KEPT = 100  # idle connections that a loop keeps
EXPIRY = 60.0  # seconds that it keeps them
INFLATED = 1 << 20  # bytes that one piece may become at once

# What can go wrong on the way, beside a `ProviderError` for what no other try would mend.
BROKEN = (Broken, TimeoutError)


@dataclass(slots=True)
class Call:
    """An HTTP request. Header names are as they are sent; `host` and `content-length` are added."""

    method: str
    url: str
    headers: list[tuple[str, str]] = field(repr=False)  # a key is among them
    content: bytes = field(default=b"", repr=False)


class Answer:
    """An HTTP response whose body is still to come. Close it."""

    def __init__(self, connection: Connection, pool: _Pool, key: Key) -> None:
        self._connection, self._pool, self._key = connection, pool, key
        self.proxy: str = key[3]
        self.status: int = connection.status
        self.headers: dict[str, str] = connection.headers
        self._coding = self.headers.get("content-encoding", "").strip().lower()
        self._inflater: Any = None
        self._deflated = b""  # what it has not taken yet

    async def read(self) -> bytes:
        """The next piece of the body, decompressed where a host compresses unasked; empty: the end.

        Raises:
            ProviderError: it is not compressed the way it says.
            Exception: one of `BROKEN`.
        """
        if self._coding in ("", "identity"):
            return await self._connection.read()
        while True:
            deflated = self._deflated or await self._connection.read()
            plain = self._inflate(deflated)
            if plain or not deflated:
                return plain

    def _inflate(self, deflated: bytes) -> bytes:
        if self._coding not in ("gzip", "x-gzip", "deflate"):
            raise _unreadable(f"an answer compressed with {self._coding!r}, which nobody asked for")
        if self._inflater is None and deflated:
            headless = self._coding == "deflate" and deflated[:1] != b"\x78"  # some leave it out
            bits = 47 if "gzip" in self._coding else zlib.MAX_WBITS
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS if headless else bits)
        if self._inflater is None:
            return b""
        if not deflated and not self._inflater.eof:
            raise Broken(f"the answer ended within the {self._coding}")
        if self._inflater.eof:
            return b""
        try:
            plain: bytes = self._inflater.decompress(deflated, INFLATED)
        except zlib.error:
            raise _unreadable(f"an answer that is not {self._coding}, as it says") from None
        self._deflated = self._inflater.unconsumed_tail
        return plain

    @property
    def arrived(self) -> bool:
        """Whether all of the body is here."""
        return self._connection.complete

    def close(self) -> None:
        """Keep the connection for the next request if the body was read to its end."""
        self._pool.put(self._key, self._connection)


def _unreadable(what: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.SERVER, f"The provider sent {what}."))


# --- Connections ----------------------------------------------------------------------------

Key: TypeAlias = tuple[str, int, bool, str]  # host, port, TLS, proxy


class _Pool:
    """The idle connections of one event loop. They close with the loop."""

    def __init__(self) -> None:
        self._idle: dict[Key, list[Connection]] = {}
        self._swept = 0.0
        self._guard: AsyncGenerator[None, None] | None = None

    async def get(self, key: Key) -> tuple[Connection, bool]:
        """A connection that leads there, used last or new, and whether it was kept."""
        if self._guard is None:  # a loop that ends closes the generators that it has begun
            self._guard = self._until_the_loop_ends()
            await anext(self._guard)
        kept = self._idle.get(key, [])
        while kept:
            connection = kept.pop()
            if not connection.lost and connection.idle_since > self._now() - EXPIRY:
                return connection, True
            connection.transport.abort()
        return await connect(*key), False

    def put(self, key: Key, connection: Connection) -> None:
        """Take a connection back; it is closed if nothing can follow on it."""
        self._sweep()
        kept = sum(map(len, self._idle.values()))
        if connection.reusable and kept < KEPT and self._guard is not None:
            connection.idle_since = self._now()
            self._idle.setdefault(key, []).append(connection)
        else:
            connection.transport.abort()  # TLS would wait for the other end's goodbye

    def _sweep(self) -> None:
        """Now and then: close what is too old, forget what the other end has closed."""
        now = self._now()
        if now < self._swept + 1.0:
            return
        self._swept = now
        for key, kept in list(self._idle.items()):
            for one in kept:
                if one.idle_since <= now - EXPIRY:
                    one.transport.abort()
            self._idle[key] = [one for one in kept if not one.lost]
            if not self._idle[key]:
                del self._idle[key]

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._guard = None  # nothing is kept any more
            for kept in self._idle.values():
                for one in kept:
                    one.transport.abort()
            self._idle.clear()
            _by_loop.pop(asyncio.get_running_loop(), None)
            await asyncio.sleep(0)  # asyncio closes sockets a turn later
            await asyncio.sleep(0)


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pool]
_by_loop = weakref.WeakKeyDictionary()


async def send(call: Call) -> Answer:
    """Send a request and wait for the head of its answer. Safe to cancel.

    A kept connection may have been closed at its other end just now; then the request is sent over
    another one. llama.cpp closes its own after every stream, without a word.

    Raises:
        ProviderError: the address is none, its certificate is not trusted, a proxy refuses.
        Exception: one of `BROKEN`.
    """
    key, request = _request(call)
    pool = _by_loop.setdefault(asyncio.get_running_loop(), _Pool())
    while True:
        connection, kept = await pool.get(key)
        try:
            await connection.ask(request)
        except BaseException as error:
            connection.transport.abort()
            if not isinstance(error, Broken):
                raise
            if not (kept and connection.silent):
                host, _, _, proxy = key
                raise broken_before(host, proxy, error) from None
        else:
            return Answer(connection, pool, key)


_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _request(call: Call) -> tuple[Key, bytes]:
    """Where a call goes, and what is sent there."""
    try:
        parts = urlsplit(call.url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _bad_address(call.url, str(error)) from None
    if parts.scheme not in ("http", "https") or not host:
        raise _bad_address(call.url, "it has to begin with http:// or https:// and a host")
    secure = parts.scheme == "https"
    try:
        host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise _bad_address(call.url, str(error)) from None
    netloc = f"[{host}]" if ":" in host else host
    netloc += "" if port is None else f":{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    target = urlunsplit(("", "", path, query, ""))
    headers = [("content-length", str(len(call.content))), *call.headers]
    if not any(name.lower() == "host" for name, _ in call.headers):
        headers.insert(0, ("host", netloc))
    proxy = proxy_for(parts.scheme, host, port or (443 if secure else 80))
    if proxy.startswith("http") and not secure:  # it wants the whole address, and asks for us
        target = f"http://{netloc}{target}"
        if authorization := proxy_authorization(proxy):
            headers.append(("proxy-authorization", authorization))
    lines = [f"{call.method} {target} HTTP/1.1"]
    for name, value in headers:
        value = value.strip()  # a key out of a file may end in a line break
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise _bad_header(name)
        lines.append(f"{name}: {value}")
    try:
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        raise ProviderError(
            error_info(
                ErrorKind.BAD_REQUEST, "A header or the key holds letters that HTTP has not."
            )
        ) from None
    return (host, port or (443 if secure else 80), secure, proxy), head + call.content


def _bad_header(name: str) -> ProviderError:
    text = f"The header {name!r} holds a line break or another character that HTTP forbids there."
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text))


def _bad_address(url: str, why: str) -> ProviderError:
    shown = re.sub("//.*@", "//", url.partition("?")[0])
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, f"{shown!r} is no address: {why}."))


def _after_fork() -> None:
    """A child has copies of its parent's connections; it must not use them."""
    _abandoned.extend(_by_loop.values())
    _by_loop.clear()


_abandoned: list[_Pool] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
