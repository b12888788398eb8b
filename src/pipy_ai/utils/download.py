"""Read HTTP responses of untrusted servers with limits."""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
import threading

from .secrets import mask_url
from .text import error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import TypeVar

    import httpx

    T = TypeVar("T")

# The only compression to request: a few hundred bytes of brotli or zstd can hold a gigabyte.
ACCEPT_ENCODING = {"accept-encoding": "gzip"}


def run_in_daemon_thread(function: Callable[[], T]) -> Future[T]:
    """Run a function in a thread that neither Ctrl-C nor the end of the process waits for.

    A lookup of a host's name cannot be interrupted.
    """
    from concurrent.futures import Future

    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="pipy-ai-fetch", daemon=True).start()
    return future


def is_decodable(response: httpx.Response) -> bool:
    """Whether a response is compressed only as `ACCEPT_ENCODING` asks for."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    return encoding in ("", "identity", "gzip", "x-gzip")


def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the body of a streamed response.

    Raises:
        ValueError: The body is longer than `max_bytes`, or its compression is not gzip.
    """
    if not is_decodable(response):
        encoding = response.headers["content-encoding"].strip().lower()
        raise ValueError(f"the server sent the encoding {encoding!r}, which was not requested")
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise ValueError(f"the server sent more than {max_bytes // 1_000_000} MB")
    return bytes(body)


def fetch_error_text(error: httpx.HTTPError) -> str:
    """Return the text of an error. What a proxy says may repeat its password."""
    import httpx

    text = error_text(error)
    if isinstance(error, httpx.ProxyError) and (status := re.match(r"\d{3}\b", text)):
        return f"the proxy refused with HTTP {status[0]}"
    return text


def mask_logged_urls() -> None:
    """Mask passwords and secret parameters of the URLs that httpx logs."""
    filters = logging.getLogger("httpx").filters
    if _mask_urls not in filters:
        filters.insert(0, _mask_urls)  # LiteLLM's filter formats the message


def _mask_urls(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            mask_url(str(value)) if type(value).__name__ == "URL" else value
            for value in record.args
        )
    return True


def is_public_host(host: str) -> bool:
    """Whether all addresses of a host are public. A host that cannot be resolved counts as public.

    Example:
        >>> is_public_host("127.0.0.1"), is_public_host("[::1]"), is_public_host("1.1.1.1")
        (False, False, True)
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True  # a proxy may be able to resolve it
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    return all(map(_is_public, addresses))


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address and the IPv4 address it contains (6to4, NAT64) are public."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)  # type: ignore[assignment]
        if inner is not None and not inner.is_global:
            return False
    return address.is_global
