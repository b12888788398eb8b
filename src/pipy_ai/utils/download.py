"""Read HTTP responses of unknown servers within limits."""

from __future__ import annotations

import ipaddress
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import httpx

# The only compression to ask for: a few hundred bytes of brotli or zstd can hold a gigabyte.
ACCEPT_ENCODING = {"accept-encoding": "gzip"}


def is_decodable(response: httpx.Response) -> bool:
    """Whether a response is compressed only as `ACCEPT_ENCODING` asks for."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    return encoding in ("", "identity", "gzip", "x-gzip")


def read_body(response: httpx.Response, max_bytes: int) -> bytes:
    """Return the body of a streamed response.

    Raises:
        ValueError: The body is longer than `max_bytes`, or compressed with something but gzip.
    """
    if not is_decodable(response):
        encoding = response.headers["content-encoding"].strip().lower()
        raise ValueError(f"the server sends {encoding!r}, which was not requested")
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > max_bytes:
            raise ValueError(f"the server sends more than {max_bytes // 1_000_000} MB")
    return bytes(body)


def is_public_host(host: str) -> bool:
    """Whether all addresses of a host are public. A host that cannot be resolved counts as public.

    Example:
        >>> is_public_host("127.0.0.1"), is_public_host("[::1]"), is_public_host("1.1.1.1")
        (False, False, True)
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return True  # a proxy may know it
    addresses = [ipaddress.ip_address(str(item[4][0]).partition("%")[0]) for item in found]
    return all(map(_is_public, addresses))


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Return whether an address is public, also the IPv4 address that it leads to (6to4, NAT64)."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.sixtofour
        if address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)  # type: ignore[assignment]
        if inner is not None and not inner.is_global:
            return False
    return address.is_global
