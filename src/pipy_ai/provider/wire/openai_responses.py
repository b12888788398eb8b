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
from .reading import DONE, integer, parse, reported


class OpenAIResponses:
    """Decodes one answer; complete with `response.completed` or `response.incomplete`."""

    api = "openai-responses"

    def __init__(self) -> None:
        self.done: bool = False
        self._refused = False
        self._heard: set[int] = set()  # items that came in deltas

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        if data.strip() == DONE:
            return []
        body = parse(data)
        kind = body.get("type") or event
        index = body.get("output_index")
        index = index if isinstance(index, int) else 0
        piece = body.get("delta") if isinstance(body.get("delta"), str) else ""
        deltas: list[Delta] = []
        if kind == "response.output_text.delta":
            self._heard.add(index)
            deltas.append(Text(piece or "", index))
        elif kind == "response.refusal.delta":
            self._heard.add(index)
            self._refused = True
            deltas.append(Text(piece or "", index))
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            self._heard.add(index)
            deltas.append(Thinking(piece or "", index))
        elif kind == "response.reasoning_summary_part.added":
            if body.get("summary_index"):
                deltas.append(Thinking("\n\n", index))
        elif kind == "response.function_call_arguments.delta":
            self._heard.add(index)
            deltas.append(ToolFragment(index, arguments=piece or ""))
        elif kind == "response.output_item.added":
            item = body.get("item") or {}
            if item.get("type") == "function_call":
                deltas.append(_call(index, item))
        elif kind == "response.output_item.done":
            self._item(index, body.get("item") or {}, deltas)
        elif kind == "response.created":
            response = body.get("response") or {}
            deltas.append(ResponseInfo(response.get("id"), response.get("model")))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            self._end(body.get("response") or {}, deltas)
        elif kind == "error" or (body.get("error") and "response" not in body):
            raise reported(body.get("error") or body)
        return deltas

    def decode_whole(self, body: str) -> list[Delta]:
        """The deltas of a plain, unstreamed answer."""
        response = parse(body)
        deltas: list[Delta] = [ResponseInfo(response.get("id"), response.get("model"))]
        for index, item in enumerate(response.get("output") or ()):
            if item.get("type") == "function_call":
                deltas.append(_call(index, item))
            self._item(index, item, deltas)
        self._end(response, deltas)
        return deltas

    def _item(self, index: int, item: dict[str, Any], deltas: list[Delta]) -> None:
        """An item is whole: what did not come in deltas comes now, and what only stands here."""
        heard, kind = index in self._heard, item.get("type")
        if kind == "reasoning":
            if not heard:
                parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
                text = "\n\n".join(part.get("text") or "" for part in parts)
                deltas.append(Thinking(text, index))
            if item.get("encrypted_content"):
                # The provider takes reasoning back only as the item that it was.
                deltas.append(ThinkingSignature(json.dumps(item, ensure_ascii=False), index))
        elif kind == "message":
            for part in item.get("content") or ():
                if part.get("type") == "refusal":
                    self._refused = True
                if not heard:
                    deltas.append(Text(part.get("text") or part.get("refusal") or "", index))
            if item.get("id"):
                deltas.append(TextSignature(str(item["id"])))
        elif kind == "function_call" and not heard:
            deltas.append(ToolFragment(index, arguments=item.get("arguments") or ""))

    def _end(self, response: dict[str, Any], deltas: list[Delta]) -> None:
        if response.get("error") or response.get("status") == "failed":
            raise reported(response.get("error") or {"message": "The response failed."})
        self.done = True
        deltas.append(ResponseInfo(response.get("id"), response.get("model")))
        usage = response.get("usage")
        if isinstance(usage, dict):
            deltas.append(_usage(usage))
        reason = (response.get("incomplete_details") or {}).get("reason")
        if reason is None and response.get("status") == "incomplete":
            reason = "length"
        deltas.append(Finish(reason or ("refusal" if self._refused else "stop")))


def _call(index: int, item: dict[str, Any]) -> ToolFragment:
    return ToolFragment(index, item.get("call_id") or item.get("id"), item.get("name"))


def _usage(usage: dict[str, Any]) -> UsageReport:
    details = usage.get("input_tokens_details") or {}
    read = integer(details.get("cached_tokens")) or 0
    write = integer(details.get("cache_write_tokens")) or 0
    total = integer(usage.get("input_tokens"))
    out = usage.get("output_tokens_details") or {}
    return UsageReport(
        input=None if total is None else max(0, total - read - write),
        output=integer(usage.get("output_tokens")),
        cache_read=read,
        cache_write=write,
        reasoning=integer(out.get("reasoning_tokens")),
    )
