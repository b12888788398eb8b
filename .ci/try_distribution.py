"""Try a distribution in an environment that has nothing else: `python try_distribution.py NAME`.

It is installed with the extra `local`. Runs the README's first question, `pipy doctor`, a request
for each API and cloud to a server on loopback, and one that needs LiteLLM: `pipy-ai-slim` must name
the extra. Prints how much is installed without the extra `local`.
"""

import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

from pipy_ai import complete

NOT_COUNTED = ("pip", "setuptools", "xllamacpp")  # of the empty environment, and of the extra


def sse(*events: dict[str, Any], end: str = "") -> bytes:
    return "".join([*(f"data: {json.dumps(event)}\n\n" for event in events), end]).encode()


def json_lines(*documents: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(document)}\n" for document in documents).encode()


def aws_frames(*events: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(map(aws_frame, *zip(*events, strict=True)))


def aws_frame(kind: str, event: dict[str, Any]) -> bytes:
    headers = b""
    for name, value in ((":message-type", "event"), (":event-type", kind)):
        headers += struct.pack("!B", len(name)) + name.encode() + b"\x07"
        headers += struct.pack("!H", len(value)) + value.encode()
    payload = json.dumps(event).encode()
    frame = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    frame += struct.pack("!I", zlib.crc32(frame)) + headers + payload
    return frame + struct.pack("!I", zlib.crc32(frame))


def chat_chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return {"id": "1", "object": "chat.completion.chunk", "choices": [choice]}


# "Hello." in the format of each API, by the end of the request's path.
RESPONSES = {
    "/chat/completions": sse(
        chat_chunk({"content": "Hello."}), chat_chunk({}, "stop"), end="data: [DONE]\n\n"
    ),
    "/converse-stream": aws_frames(
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello."}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}),
    ),
    ":streamGenerateContent?alt=sse": sse(
        {"candidates": [{"content": {"parts": [{"text": "Hello."}]}, "finishReason": "STOP"}]}
    ),
    "/api/chat": json_lines(
        {"model": "m", "message": {"role": "assistant", "content": "Hello."}, "done": False},
        {"model": "m", "message": {}, "done": True, "done_reason": "stop"},
    ),
    "/v2/chat": sse(
        {"type": "message-start", "id": "1", "delta": {"message": {"role": "assistant"}}},
        {
            "type": "content-delta",
            "index": 0,
            "delta": {"message": {"content": {"text": "Hello."}}},
        },
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    ),
}
MODELS = (
    "hosted_vllm/m",
    "azure/gpt-4o",
    "amazon-bedrock/amazon.nova-lite-v1:0",
    "google-vertex/gemini-2.5-flash",
    "ollama/m",
    "cohere/command-r-plus-08-2024",
)


class Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        [body] = [body for end, body in RESPONSES.items() if self.path.endswith(end)]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

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
    url = f"http://127.0.0.1:{server.server_port}"
    os.environ |= {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_LOCATION": "global"}
    for model in MODELS:
        message = complete(model, "Hi", api_base=url, api_key="k", max_retries=0)
        assert message.error is None, f"{model}: {message.error}"
        assert message.text == "Hello.", f"{model}: {message.text!r}"
    assert "litellm" not in sys.modules

    message = complete("hosted_vllm/m", "Hi", api_base=f"{url}/v1", transport="litellm")
    if name == "pipy-ai":
        assert message.text == "Hello."
    else:
        assert message.error is not None
        assert message.error.message.endswith("pip install 'pipy-ai-slim[litellm]'")


main()
