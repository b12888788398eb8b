"""Responses for every wire, and the messages that they must become."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import pytest

from pipy_ai import (
    AssistantMessage,
    AudioContent,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    ToolCall,
)

from .event_stream import frame_end
from .scripted_server import Scene, Status
from .wire_formats import CONVERSE, WIRES, Step, Wire, redacted, say, think, tool


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    found: Wire = request.param
    return found


def shape(message: AssistantMessage) -> list[Any]:
    """Return the content in the notation of the scenarios."""
    out: list[Any] = []
    for part in message.content:
        match part:
            case TextContent():
                out.append(part.text)
            case ThinkingContent(redacted=True):
                out.append({"redacted": part.thinking_signature})
            case ThinkingContent():
                out.append({"think": part.thinking})
            case ToolCall():
                out.append((part.name, part.arguments))
            case ServerToolCall():
                out.append({"server": part.name, "arguments": part.arguments})
            case ServerToolResult():
                out.append({"result": part.name, "text": part.text})
            case ImageContent():
                out.append({"image": part.data})
            case AudioContent():
                out.append({"audio": part.data, "transcript": part.transcript})
            case _:
                assert_never(part)
    return out


@dataclass
class Case:
    """A response and the expected message."""

    steps: list[Step]
    content: list[Any]
    stop: str = "stop"  # what the wire says
    reason: str = "stop"  # what the message says
    on: Callable[[Wire], bool] = lambda wire: True


TOOL = ("tool", "toolUse")
CASES = {
    "text": Case([say("Hel", "lo")], ["Hello"]),
    "unicode": Case(
        [say("Zür", "ich 😀 漢", "字\u2028\u2029\u0085 end")],
        ["Zürich 😀 漢字\u2028\u2029\u0085 end"],
    ),
    "text that looks like SSE": Case(
        [say("data: x\n\n", "event: y\r\n: z")], ["data: x\n\nevent: y\r\n: z"]
    ),
    "thinking, then text": Case([think("h", "m"), say("ok")], [{"think": "hm"}, "ok"]),
    "think, text, think, text": Case(
        [think("a"), say("b"), think("c"), say("d")], [{"think": "a"}, "b", {"think": "c"}, "d"]
    ),
    "redacted thinking": Case(
        [think("a", signature="s"), redacted("opaque"), say("b")],
        [{"think": "a"}, {"redacted": "opaque"}, "b"],
        on=lambda wire: wire.redacts,
    ),
    "one call in single characters": Case(
        [tool("c1", "f", *'{"city": "Zürich"}')], [("f", {"city": "Zürich"})], *TOOL
    ),
    "a call without arguments": Case([tool("c1", "f")], [("f", {})], *TOOL),
    "parallel calls": Case(
        [tool("c1", "f", '{"x":', "1}"), tool("c2", "f", '{"x":2}')],
        [("f", {"x": 1}), ("f", {"x": 2})],
        *TOOL,
    ),
    "one id for two calls": Case(
        [tool("c1", "f", "{}"), tool("c1", "g", "{}")], [("f", {}), ("g", {})], *TOOL
    ),
    "text around calls": Case(
        [say("a"), tool("c1", "f", "{}"), say("b"), tool("c2", "g", "{}"), say("c")],
        ["a", ("f", {}), "b", ("g", {}), "c"],
        *TOOL,
    ),
    "thinking, call, thinking": Case(
        [think("a", signature="s"), tool("c1", "f", "{}"), think("b", signature="t")],
        [{"think": "a"}, ("f", {}), {"think": "b"}],
        *TOOL,
    ),
    "truncated arguments": Case(
        [tool("c1", "f", '{"x": "lo')], [("f", {})], "length", "length", lambda wire: wire.fragments
    ),
    "arguments that are null": Case(
        [tool("c1", "f", "null")], [("f", {})], *TOOL, lambda wire: wire.fragments
    ),
    "length": Case([say("a")], ["a"], "length", "length"),
    "content filter": Case([say("so")], ["so"], "filter", "error"),
    "a line of its own": Case([say("-" * 5000)], ["-" * 5000]),
}  # fmt: skip


def body(scene: Scene) -> bytes:
    return b"".join(scene)


def sign_at(wire: Wire, whole: bytes) -> int:
    """Return the position of the wire's end marker."""
    if wire is CONVERSE:
        return frame_end(whole, whole.index(b'"stopReason"'))
    mark = {
        "chat": b'"finish_reason": "stop"',
        "anthropic": b'"stop_reason": "end_turn"',
        "gemini": b'"finishReason"',
        "responses": b'"response.completed"',
        "ollama": b'"done":true',
        "cohere": b'"finish_reason": "COMPLETE"',
    }[wire.name]
    return whole.index(b"\n", whole.index(mark))


ODD: dict[str, Scene | Status] = {
    "an HTML page with 200": Status(200, "<html><body>Sign in</body></html>"),
    "an error JSON with 200": Status(200, {"error": {"message": "nope", "code": 500}}),
    "an empty body with 200": Status(200, ""),
    "malformed JSON": [b"data: {not json}\n\n"],
    "a page in the stream": [b"<!doctype html><p>busy</p>"],
}
