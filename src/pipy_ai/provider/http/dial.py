"""Open TCP sockets: look up a host, then try its addresses as RFC 8305 describes.

Host names are looked up in daemon threads. The event loop's own threads are few, so that slow
lookups would delay other hosts, and Python waits for them when it exits.
"""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections.abc import Awaitable, Callable
from itertools import chain, zip_longest
from typing import Any, TypeAlias

from ...utils.event_loop import run_in_thread

NEXT_ADDRESS_DELAY_S = 0.25  # time until a host's next address is tried in parallel

# What `socket.getaddrinfo` returns: family, type, protocol, canonical name, address.
AddressInfo: TypeAlias = tuple[Any, Any, int, str, Any]

_lookups: weakref.WeakKeyDictionary[
    asyncio.AbstractEventLoop, dict[tuple[str, int], asyncio.Task[list[AddressInfo]]]
] = weakref.WeakKeyDictionary()


async def open_socket(host: str, port: int) -> socket.socket:
    """Return a connected socket.

    Raises:
        OSError: The host is unknown, or none of its addresses could be reached.
    """
    addresses = _alternate_families(await _look_up(host, port))
    if len(addresses) == 1:
        return await _connect_socket(addresses[0])
    return await _first_to_connect(addresses, _connect_socket)


async def _look_up(host: str, port: int) -> list[AddressInfo]:
    if (addresses := _parse_address(host, port)) is not None:
        return addresses
    loop = asyncio.get_running_loop()
    lookups = _lookups.setdefault(loop, {})
    lookup = lookups.get((host, port))
    if lookup is None:  # many requests to one host share one lookup

        def forget(task: asyncio.Task[list[AddressInfo]]) -> None:
            lookups.pop((host, port), None)
            if not task.cancelled():
                task.exception()  # all requests may have been cancelled

        lookup = lookups[host, port] = loop.create_task(
            run_in_thread(
                "pipy-ai-dns", lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            )
        )
        lookup.add_done_callback(forget)
    return await asyncio.shield(lookup)


def _parse_address(address: str, port: int) -> list[AddressInfo] | None:
    """Return an IP address in any notation, without a lookup; None for the name of a host."""
    try:
        socket.inet_pton(socket.AF_INET, address)
    except OSError:
        if ":" not in address and not address.replace(".", "").isdigit():
            return None
        # Takes all forms of addresses, but imports Python's IDNA codec (1 ms).
        flags = socket.AI_NUMERICHOST
        try:
            return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=flags)
        except socket.gaierror:
            return None  # such as 1.2.3.4.5, which is looked up like a name
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]


def _alternate_families(addresses: list[AddressInfo]) -> list[AddressInfo]:
    """Sort addresses so that IPv6 and IPv4 alternate, the first family first."""
    first = [info for info in addresses if info[0] == addresses[0][0]]
    others = [info for info in addresses if info[0] != addresses[0][0]]
    return [info for info in chain(*zip_longest(first, others)) if info is not None]


async def _connect_socket(info: AddressInfo) -> socket.socket:
    family, kind, protocol, _, address = info
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def _first_to_connect(
    addresses: list[AddressInfo], connect: Callable[[AddressInfo], Awaitable[socket.socket]]
) -> socket.socket:
    """Return the first socket that connects. If one fails or is slow, the next address is tried."""
    remaining = list(addresses)
    attempts: set[asyncio.Future[socket.socket]] = set()
    errors: list[BaseException] = []
    try:
        while remaining or attempts:
            if remaining:
                attempts.add(asyncio.ensure_future(connect(remaining.pop(0))))
            delay = NEXT_ADDRESS_DELAY_S if remaining else None
            done, _ = await asyncio.wait(
                attempts, timeout=delay, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                attempts.remove(attempt)
                error = attempt.exception()
                if error is None:
                    return attempt.result()
                errors.append(error)
        raise errors[0]
    finally:
        for attempt in attempts:
            attempt.add_done_callback(_close_socket)
            attempt.cancel()


def _close_socket(attempt: asyncio.Future[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
