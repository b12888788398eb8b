"""The connection pool, where cancelling meets connections whose other end is gone."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import warnings

import pytest

from pipy_ai.provider.wire import OpenAIChat
from pipy_ai.provider.wire.sender import exchange, new_client

ANSWER = b'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ANSWER)}\r\n\r\n".encode()
        writer.write(head + ANSWER)
        await writer.drain()
        await reader.read()
    writer.close()


async def test_cancelling_leaves_no_old_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever a request is cancelled, dead connections of earlier ones are closed."""
    left: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda failure: left.append(repr(failure)))

    async def ask(client: object, port: int) -> None:
        request = client.build_request("GET", f"http://127.0.0.1:{port}/")  # type: ignore[attr-defined]
        async for _ in exchange(client, request, OpenAIChat()):  # type: ignore[arg-type]
            pass

    for turns in range(0, 45, 3):
        alive = await asyncio.start_server(_serve, "127.0.0.1", 0)
        writers: list[asyncio.StreamWriter] = []

        async def dying(
            reader: asyncio.StreamReader,
            writer: asyncio.StreamWriter,
            writers: list[asyncio.StreamWriter] = writers,
        ) -> None:
            writers.append(writer)
            await _serve(reader, writer)

        dead = await asyncio.start_server(dying, "127.0.0.1", 0)
        client = new_client()
        port = dead.sockets[0].getsockname()[1]
        await asyncio.gather(*(ask(client, port) for _ in range(12)))
        assert len(writers) == 12
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        dead.close()
        task = asyncio.ensure_future(ask(client, alive.sockets[0].getsockname()[1]))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await client.aclose()
        alive.close()
        await asyncio.sleep(0)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ResourceWarning)
            gc.collect()
        left += [str(one.message) for one in told]
    assert left == []
