"""Rough token counts, for answers whose provider reports none. Always marked `estimated`."""

from __future__ import annotations

import base64
import binascii
import json
import re

from .types import (
    AssistantMessage,
    Context,
    DocumentContent,
    ImageContent,
    TextContent,
    ThinkingContent,
    ToolCall,
)

BYTES_PER_TOKEN = 3.5  # of UTF-8: about right for English and code, a little high for CJK
TOKENS_PER_IMAGE = 1200
# A page counts as its text and its picture: Anthropic tells of 1,500 to 3,000 for the text alone.
TOKENS_PER_PAGE = 2500
BYTES_PER_PAGE = 50_000  # where a file does not show its pages: between print and scan

_PDF_PAGE = re.compile(rb"/Type\s*/Page\b")


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has.

    Example:
        >>> estimate_tokens("What is the capital of France?")
        9
    """
    return tokens_from_bytes(len(text.encode("utf-8", "replace")))


def tokens_from_bytes(byte_count: int) -> int:
    """About how many tokens so many bytes are."""
    return -(-byte_count * 2 // 7)


def estimate_input_tokens(context: Context) -> int:
    """About how many tokens a context has."""
    total = estimate_tokens(context.system_prompt or "")
    for tool in context.tools or []:
        schema = json.dumps(tool.parameters, default=str)
        total += estimate_tokens(tool.name + tool.description + schema)
    for message in context.messages:
        if isinstance(message, AssistantMessage):
            total += estimate_output_tokens(message)
        elif isinstance(message.content, str):
            total += estimate_tokens(message.content)
        else:
            for part in message.content:
                if isinstance(part, TextContent):
                    total += estimate_tokens(part.text)
                elif isinstance(part, ImageContent):
                    total += TOKENS_PER_IMAGE
                elif isinstance(part, DocumentContent):
                    total += TOKENS_PER_PAGE * _count_pages(part)
    return total


def _count_pages(document: DocumentContent) -> int:
    """About how many pages a PDF has; one that is on the web counts as one."""
    try:
        data = base64.b64decode(document.data or (document.url or "").partition(",")[2])
    except (ValueError, binascii.Error):
        return 1
    return len(_PDF_PAGE.findall(data)) or -(-len(data) // BYTES_PER_PAGE) or 1


def estimate_output_tokens(message: AssistantMessage) -> int:
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
