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
from .reading import integer, parse, reported


class Gemini:
    """Decodes one answer; complete with a candidate's finish reason."""

    api = "google-generative-ai"

    def __init__(self) -> None:
        self.done: bool = False  # the wire has no last event; the body ends
        self._told: tuple[Any, Any] = (None, None)
        self._calls = 0

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        return self._chunk(parse(data))

    def decode_whole(self, body: str) -> list[Delta]:
        """The deltas of a plain answer: one object, or the list of what would be streamed."""
        if body.lstrip().startswith("["):
            parts = parse(f'{{"all": {body}}}')["all"]
            return [delta for part in parts for delta in self._chunk(part)]
        return self._chunk(parse(body))

    def _chunk(self, chunk: dict[str, Any]) -> list[Delta]:
        if chunk.get("error"):
            raise reported(chunk["error"])
        deltas: list[Delta] = []
        told = (chunk.get("responseId"), chunk.get("modelVersion"))
        if told != self._told:
            self._told = told
            deltas.append(ResponseInfo(*told))
        reason = (chunk.get("promptFeedback") or {}).get("blockReason")
        if reason:
            reason = "content_filter"
        for candidate in chunk.get("candidates") or ():
            for part in (candidate.get("content") or {}).get("parts") or ():
                self._part(part, deltas)
            reason = candidate.get("finishReason") or reason
            break  # one answer is asked for
        if isinstance(chunk.get("usageMetadata"), dict):
            deltas.append(_usage(chunk["usageMetadata"]))
        if reason:
            deltas.append(Finish(str(reason)))
        return deltas

    def _part(self, part: dict[str, Any], deltas: list[Delta]) -> None:
        signature = part.get("thoughtSignature")
        call = part.get("functionCall")
        if call:
            arguments = json.dumps(call.get("args") or {}, ensure_ascii=False)
            deltas.append(
                ToolFragment(self._calls, call.get("id"), call.get("name"), arguments, signature)
            )
            self._calls += 1
        elif part.get("thought"):
            deltas.append(Thinking(part.get("text") or ""))
            if signature:
                deltas.append(ThinkingSignature(signature))
        else:
            deltas.append(Text(part.get("text") or ""))
            if signature:
                deltas.append(TextSignature(signature))


def _usage(usage: dict[str, Any]) -> UsageReport:
    cached = integer(usage.get("cachedContentTokenCount")) or 0
    prompt = integer(usage.get("promptTokenCount"))
    tools = integer(usage.get("toolUsePromptTokenCount")) or 0
    answer = integer(usage.get("candidatesTokenCount"))
    thoughts = integer(usage.get("thoughtsTokenCount"))
    told = answer is not None or thoughts is not None
    return UsageReport(
        input=None if prompt is None else max(0, prompt + tools - cached),
        output=(answer or 0) + (thoughts or 0) if told else None,
        cache_read=cached,
        cache_write=0,
        reasoning=thoughts,
        input_audio=_audio(usage.get("promptTokensDetails")),
        output_audio=_audio(usage.get("candidatesTokensDetails")),
    )


def _audio(details: Any) -> int | None:
    """The tokens of sound in a list by modality."""
    for part in details if isinstance(details, list) else ():
        if isinstance(part, dict) and part.get("modality") == "AUDIO":
            return integer(part.get("tokenCount"))
    return None
