"""Try a distribution in an environment that has nothing else: `python try_distribution.py NAME`.

It is installed with the extra `local`. Runs the README's first question, `pipy doctor`, a request
to a server on loopback, and one that needs LiteLLM: `pipy-ai-slim` must name the extra. Prints how
much is installed without the extra `local`.
"""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

from pipy_ai import complete

NOT_COUNTED = ("pip", "setuptools", "xllamacpp")  # of the empty environment, and of the extra


class Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for delta, reason in (({"content": "Hello."}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            event = {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


def pipy(*arguments: str) -> str:
    command = [sys.executable, "-m", "pipy_ai", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main() -> None:
    name = sys.argv[1]
    packages = [d for d in metadata.distributions() if d.metadata["Name"] not in NOT_COUNTED]
    files = [Path(str(file.locate())) for d in packages for file in d.files or ()]
    size = sum(file.stat().st_size for file in files if file.is_file())
    print(f"{name} {metadata.version(name)}: {len(packages)} packages, {size / 1e6:.0f} MB")

    print(pipy("ask", "What is 2+2?").strip())
    doctor = pipy("doctor")
    assert f"{name} " in doctor, doctor

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    assert complete("hosted_vllm/m", "Hi", api_base=url).text == "Hello."
    assert "litellm" not in sys.modules

    message = complete("hosted_vllm/m", "Hi", api_base=url, transport="litellm")
    if name == "pipy-ai":
        assert message.text == "Hello."
    else:
        assert message.error is not None
        assert message.error.message.endswith("pip install 'pipy-ai-slim[litellm]'")


main()
