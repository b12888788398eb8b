"""Gemini `streamGenerateContent`."""

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
from ._parsing import error_from_payload, parse_object, token_count


class GeminiDecoder:
    """Decodes one answer; complete with a candidate's finish reason."""

    api = "google-generative-ai"

    def __init__(self) -> None:
        self.done: bool = False  # the wire has no last event; the body ends
        self._last_info: tuple[Any, Any] = (None, None)
        self._call_count = 0

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        return self._decode_chunk(parse_object(data))

    def decode_body(self, body: str) -> list[Delta]:
        """The deltas of a plain answer: one object, or the list of what would be streamed."""
        if body.lstrip().startswith("["):
            chunks = parse_object(f'{{"all": {body}}}')["all"]
            return [delta for chunk in chunks for delta in self._decode_chunk(chunk)]
        return self._decode_chunk(parse_object(body))

    def _decode_chunk(self, chunk: dict[str, Any]) -> list[Delta]:
        if chunk.get("error"):
            raise error_from_payload(chunk["error"])
        deltas: list[Delta] = []
        info = (chunk.get("responseId"), chunk.get("modelVersion"))
        if info != self._last_info:
            self._last_info = info
            deltas.append(ResponseInfo(*info))
        reason = (chunk.get("promptFeedback") or {}).get("blockReason")
        if reason:
            reason = "content_filter"
        for candidate in chunk.get("candidates") or ():
            for part in (candidate.get("content") or {}).get("parts") or ():
                self._decode_part(part, deltas)
            reason = candidate.get("finishReason") or reason
            break  # one answer is asked for
        if isinstance(chunk.get("usageMetadata"), dict):
            deltas.append(_usage_report(chunk["usageMetadata"]))
        if reason:
            deltas.append(Finish(str(reason)))
        return deltas

    def _decode_part(self, part: dict[str, Any], deltas: list[Delta]) -> None:
        signature = part.get("thoughtSignature")
        call = part.get("functionCall")
        if call:
            arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
            deltas.append(
                ToolFragment(
                    self._call_count, call.get("id"), call.get("name"), arguments, signature
                )
            )
            self._call_count += 1
        elif part.get("thought"):
            deltas.append(Thinking(part.get("text") or ""))
            if signature:
                deltas.append(ThinkingSignature(signature))
        else:
            deltas.append(Text(part.get("text") or ""))
            if signature:
                deltas.append(TextSignature(signature))


def _usage_report(usage: dict[str, Any]) -> UsageReport:
    cached_tokens = token_count(usage.get("cachedContentTokenCount")) or 0
    prompt_tokens = token_count(usage.get("promptTokenCount"))
    tool_tokens = token_count(usage.get("toolUsePromptTokenCount")) or 0
    answer_tokens = token_count(usage.get("candidatesTokenCount"))
    thinking_tokens = token_count(usage.get("thoughtsTokenCount"))
    output_reported = answer_tokens is not None or thinking_tokens is not None
    return UsageReport(
        input=None
        if prompt_tokens is None
        else max(0, prompt_tokens + tool_tokens - cached_tokens),
        output=(answer_tokens or 0) + (thinking_tokens or 0) if output_reported else None,
        cache_read=cached_tokens,
        cache_write=0,
        reasoning=thinking_tokens,
        input_audio=_audio_tokens(usage.get("promptTokensDetails")),
        output_audio=_audio_tokens(usage.get("candidatesTokensDetails")),
    )


def _audio_tokens(details: Any) -> int | None:
    """The tokens of sound in a list by modality."""
    for part in details if isinstance(details, list) else ():
        if isinstance(part, dict) and part.get("modality") == "AUDIO":
            return token_count(part.get("tokenCount"))
    return None
