"""Chat Completions streams and the messages that they must become."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipy_ai import AssistantMessage

from .scripted_server import (
    DONE,
    FIN,
    RESET,
    Scene,
    Status,
    call,
    chat,
    chunk,
    finish,
    sse,
    text,
    usage,
)


def shape(message: AssistantMessage) -> list[Any]:
    """Return the content in a short form."""
    out: list[Any] = []
    for part in message.content:
        if part.type == "text":
            out.append(part.text)
        elif part.type == "thinking":
            out.append({"think": part.thinking})
        else:
            out.append((part.name, part.arguments))
    return out


@dataclass
class Case:
    """A response and the message that it must become."""

    scene: Scene | Status
    content: list[Any] = field(default_factory=list)
    stop: str = "stop"
    kind: str | None = None
    says: str = ""


CASES: dict[str, Case] = {
    # The seventeen streams on which the rivals stumble.
    "plain text": Case(chat(text("Hel", "lo"), finish("stop")), ["Hello"]),
    "one call in fragments": Case(
        chat(call(0, "a", "f", ""), *[call(0, args=c) for c in '{"x": 1}'], finish("tool_calls")),
        [("f", {"x": 1})],
        "toolUse",
    ),
    "interleaved calls": Case(
        chat(
            call(0, "a", "f", '{"x"'), call(1, "b", "g", '{"y"'),
            call(0, args=":1}"), call(1, args=":2}"), finish("tool_calls"),
        ),
        [("f", {"x": 1}), ("g", {"y": 2})],
        "toolUse",
    ),
    "think text think text": Case(
        chat(
            chunk({"reasoning_content": "t1"}), text("a"),
            chunk({"reasoning_content": "t2"}), text("b"), finish("stop"),
        ),
        [{"think": "t1"}, "a", {"think": "t2"}, "b"],
    ),
    "thinking and text in one chunk": Case(
        chat(chunk({"reasoning_content": "t", "content": "a"}), finish("stop")),
        [{"think": "t"}, "a"],
    ),
    "calls without arguments": Case(
        chat(call(0, "a", "ping", ""), call(1, "b", "pong", ""), finish("tool_calls")),
        [("ping", {}), ("pong", {})],
        "toolUse",
    ),
    "a cut stream": Case(sse(*text("half")), ["half"], "error", "incomplete"),
    "calls with the reason stop": Case(
        chat(call(0, "a", "f", "{}"), finish("stop")), [("f", {})], "toolUse"
    ),
    "a call without an id": Case(
        chat(call(0, None, "f", "{}"), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "content filter": Case(
        chat(text("so"), finish("content_filter")), ["so"], "error", "content_filter"
    ),
    "no finish reason, but [DONE]": Case(chat(text("all")), ["all"]),
    "zero chunks": Case(sse(), [], "error", "incomplete"),
    "truncated arguments": Case(
        chat(call(0, "a", "f", '{"x": "lo'), finish("length")), [("f", {})], "length"
    ),
    "text, two calls, text": Case(
        chat(text("a"), call(0, "a", "f", "{}"), call(1, "b", "g", '{"z":1}'), text("b"),
             finish("tool_calls")),
        ["a", ("f", {}), ("g", {"z": 1}), "b"],
        "toolUse",
    ),
    "an HTTP error": Case(
        Status(500, {"error": {"message": "oops", "type": "server_error"}}),
        [], "error", "server", "oops",
    ),
    "an error in mid-stream": Case(
        chat(text("half"), {"error": {"message": "it broke", "code": 500}}),
        ["half"], "error", "server", "it broke",
    ),
    "an empty first chunk": Case(
        chat(chunk(choices=[]), text("ok"), finish("stop")), ["ok"]
    ),
    # What else bit users.
    "arguments before the name": Case(
        chat(call(0, "a", None, '{"x"'), call(0, None, "f", ":1}"), finish("tool_calls")),
        [("f", {"x": 1})],
        "toolUse",
    ),
    "one id for two calls": Case(
        chat(call(0, "a", "f", "{}"), call(1, "a", "g", "{}"), finish("tool_calls")),
        [("f", {}), ("g", {})],
        "toolUse",
    ),
    "calls without an index": Case(
        chat(call(None, "a", "f", '{"x":1}'), call(None, "b", "f", '{"x":2}'),
             finish("tool_calls")),
        [("f", {"x": 1}), ("f", {"x": 2})],
        "toolUse",
    ),
    "truncated arguments called tool_calls": Case(
        chat(call(0, "a", "f", '{"x": "lo'), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "a raw newline in arguments": Case(
        chat(call(0, "a", "f", '{"x": "a\nb"}'), finish("tool_calls")),
        [("f", {"x": "a\nb"})],
        "toolUse",
    ),
    "null for arguments": Case(
        chat(call(0, "a", "f", "null"), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "a list for arguments": Case(
        chat(call(0, "a", "f", "[1]"), finish("tool_calls")), [("f", {})], "toolUse"
    ),
    "usage before the finish, twice": Case(
        chat(text("a"), usage(1, 1), finish("stop"), usage(9, 1)), ["a"]
    ),
    "a reset": Case(sse(*text("half"), RESET), ["half"], "error", "incomplete"),
    "a closed socket": Case(sse(*text("half"), FIN), ["half"], "error", "incomplete"),
    "CRLF": Case(sse(*text("a", "b"), finish("stop"), DONE, newline="\r\n"), ["ab"]),
    "code points split between writes": Case(
        [bytes([b]) for step in chat(text("Zür", "ich 😀"), finish("stop")) for b in step],
        ["Zürich 😀"],
    ),
    "a repeated piece": Case(chat(text(*["----"] * 300), finish("stop")), ["----" * 300]),
    "reasoning by another name": Case(
        chat(chunk({"reasoning": "t"}), text("a"), finish("stop")), [{"think": "t"}, "a"]
    ),
    "a wrong key": Case(
        Status(401, {"error": {"message": "Incorrect API key provided"}}),
        [], "error", "auth", "Incorrect API key",
    ),
    "an unknown model": Case(
        Status(404, {"error": {"message": "no model m"}}), [], "error", "not_found", "no model m"
    ),
    "too long a prompt": Case(
        Status(400, {"error": {"message": "maximum context length is 10 tokens, 12 were given"}}),
        [], "error", "context_overflow",
    ),
    "too many requests": Case(
        Status(429, {"error": {"message": "slow down"}}, {"retry-after": "7"}),
        [], "error", "rate_limit", "slow down",
    ),
    "no credit": Case(
        Status(429, {"error": {"message": "quota", "code": "insufficient_quota"}}),
        [], "error", "quota",
    ),
}  # fmt: skip
