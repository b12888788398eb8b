"""Local model servers on loopback that answer as Ollama, vLLM and others do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answers = dict[str, Any]  # by path: JSON, or a text, or (status, JSON)


class Fake:
    """A server on loopback that records the `headers` of all requests."""

    def __init__(self, answers: Answers, server: str = "uvicorn", wait: float = 0) -> None:
        self.headers: list[dict[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = server, ""

            def do_GET(self) -> None:
                fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                length = int(self.headers.get("content-length") or 0)
                asked = self.rfile.read(length)
                time.sleep(wait)
                said = answers.get(self.path, (404, {"detail": "Not Found"}))
                if callable(said):
                    said = said(json.loads(asked))
                status, body = said if isinstance(said, tuple) else (200, said)
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


Start = Callable[..., Fake]


VLLM = {
    "/v1/models": {"data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm", "max_model_len": 32768}]},
    "/version": {"version": "0.20.0"},
}
