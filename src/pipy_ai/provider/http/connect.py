"""Open connections. Proxies and trusted certificates come from the environment."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import ssl
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import ErrorKind, ProviderError, error_info
from .authorities import authority_source, tls_context, trust_all
from .connection import MAX_HEADER_BYTES, Connection, ConnectionBroken
from .dial import open_socket

MAX_SOCKS_CREDENTIAL_BYTES = 255
CONNECT_TIMEOUT_S = 10.0  # including proxy and TLS handshakes
PROXY_VARIABLES = "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY"
DEFAULT_PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


async def connect(host: str, port: int, use_tls: bool, proxy: str) -> Connection:
    """Open a connection to `host`, through `proxy` if it is not empty.

    Raises:
        ProviderError: A failure that a retry does not fix, such as an untrusted certificate or a
            rejection by the proxy.
        ConnectionBroken: The host or the proxy could not be reached.
        TimeoutError: The connection took longer than `CONNECT_TIMEOUT_S`.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            try:
                return await _connect(host, port, use_tls, proxy)
            except _UncommonAuthority:
                return await _connect(host, port, use_tls, proxy)
    except TimeoutError:
        address = f"{host}:{port}{proxy_suffix(proxy)}"
        text = f"{address} could not be reached within {CONNECT_TIMEOUT_S:g} s. Try again."
        raise TimeoutError(text) from None


class _UncommonAuthority(Exception):
    """A host is not trusted yet: not all authorities were loaded. They are now."""


async def _connect(host: str, port: int, use_tls: bool, proxy: str) -> Connection:
    context = tls_context() if use_tls else None
    if not proxy:
        return await _open_connection(host, port, context)
    connection = await _connect_via_proxy(proxy, host, port, use_tls)
    if context is not None:
        await _start_tls(connection, context, host)
    return connection


async def _open_connection(
    host: str, port: int, context: ssl.SSLContext | None, proxy: str = ""
) -> Connection:
    options: dict[str, Any] = {}
    if context is not None:
        options = {"ssl": context, "server_hostname": host}
    try:
        sock = await open_socket(host, port)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, sock=sock, **options)
    except ssl.SSLError as error:
        raise _tls_error(host, error, context) from None
    except OSError as error:
        subject = f"The proxy {redacted_proxy_url(proxy)}" if proxy else f"{host}:{port}"
        hint = f"its address ({PROXY_VARIABLES})" if proxy else "the address"
        raise ConnectionBroken(
            f"{subject} cannot be reached: {_os_error_text(error)}. Check {hint}."
        ) from None
    return connection


async def _start_tls(connection: Connection, context: ssl.SSLContext, host: str) -> None:
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(
            connection.transport, connection, context, server_hostname=host
        )
    except ssl.SSLError as error:
        raise _tls_error(host, error, context) from None
    except OSError as error:
        raise ConnectionBroken(
            f"{host} closed the connection during the TLS handshake: {_os_error_text(error)}. "
            "Try again."
        ) from None
    assert transport is not None
    connection.transport = transport
    connection.is_tls = True


def _os_error_text(error: OSError) -> str:
    errno = error.errno or 0  # asyncio's own message repeats the address
    return os.strerror(errno) if errno > 0 else str(error.strerror or error)


# --- Certificates ---------------------------------------------------------------------------


def _connection_error(text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=False))


# OpenSSL's verify codes of errors that another set of trusted certificates would not fix.
_CERT_EXPIRED, _CERT_NOT_YET_VALID, _HOSTNAME_MISMATCH = (10,), (9,), (62, 64)


def _tls_error(host: str, error: ssl.SSLError, context: ssl.SSLContext | None) -> Exception:
    if not isinstance(error, ssl.SSLCertVerificationError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return _connection_error(
            f"TLS with {host} failed: {reason}. Check that this port uses https://."
        )
    if context is not None and trust_all(context):
        return _UncommonAuthority()
    if error.verify_code in _CERT_EXPIRED:
        hint = "Its operator must renew it, unless this machine's clock is wrong."
    elif error.verify_code in _CERT_NOT_YET_VALID:
        hint = "Check this machine's clock."
    elif error.verify_code in _HOSTNAME_MISMATCH:
        hint = "Check the address."
    else:
        source, path = authority_source()
        hint = (
            "If you or your network issued it, set SSL_CERT_FILE to a PEM file with its "
            "certificate authority"
            f" (now {source}: {path})."
        )
    reason = error.verify_message.rstrip(".")
    return _connection_error(f"The certificate of {host} is not trusted: {reason}. {hint}")


# --- Proxies --------------------------------------------------------------------------------


def proxy_for(scheme: str, host: str, port: int | None = None) -> str:
    """Return the proxy that the environment sets for a host, or an empty string."""
    variables = ("http_proxy", "https_proxy", "all_proxy")
    is_configured = any(os.environ.get(name) or os.environ.get(name.upper()) for name in variables)
    if not is_configured and sys.platform not in ("darwin", "win32"):
        return ""
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    host_and_port = f"[{host}]" if ":" in host else host
    host_and_port += "" if port is None else f":{port}"
    if (
        not proxy
        or proxy_bypass(host)
        or proxy_bypass(host_and_port)
        or _matches_no_proxy_network(host, proxies)
    ):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches_no_proxy_network(host: str, proxies: Mapping[str, str]) -> bool:
    """Return whether the host is in a network that NO_PROXY lists, such as 10.0.0.0/8."""
    networks = [part.strip() for part in proxies.get("no", "").split(",") if "/" in part]
    if not networks:
        return False
    import ipaddress

    for network in networks:
        with contextlib.suppress(ValueError):  # the host is a name, or the network is invalid
            if ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False):
                return True
    return False


def proxy_authorization(proxy: str) -> str | None:
    """Return the `proxy-authorization` header for the credentials in a proxy's URL, or None."""
    url = urlsplit(proxy)
    if url.username is None:
        return None
    credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return "Basic " + base64.b64encode(credentials.encode()).decode()


def redacted_proxy_url(proxy: str) -> str:
    """Return a proxy's URL without credentials, or an empty string if it is invalid."""
    try:
        url = urlsplit(proxy)
        port = "" if url.port is None else f":{url.port}"
    except ValueError:  # its message may quote a part of the password
        return ""
    if not url.hostname or url.path.strip("/") or url.query or url.fragment:
        return ""
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}{port}"


def proxy_suffix(proxy: str) -> str:
    """Return ` (by the proxy …)`, or an empty string without a proxy."""
    return f" (by the proxy {redacted_proxy_url(proxy)})" if proxy else ""


def proxy_refused_error(proxy: str, status_text: str) -> ProviderError:
    """Return the error of a rejection by the proxy; `status_text` begins with the HTTP status."""
    if status_text.startswith("407"):
        has_credentials = urlsplit(proxy).username is not None
        hint = (
            "It rejected the user name and password in its address."
            if has_credentials
            else "It requires a login: http://name:password@host:port."
        )
    else:
        hint = "Ask its operator, or add the host to NO_PROXY if it can be reached directly."
    text = f"The proxy {redacted_proxy_url(proxy)} refused: {status_text.strip()}. {hint}"
    retryable = status_text.startswith("5")
    return ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=retryable))


async def _connect_via_proxy(proxy: str, host: str, port: int, use_tls: bool) -> Connection:
    """Open a connection to a proxy and have it connect to `host`."""
    url = urlsplit(redacted_proxy_url(proxy))
    default_port = DEFAULT_PROXY_PORTS.get(url.scheme)
    if default_port is None:
        raise _connection_error(
            "The address of the proxy is invalid. Use http://host:port or"
            " http://name:password@host:port, with %40 for @; https:// and socks5:// also "
            "work ({PROXY_VARIABLES})."
        )
    context = tls_context() if url.scheme == "https" else None
    connection = await _open_connection(
        url.hostname or "", url.port or default_port, context, proxy
    )
    try:
        if url.scheme.startswith("socks"):
            await _socks_handshake(connection, proxy, host, port)
        elif use_tls:
            await _open_tunnel(connection, proxy, host, port)
    except BaseException as error:
        connection.transport.abort()
        if isinstance(error, ConnectionBroken):
            raise broke_before_response(host, proxy, error) from None
        raise
    return connection


def broke_before_response(host: str, proxy: str, error: ConnectionBroken) -> ConnectionBroken:
    """Return the error of a connection that broke before the response."""
    subject, reason = f"The connection to {host}{proxy_suffix(proxy)}", str(error).rstrip(".")
    return ConnectionBroken(f"{subject} broke before a response: {reason}. Try again.")


async def _open_tunnel(connection: Connection, proxy: str, host: str, port: int) -> None:
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
    if authorization := proxy_authorization(proxy):
        lines.append(f"proxy-authorization: {authorization}")
    connection.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    received = await connection.read()
    while not (head := _END_OF_HEAD.search(received)):
        if len(received) > MAX_HEADER_BYTES:
            raise ConnectionBroken("its headers have no end")
        received += await connection.read()
    status_line = _STATUS_LINE.match(received)
    if status_line is None:
        raise ConnectionBroken("its response is not HTTP")
    status_text = f"{status_line[1].decode()} {status_line[2].decode('latin-1')}"
    if not status_text.startswith("2"):
        raise proxy_refused_error(proxy, status_text)
    if head.end() < len(received):
        raise _early_data_error(proxy)


def _early_data_error(proxy: str) -> ProviderError:
    # Bytes before the TLS handshake would be taken for the host's response.
    text = f"The proxy {redacted_proxy_url(proxy)} sent its own data instead of the host's."
    return _connection_error(f"{text} Do not trust it.")


_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) ?([^\r\n]*)")


_SOCKS_ERRORS = {2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
             5: "connection refused", 8: "address type not supported"}  # fmt: skip


async def _socks_handshake(connection: Connection, proxy: str, host: str, port: int) -> None:
    """Do the SOCKS 5 handshake (RFC 1928, 1929). The proxy resolves the host name."""
    url, received = urlsplit(proxy), b""
    proxy_refused = f"The proxy {redacted_proxy_url(proxy)} refused"

    async def read_exactly(length: int) -> bytes:
        nonlocal received
        while len(received) < length:
            received += await connection.read()
        data, received = received[:length], received[length:]
        return data

    user = unquote(url.username or "").encode()
    password = unquote(url.password or "").encode()
    if max(len(user), len(password)) > MAX_SOCKS_CREDENTIAL_BYTES:
        raise _connection_error(
            f"The proxy {redacted_proxy_url(proxy)} cannot be used: its user name or password"
            f" is longer than {MAX_SOCKS_CREDENTIAL_BYTES} bytes."
        )
    methods = b"\x00" if url.username is None else b"\x00\x02"
    connection.transport.write(bytes([5, len(methods)]) + methods)
    version, method = await read_exactly(2)
    if version == 5 and method == 2:
        credentials = bytes([len(user)]) + user + bytes([len(password)]) + password
        connection.transport.write(b"\x01" + credentials)
        _, status = await read_exactly(2)
        if status:
            reason = "it rejected the user name and password"
            raise _connection_error(f"{proxy_refused}: {reason}.")
    elif version != 5 or method:
        raise _connection_error(f"{proxy_refused}: it requires another login method.")
    encoded_host = host.encode("idna")
    connection.transport.write(
        b"\x05\x01\x00\x03" + bytes([len(encoded_host)]) + encoded_host + port.to_bytes(2, "big")
    )
    _, status, _, address_type = await read_exactly(4)
    length = {1: 4, 4: 16}.get(address_type) or (await read_exactly(1))[0]
    await read_exactly(length + 2)
    if status:
        text = f"{proxy_refused}: {_SOCKS_ERRORS.get(status, f'error {status}')}."
        retryable = status in (1, 4, 6)
        raise ProviderError(error_info(ErrorKind.CONNECTION, text, retryable=retryable))
    if received:
        raise _early_data_error(proxy)
