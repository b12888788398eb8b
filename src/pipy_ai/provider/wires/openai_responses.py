"""OpenAI Responses."""

from __future__ import annotations

import json
from typing import Any

from ..deltas import (
    Delta,
    Finish,
    ResponseInfo,
    Text,
    TextSignature,
    Thinking,
    ThinkingSignature,
    ToolFragment,
    UsageReport,
)
from ._parsing import DONE_SENTINEL, error_from_payload, parse_object, token_count


class OpenAIResponsesDecoder:
    """Decodes one answer; complete with `response.completed` or `response.incomplete`."""

    api = "openai-responses"

    def __init__(self) -> None:
        self.done: bool = False
        self._refused = False
        self._streamed_items: set[int] = set()  # items that came in deltas

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        if data.strip() == DONE_SENTINEL:
            return []
        body = parse_object(data)
        event_type = body.get("type") or event
        index = body.get("output_index")
        index = index if isinstance(index, int) else 0
        delta = body.get("delta") if isinstance(body.get("delta"), str) else ""
        deltas: list[Delta] = []
        if event_type == "response.output_text.delta":
            self._streamed_items.add(index)
            deltas.append(Text(delta or "", index))
        elif event_type == "response.refusal.delta":
            self._streamed_items.add(index)
            self._refused = True
            deltas.append(Text(delta or "", index))
        elif event_type in (
            "response.reasoning_summary_text.delta",
            "response.reasoning_text.delta",
        ):
            self._streamed_items.add(index)
            deltas.append(Thinking(delta or "", index))
        elif event_type == "response.reasoning_summary_part.added":
            if body.get("summary_index"):
                deltas.append(Thinking("\n\n", index))
        elif event_type == "response.function_call_arguments.delta":
            self._streamed_items.add(index)
            deltas.append(ToolFragment(index, arguments=delta or ""))
        elif event_type == "response.output_item.added":
            item = body.get("item") or {}
            if item.get("type") == "function_call":
                deltas.append(_tool_fragment(index, item))
        elif event_type == "response.output_item.done":
            self._decode_item(index, body.get("item") or {}, deltas)
        elif event_type == "response.created":
            response = body.get("response") or {}
            deltas.append(ResponseInfo(response.get("id"), response.get("model")))
        elif event_type in ("response.completed", "response.incomplete", "response.failed"):
            self._decode_end(body.get("response") or {}, deltas)
        elif event_type == "error" or (body.get("error") and "response" not in body):
            raise error_from_payload(body.get("error") or body)
        return deltas

    def decode_body(self, body: str) -> list[Delta]:
        """The deltas of a plain, unstreamed answer."""
        response = parse_object(body)
        deltas: list[Delta] = [ResponseInfo(response.get("id"), response.get("model"))]
        for index, item in enumerate(response.get("output") or ()):
            if item.get("type") == "function_call":
                deltas.append(_tool_fragment(index, item))
            self._decode_item(index, item, deltas)
        self._decode_end(response, deltas)
        return deltas

    def _decode_item(self, index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
        """An item is whole: what did not come in deltas comes now, and what only stands here."""
        was_streamed, item_type = index in self._streamed_items, item.get("type")
        if item_type == "reasoning":
            if not was_streamed:
                parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
                text = "\n\n".join(part.get("text") or "" for part in parts)
                deltas.append(Thinking(text, index))
            if item.get("encrypted_content"):
                # The provider takes reasoning back only as the item that it was.
                deltas.append(ThinkingSignature(json.dumps(item, ensure_ascii=False), index))
        elif item_type == "message":
            for part in item.get("content") or ():
                if part.get("type") == "refusal":
                    self._refused = True
                if not was_streamed:
                    deltas.append(Text(part.get("text") or part.get("refusal") or "", index))
            if item.get("id"):
                deltas.append(TextSignature(str(item["id"])))
        elif item_type == "function_call" and not was_streamed:
            deltas.append(ToolFragment(index, arguments=item.get("arguments") or ""))

    def _decode_end(self, response: dict[str, Any], deltas: list[Delta]) -> None:
        if response.get("error") or response.get("status") == "failed":
            raise error_from_payload(response.get("error") or {"message": "The response failed."})
        self.done = True
        deltas.append(ResponseInfo(response.get("id"), response.get("model")))
        usage = response.get("usage")
        if isinstance(usage, dict):
            deltas.append(_usage_report(usage))
        reason = (response.get("incomplete_details") or {}).get("reason")
        if reason is None and response.get("status") == "incomplete":
            reason = "length"
        deltas.append(Finish(reason or ("refusal" if self._refused else "stop")))


def _tool_fragment(index: int, item: dict[str, Any]) -> ToolFragment:
    return ToolFragment(index, item.get("call_id") or item.get("id"), item.get("name"))


def _usage_report(usage: dict[str, Any]) -> UsageReport:
    input_details = usage.get("input_tokens_details") or {}
    cache_read = token_count(input_details.get("cached_tokens")) or 0
    cache_write = token_count(input_details.get("cache_write_tokens")) or 0
    input_tokens = token_count(usage.get("input_tokens"))
    output_details = usage.get("output_tokens_details") or {}
    return UsageReport(
        input=None if input_tokens is None else max(0, input_tokens - cache_read - cache_write),
        output=token_count(usage.get("output_tokens")),
        cache_read=cache_read,
        cache_write=cache_write,
        reasoning=token_count(output_details.get("reasoning_tokens")),
    )
