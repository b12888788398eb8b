"""Anthropic Messages."""

from __future__ import annotations

import json
from typing import Any

from ..deltas import (
    Delta,
    Finish,
    RedactedThinking,
    ResponseInfo,
    Text,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from .reading import integer, parse, reported


class AnthropicMessages:
    """Decodes one answer; complete with a stop reason or `message_stop`."""

    api = "anthropic-messages"

    def __init__(self) -> None:
        self.done: bool = False
        self._tools: set[int] = set()  # blocks that call a client's tool

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        body = parse(data)
        kind = body.get("type") or event
        deltas: list[Delta] = []
        if kind == "content_block_delta":
            self._grow(body.get("index"), body.get("delta") or {}, deltas)
        elif kind == "content_block_start":
            self._begin(body.get("index"), body.get("content_block") or {}, deltas)
        elif kind == "message_start":
            message = body.get("message") or {}
            deltas.append(ResponseInfo(message.get("id"), message.get("model")))
            _usage(message.get("usage"), deltas)
        elif kind == "message_delta":
            usage = body.get("usage")
            if isinstance(usage, dict):  # some hosts say 0 here to what `message_start` has counted
                usage = {name: value for name, value in usage.items() if value != 0}
            _usage(usage, deltas)
            reason = (body.get("delta") or {}).get("stop_reason")
            if reason:
                deltas.append(Finish(str(reason)))
        elif kind == "message_stop":
            self.done = True
            deltas.append(Finish())
        elif kind == "error" or body.get("error"):
            raise reported(body.get("error", body))
        return deltas

    def decode_whole(self, body: str) -> list[Delta]:
        """The deltas of a plain, unstreamed answer."""
        message = parse(body)
        if message.get("type") == "error" or message.get("error"):
            raise reported(message.get("error", message))
        deltas: list[Delta] = [ResponseInfo(message.get("id"), message.get("model"))]
        for index, block in enumerate(message.get("content") or ()):
            self._begin(index, block, deltas)
        _usage(message.get("usage"), deltas)
        if message.get("stop_reason"):
            deltas.append(Finish(str(message["stop_reason"])))
        return deltas

    def _begin(self, index: Any, block: dict[str, Any], deltas: list[Delta]) -> None:
        kind = block.get("type")
        if kind == "text":
            deltas.append(Text(block.get("text") or "", index))
        elif kind == "thinking":
            deltas.append(Thinking(block.get("thinking") or "", index))
            if block.get("signature"):
                deltas.append(ThinkingSignature(block["signature"], index))
        elif kind == "redacted_thinking":
            deltas.append(RedactedThinking(block.get("data") or "", index))
        elif kind == "tool_use":
            self._tools.add(index)
            given = block.get("input")
            arguments = json.dumps(given, ensure_ascii=False) if given else ""
            deltas.append(ToolFragment(index, block.get("id"), block.get("name"), arguments))
        # server_tool_use and its results are the provider's own business: nothing to run here

    def _grow(self, index: Any, delta: dict[str, Any], deltas: list[Delta]) -> None:
        kind = delta.get("type")
        if kind == "text_delta":
            deltas.append(Text(delta.get("text") or "", index))
        elif kind == "thinking_delta":
            deltas.append(Thinking(delta.get("thinking") or "", index))
        elif kind == "signature_delta":
            deltas.append(ThinkingSignature(delta.get("signature") or "", index))
        elif kind == "input_json_delta" and index in self._tools:
            deltas.append(ToolFragment(index, arguments=delta.get("partial_json") or ""))


def _usage(usage: Any, deltas: list[Delta]) -> None:
    if not isinstance(usage, dict):
        return
    details = usage.get("output_tokens_details") or {}
    deltas.append(
        UsageReport(
            input=integer(usage.get("input_tokens")),
            output=integer(usage.get("output_tokens")),
            cache_read=integer(usage.get("cache_read_input_tokens")),
            cache_write=integer(usage.get("cache_creation_input_tokens")),
            cache_write_1h=integer(
                (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
            ),
            reasoning=integer(details.get("thinking_tokens")),
        )
    )
