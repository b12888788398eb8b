"""The server of `direct.py`: prepared responses of two APIs.

It prints its port. The model name selects the response: `text-5000` has 5,000 deltas of text,
`thinking-5000` has 5,000 deltas of which the first half is thinking, and `tool-5000` has a tool
call with arguments in 5,000 fragments. Any other name gets a short text.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

WORD = "word "
REQUESTED_MODEL = re.compile(rb'"model": ?"(text|thinking|tool)-(\d+)"')
CONTENT_LENGTH = re.compile(rb"content-length: ?(\d+)", re.IGNORECASE)
RESPONSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)


def fragments(deltas: int) -> list[str]:
    """Return the arguments of a call in pieces of four characters, about the size of a token."""
    arguments = json.dumps({"x": "a" * (4 * deltas - 9)})
    return [arguments[offset : offset + 4] for offset in range(0, len(arguments), 4)]


def expected_counts(kind: str, deltas: int) -> dict[str, int]:
    """Return how many characters of each kind a client must receive."""
    if kind == "tool":
        return {"thinking": 0, "text": 0, "tool": sum(map(len, fragments(deltas)))}
    thinking_deltas = deltas // 2 if kind == "thinking" else 0
    text_deltas = deltas - thinking_deltas
    return {"thinking": thinking_deltas * len(WORD), "text": text_deltas * len(WORD), "tool": 0}


def chat(kind: str, deltas: int) -> Iterator[bytes]:
    """Yield the frames of a response of OpenAI's Chat Completions."""

    def frame(*choices: dict[str, Any], **fields: Any) -> bytes:
        common_fields = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return (
            b"data: %s\n\n" % json.dumps({**common_fields, "choices": choices, **fields}).encode()
        )

    def delta(reason: str | None = None, **fields: Any) -> bytes:
        return frame({"index": 0, "delta": fields, "finish_reason": reason})

    if kind == "tool":
        function = {"name": "f", "arguments": ""}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        yield delta(role="assistant", tool_calls=[call])
        for piece in fragments(deltas):
            yield delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])
    else:
        yield delta(role="assistant", content="")
        thinking_deltas = deltas // 2 if kind == "thinking" else 0
        yield from [delta(reasoning_content=WORD)] * thinking_deltas
        yield from [delta(content=WORD)] * (deltas - thinking_deltas)
    yield delta("tool_calls" if kind == "tool" else "stop")
    usage = {"prompt_tokens": 9, "completion_tokens": deltas, "total_tokens": 9 + deltas}
    yield frame(usage=usage)
    yield b"data: [DONE]\n\n"


def anthropic(kind: str, deltas: int) -> Iterator[bytes]:
    """Yield the frames of a response of Anthropic's Messages."""

    def frame(name: str, **fields: Any) -> bytes:
        data = json.dumps({"type": name, **fields}).encode()
        return b"event: %s\ndata: %s\n\n" % (name.encode(), data)

    def block(index: int, start: dict[str, Any], pieces: Iterable[dict[str, Any]]) -> list[bytes]:
        return [
            frame("content_block_start", index=index, content_block=start),
            *(frame("content_block_delta", index=index, delta=piece) for piece in pieces),
            frame("content_block_stop", index=index),
        ]

    message: dict[str, Any] = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }  # fmt: skip
    yield frame("message_start", message=message)
    if kind == "tool":
        pieces = [{"type": "input_json_delta", "partial_json": p} for p in fragments(deltas)]
        yield from block(0, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}, pieces)
    else:
        thinking_deltas = deltas // 2 if kind == "thinking" else 0
        if thinking_deltas:
            thinking_pieces = [{"type": "thinking_delta", "thinking": WORD}] * thinking_deltas
            signature_pieces = [{"type": "signature_delta", "signature": "c2ln"}]
            yield from block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                thinking_pieces + signature_pieces,
            )
        text_pieces = [{"type": "text_delta", "text": WORD}] * (deltas - thinking_deltas)
        yield from block(1 if thinking_deltas else 0, {"type": "text", "text": ""}, text_pieces)
    end = {"stop_reason": "tool_use" if kind == "tool" else "end_turn", "stop_sequence": None}
    yield frame("message_delta", delta=end, usage={"output_tokens": deltas})
    yield frame("message_stop")


@cache
def response_writes(wire: str, kind: str, deltas: int) -> list[bytes]:
    """Return the bytes to write, 64 frames at a time: hosts and proxies also send bursts."""
    frames = list((anthropic if wire == "anthropic" else chat)(kind, deltas))
    pieces = [
        RESPONSE_HEAD,
        *(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames),
        b"0\r\n\r\n",
    ]
    return [b"".join(pieces[offset : offset + 64]) for offset in range(0, len(pieces), 64)]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve the requests of a connection."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = CONTENT_LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            wire = "anthropic" if b"/messages" in head.split(b"\r\n", 1)[0] else "chat"
            requested = REQUESTED_MODEL.search(body)
            kind, deltas = (requested[1].decode(), int(requested[2])) if requested else ("text", 20)
            for piece in response_writes(wire, kind, deltas):
                writer.write(piece)
                await writer.drain()
    except (OSError, asyncio.IncompleteReadError):  # the client disconnected
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
