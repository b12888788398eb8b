"""Token counts: `TokenCount`, and estimates where the provider reports none."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import re
from typing import TYPE_CHECKING, assert_never

from .types import (
    AssistantMessage,
    AudioContent,
    Context,
    DocumentContent,
    FileContent,
    ImageContent,
    Message,
    ServerToolCall,
    ServerToolResult,
    TextContent,
    ThinkingContent,
    ToolCall,
    UserContent,
    VideoContent,
    Warning,
    function_tools,
)

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from .utils.dataclass import dataclass

BYTES_PER_TOKEN = 3.5  # UTF-8 bytes: about right for English and code, a little high for CJK
TOKENS_PER_IMAGE = 1200
# A page is billed as text and as an image. Anthropic names 1,500 to 3,000 tokens for the text.
TOKENS_PER_PAGE = 2500
# For a PDF whose pages cannot be counted; between printed and scanned pages.
BYTES_PER_PAGE = 50_000

# Gemini counts 32 tokens for a second of audio, and 258 for each second of video besides.
TOKENS_PER_AUDIO_SECOND = 32
TOKENS_PER_VIDEO_SECOND = 290
BYTES_PER_AUDIO_SECOND = 16_000  # 128 kbit/s
BYTES_PER_VIDEO_SECOND = 125_000  # 1 Mbit/s
_REMOTE_SECONDS = 60  # for a file of unknown size

_PDF_PAGE = re.compile(rb"/Type\s*/Page\b")


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The number of tokens of a prompt, as `pipy_ai.count_tokens` returns it."""

    tokens: int
    """The number of input tokens."""
    estimated: bool
    """Whether pipy-ai estimated them. False: the provider counted them."""
    warnings: tuple[Warning, ...] = ()
    """Why the provider did not count, and options that were ignored or changed."""


def estimate_tokens(text: str) -> int:
    """Estimate the number of tokens of a text.

    Example:
        >>> estimate_tokens("What is the capital of France?")
        9
    """
    return tokens_from_bytes(len(text.encode("utf-8", "replace")))


def tokens_from_bytes(byte_count: int) -> int:
    """Estimate the number of tokens of a UTF-8 text from its size."""
    return math.ceil(byte_count / BYTES_PER_TOKEN)


def estimate_input_tokens(context: Context) -> int:
    """Estimate the number of tokens of a context."""
    total = estimate_tokens(context.system_prompt or "")
    for tool in function_tools(context.tools):
        schema = json.dumps(tool.parameters, default=str)
        total += estimate_tokens(tool.name + tool.description + schema)
    return total + sum(map(estimate_message_tokens, context.messages))


def estimate_message_tokens(message: Message) -> int:
    """Estimate the number of tokens of a message."""
    if isinstance(message, AssistantMessage):
        results = (part for part in message.content if isinstance(part, ServerToolResult))
        size = sum(estimate_tokens(json.dumps(result.raw, default=str)) for result in results)
        return size + estimate_output_tokens(message)
    if isinstance(message.content, str):
        return estimate_tokens(message.content)
    return sum(map(_estimate_part, message.content))


def _estimate_part(part: UserContent) -> int:
    match part:
        case TextContent():
            return estimate_tokens(part.text)
        case ImageContent():
            return TOKENS_PER_IMAGE
        case DocumentContent():
            return TOKENS_PER_PAGE * _count_pages(part)
        case AudioContent():
            return math.ceil(TOKENS_PER_AUDIO_SECOND * _audio_seconds(part))
        case VideoContent():
            seconds = _file_size(part) / BYTES_PER_VIDEO_SECOND or _REMOTE_SECONDS
            return math.ceil(TOKENS_PER_VIDEO_SECOND * seconds)
        case FileContent():
            return _estimate_stored_file(part)
        case _:
            assert_never(part)


def _estimate_stored_file(file: FileContent) -> int:
    """Estimate the tokens of a file at a provider from its type and size."""
    kind, size = file.mime_type.partition("/")[0], file.size or 0
    match kind:
        case "image":
            return TOKENS_PER_IMAGE
        case "audio":
            seconds = size / BYTES_PER_AUDIO_SECOND or _REMOTE_SECONDS
            return math.ceil(TOKENS_PER_AUDIO_SECOND * seconds)
        case "video":
            seconds = size / BYTES_PER_VIDEO_SECOND or _REMOTE_SECONDS
            return math.ceil(TOKENS_PER_VIDEO_SECOND * seconds)
        case "text":
            return tokens_from_bytes(size)
        case _:
            return TOKENS_PER_PAGE * (-(-size // BYTES_PER_PAGE) or 1)


def _file_size(file: AudioContent | VideoContent) -> int:
    """Return the number of bytes of a file; 0 for a URL."""
    data = file.data or (file.url or "").partition(";base64,")[2]
    return len(data) * 3 // 4


def _audio_seconds(audio: AudioContent) -> float:
    """Estimate the length of audio: exact for bare PCM and WAV."""
    from .media import is_bare_pcm, pcm_rate_hz

    size = _file_size(audio)
    bytes_per_second = BYTES_PER_AUDIO_SECOND
    if is_bare_pcm(audio.mime_type):
        bytes_per_second = 2 * pcm_rate_hz(audio.mime_type)
    elif audio.data.startswith("UklGR"):  # RIFF
        with contextlib.suppress(ValueError):
            header = base64.b64decode(audio.data[:48])
            bytes_per_second = int.from_bytes(header[28:32], "little") or bytes_per_second
    return size / bytes_per_second or _REMOTE_SECONDS


def _count_pages(document: DocumentContent) -> int:
    """Estimate the number of pages of a PDF; 1 for a URL."""
    try:
        data = base64.b64decode(document.data or (document.url or "").partition(",")[2])
    except (ValueError, binascii.Error):
        return 1
    return len(_PDF_PAGE.findall(data)) or -(-len(data) // BYTES_PER_PAGE) or 1


def estimate_output_tokens(message: AssistantMessage) -> int:
    """Estimate the number of tokens of a response."""
    total = 0
    for part in message.content:
        match part:
            case TextContent():
                total += estimate_tokens(part.text)
            case ThinkingContent():
                total += estimate_tokens(part.thinking)
            case ToolCall():
                arguments = part.raw_arguments or json.dumps(part.arguments, default=str)
                total += estimate_tokens(part.name) + estimate_tokens(arguments)
            case ServerToolCall():
                arguments = json.dumps(part.arguments, default=str)
                total += estimate_tokens(part.name) + estimate_tokens(arguments)
            case ServerToolResult():
                pass  # the provider's tool wrote it
            case ImageContent():
                total += TOKENS_PER_IMAGE
            case AudioContent():
                total += estimate_tokens(part.transcript)
            case _:
                assert_never(part)
    return total
