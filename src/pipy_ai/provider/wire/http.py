"""HTTP to providers: pooled connections, proxies and certificates from the environment, and nothing
that a stream of events does not need. Nothing else talks HTTP to providers.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import weakref
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import httpcore

from ...errors import ErrorKind, ProviderError, error_info
from .asyncio_backend import Backend

CONNECT = 5.0  # seconds; everything else is the engine's to time
KEPT = 100  # idle connections that a pool keeps
CLEANING = 1000  # turns of the event loop that closing old connections may take

# What can go wrong on the way; they have no common base.
BROKEN = (
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.ProxyError,
)


@dataclass(slots=True)
class Call:
    """An HTTP request. Header names are as they are sent; `host` and `content-length` are added."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    content: bytes = b""


class Answer:
    """An HTTP response whose body is still to come. Close it."""

    def __init__(self, response: httpcore.Response) -> None:
        self._response = response
        self.status: int = response.status
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }

    def body(self) -> AsyncIterator[bytes]:
        """The body as it comes, decompressed where a host compresses unasked.

        Raises:
            ProviderError: it is not compressed the way it says.
            Exception: one of `BROKEN`.
        """
        stream: Any = self._response.stream
        coding = self.headers.get("content-encoding", "").strip().lower()
        if coding in ("", "identity"):
            source: AsyncIterator[bytes] = stream.__aiter__()
            return source
        return _inflated(stream, coding)

    async def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""
        await self._response.aclose()


async def _inflated(stream: Any, coding: str) -> AsyncGenerator[bytes, None]:
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise _unreadable(f"an answer compressed with {coding!r}, which was not asked for")
    decoder = zlib.decompressobj(47 if "gzip" in coding else zlib.MAX_WBITS)
    first = True
    async for piece in stream:
        if first and coding == "deflate" and piece[:1] != b"\x78":  # some leave the header out
            decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            plain = decoder.decompress(piece)
        except zlib.error:
            raise _unreadable(f"an answer that is not {coding}, as it says") from None
        first = False
        if plain:
            yield plain


def _unreadable(what: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.SERVER, f"The provider sent {what}."))


# --- Connections ----------------------------------------------------------------------------


class _Pools:
    """The connections of one event loop, by scheme and proxy. They close with the loop."""

    def __init__(self) -> None:
        self._pools: dict[tuple[bool, str], httpcore.AsyncConnectionPool] = {}
        self._guard: AsyncGenerator[None, None] | None = None

    async def get(self, secure: bool, proxy: str) -> httpcore.AsyncConnectionPool:
        pool = self._pools.get((secure, proxy))
        if pool is None:
            if self._guard is None:  # a loop that ends closes the generators that it has begun
                self._guard = self._until_the_loop_ends()
                await anext(self._guard)
            pool = self._pools[secure, proxy] = httpcore.AsyncConnectionPool(
                ssl_context=_ssl_context() if secure else None,
                proxy=_proxy(proxy) if proxy else None,
                max_connections=None,
                max_keepalive_connections=KEPT,
                keepalive_expiry=60.0,
                network_backend=Backend(),
            )
        return pool

    async def _until_the_loop_ends(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            for pool in self._pools.values():
                await pool.aclose()
            self._pools.clear()
            _by_loop.pop(asyncio.get_running_loop(), None)


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Pools]
_by_loop = weakref.WeakKeyDictionary()


async def send(call: Call) -> Answer:
    """Send a request and wait for the head of its answer.

    Safe to cancel. The pool first closes connections whose other end is gone; cancelled meanwhile,
    it would forget the rest of them, open.

    Raises:
        ProviderError: the address is none, or its certificate is not trusted.
        Exception: one of `BROKEN`.
    """
    begun = False

    async def trace(*_: object) -> None:  # the first event is about this request itself
        nonlocal begun
        begun = True

    request, secure, host = _request(call, trace)
    pools = _by_loop.setdefault(asyncio.get_running_loop(), _Pools())
    try:
        pool = await pools.get(secure, proxy_for("https" if secure else "http", host))
    except ImportError as error:  # a SOCKS proxy
        raise _failed(f"The proxy needs another package: {error}") from None
    sending = asyncio.ensure_future(pool.handle_async_request(request))
    try:
        return Answer(await asyncio.shield(sending))
    except asyncio.CancelledError:
        for _ in range(CLEANING):
            if begun or sending.done():
                break
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait({sending})
        if not sending.cancelled() and sending.exception() is None:
            await sending.result().aclose()
        raise
    except httpcore.ConnectError as error:
        if "CERTIFICATE" in str(error) or isinstance(error.__cause__, ssl.SSLError):
            raise _untrusted(host, error) from None
        raise


def _request(call: Call, trace: Any) -> tuple[httpcore.Request, bool, str]:
    try:
        parts = urlsplit(call.url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _bad_address(call.url, str(error)) from None
    if parts.scheme not in ("http", "https") or not host:
        raise _bad_address(call.url, "it has to begin with http:// or https:// and a host")
    try:
        ascii_host = host if host.isascii() else host.encode("idna").decode()
    except UnicodeError as error:
        raise _bad_address(call.url, str(error)) from None
    netloc = f"[{ascii_host}]" if ":" in ascii_host else ascii_host
    netloc += "" if port is None else f":{port}"
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    headers = [("host", netloc), ("content-length", str(len(call.content))), *call.headers]
    try:
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    except UnicodeEncodeError:
        raise ProviderError(
            error_info(
                ErrorKind.BAD_REQUEST, "A header or the key holds letters that HTTP has not."
            )
        ) from None
    request = httpcore.Request(
        call.method,
        urlunsplit((parts.scheme, netloc, path, query, "")),
        headers=encoded,
        content=call.content,
        extensions={"timeout": {"connect": CONNECT, "pool": None}, "trace": trace},
    )
    return request, parts.scheme == "https", host


def _bad_address(url: str, why: str) -> ProviderError:
    shown = url.partition("?")[0]
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, f"{shown!r} is no address: {why}."))


def _failed(text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=False))


def _untrusted(host: str, error: Exception) -> ProviderError:
    name, path = _trusted()
    return _failed(
        f"The certificate of {host} is not trusted: {error}. If it is yours, set SSL_CERT_FILE to"
        f" a PEM file with its authority (now {name}: {path})."
    )


def _trusted() -> tuple[str, str]:
    """Where trusted authorities come from: which variable, and its file."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        if value := os.environ.get(name, "").strip():
            return name, value
    import certifi

    return "the package certifi", certifi.where()


def _ssl_context() -> ssl.SSLContext:
    name, path = _trusted()
    try:
        if name == "SSL_CERT_DIR" or os.path.isdir(path):
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise _failed(f"{path} ({name}) cannot be read as certificates: {error}") from None


# --- Proxies --------------------------------------------------------------------------------


def proxy_for(scheme: str, host: str) -> str:
    """The proxy that the environment wants for a host; empty: none."""
    variables = ("http_proxy", "https_proxy", "all_proxy")
    named = any(os.environ.get(name) or os.environ.get(name.upper()) for name in variables)
    if not named and sys.platform not in ("darwin", "win32"):
        return ""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    if not proxy or proxy_bypass(host):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _proxy(url: str) -> httpcore.Proxy:
    parts = urlsplit(url)
    auth = None
    if parts.username is not None:
        auth = (parts.username, parts.password or "")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port is None else f":{parts.port}"
    scheme = "socks5" if parts.scheme == "socks5h" else parts.scheme
    return httpcore.Proxy(f"{scheme}://{host}{port}", auth=auth)


def _after_fork() -> None:
    """A child has copies of its parent's connections; it must not use them."""
    _abandoned.extend(_by_loop.values())
    _by_loop.clear()


_abandoned: list[_Pools] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
