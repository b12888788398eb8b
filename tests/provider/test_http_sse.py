"""Test the memory limits on server-sent events."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import pytest

from pipy_ai import AssistantMessage, ErrorInfo, complete, stream
from pipy_ai.provider.http.sse import MAX_EVENT_BYTES, EventTooLong, SSEReader

from ..support.event_grammar import check_events
from ..support.raw_server import Raw, response
from ..support.wire_formats import CHAT, Wire

KEY = "sk-very-secret-0123456789"


def ask(base: str, wire: Wire = CHAT, **options: Any) -> AssistantMessage:
    base = base.removesuffix("/v1") if wire.root else base
    options = {"api_key": KEY, "max_retries": 0, "transport": "direct", "timeout": 60, **options}
    message = check_events(list(stream(wire.model, "q", api_base=base, **options)))
    assert KEY not in message.model_dump_json()
    return message


def failure(base: str, wire: Wire = CHAT, **options: Any) -> ErrorInfo:
    """Return the error of a request."""
    message = ask(base, wire, **options)
    assert message.content == []
    assert message.error is not None
    return message.error


MEGABYTE = 1 << 20
ENDLESS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a line": lambda: chain([b"data: "], repeat(b"x" * MEGABYTE, 50)),
    "lines of one event": lambda: repeat(b"data: " + b"x" * (MEGABYTE - 7) + b"\n", 50),
    "a document": lambda: chain([b'{"error": "'], repeat(b"x" * MEGABYTE, 50)),
}


def peak(base: str) -> tuple[ErrorInfo, int]:
    """Return the error of a request and the peak of allocated bytes."""
    complete("hosted_vllm/m", "q", api_base="http://127.0.0.1:9", max_retries=0)  # imports
    tracemalloc.start()
    try:
        error = failure(base)
        return error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_event_is_cut_off(name: str) -> None:
    head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"
    with Raw(chain([head], ENDLESS[name]())) as server:
        error, most = peak(server.url)
    assert (error.kind, error.retryable) == ("server", False)
    assert "that does not end: 32 MB so far" in error.message
    assert server.sent < MAX_EVENT_BYTES + 16 * MEGABYTE  # the system's buffers among them
    assert most < MAX_EVENT_BYTES + 16 * MEGABYTE


def test_compressed_endless_event_is_cut_off() -> None:
    """The response has 50 kB on the wire."""
    squeezed = gzip.compress(b"data: " + b"x" * 50 * MEGABYTE)
    with Raw(response(squeezed, "content-encoding: gzip")) as server:
        error, most = peak(server.url)
    assert "that does not end: 32 MB so far" in error.message
    assert most < MAX_EVENT_BYTES + 16 * MEGABYTE


@pytest.mark.parametrize("line", [b"data\n", b"data:\n", b"data: x\n"])
def test_lines_of_an_event_count_with_their_names(line: bytes) -> None:
    reader = SSEReader(max_event_bytes=1000)
    for _ in range(1000 // len(line)):
        reader.feed(line)
    with pytest.raises(EventTooLong):
        reader.feed(line * 200)
