"""Decode LiteLLM's stream chunks into deltas."""

from __future__ import annotations

from typing import Any

from ..deltas import Delta, ResponseInfo, Text, Thinking, ToolFragment, UsageReport
from ..wires._litellm_proxy import decode_thinking_blocks


def decode_chunk(chunk: Any) -> tuple[list[Delta], str | None]:
    """A LiteLLM chunk as deltas, and its finish reason. Attributes may be absent anywhere."""
    deltas: list[Delta] = []
    reason: str | None = None
    response_id = getattr(chunk, "id", None)
    if response_id:
        deltas.append(ResponseInfo(response_id, getattr(chunk, "model", None)))
    for choice in getattr(chunk, "choices", None) or ():
        delta = getattr(choice, "delta", None)
        if delta is not None:
            _append_thinking(delta, deltas)
            for name in ("content", "refusal"):
                value = getattr(delta, name, None)
                if isinstance(value, str) and value:
                    deltas.append(Text(value))
            deltas.extend(_tool_fragment(call) for call in getattr(delta, "tool_calls", None) or ())
        reason = reason or getattr(choice, "finish_reason", None)
        break  # one answer is asked for
    return deltas, reason


def _append_thinking(delta: Any, deltas: list[Delta]) -> None:
    blocks = getattr(delta, "thinking_blocks", None)
    if blocks:
        deltas.extend(decode_thinking_blocks(blocks, getattr(delta, "reasoning_content", None)))
        return
    for name in ("reasoning_content", "reasoning", "reasoning_text"):
        value = getattr(delta, name, None)
        if isinstance(value, str) and value:
            deltas.append(Thinking(value))
            return


def _tool_fragment(call: Any) -> ToolFragment:
    function = getattr(call, "function", None)
    call_id = getattr(call, "id", None) or None
    signature = None
    if call_id and "__thought__" in call_id:  # LiteLLM hides Gemini's signature in the id
        call_id, _, signature = call_id.partition("__thought__")
    return ToolFragment(
        index=getattr(call, "index", None),
        id=call_id,
        name=getattr(function, "name", None) or None,
        arguments=getattr(function, "arguments", None) or "",
        thought_signature=signature,
    )


def decode_usage(usage: Any, provider: str) -> UsageReport:
    """LiteLLM's usage, whose prompt counts what was cached, as ours, which does not."""
    input_tokens = getattr(usage, "prompt_tokens", None)
    input_details = getattr(usage, "prompt_tokens_details", None)
    cache_read = getattr(input_details, "cached_tokens", None) or getattr(
        usage, "prompt_cache_hit_tokens", 0
    )
    cache_write = getattr(input_details, "cache_creation_tokens", None) or getattr(
        usage, "cache_creation_input_tokens", 0
    )
    cache_write_1h = getattr(
        getattr(input_details, "cache_creation_token_details", None),
        "ephemeral_1h_input_tokens",
        None,
    )
    output_details = getattr(usage, "completion_tokens_details", None)
    return UsageReport(
        input=None
        if input_tokens is None
        else max(0, input_tokens - (cache_read or 0) - (cache_write or 0)),
        output=getattr(usage, "completion_tokens", None),
        cache_read=cache_read or 0,
        cache_write=cache_write or 0,
        cache_write_1h=cache_write_1h,
        reasoning=getattr(output_details, "reasoning_tokens", None),
        # Others' figure is LiteLLM's own guess; OpenRouter bills what it says.
        cost=getattr(usage, "cost", None) if provider == "openrouter" else None,
    )
