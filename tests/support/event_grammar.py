"""Check the rules of the event stream on real events. Used by every test that has a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipy_ai import AssistantMessage, AssistantMessageEvent, TextContent, ThinkingContent, ToolCall
from pipy_ai.utils.json_parse import parse_arguments, parse_streaming_json


class Follower:
    """Accumulate events in the plain way and compare the result with their claims."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.terminal: AssistantMessageEvent | None = None
        self.started = False

    def follow(self, event: AssistantMessageEvent) -> None:
        assert self.terminal is None, f"{event.type} after {self.terminal}"
        if event.type in ("done", "error"):
            assert self.started or event.type == "error"
            self.terminal = event
            return
        if event.type == "start":
            assert not self.started
            self.started = True
            return
        assert self.started, f"{event.type} before start"
        kind, _, what = event.type.partition("_")
        index = event.content_index
        if what == "start":
            assert index == len(self.blocks), "indices are dense, in order of first appearance"
            self.blocks.append({"kind": kind, "text": "", "ended": False})
            return
        block = self.blocks[index]
        assert block["kind"] == kind
        assert not block["ended"], f"{event.type} after the end of block {index}"
        if what == "delta":
            assert event.delta, "an empty delta"
            block["text"] += event.delta
        else:
            block["ended"] = True
            if kind == "toolcall":
                arguments, error = parse_arguments(block["text"])
                assert event.tool_call.arguments == arguments
                assert (event.tool_call.arguments_error is None) == (error is None)
            else:
                assert event.content == block["text"]

    def check(self, message: AssistantMessage, *, final: bool = False) -> None:
        """Check that the message has exactly the content of the events so far."""
        assert len(message.content) == len(self.blocks)
        for block, content in zip(self.blocks, message.content, strict=True):
            if isinstance(content, TextContent):
                assert block["kind"] == "text"
                assert content.text == block["text"]
            elif isinstance(content, ThinkingContent):
                assert block["kind"] == "thinking"
                assert content.thinking == block["text"]
            else:
                assert isinstance(content, ToolCall)
                assert block["kind"] == "toolcall"
                assert content.id
                if block["ended"]:
                    assert content.arguments == parse_arguments(block["text"])[0]
                else:
                    assert content.arguments == parse_streaming_json(block["text"])
                    assert (content.arguments_error is not None) == final
        if not final:
            assert message.stop_reason is None
        ids = [call.id for call in message.tool_calls]
        assert len(set(ids)) == len(ids)
        usage = message.usage
        assert usage.total_tokens == (
            usage.input + usage.output + usage.cache_read + usage.cache_write
        )


def check_events(events: Sequence[AssistantMessageEvent]) -> AssistantMessage:
    """Check a whole stream and all its partials afterwards, and return its message."""
    follower = Follower()
    for event in events:
        follower.follow(event)
        if event.type not in ("done", "error"):
            follower.check(event.partial)
    last = follower.terminal
    assert last is not None, "no terminal event"
    assert last.type in ("done", "error")
    message = last.partial
    follower.check(message, final=True)
    assert message.stop_reason == last.reason
    if last.type == "done":
        assert last.reason in ("stop", "length", "toolUse")
        assert all(block["ended"] for block in follower.blocks), "done with an open block"
        assert message.error is None
    else:
        assert last.reason in ("error", "aborted")
        assert message.error is not None
        assert message.error_message == message.error.message
        for block in follower.blocks:
            if block["kind"] == "toolcall" and block["ended"]:
                assert parse_arguments(block["text"])[1] is None, "an incomplete call has ended"
    return message
