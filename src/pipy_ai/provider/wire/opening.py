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
VARIABLES = "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY"
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
        text = f"{host}:{port}{through(proxy)} was not reached within {CONNECT:g} s. Ask again."
        raise TimeoutError(text) from None


async def _open(host: str, port: int, tls: ssl.SSLContext | None, proxy: str = "") -> Connection:
    loop = asyncio.get_running_loop()
    options: dict[str, Any] = {}
    if isinstance(loop, asyncio.BaseEventLoop) and not host.replace(".", "").isdigit():
        options["happy_eyeballs_delay"] = EYEBALLS  # other loops have no such thing
    if tls is not None:
        options |= {"ssl": tls, "server_hostname": host}
    try:
        _, connection = await loop.create_connection(Connection, host, port, **options)
    except ssl.SSLError as error:
        raise _insecure(host, error) from None
    except OSError as error:
        what = f"The proxy {shown(proxy)}" if proxy else f"{host}:{port}"
        hint = f"its address right ({VARIABLES})" if proxy else "the address right"
        raise Broken(f"{what} was not reached: {_why(error)}. Is {hint}?") from None
    return connection


async def _encrypt(connection: Connection, tls: ssl.SSLContext, host: str) -> None:
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(
            connection.transport, connection, tls, server_hostname=host
        )
    except ssl.SSLError as error:
        raise _insecure(host, error) from None
    except OSError as error:
        raise Broken(
            f"{host} broke off while TLS was agreed on: {_why(error)}. Ask again."
        ) from None
    assert transport is not None
    connection.transport = transport


def _why(error: OSError) -> str:
    number = error.errno or 0  # asyncio's own words repeat the address
    return os.strerror(number) if number > 0 else str(error.strerror or error)


# --- Certificates ---------------------------------------------------------------------------


def _failed(text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=False))


# OpenSSL's numbers of what is wrong with a certificate that trust would not mend.
_EXPIRED, _TOO_EARLY, _OTHER_NAME = (10,), (9,), (62, 64)


def _insecure(host: str, error: ssl.SSLError) -> ProviderError:
    if not isinstance(error, ssl.SSLCertVerificationError):
        why = (error.reason or str(error)).replace("_", " ").lower()
        return _failed(f"TLS with {host} failed: {why}. Does it speak https:// at this port?")
    if error.verify_code in _EXPIRED:
        hint = "Who runs it has to renew it, unless the clock of this machine is wrong."
    elif error.verify_code in _TOO_EARLY:
        hint = "Is the clock of this machine right?"
    elif error.verify_code in _OTHER_NAME:
        hint = "Is the address right?"
    else:
        name, path = _trusted()
        hint = (
            "If it is yours, or your network's, set SSL_CERT_FILE to a PEM file with its authority"
            f" (now {name}: {path})."
        )
    why = error.verify_message.rstrip(".")
    return _failed(f"The certificate of {host} is not trusted: {why}. {hint}")


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


def shown(proxy: str) -> str:
    """A proxy's address without name and password; empty: it cannot be read."""
    try:
        parts = urlsplit(proxy)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:  # its words repeat a part of the password
        return ""
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


def through(proxy: str) -> str:
    """` (by the proxy …)`, where there is one."""
    return f" (by the proxy {shown(proxy)})" if proxy else ""


def refused_by_proxy(proxy: str, what: str) -> ProviderError:
    """What to raise when a proxy answers instead of the provider; `what` begins with its status."""
    if what.startswith("407"):
        given = urlsplit(proxy).username is not None
        hint = (
            "It does not take the name and the password in its address."
            if given
            else "Its address has to be http://name:password@host:port."
        )
    else:
        hint = "Ask who runs it, or name the host in NO_PROXY if it can be reached without."
    text = f"The proxy {shown(proxy)} refused: {what.strip()}. {hint}"
    retryable = what.startswith("5")
    return ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=retryable))


async def _reach(proxy: str, host: str, port: int, secure: bool) -> Connection:
    """A connection to a proxy that leads to `host`."""
    parts = urlsplit(shown(proxy))
    usual = PROXIES.get(parts.scheme)
    if usual is None:
        raise _failed(
            "The address of the proxy cannot be read. It has to be http://host:port or"
            " http://name:password@host:port, with %40 for @ and the like; https:// and socks5://"
            f" will do as well ({VARIABLES})."
        )
    tls = _tls() if parts.scheme == "https" else None
    connection = await _open(parts.hostname or "", parts.port or usual, tls, proxy)
    try:
        if parts.scheme.startswith("socks"):
            await _socks(connection, proxy, host, port)
        elif secure:
            await _tunnel(connection, proxy, host, port)
    except BaseException as error:
        connection.transport.abort()
        if isinstance(error, Broken):
            raise broken_before(host, proxy, error) from None
        raise
    return connection


def broken_before(host: str, proxy: str, error: Broken) -> Broken:
    """What to raise for a connection that broke before an answer came."""
    why = str(error).rstrip(".")
    text = f"The connection to {host}{through(proxy)} broke before an answer: {why}. Ask again."
    return Broken(text)


async def _tunnel(connection: Connection, proxy: str, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
    if authorization := proxy_authorization(proxy):
        lines.append(f"proxy-authorization: {authorization}")
    await connection.ask("\r\n".join([*lines, "", ""]).encode("latin-1"))
    if connection.status >= 300:
        raise refused_by_proxy(proxy, f"{connection.status} {connection.reason}")


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
            raise _failed(
                f"The proxy {shown(proxy)} refused: it does not take the name and the password."
            )
    elif version != 5 or method:
        raise _failed(f"The proxy {shown(proxy)} refused: it wants another kind of login.")
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
                f"The proxy {shown(proxy)} refused: {why}.",
                retryable=refused in (1, 4, 6),
            )
        )
