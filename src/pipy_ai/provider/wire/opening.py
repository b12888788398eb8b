"""How a connection comes about: addresses, proxies and certificates, the latter two from the
environment.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import ErrorKind, ProviderError, error_info
from .connection import Broken, Connection

CONNECT = 10.0  # seconds until a connection must stand, proxy and TLS included
PROXIES = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}  # and their usual ports
EYEBALLS = 0.25  # seconds until another address of a name is tried beside the first


async def connect(host: str, port: int, secure: bool, proxy: str) -> Connection:
    """A connection to `host`, through `proxy` if it is not empty.

    Raises:
        ProviderError: the certificate is not trusted, the proxy refuses: trying again is no use.
        Broken: it was not reached.
        TimeoutError: it did not answer in time.
    """
    tls = _tls() if secure else None
    try:
        async with asyncio.timeout(CONNECT):
            if not proxy:
                return await _open(host, port, tls)
            connection = await _reach(proxy, host, port, secure)
            if tls is not None:
                await _encrypt(connection, tls, host)
            return connection
    except TimeoutError:
        way = f" by the proxy {_shown(proxy)}" if proxy else ""
        raise TimeoutError(f"{host}:{port} was not reached{way} within {CONNECT:g} s.") from None


async def _open(host: str, port: int, tls: ssl.SSLContext | None, what: str = "") -> Connection:
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if isinstance(loop, asyncio.BaseEventLoop) and not host.replace(".", "").isdigit():
        options["happy_eyeballs_delay"] = EYEBALLS  # other loops have no such thing
    if tls is not None:
        options |= {"ssl": tls, "server_hostname": host}
    try:
        _, connection = await loop.create_connection(Connection, host, port, **options)
    except ssl.SSLError as error:
        raise _no_tls(host, error) from None
    except OSError as error:
        raise Broken(f"{what}{host}:{port} was not reached: {_why(error)}.") from None
    return connection


async def _encrypt(connection: Connection, tls: ssl.SSLContext, host: str) -> None:
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(
            connection.transport, connection, tls, server_hostname=host
        )
    except ssl.SSLError as error:
        raise _no_tls(host, error) from None
    except OSError as error:
        raise Broken(f"{host} broke off while TLS was agreed on: {_why(error)}.") from None
    assert transport is not None
    connection.transport = transport


def _why(error: OSError) -> str:
    number = error.errno or 0  # asyncio's own words repeat the address
    return os.strerror(number) if number > 0 else str(error.strerror or error)


# --- Certificates ---------------------------------------------------------------------------


def _failed(text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=False))


def _no_tls(host: str, error: ssl.SSLError) -> ProviderError:
    if not isinstance(error, ssl.SSLCertVerificationError):
        why = error.reason or error
        return _failed(f"{host} does not speak TLS as it should ({why}). Is it http:// there?")
    said = f"The certificate of {host} is not trusted: {error.verify_message}"
    if error.verify_code in (10, 62, 64):  # expired, another host's, another address's
        return _failed(f"{said.rstrip('.')}.")
    name, path = _trusted()
    return _failed(
        f"{said.rstrip('.')}. If it is yours, set SSL_CERT_FILE to a PEM file with its authority"
        f" (now {name}: {path})."
    )


def _trusted() -> tuple[str, str]:
    """Where trusted authorities come from: which variable, and its file."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        if value := os.environ.get(name, "").strip():
            return name, value
    import certifi

    return "the package certifi", certifi.where()


_contexts: dict[tuple[str, str], ssl.SSLContext] = {}


def _tls() -> ssl.SSLContext:
    trusted = name, path = _trusted()
    context = _contexts.get(trusted)
    if context is None:
        try:
            if name == "SSL_CERT_DIR" or os.path.isdir(path):
                context = ssl.create_default_context(capath=path)
            else:
                context = ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise _failed(f"{path} ({name}) cannot be read as certificates: {error}") from None
        context.set_alpn_protocols(["http/1.1"])
        _contexts[trusted] = context
    return context


# --- Proxies --------------------------------------------------------------------------------


def proxy_for(scheme: str, host: str, port: int | None = None) -> str:
    """The proxy that the environment wants for a host; empty: none."""
    variables = ("http_proxy", "https_proxy", "all_proxy")
    named = any(os.environ.get(name) or os.environ.get(name.upper()) for name in variables)
    if not named and sys.platform not in ("darwin", "win32"):
        return ""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    where = f"[{host}]" if ":" in host else host
    where += "" if port is None else f":{port}"
    if not proxy or proxy_bypass(host) or proxy_bypass(where) or _in_a_network(host, proxies):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _in_a_network(host: str, proxies: Mapping[str, str]) -> bool:
    """Whether NO_PROXY names a network, as 10.0.0.0/8, that the host is in."""
    networks = [part.strip() for part in proxies.get("no", "").split(",") if "/" in part]
    if not networks:
        return False
    import ipaddress

    for network in networks:
        with contextlib.suppress(ValueError):  # one of them is none
            if ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False):
                return True
    return False


def proxy_authorization(proxy: str) -> str | None:
    """The header that a proxy wants of its users."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _shown(proxy: str) -> str:
    """A proxy's address, without its password."""
    return proxy.rpartition("@")[2].rpartition("://")[2].partition("/")[0]


async def _reach(proxy: str, host: str, port: int, secure: bool) -> Connection:
    """A connection to a proxy that leads to `host`."""
    try:
        parts = urlsplit(proxy)
        address, at = parts.hostname or "", parts.port
    except ValueError:
        address, at = "", None
    usual = PROXIES.get(parts.scheme) if address else None
    if usual is None:
        known = ", ".join(PROXIES)
        raise _failed(f"The environment's proxy {_shown(proxy)!r} is none of {known}.")
    tls = _tls() if parts.scheme == "https" else None
    connection = await _open(address, at or usual, tls, "the proxy ")
    try:
        if parts.scheme.startswith("socks"):
            await _socks(connection, proxy, host, port)
        elif secure:
            await _tunnel(connection, proxy, host, port)
    except BaseException:
        connection.transport.abort()
        raise
    return connection


async def _tunnel(connection: Connection, proxy: str, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
    if authorization := proxy_authorization(proxy):
        lines.append(f"proxy-authorization: {authorization}")
    await connection.ask("\r\n".join([*lines, "", ""]).encode("latin-1"))
    status = connection.status
    if status >= 300:
        hint = ": it wants a user and a password (http://user:password@host)"
        raise ProviderError(
            error_info(
                ErrorKind.CONNECTION,
                f"The proxy {_shown(proxy)} does not let through to {host}"
                f" (HTTP {status}){hint if status == 407 else ''}.",
                retryable=status >= 500,
            )
        )


_REFUSALS = {2: "its rules forbid it", 3: "no way to the network", 4: "the host is not reached",
             5: "the connection is refused", 8: "it does not take such an address"}  # fmt: skip


async def _socks(connection: Connection, proxy: str, host: str, port: int) -> None:
    """The handshake of SOCKS 5 (RFC 1928, 1929). The proxy looks the name up."""
    parts, received = urlsplit(proxy), b""

    async def answer(length: int) -> bytes:
        nonlocal received
        while len(received) < length:
            received += await connection.read()
        head, received = received[:length], received[length:]
        return head

    methods = b"\x00" if parts.username is None else b"\x00\x02"
    connection.transport.write(bytes([5, len(methods)]) + methods)
    version, method = await answer(2)
    if version == 5 and method == 2:
        user = unquote(parts.username or "").encode()
        password = unquote(parts.password or "").encode()
        pair = bytes([len(user)]) + user + bytes([len(password)]) + password
        connection.transport.write(b"\x01" + pair)
        _, refused = await answer(2)
        if refused:
            raise _failed(f"The proxy {_shown(proxy)} does not accept the user or the password.")
    elif version != 5 or method:
        raise _failed(f"The proxy {_shown(proxy)} does not accept us: it wants another login.")
    name = host.encode("idna")
    connection.transport.write(
        b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2, "big")
    )
    _, refused, _, kind = await answer(4)
    length = {1: 4, 4: 16}.get(kind) or (await answer(1))[0]
    await answer(length + 2)
    if refused:
        why = _REFUSALS.get(refused, f"error {refused}")
        raise ProviderError(
            error_info(
                ErrorKind.CONNECTION,
                f"The proxy {_shown(proxy)} does not let through to {host}: {why}.",
                retryable=refused in (1, 4, 6),
            )
        )
