"""Check the rules of the event stream on real events. Used by every test that has a stream."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from typing import Any, assert_never

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    AudioContent,
    AudioDeltaEvent,
    AudioEndEvent,
    AudioStartEvent,
    CitationEvent,
    DoneEvent,
    ErrorEvent,
    ImageContent,
    ImageEndEvent,
    ImagePartialEvent,
    ImageStartEvent,
    ServerToolCall,
    ServerToolDeltaEvent,
    ServerToolEndEvent,
    ServerToolResult,
    ServerToolResultEvent,
    ServerToolStartEvent,
    StartEvent,
    TextContent,
    TextDeltaEvent,
    TextEndEvent,
    TextStartEvent,
    ThinkingContent,
    ThinkingDeltaEvent,
    ThinkingEndEvent,
    ThinkingStartEvent,
    ToolCall,
    ToolCallDeltaEvent,
    ToolCallEndEvent,
    ToolCallStartEvent,
)
from pipy_ai.utils.json_parse import clean_json, parse_arguments, parse_streaming_json


class Follower:
    """Accumulate events in the plain way and compare the result with their claims."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.terminal: DoneEvent | ErrorEvent | None = None
        self.started = False

    def follow(self, event: AssistantMessageEvent) -> None:
        assert self.terminal is None, f"{event.type} after {self.terminal}"
        if isinstance(event, DoneEvent | ErrorEvent):
            assert self.started or event.type == "error"
            self.terminal = event
            return
        if isinstance(event, StartEvent):
            assert not self.started
            self.started = True
            return
        assert self.started, f"{event.type} before start"
        kind = event.type.partition("_")[0]
        index = event.content_index
        if isinstance(event, CitationEvent):
            assert self.blocks[index]["kind"] in ("text", "thinking")
            self.blocks[index].setdefault("sources", []).append(event.citation.source)
            return
        if isinstance(event, ServerToolResultEvent):
            assert index == len(self.blocks)
            result = event.result
            self.blocks.append({"kind": "result", "text": "", "ended": True, "result": result})
            return
        if isinstance(
            event,
            TextStartEvent | ThinkingStartEvent | ToolCallStartEvent
            | ServerToolStartEvent | ImageStartEvent | AudioStartEvent,
        ):  # fmt: skip
            assert index == len(self.blocks), "indices are dense, in order of first appearance"
            self.blocks.append({"kind": kind, "text": "", "ended": False})
            return
        block = self.blocks[index]
        assert block["kind"] == kind
        assert not block["ended"], f"{event.type} after the end of block {index}"
        match event:
            case (
                TextDeltaEvent() | ThinkingDeltaEvent() | ToolCallDeltaEvent()
                | ServerToolDeltaEvent()
            ):  # fmt: skip
                assert event.delta, "an empty delta"
                block["text"] += event.delta
            case TextEndEvent() | ThinkingEndEvent():
                block["ended"] = True
                assert event.content == block["text"]
            case ToolCallEndEvent():
                block["ended"] = True
                arguments, error = parse_arguments(block["text"])
                assert event.tool_call.arguments == arguments
                assert (event.tool_call.arguments_error is None) == (error is None)
            case ServerToolEndEvent():
                block["ended"] = True
                arguments = clean_json(parse_streaming_json(block["text"]))
                assert event.server_tool_call.arguments == arguments
            case ImagePartialEvent():
                block["image"] = event.image.data
            case ImageEndEvent():
                block["ended"] = True
                block["image"] = event.image.data
            case AudioDeltaEvent():
                assert event.delta or event.transcript, "an empty delta"
                block["text"] += event.transcript
                block["bytes"] = block.get("bytes", b"") + b64decode(event.delta)
            case AudioEndEvent():
                block["ended"] = True
                assert event.audio.transcript == block["text"]
            case _:
                assert_never(event)

    def check(self, message: AssistantMessage, *, final: bool = False) -> None:
        """Check that the message has exactly the content of the events so far."""
        assert len(message.content) == len(self.blocks)
        for block, content in zip(self.blocks, message.content, strict=True):
            match content:
                case TextContent():
                    assert block["kind"] == "text"
                    assert content.text == block["text"]
                    assert [c.source for c in content.citations] == block.get("sources", [])
                case ThinkingContent():
                    assert block["kind"] == "thinking"
                    assert content.thinking == block["text"]
                    assert [c.source for c in content.citations] == block.get("sources", [])
                case ToolCall():
                    self._check_call(block, content, final)
                case ServerToolCall():
                    assert block["kind"] == "servertool"
                    arguments = parse_streaming_json(block["text"])
                    ended = block["ended"]
                    assert content.arguments == (clean_json(arguments) if ended else arguments)
                case ServerToolResult():
                    assert block["kind"] == "result"
                    assert content == block["result"]
                case ImageContent():
                    assert block["kind"] == "image"
                    assert content.data == block.get("image", "")
                case AudioContent():
                    assert block["kind"] == "audio"
                    assert content.transcript == block["text"]
                    assert content.bytes == block.get("bytes", b"")
                case _:
                    assert_never(content)
        if not final:
            assert message.stop_reason is None
        ids = [call.id for call in message.tool_calls]
        assert len(set(ids)) == len(ids)
        usage = message.usage
        assert usage.total_tokens == (
            usage.input + usage.output + usage.cache_read + usage.cache_write
        )

    def _check_call(self, block: dict[str, Any], call: ToolCall, final: bool) -> None:
        assert block["kind"] == "toolcall"
        assert call.id
        if block["ended"]:
            assert call.arguments == parse_arguments(block["text"])[0]
        else:
            arguments = parse_streaming_json(block["text"])
            assert call.arguments == (clean_json(arguments) if final else arguments)
            assert (call.arguments_error is not None) == final


def check_events(events: Sequence[AssistantMessageEvent]) -> AssistantMessage:
    """Check a whole stream and all its partials afterwards, and return its message."""
    follower = Follower()
    for event in events:
        follower.follow(event)
        if event.type not in ("done", "error"):
            follower.check(event.partial)
    last = follower.terminal
    assert last is not None, "no terminal event"
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
