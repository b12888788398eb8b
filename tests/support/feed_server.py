"""A models.dev server on loopback."""

from __future__ import annotations

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .catalogues import JULY, raw


class Mirror:
    """A models.dev server on loopback that responds with `body`, `status` and `headers`."""

    def __init__(self) -> None:
        self.body = raw(JULY)
        self.status = 200
        self.headers: dict[str, str] = {"content-type": "application/json", "etag": '"july"'}
        self.compress = True
        self.cut: int | None = None  # close after so many bytes
        self.length: int | None = None  # claim another length
        self.chunked = False
        self.stall = threading.Event()
        self.stall.set()
        self.seen: list[dict[str, str]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/api.json"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: Any) -> None:
        seen = {name.lower(): value for name, value in handler.headers.items()}
        self.seen.append(seen)
        self.stall.wait(30)
        handler.close_connection = True
        if self.headers.get("etag") and seen.get("if-none-match") == self.headers["etag"]:
            handler.send_response(304)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        body = self.body
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.compress and "gzip" in seen.get("accept-encoding", ""):
            body = gzip.compress(body, 1)
            handler.send_header("content-encoding", "gzip")
        if self.chunked:
            handler.send_header("transfer-encoding", "chunked")
            sent = b"%x\r\n%s\r\n" % (len(body), body) + b"0\r\n\r\n"
        else:
            handler.send_header("content-length", str(self.length or len(body)))
            sent = body
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(sent if self.cut is None else sent[: self.cut])

    def close(self) -> None:
        self.stall.set()
        self.server.shutdown()
        self.server.server_close()
