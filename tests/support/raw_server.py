"""A server on loopback that sends raw bytes, valid HTTP or not.

with Raw(b"HTTP/1.1 200 OK\\r\\n\\r\\nhello") as server:
    complete("hosted_vllm/m", "Hi", api_base=server.url)
    assert "authorization" in server.seen[0]
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterable
from typing import Any


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a whole HTTP response."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Raw:
    """A server that sends the same response to every request, then closes the connection. `seen`
    has the heads of the requests, `bodies` their bodies; `sent` counts the bytes that the client
    took from an iterator."""

    def __init__(self, answer: bytes | Iterable[bytes], tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.sent = 0
        self._answer = [answer] if isinstance(answer, bytes) else answer
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.address}/v1"
        self._thread = threading.Thread(target=self._run, name="raw", daemon=True)

    def __enter__(self) -> Raw:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), plain:
                plain.settimeout(10)
                self._serve(self._tls.wrap_socket(plain, server_side=True) if self._tls else plain)

    def _serve(self, connection: Any) -> None:
        with connection, connection.makefile("rb") as reader:
            if (
                self._tls is None and connection.recv(1, socket.MSG_PEEK) == b"\x16"
            ):  # TLS begins so
                connection.sendall(response(b"", status="400 Bad Request"))
                return
            lines = []
            while line := reader.readline().strip():
                lines.append(line.decode("latin-1"))
            head = "\n".join(lines)
            self.seen.append(head)
            length = int(head.partition("content-length: ")[2].partition("\n")[0] or 0)
            self.bodies.append(reader.read(length))
            for piece in self._answer:
                connection.sendall(piece)
                self.sent += len(piece)
