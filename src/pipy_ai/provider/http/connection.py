"""One HTTP/1.1 connection over asyncio. httptools (llhttp) parses the responses.

All data that one read of the socket returns is passed on as one piece, so that a burst of
small chunks costs little more than their text.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import httptools

from ...utils.turns import Turns

MAX_HEADER_BYTES = 256 << 10
# Per read. Large ones take less time, but let 200 streams starve a loop's other work.
READ_BUFFER_BYTES = 4 << 10
LARGE_READ_BUFFER_BYTES = 16 << 10
MAX_TLS_RECORD_BYTES = 16 << 10
SHARED_BUFFER_BYTES = 32 << 10
MAX_BUFFERED_BYTES = 64 << 10  # unread bytes after which reading from the socket pauses
READ_COST = 512  # of processing a read, in bytes of a body that cost the same

# The connections of a loop read into one buffer: its data is copied before the next read.
_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview]
_read_buffers = weakref.WeakKeyDictionary()


class ConnectionBroken(ConnectionError):
    """The host could not be reached, closed the connection early, or does not speak HTTP."""


class Connection(asyncio.BufferedProtocol):
    """A connection that carries one request after another; see `reusable`.

    Until the first `send`, `read` returns the raw bytes, as the handshakes of proxies need.
    """

    transport: asyncio.Transport  # set by connection_made
    status: int
    reason: str

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        buffer = _read_buffers.get(loop)
        if buffer is None:
            buffer = _read_buffers[loop] = memoryview(bytearray(SHARED_BUFFER_BYTES))
        self.is_tls = False
        self.turns: Turns | None = None  # set if other connections need theirs
        self.idle_since: float = 0.0
        self.status, self.reason = 0, ""
        self.headers: dict[str, str] = {}
        self._shared_buffer = buffer
        # A memoryview, because asyncio writes TLS records to slices of it.
        self._buffer = buffer[:READ_BUFFER_BYTES]
        self._parser: httptools.HttpResponseParser | None = None
        self._header_bytes = 0
        self._overhead_bytes = 0  # of chunks and trailers since the last piece of the body
        self._headers_complete = False  # of the response to the latest request
        self._complete = False  # headers and body
        self._unusable = False  # for another request
        self._error: Exception | None = None
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._tls_buffer: memoryview | None = None  # of a read that has begun
        self._postponed = b""  # data that was read and waits for its turn
        self._paused = False
        self._write_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None  # see `pass_to`
        self._sink_error: BaseException | None = None

    # --- For callers ------------------------------------------------------------------------

    async def send(self, request: bytes, pieces: Iterable[bytes] = ()) -> None:
        """Send a request and wait for the head of its response: `status`, `reason`, `headers`.

        `pieces` is the rest of a long request. It is read no faster than the host receives it, and
        no further once the host has answered.

        Raises:
            ConnectionBroken: The connection ended or failed before the response, or data arrived
                before the request.
        """
        if self._chunks:  # from a proxy, or a host that sends data without a request
            raise ConnectionBroken("data arrived before the request")
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(  # dangerous only for proxies that forward messages
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_spaces_after_chunk_size=True,
        )
        self.status, self.reason, self.headers = 0, "", {}
        self._headers_complete = self._complete = self._unusable = False
        self._header_bytes = self._overhead_bytes = 0
        self.transport.write(request)
        for piece in pieces:
            while self._write_paused and not self._headers_complete:
                await self._wait_for_data()
            if self._headers_complete or self.lost:
                self._unusable = True  # the host still expects the rest of this request
                break
            self.transport.write(piece)
            await asyncio.sleep(0)  # let other requests run meanwhile
        while not self._headers_complete:
            await self._wait_for_data()

    def set_read_size(self, size: int) -> None:
        """Set how many bytes one read of the socket may return."""
        if len(self._buffer) != size:
            self._buffer = self._shared_buffer[:size]

    async def read(self) -> bytes:
        """Return all bytes of the body since the last call; wait for some. Empty at its end.

        Raises:
            ConnectionBroken: The connection ended or failed before the end of the body.
        """
        while not self._chunks:
            if self._complete:
                return b""
            await self._wait_for_data()
        return self._take_chunks()

    async def pass_to(self, sink: Callable[[bytes], bool]) -> bool:
        """Call `sink` with the body as it arrives, until it returns False or the body ends.

        It is called in asyncio's callback, which is faster than waking a task for each read.
        Return whether the body has ended.

        Raises:
            ConnectionBroken: The connection ended or failed before the end of the body.
            Exception: What `sink` raised.
        """
        while True:
            if self._chunks:
                if not sink(self._take_chunks()):
                    return False
            elif self._complete:
                return True
            else:
                self._sink = sink
                try:
                    await self._wait_for_data()
                    if self._sink_error is not None:
                        raise self._sink_error
                    if self._sink is None:
                        return False
                finally:
                    self._sink = self._sink_error = None

    def _pass_on(self, sink: Callable[[bytes], bool]) -> bool:
        """Call `sink` with the data that has arrived; return whether to wait for more."""
        try:
            wants_more = sink(self._take_chunks())
        except BaseException as error:
            self._sink_error, wants_more = error, False
        if not wants_more:
            self._sink = None
        return wants_more and not self._complete and self._error is None

    def _take_chunks(self) -> bytes:
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        if self._paused:
            self._resume_reading()
        return data

    def _pause_reading(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        must_wait = self._postponed or self._buffered_bytes > MAX_BUFFERED_BYTES
        if self._paused and not must_wait and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()

    @property
    def nothing_received(self) -> bool:
        """Whether no byte has arrived since the request was sent."""
        return self._header_bytes == 0

    @property
    def complete(self) -> bool:
        """Whether the whole response has arrived."""
        return self._complete

    @property
    def lost(self) -> bool:
        """Whether the connection is closed."""
        return self._error is not None or self.transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        exchange_finished = (
            self._complete and not self._chunks and not self._paused and not self._unusable
        )
        return exchange_finished and not self.lost and not self.transport.get_write_buffer_size()

    async def _wait_for_data(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- Called by asyncio ------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        if not self.is_tls:
            return self._buffer
        # Take all that has arrived and a record that was incomplete: asyncio drops what is left
        # when the host closes.
        size = sizehint + MAX_TLS_RECORD_BYTES
        is_small = size <= len(self._shared_buffer)
        self._tls_buffer = self._shared_buffer if is_small else memoryview(bytearray(size))
        return self._tls_buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._tls_buffer is None:
            data = self._buffer[:nbytes]
        else:
            data, self._tls_buffer = self._tls_buffer[:nbytes], None
        if self.turns is not None and not self.turns.take(READ_COST + nbytes):
            self._postponed += data
            self._pause_reading()
            self.turns.queue(READ_COST + nbytes, self._process_postponed)
        else:
            self._process(data)

    def _process_postponed(self) -> None:
        data, self._postponed = self._postponed, b""
        if data:
            self._process(memoryview(data))
            self._resume_reading()

    def _process(self, data: memoryview) -> None:
        if self._parser is None:
            self.on_body(bytes(data))
        elif self._complete:  # data without a request
            self.transport.abort()
        else:
            if not self._headers_complete:
                self._header_bytes += len(data)
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                if not self._complete:
                    self._fail(f"the response is not HTTP ({error})")
                self._unusable = True
            if not self._headers_complete and self._header_bytes > MAX_HEADER_BYTES:
                self._fail("its headers have no end")
            if self._chunks:
                self._overhead_bytes = 0
            elif self._headers_complete and not self._complete:
                self._overhead_bytes += len(data)
                if self._overhead_bytes > MAX_HEADER_BYTES:
                    self._fail("the framing of its body has no end")
        if self._sink is not None and self._chunks and self._pass_on(self._sink):
            return
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            self._pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._process_postponed()
        has_framing = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self._headers_complete and not has_framing and exc is None:
            self._complete = True  # a body without a length ends with the connection
        if self._error is None:
            self._error = ConnectionBroken(str(exc or "") or "the other end closed it")
        self._parser = None  # breaks the reference cycle
        self._wake()

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake()

    def _fail(self, text: str) -> None:
        self._error = ConnectionBroken(text)
        self.transport.abort()

    # --- Called by httptools ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:  # a second response to one request
            self._unusable = True

    def on_status(self, reason: bytes) -> None:
        if not self._headers_complete:
            self.reason = reason.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headers_complete:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            existing = self.headers.get(key)
            self.headers[key] = text if existing is None else f"{existing}, {text}"

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self.status, self._headers_complete = status, True
        else:
            self.headers.clear()  # an interim response (1xx): the final one follows

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._chunks.append(body)
            self._buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._headers_complete and not self._complete:
            self._complete = True
            self._unusable = self._unusable or not self._parser.should_keep_alive()
