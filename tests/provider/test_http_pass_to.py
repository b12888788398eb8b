"""Test that the body of a response is passed on from the callback of its connection."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

import pytest

from pipy_ai import acomplete, astream
from pipy_ai.provider.http import client as http
from pipy_ai.provider.http.client import HTTPRequest, HTTPResponse
from pipy_ai.provider.http.connection import ConnectionBroken

from ..support.raw_server import Raw, response
from ..support.scripted_server import FIN, Lab
from ..support.wire_formats import WIRES, Wire, say, think

T = TypeVar("T")
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def with_response(
    answer: bytes | Iterable[bytes], use: Callable[[HTTPResponse], Awaitable[T]]
) -> T:
    async def send(url: str) -> T:
        received = await http.send(HTTPRequest("GET", url, []))
        try:
            return await use(received)
        finally:
            received.close()

    with Raw(answer) as server:
        return asyncio.run(send(server.url))


class Collector:
    """Takes the data, and lets the server continue."""

    def __init__(self, *, stop_at: bytes = b"never") -> None:
        self.data = b""
        self.was_in_task: list[bool] = []
        self.received = threading.Event()
        self._stop_at = stop_at

    def __call__(self, data: bytes) -> bool:
        self.data += data
        self.was_in_task.append(asyncio.current_task() is not None)
        self.received.set()
        return self._stop_at not in self.data

    def after(self, *pieces: bytes) -> Iterator[bytes]:
        """Yield each piece once the one before has been received."""
        yield pieces[0]
        for piece in pieces[1:]:
            self.received.wait(10)
            self.received.clear()
            yield piece


def test_data_is_passed_on_without_waking_the_task() -> None:
    collector = Collector()
    answer = collector.after(HEAD + chunks(b"a"), chunks(b"b", b"c"), chunks(b"d") + b"0\r\n\r\n")
    assert with_response(answer, lambda received: received.pass_to(collector))
    assert collector.data == b"abcd"
    assert collector.was_in_task[-2:] == [False, False]


def test_what_follows_is_kept_if_the_sink_wants_no_more() -> None:
    collector = Collector(stop_at=b"b")

    async def use(received: HTTPResponse) -> tuple[bool, bytes]:
        has_ended = await received.pass_to(collector)
        rest = b""
        while data := await received.read():
            rest += data
        return has_ended, rest

    answer = collector.after(HEAD + chunks(b"a"), chunks(b"b"), chunks(b"c") + b"0\r\n\r\n")
    assert with_response(answer, use) == (False, b"c")
    assert collector.data == b"ab"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_error_of_the_sink_is_raised_in_the_task(kind: type[BaseException]) -> None:
    received = threading.Event()

    def sink(data: bytes) -> bool:
        received.set()
        if data == b"b":
            raise kind("from the sink")
        return True

    def answer() -> Iterator[bytes]:
        yield HEAD + chunks(b"a")
        received.wait(10)
        yield chunks(b"b")

    async def use(response: HTTPResponse) -> str:
        try:
            await response.pass_to(sink)
        except kind as error:
            return str(error)
        return ""

    assert with_response(answer(), use) == "from the sink"


def test_a_connection_that_breaks_raises_after_its_data() -> None:
    collector = Collector()

    async def use(received: HTTPResponse) -> None:
        with pytest.raises(ConnectionBroken):
            await received.pass_to(collector)

    with_response(HEAD + chunks(b"abc"), use)
    assert collector.data == b"abc"


def test_compressed_data_is_passed_on() -> None:
    collector = Collector()
    body = response(gzip.compress(b"abc" * 9999), "content-encoding: gzip")
    assert with_response(body, lambda received: received.pass_to(collector))
    assert collector.data == b"abc" * 9999


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize("is_cut", [False, True])
def test_complete_returns_what_a_stream_does(lab: Lab, wire: Wire, is_cut: bool) -> None:
    words = ("Hel", "lo, ", "wo", "rld", "\U0001f600", "!") * 20
    scene = wire.scene(*([think(*words)] if wire.signatures else []), say(*words))
    if is_cut:
        scene = [*scene[: len(scene) // 2], FIN]

    async def main() -> None:
        keywords = {"api_base": wire.base(lab), "api_key": "k", "max_retries": 0}
        lab.play(scene, scene)
        streamed = await astream(wire.model, "Hi", **keywords).result()
        message = await acomplete(wire.model, "Hi", **keywords)
        assert message.content == streamed.content
        assert message.stop_reason == streamed.stop_reason
        assert message.error == streamed.error
        assert message.usage == streamed.usage
        assert (message.error is not None) == is_cut

    asyncio.run(main())
