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
from ._parsing import error_from_payload, parse_object, token_count


class AnthropicMessagesDecoder:
    """Decodes one answer; complete with a stop reason or `message_stop`."""

    api = "anthropic-messages"

    def __init__(self) -> None:
        self.done: bool = False
        self._tool_blocks: set[int] = set()  # blocks that call a client's tool

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        body = parse_object(data)
        event_type = body.get("type") or event
        deltas: list[Delta] = []
        if event_type == "content_block_delta":
            self._decode_block_delta(body.get("index"), body.get("delta") or {}, deltas)
        elif event_type == "content_block_start":
            self._decode_block_start(body.get("index"), body.get("content_block") or {}, deltas)
        elif event_type == "message_start":
            message = body.get("message") or {}
            deltas.append(ResponseInfo(message.get("id"), message.get("model")))
            _append_usage(message.get("usage"), deltas)
        elif event_type == "message_delta":
            usage = body.get("usage")
            if isinstance(usage, dict):  # some hosts say 0 here to what `message_start` has counted
                usage = {name: value for name, value in usage.items() if value != 0}
            _append_usage(usage, deltas)
            reason = (body.get("delta") or {}).get("stop_reason")
            if reason:
                deltas.append(Finish(str(reason)))
        elif event_type == "message_stop":
            self.done = True
            deltas.append(Finish())
        elif event_type == "error" or body.get("error"):
            raise error_from_payload(body.get("error", body))
        return deltas

    def decode_body(self, body: str) -> list[Delta]:
        """The deltas of a plain, unstreamed answer."""
        message = parse_object(body)
        if message.get("type") == "error" or message.get("error"):
            raise error_from_payload(message.get("error", message))
        deltas: list[Delta] = [ResponseInfo(message.get("id"), message.get("model"))]
        for index, block in enumerate(message.get("content") or ()):
            self._decode_block_start(index, block, deltas)
        _append_usage(message.get("usage"), deltas)
        if message.get("stop_reason"):
            deltas.append(Finish(str(message["stop_reason"])))
        return deltas

    def _decode_block_start(self, index: Any, block: dict[str, Any], deltas: list[Delta]) -> None:
        block_type = block.get("type")
        if block_type == "text":
            deltas.append(Text(block.get("text") or "", index))
        elif block_type == "thinking":
            deltas.append(Thinking(block.get("thinking") or "", index))
            if block.get("signature"):
                deltas.append(ThinkingSignature(block["signature"], index))
        elif block_type == "redacted_thinking":
            deltas.append(RedactedThinking(block.get("data") or "", index))
        elif block_type == "tool_use":
            self._tool_blocks.add(index)
            tool_input = block.get("input")
            arguments = json.dumps(tool_input, ensure_ascii=False) if tool_input else ""
            deltas.append(ToolFragment(index, block.get("id"), block.get("name"), arguments))
        # server_tool_use and its results are the provider's own business: nothing to run here

    def _decode_block_delta(self, index: Any, delta: dict[str, Any], deltas: list[Delta]) -> None:
        delta_type = delta.get("type")
        if delta_type == "text_delta":
            deltas.append(Text(delta.get("text") or "", index))
        elif delta_type == "thinking_delta":
            deltas.append(Thinking(delta.get("thinking") or "", index))
        elif delta_type == "signature_delta":
            deltas.append(ThinkingSignature(delta.get("signature") or "", index))
        elif delta_type == "input_json_delta" and index in self._tool_blocks:
            deltas.append(ToolFragment(index, arguments=delta.get("partial_json") or ""))


def _append_usage(usage: Any, deltas: list[Delta]) -> None:
    if not isinstance(usage, dict):
        return
    output_details = usage.get("output_tokens_details") or {}
    deltas.append(
        UsageReport(
            input=token_count(usage.get("input_tokens")),
            output=token_count(usage.get("output_tokens")),
            cache_read=token_count(usage.get("cache_read_input_tokens")),
            cache_write=token_count(usage.get("cache_creation_input_tokens")),
            cache_write_1h=token_count(
                (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens")
            ),
            reasoning=token_count(output_details.get("thinking_tokens")),
        )
    )
