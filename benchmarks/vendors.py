"""CPU per delta of text over vendors' own APIs: a floor, pipy-ai, and the vendor's package.

    python benchmarks/vendors.py [API …] [--rivals API=PYTHON …] [--rounds 5] [--cold]

The floor is a bare socket reader: it splits lines, parses their JSON and makes no events. For AWS
it splits frames, and verifies both checksums of each. Every
client is a process of its own, which reads a stream of 10,000 deltas in a burst; the cost of a
short stream is subtracted. `--rivals` has the Python of a virtual environment with the package.
`--cold` measures the whole process instead, from its start to the end of a stream of one delta: the
CPU and the largest resident memory, compared with pipy-ai's own Chat Completions API.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import resource
import socket
import socketserver
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

DELTAS = 10_000
WORD = "word "
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Api(NamedTuple):
    """One API: pipy-ai's model, the events of a stream, and its reading by the vendor's package.

    `is_text` tells the floor which events have text, `frames` that they are in frames of AWS.
    """

    model: str
    events: Callable[[int], Iterator[bytes]]
    is_text: Callable[[Any], bool]
    package: Callable[[str, int], int]
    frames: bool = False


# === Cohere =================================================================================


def cohere_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Cohere sends it."""

    def event(kind: str, **fields: Any) -> bytes:
        data = json.dumps({"type": kind, **fields}, separators=(",", ":"))
        return f"event: {kind}\ndata: {data}\n\n".encode()

    def content(kind: str, **fields: Any) -> bytes:
        return event(kind, index=0, delta={"message": {"content": fields}})

    yield event("message-start", id="c-1", delta={"message": {"role": "assistant"}})
    yield content("content-start", type="text", text="")
    for _ in range(deltas):
        yield content("content-delta", text=WORD)
    yield event("content-end", index=0)
    usage = {"billed_units": {"input_tokens": 1, "output_tokens": deltas}}
    yield event("message-end", delta={"finish_reason": "COMPLETE", "usage": usage})
    yield b"data: [DONE]\n\n"


def cohere_package(url: str, deltas: int) -> int:
    """Return the characters that Cohere's package reads."""
    from cohere import ClientV2  # type: ignore[import-not-found]

    client = ClientV2(api_key="k", base_url=url)
    messages = [{"role": "user", "content": str(deltas)}]
    return sum(
        len(event.delta.message.content.text)
        for event in client.chat_stream(model="command-a-03-2025", messages=messages)
        if event.type == "content-delta"
    )


def is_cohere_text(event: Any) -> bool:
    """Return whether an event has text."""
    return bool(event["type"] == "content-delta")


# === Ollama =================================================================================


def ollama_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Ollama sends it."""

    def line(content: str, **fields: Any) -> bytes:
        message = {"role": "assistant", "content": content}
        created = "2026-11-29T08:52:19.385406455Z"
        data = {"model": "qwen3", "created_at": created, "message": message, "done": False}
        return json.dumps(data | fields, separators=(",", ":")).encode() + b"\n"

    for _ in range(deltas):
        yield line(WORD)
    yield line("", done=True, done_reason="stop", prompt_eval_count=5, eval_count=deltas)


def ollama_package(url: str, deltas: int) -> int:
    """Return the characters that Ollama's package reads."""
    from ollama import Client  # type: ignore[import-not-found]

    messages = [{"role": "user", "content": str(deltas)}]
    parts = Client(host=url).chat(model="qwen3", messages=messages, stream=True)
    return sum(len(part.message.content or "") for part in parts)


def is_ollama_text(event: Any) -> bool:
    """Return whether a line has text."""
    return bool(event["message"]["content"])


# === Vertex AI ==============================================================================

GEMINI_MODEL, CLAUDE_MODEL = "gemini-2.5-pro", "claude-haiku-4-5@20251001"
PLACE = {"project": "project-1", "location": "europe-west4"}


def gemini_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Gemini sends it on Vertex AI."""

    def event(candidate: dict[str, Any], **usage: Any) -> bytes:
        data = {
            "candidates": [candidate],
            "usageMetadata": {**usage, "trafficType": "ON_DEMAND"},
            "modelVersion": GEMINI_MODEL,
            "createTime": "2026-11-29T12:00:00.123456Z",
            "responseId": "AbCdEfGhIjKlMnOpQrSt",
        }
        return b"data: " + json.dumps(data).encode() + b"\r\n\r\n"

    for _ in range(deltas):
        yield event({"content": {"role": "model", "parts": [{"text": WORD}]}})
    counts = {"promptTokenCount": 1, "candidatesTokenCount": deltas}
    yield event({"content": {"role": "model"}, "finishReason": "STOP"}, **counts)


def gemini_package(url: str, deltas: int) -> int:
    """Return the characters that google-genai reads."""
    from google import genai  # type: ignore[attr-defined]
    from google.oauth2 import credentials

    options = {"base_url": url, "api_version": "v1"}
    login: Any = credentials.Credentials
    client = genai.Client(enterprise=True, credentials=login("k"), http_options=options, **PLACE)
    stream = client.models.generate_content_stream(model=GEMINI_MODEL, contents=str(deltas))
    return sum(len(chunk.text or "") for chunk in stream)


def is_gemini_text(event: Any) -> bool:
    """Return whether an event has text."""
    return "parts" in event["candidates"][0]["content"]


def claude_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Claude sends it."""

    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    usage = {"input_tokens": 1, "output_tokens": 1}
    message: Any = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for _ in range(deltas):
        yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": WORD})
    yield event("content_block_stop", index=0)
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=end, usage={"output_tokens": deltas})
    yield event("message_stop")


def claude_package(url: str, deltas: int) -> int:
    """Return the characters that Anthropic's package reads."""
    from anthropic import AnthropicVertex  # type: ignore[import-not-found]

    client = AnthropicVertex(
        region=PLACE["location"], project_id=PLACE["project"], access_token="k", base_url=url
    )
    messages = [{"role": "user", "content": str(deltas)}]
    with client.messages.stream(model=CLAUDE_MODEL, max_tokens=9, messages=messages) as stream:
        return sum(len(text) for text in stream.text_stream)


def is_claude_text(event: Any) -> bool:
    """Return whether an event has text."""
    return bool(event["type"] == "content_block_delta")


# === Azure ==================================================================================


def azure_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Azure sends it: with content filters and obfuscation in every chunk."""
    names = ("hate", "self_harm", "sexual", "violence")
    safe = {name: {"filtered": False, "severity": "safe"} for name in names}

    def event(delta: Any, results: Any, reason: str | None = None, **fields: Any) -> bytes:
        choice = {
            "content_filter_results": results,
            "delta": delta,
            "finish_reason": reason,
            "index": 0,
            "logprobs": None,
        }
        chunk = {
            "choices": [choice],
            "created": 1_764_000_000,
            "id": "chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012",
            "model": "gpt-4o-2024-11-20",
            "obfuscation": "aB3dE6gH9j",
            "object": "chat.completion.chunk",
            "system_fingerprint": "fp_ee1d74bde0",
            "usage": None,
        }
        return b"data: " + json.dumps(chunk | fields, separators=(",", ":")).encode() + b"\n\n"

    yield event({"content": "", "refusal": None, "role": "assistant"}, {})
    for _ in range(deltas):
        yield event({"content": WORD}, safe)
    yield event({}, {}, "stop")
    counts = {"prompt_tokens": 1, "completion_tokens": deltas, "total_tokens": deltas + 1}
    yield event({}, {}, choices=[], usage=counts)
    yield b"data: [DONE]\n\n"


def azure_package(url: str, deltas: int) -> int:
    """Return the characters that OpenAI's package reads from Azure."""
    from openai import AzureOpenAI

    client: Any = AzureOpenAI(azure_endpoint=url, api_key="k", api_version="2024-10-21")
    messages = [{"role": "user", "content": str(deltas)}]
    chunks = client.chat.completions.create(model="gpt-4o", messages=messages, stream=True)
    return sum(len(chunk.choices[0].delta.content or "") for chunk in chunks if chunk.choices)


def is_azure_text(event: Any) -> bool:
    """Return whether a chunk has text."""
    return bool(event["choices"] and event["choices"][0]["delta"].get("content"))


# === Amazon Bedrock =========================================================================

NOVA, BEDROCK_CLAUDE = "amazon.nova-pro-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
AWS_LOGIN = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
PADDING = "abcdefghijklmnopqrstuvwxyz"  # of random length, as Bedrock sends it


def frame(kind: str, payload: dict[str, Any]) -> bytes:
    """Return a frame of AWS's event stream."""
    names = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    headers = b"".join(
        b"%c%s\x07%s%s" % (len(name), name.encode(), struct.pack(">H", len(text)), text.encode())
        for name, text in names.items()
    )
    data = json.dumps(payload, separators=(",", ":")).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(data), len(headers))
    message = prelude + struct.pack(">I", crc32(prelude)) + headers + data
    return message + struct.pack(">I", crc32(message))


def converse_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Bedrock's Converse API sends it."""
    yield frame("messageStart", {"p": PADDING, "role": "assistant"})
    for number in range(deltas):
        delta = {"contentBlockIndex": 0, "delta": {"text": WORD}, "p": PADDING[: number % 26 + 1]}
        yield frame("contentBlockDelta", delta)
    yield frame("contentBlockStop", {"contentBlockIndex": 0, "p": PADDING})
    yield frame("messageStop", {"p": PADDING, "stopReason": "end_turn"})
    usage = {"inputTokens": 1, "outputTokens": deltas, "totalTokens": deltas + 1}
    yield frame("metadata", {"metrics": {"latencyMs": 1}, "p": PADDING, "usage": usage})


def converse_package(url: str, deltas: int) -> int:
    """Return the characters that boto3 reads."""
    import boto3  # type: ignore[import-untyped]

    client = boto3.client("bedrock-runtime", endpoint_url=url, region_name="x", **AWS_LOGIN)
    messages = [{"role": "user", "content": [{"text": str(deltas)}]}]
    events = client.converse_stream(modelId=NOVA, messages=messages)["stream"]
    return sum(
        len(event["contentBlockDelta"]["delta"]["text"])
        for event in events
        if "contentBlockDelta" in event
    )


def is_converse_text(event: Any) -> bool:
    """Return whether the payload of a frame has text."""
    return "text" in event.get("delta", ())


def invoke_events(deltas: int) -> Iterator[bytes]:
    """Yield a stream as Bedrock's InvokeModel sends it for Claude."""
    for event in claude_events(deltas):
        data = event.partition(b"data: ")[2].strip()
        yield frame("chunk", {"bytes": base64.b64encode(data).decode(), "p": PADDING})


def invoke_package(url: str, deltas: int) -> int:
    """Return the characters that Anthropic's package reads."""
    from anthropic import AnthropicBedrock

    client = AnthropicBedrock(base_url=url, aws_region="x", aws_access_key="a", aws_secret_key="b")
    messages: Any = [{"role": "user", "content": str(deltas)}]
    with client.messages.stream(model=BEDROCK_CLAUDE, max_tokens=9, messages=messages) as stream:
        return sum(len(text) for text in stream.text_stream)


def is_invoke_text(event: Any) -> bool:
    """Return whether the event in a frame has text."""
    return is_claude_text(json.loads(base64.b64decode(event["bytes"])))


APIS = {
    "chat": Api("hosted_vllm/m", azure_events, is_azure_text, azure_package),
    "azure": Api("azure/gpt-4o", azure_events, is_azure_text, azure_package),
    "bedrock-converse": Api(
        f"amazon-bedrock/{NOVA}", converse_events, is_converse_text, converse_package, True
    ),
    "bedrock-claude": Api(
        f"amazon-bedrock/{BEDROCK_CLAUDE}", invoke_events, is_invoke_text, invoke_package, True
    ),
    "cohere": Api("cohere/command-a-03-2025", cohere_events, is_cohere_text, cohere_package),
    "ollama": Api("ollama/qwen3", ollama_events, is_ollama_text, ollama_package),
    "vertex-gemini": Api(
        f"google-vertex/{GEMINI_MODEL}", gemini_events, is_gemini_text, gemini_package
    ),
    "vertex-claude": Api(
        f"google-vertex/{CLAUDE_MODEL}", claude_events, is_claude_text, claude_package
    ),
}

# === Clients ================================================================================


def floor(url: str, deltas: int, is_text: Callable[[Any], bool]) -> int:
    """Return the characters of text in the lines of JSON."""
    host, _, port = url.removeprefix("http://").partition(":")
    body = json.dumps({"messages": [{"content": str(deltas)}]}).encode()
    request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    count, rest = 0, b""
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request)
        while not rest.endswith(b"0\r\n\r\n") and (data := connection.recv(4096)):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                start = line.find(b"{")
                if start >= 0:
                    count += is_text(json.loads(line[start:]))
            if data.endswith(b"0\r\n\r\n"):
                break
    return count * len(WORD)


def floor_of_frames(url: str, deltas: int, is_text: Callable[[Any], bool]) -> int:
    """Return the characters of text in frames of AWS, each in a chunk of its own."""
    host, _, port = url.removeprefix("http://").partition(":")
    body = json.dumps({"messages": [{"content": str(deltas)}]}).encode()
    request = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    count, rest, position = 0, b"", -1
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request)
        while data := connection.recv(4096):
            rest += data
            if position < 0:
                position = rest.index(b"\r\n\r\n") + 4
            while (line_end := rest.find(b"\r\n", position)) >= 0:
                start, length = line_end + 2, int(rest[position:line_end], 16)
                if not length:
                    return count * len(WORD)
                end = start + length
                if end + 2 > len(rest):
                    break
                _, headers, checksum = struct.unpack_from(">III", rest, start)
                assert crc32(rest[start : start + 8]) == checksum
                assert crc32(rest[start : end - 4]) == struct.unpack_from(">I", rest, end - 4)[0]
                count += is_text(json.loads(rest[start + 12 + headers : end - 4]))
                position = end + 2
            rest, position = rest[position:], 0
    raise AssertionError("the stream did not end")


def pipy(url: str, deltas: int, model: str) -> int:
    """Return the characters that pipy-ai reads."""
    from pipy_ai import astream

    os.environ |= {f"GOOGLE_CLOUD_{name.upper()}": value for name, value in PLACE.items()}

    async def read() -> int:
        options: dict[str, Any] = {"api_base": url, "api_key": "k", "max_retries": 0}
        events = astream(model, str(deltas), **options)
        return sum([len(e.delta) async for e in events if e.type == "text_delta"])

    return asyncio.run(read())


def run_client(name: str, api: Api, url: str) -> None:
    """Print the microseconds of CPU per delta."""

    def cpu(deltas: int) -> float:
        started = time.process_time()
        if name == "floor":
            count = (floor_of_frames if api.frames else floor)(url, deltas, api.is_text)
        elif name == "pipy":
            count = pipy(url, deltas, api.model)
        else:
            count = api.package(url, deltas)
        assert count == deltas * len(WORD), count
        return time.process_time() - started

    cpu(100)
    short = cpu(100)
    print((cpu(DELTAS) - short) / (DELTAS - 100) * 1e6)


def run_cold_client(name: str, api: Api, url: str) -> None:
    """Read one delta; print the process's CPU in ms and its largest resident memory in MB."""
    count = pipy(url, 1, api.model) if name == "pipy" else api.package(url, 1)
    assert count == len(WORD), count
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(time.process_time() * 1000, memory)


# === The runner =============================================================================


def serve(api: Api) -> socketserver.ThreadingTCPServer:
    """Serve streams with as many deltas as the prompt says."""
    prompt = re.compile(rb'"(?:content|text)": ?"(\d+)"')
    bodies: dict[int, bytes] = {}

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            data = b""
            while found := self.request.recv(65536):
                data += found
                if (match := prompt.search(data)) is None:
                    continue
                deltas, data = int(match[1]), b""
                if deltas not in bodies:
                    frames = (b"%x\r\n%s\r\n" % (len(e), e) for e in api.events(deltas))
                    bodies[deltas] = HEAD + b"".join(frames) + b"0\r\n\r\n"
                self.request.sendall(bodies[deltas])

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def measure(name: str, api_name: str, url: str, python: str, rounds: int) -> float:
    """Return the median of the microseconds per delta of several processes."""
    command = [python, "-P", __file__, api_name, "--client", name, "--url", url]
    results = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(rounds)
    ]
    return statistics.median(results)


def print_cold_starts(names: list[str], python: str, rivals: dict[str, str], rounds: int) -> None:
    """Print CPU and memory of processes that read one delta, in turn with a request to Chat."""

    def client(name: str, api_name: str, url: str, python: str) -> tuple[float, float]:
        command = [python, "-P", __file__, api_name, "--client", name, "--url", url, "--cold"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        cpu, memory = map(float, result.stdout.split())
        return cpu, memory

    print("| API | Chat, ms | pipy-ai, ms | of Chat | MB | the vendor's package, ms | MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    chat = serve(APIS["chat"])
    for name in names:
        server = serve(APIS[name])
        runs: dict[str, list[tuple[float, float]]] = {"chat": [], "pipy": [], "package": []}
        for _ in range(rounds):
            for client_name, host, path in (
                ("chat", chat, python), ("pipy", server, python),
                ("package", server, rivals.get(name)),
            ):  # fmt: skip
                if path:
                    url = f"http://127.0.0.1:{host.server_address[1]}"
                    api, kind = ("chat", "pipy") if host is chat else (name, client_name)
                    runs[client_name].append(client(kind, api, url, path))
        server.shutdown()
        (base, _), (ours, memory), package = (
            tuple(map(statistics.median, zip(*results, strict=True))) or (0, 0)
            for results in runs.values()
        )
        row = f"| {name} | {base:.0f} | {ours:.0f} | {ours / base:.2f} × | {memory:.0f} |"
        print(row, f"{package[0]:.0f} | {package[1]:.0f} |" if package[0] else "– | – |")


def main() -> None:
    """Run the benchmark, or one of its clients."""
    parser = argparse.ArgumentParser()
    parser.add_argument("apis", nargs="*", metavar="API", help=", ".join(APIS))
    parser.add_argument("--rivals", nargs="*", default=[], metavar="API=PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="measure cold starts")
    parser.add_argument("--python", default=sys.executable, help="pipy-ai's Python for --cold")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.client:
        (run_cold_client if arguments.cold else run_client)(
            arguments.client, APIS[arguments.apis[0]], arguments.url
        )
        return
    rivals = dict(rival.split("=", 1) for rival in arguments.rivals)
    if arguments.cold:
        names = arguments.apis or [name for name in APIS if name != "chat"]
        print_cold_starts(names, arguments.python, rivals, arguments.rounds)
        return
    print("| API | floor, µs | pipy-ai, µs | of the floor | the vendor's package, µs |")
    print("| --- | --- | --- | --- | --- |")
    for name in arguments.apis or [name for name in APIS if name != "chat"]:
        server = serve(APIS[name])
        url = f"http://127.0.0.1:{server.server_address[1]}"
        lowest = measure("floor", name, url, sys.executable, arguments.rounds)
        ours = measure("pipy", name, url, sys.executable, arguments.rounds)
        package = "–"
        if name in rivals:
            package = f"{measure('package', name, url, rivals[name], arguments.rounds):.0f}"
        print(f"| {name} | {lowest:.1f} | {ours:.1f} | {ours / lowest:.2f} × | {package} |")
        server.shutdown()


if __name__ == "__main__":
    main()
