"""httpcore over plain asyncio streams. Its own way leads through anyio, which takes longer to
import than a first request takes to send.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

LIMIT = 1 << 20  # bytes that wait to be read before the other end is slowed down


class Stream(httpcore.AsyncNetworkStream):
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._reader.read(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout("nothing came in time") from None
        except (OSError, ssl.SSLError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            return
        try:
            self._writer.write(buffer)
            async with asyncio.timeout(timeout):
                await self._writer.drain()
        except TimeoutError:
            raise httpcore.WriteTimeout("it was not taken in time") from None
        except (OSError, ssl.SSLError, RuntimeError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._writer.close()
        self._writer.transport.abort()  # TLS would wait for the other end's goodbye

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except TimeoutError:
            raise httpcore.ConnectTimeout("TLS was not agreed on in time") from None
        except (OSError, ssl.SSLError) as error:
            await self.aclose()
            raise httpcore.ConnectError(str(error)) from error
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._writer.get_extra_info("ssl_object")
        if info == "is_readable":  # asked of idle connections: the other end has gone away
            return self._reader.at_eof() or self._writer.is_closing()
        return self._writer.get_extra_info(
            {"client_addr": "sockname", "server_addr": "peername", "socket": "socket"}.get(
                info, info
            )
        )


class Backend(httpcore.AsyncNetworkBackend):
    """Opens connections."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        # A name may have addresses of two kinds, one of which leads nowhere.
        eyeballs = None if host.replace(".", "").isdigit() or ":" in host else 0.25
        try:
            async with asyncio.timeout(timeout):
                return Stream(
                    *await asyncio.open_connection(
                        host, port, limit=LIMIT, happy_eyeballs_delay=eyeballs
                    )
                )
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host}:{port} did not answer") from None
        except OSError as error:
            number = error.errno or 0  # asyncio's own words repeat the address
            why = os.strerror(number) if number > 0 else error.strerror or error
            raise httpcore.ConnectError(f"{host}:{port} was not reached: {why}") from error

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
