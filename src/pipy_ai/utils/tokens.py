"""Rough token counts, for answers whose provider reports none. Always marked `estimated`."""

from __future__ import annotations

import json

from ..types import (
    AssistantMessage,
    Context,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
)

BYTES_PER_TOKEN = 3.5  # of UTF-8: about right for English and code, a little high for CJK
TOKENS_PER_IMAGE = 1200


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has.

    Example:
        >>> estimate_tokens("What is the capital of France?")
        9
    """
    return -(-len(text.encode("utf-8", "replace")) * 2 // 7)


def estimate_input(context: Context) -> int:
    """About how many tokens a context has."""
    total = estimate_tokens(context.system_prompt or "")
    for tool in context.tools or []:
        schema = json.dumps(tool.parameters, default=str)
        total += estimate_tokens(tool.name + tool.description + schema)
    for message in context.messages:
        if isinstance(message, AssistantMessage):
            total += estimate_output(message)
        elif isinstance(message.content, str):
            total += estimate_tokens(message.content)
        else:
            for part in message.content:
                if isinstance(part, TextContent):
                    total += estimate_tokens(part.text)
                elif isinstance(part, ImageContent):
                    total += TOKENS_PER_IMAGE
    return total


def estimate_output(message: AssistantMessage) -> int:
    """About how many tokens an answer has."""
    total = 0
    for part in message.content:
        if isinstance(part, TextContent):
            total += estimate_tokens(part.text)
        elif isinstance(part, ThinkingContent):
            total += estimate_tokens(part.thinking)
        elif isinstance(part, ToolCall):
            arguments = part.raw_arguments or json.dumps(part.arguments, default=str)
            total += estimate_tokens(part.name) + estimate_tokens(arguments)
    return total
