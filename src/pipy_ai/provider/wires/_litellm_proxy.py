"""The peculiarities of LiteLLM's proxy.

Its headers name the model behind a name and show whether a response comes from its cache. Its
errors wrap the provider's. Claude's thinking is sent as `thinking_blocks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from ...failures import extract_provider_message
from ...types import (
    AssistantMessage,
    AudioContent,
    ImageContent,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    ToolCall,
)
from ..deltas import Delta, RedactedThinking, ResponseInfo, Thinking, ThinkingSignature, UsageReport
from ..response import unprefixed
from ._fields import content_text, optional_index, optional_text

MODEL_HEADER = "x-litellm-model-name"  # the body only repeats the requested name
CACHE_KEY_HEADER = "x-litellm-cache-key"  # only cached responses have it
_PROXY_RATE_LIMIT_TEXT = "litellm.RateLimitError: Model rate limit exceeded. "
NO_DATABASE_MESSAGE = (
    "The proxy rejected the key. It has no database, so it only accepts its master key: set "
    "LITELLM_PROXY_API_KEY to the proxy's LITELLM_MASTER_KEY."
)


def apply_proxy_headers(deltas: list[Delta], headers: Mapping[str, str]) -> list[Delta]:
    """Correct deltas by a proxy's headers: the model, and the cost of a cached response.

    A cached response costs nothing, although the proxy repeats its original cost.
    """
    model, from_cache = headers.get(MODEL_HEADER), CACHE_KEY_HEADER in headers
    if model or from_cache:
        for delta in deltas:
            if model and isinstance(delta, ResponseInfo):
                delta.model = model
            elif from_cache and isinstance(delta, UsageReport):
                delta.cost = 0.0
    return deltas


def upstream_headers(headers: Mapping[str, str], body: str) -> dict[str, str]:
    """Return the headers of an error, with the provider's headers under their own names.

    A proxy resets its limits at each minute of its clock but always asks to wait a whole minute.
    The `Date` header shows how much of the minute is left.
    """
    merged = unprefixed(headers)
    if _PROXY_RATE_LIMIT_TEXT in body and (
        seconds_match := re.search(r":(\d\d) GMT", headers.get("date", ""))
    ):
        merged["retry-after"] = str(60 - int(seconds_match[1]))
    return merged


def unwrap_error_message(text: str) -> str:
    """Return the provider's message without the exceptions that LiteLLM wraps around it."""
    if not text.startswith("litellm."):
        return text
    return extract_provider_message(text).partition("\n\nLiteLLM: ")[0] or text


def add_thinking_blocks(message: AssistantMessage, turn: dict[str, Any]) -> None:
    """Add thinking in its own field if it precedes all text, else in the content."""
    blocks: list[dict[str, Any]] = []
    before_text = True
    interleaved = False
    for part in message.content:
        match part:
            case TextContent():
                before_text = False
                blocks.append({"type": "text", "text": part.text})
            case ThinkingContent():
                interleaved = interleaved or not before_text
                blocks.append(_thinking_block(part))
            case ToolCall():
                pass  # the message has a field for calls
            case ServerToolCall() | ServerToolResult() | ImageContent() | AudioContent():
                pass  # `adapt_messages` replaced them
            case _:
                assert_never(part)
    if interleaved:
        turn["content"] = blocks
    elif thinking_blocks := [block for block in blocks if block["type"] != "text"]:
        turn["thinking_blocks"] = thinking_blocks


def _thinking_block(part: ThinkingContent) -> dict[str, Any]:
    signature = part.thinking_signature
    if part.redacted:
        return {"type": "redacted_thinking", "data": signature}
    return {"type": "thinking", "thinking": part.thinking, "signature": signature}


def decode_thinking_blocks(blocks: list[Any], reasoning_text: str | None) -> Iterator[Delta]:
    """Decode LiteLLM's `thinking_blocks`. `reasoning_text` is its OpenAI form of the same delta."""
    for block in blocks:
        if not isinstance(block, dict):
            continue
        block_index = optional_index(block.get("index"))
        if block.get("type") == "redacted_thinking":
            yield RedactedThinking(content_text(block.get("data")), block_index)
            continue
        thinking = content_text(block.get("thinking"))
        signature = optional_text(block.get("signature"))
        # Some versions repeat the whole block with the signature.
        is_repeat = signature and not reasoning_text
        if thinking and not is_repeat:
            yield Thinking(thinking, block_index)
        if signature:
            yield ThinkingSignature(signature, block_index)
