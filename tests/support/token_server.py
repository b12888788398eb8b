"""Issue Google's access tokens on loopback: a token endpoint and a metadata server."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class TokenRequest:
    path: str
    headers: dict[str, str]
    body: str


class TokenServer:
    """Issues `ya29.token-1`, `ya29.token-2`, …

    `answer` replaces the response of the token endpoint. With `echo` it is an error that repeats
    the request. `hold` is waited for before each response. `redirect` is where requests are sent
    instead.
    """

    def __init__(self) -> None:
        self.requests: list[TokenRequest] = []
        self.expires_in = 3600
        self.answer: tuple[int, Any] | None = None
        self.echo = False
        self.hold: threading.Event | None = None
        self.redirect = ""
        self._issued = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> TokenServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse further connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def respond(self, request: TokenRequest) -> tuple[int, Any]:
        """Return status and body."""
        with self._lock:
            self.requests.append(request)
        if self.hold is not None:
            self.hold.wait(30)
        if request.path == "/":
            return 200, "computeMetadata/"
        if request.path.endswith("/project-id"):
            return 200, "project-of-machine"
        if "/token" not in request.path:
            return 200, {"email": "bot@p.iam.gserviceaccount.com", "scopes": [], "aliases": []}
        if self.echo:
            text = f"cannot use {request.body} {request.headers}"
            return 400, {"error": "invalid_grant", "error_description": text}
        if self.answer is not None:
            return self.answer
        with self._lock:
            self._issued += 1
            token = f"ya29.token-{self._issued}"
        return 200, {
            "access_token": token, "expires_in": self.expires_in, "token_type": "Bearer",
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        }  # fmt: skip


def _handler(server: TokenServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(length).decode()
            status, answer = server.respond(TokenRequest(self.path, headers, body))
            content = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self.send_response(307 if server.redirect else status)
            if server.redirect:
                self.send_header("location", server.redirect)
            kind = "text/plain" if isinstance(answer, str) else "application/json"
            self.send_header("content-type", kind)
            self.send_header("metadata-flavor", "Google")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
