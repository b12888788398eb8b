"""OpenAI Chat Completions, as OpenAI and a hundred compatible hosts really send it."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
from .reading import DONE, integer, parse, reported

_REASONING = ("reasoning_content", "reasoning", "reasoning_text")


class OpenAIChat:
    """Decodes one answer; complete with a finish reason or `[DONE]`."""

    api = "openai-completions"

    def __init__(self) -> None:
        self.done: bool = False
        self._told: tuple[Any, Any] = (None, None)
        self._refused = False

    def decode(self, event: str, data: str) -> list[Delta]:
        """The deltas of one server-sent event."""
        if data.strip() == DONE:
            self.done = True
            return [Finish()]
        return self._chunk(parse(data), event)

    def decode_whole(self, body: str) -> list[Delta]:
        """The deltas of a plain, unstreamed answer."""
        return self._chunk(parse(body), "")

    def _chunk(self, chunk: dict[str, Any], event: str) -> list[Delta]:
        if chunk.get("error"):
            raise reported(chunk["error"])
        if event == "error" or chunk.get("object") == "error":
            raise reported(chunk)
        deltas: list[Delta] = []
        told = (chunk.get("id"), chunk.get("model"))
        if told != self._told:
            self._told = told
            deltas.append(ResponseInfo(*(part if isinstance(part, str) else None for part in told)))
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        reason = None
        for choice in chunk.get("choices") or ():
            if choice.get("index"):
                continue  # one answer is asked for
            delta = choice.get("delta")
            if delta is None:  # a whole answer; in a stream it would say all again
                delta = choice.get("message")
            if delta:
                self._delta(delta, deltas)
            reason = choice.get("finish_reason")
            usage = usage or choice.get("usage")
        if isinstance(usage, dict):
            deltas.append(_usage(usage))
        if reason:
            refused = self._refused and reason == "stop"
            deltas.append(Finish("refusal" if refused else str(reason)))
        return deltas

    def _delta(self, delta: dict[str, Any], deltas: list[Delta]) -> None:
        value = next((v for n in _REASONING if isinstance(v := delta.get(n), str) and v), None)
        blocks = delta.get("thinking_blocks")
        if isinstance(blocks, list) and blocks:
            deltas.extend(thinking_blocks(blocks, value))
        elif value is not None:
            deltas.append(Thinking(value))
        details = delta.get("reasoning_details")
        if isinstance(details, list):
            _details(details, deltas, readable=value is None)
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                deltas.append(Text(content))
        elif isinstance(content, list):
            _parts(content, deltas)
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            self._refused = True
            deltas.append(Text(refusal))
        calls = delta.get("tool_calls") or ()
        deltas.extend(_call(call, call.get("index")) for call in calls)
        if isinstance(delta.get("function_call"), dict):  # the older form: one call, no id
            deltas.append(_call({"function": delta["function_call"]}, 0))


def thinking_blocks(blocks: list[Any], words: str | None) -> Iterator[Delta]:
    """LiteLLM's words for Claude's thinking; `words` is what it says of them in OpenAI's."""
    for block in blocks:
        if not isinstance(block, dict):
            continue
        number = block.get("index")
        if block.get("type") == "redacted_thinking":
            yield RedactedThinking(block.get("data") or "", number)
            continue
        # With the signature some versions send the whole block once more.
        repeated = block.get("signature") and not words
        if block.get("thinking") and not repeated:
            yield Thinking(block["thinking"], number)
        if block.get("signature"):
            yield ThinkingSignature(block["signature"], number)


def _call(call: dict[str, Any], index: Any) -> ToolFragment:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    extra = (call.get("extra_content") or {}).get("google") or {}
    return ToolFragment(
        index=index if isinstance(index, int) else None,
        id=str(call["id"]) if call.get("id") else None,
        name=function.get("name") or None,
        arguments=arguments or "",
        thought_signature=extra.get("thought_signature"),
    )


def _details(details: list[Any], deltas: list[Delta], readable: bool) -> None:
    """OpenRouter's reasoning: text and summaries may stand elsewhere too, signatures only here."""
    for detail in details:
        if not isinstance(detail, dict):
            continue
        words = detail.get("text") or detail.get("summary")
        if readable and isinstance(words, str) and words:
            deltas.append(Thinking(words))
        if detail.get("signature"):
            deltas.append(ThinkingSignature(str(detail["signature"])))
        if detail.get("type") == "reasoning.encrypted" and detail.get("data"):
            deltas.append(RedactedThinking(json.dumps(detail)))


def _parts(parts: list[Any], deltas: list[Delta]) -> None:
    """Content as a list, as Mistral sends it."""
    for part in parts:
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str) and part["text"]:
            deltas.append(Text(part["text"]))
        thinking = part.get("thinking")
        if isinstance(thinking, str) and thinking:
            deltas.append(Thinking(thinking))
        if isinstance(thinking, list):
            words = (p.get("text") for p in thinking if isinstance(p, dict))
            deltas.extend(Thinking(word) for word in words if isinstance(word, str))


def _usage(usage: dict[str, Any]) -> UsageReport:
    prompt = integer(usage.get("prompt_tokens"))
    details = usage.get("prompt_tokens_details") or {}
    read = (
        integer(details.get("cached_tokens"))
        or integer(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
        or integer(usage.get("cached_tokens"))  # Moonshot
        or 0
    )
    write = (
        integer(details.get("cache_write_tokens"))
        or integer(details.get("cache_creation_tokens"))
        or integer(usage.get("cache_creation_input_tokens"))
        or 0
    )
    out = usage.get("completion_tokens_details") or {}
    cost = usage.get("cost")
    if isinstance(cost, dict):  # Perplexity's
        cost = cost.get("total_cost")
    output, reasoning = (
        integer(usage.get("completion_tokens")),
        integer(out.get("reasoning_tokens")),
    )
    if reasoning and output is not None:
        apart = (prompt or 0) + output + reasoning  # xAI counts it apart; the total tells
        output += reasoning if integer(usage.get("total_tokens")) == apart else 0
    return UsageReport(
        input=None if prompt is None else max(0, prompt - read - write),
        output=output,
        cache_read=read,
        cache_write=write,
        reasoning=reasoning,
        input_audio=integer(details.get("audio_tokens")),
        output_audio=integer(out.get("audio_tokens")),
        cost=float(cost) if isinstance(cost, int | float) else None,
    )
