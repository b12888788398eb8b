"""The closed set of deltas: all that a transport can say about an answer.

A transport decodes its wire into these; the assembler knows nothing else. `block` is the wire's
own number of a content block where it has one: another number is another block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(slots=True)
class Text:
    """A piece of answer text (a refusal's text, too)."""

    text: str
    block: int | None = None


@dataclass(slots=True)
class TextSignature:
    """The signature of the newest text block."""

    signature: str


@dataclass(slots=True)
class Thinking:
    """A piece of readable reasoning."""

    text: str
    block: int | None = None


@dataclass(slots=True)
class ThinkingSignature:
    """The signature of the open thinking block; with none open, of one without readable text."""

    signature: str
    block: int | None = None


@dataclass(slots=True)
class RedactedThinking:
    """A whole block of reasoning that only the provider can read."""

    data: str
    block: int | None = None


@dataclass(slots=True)
class ToolFragment:
    """A piece of a tool call. Hosts leave out what they like: index, id, name, arguments."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    thought_signature: str | None = None


@dataclass(slots=True)
class Finish:
    """The wire's own sign that the answer is complete, with its reason where it gave one."""

    reason: str | None = None


@dataclass(slots=True)
class UsageReport:
    """Tokens as the provider reports them; later figures replace earlier ones.

    `input` is without cache reads and writes; `output` includes `reasoning`; the audio counts are
    parts of both.
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    cost: float | None = None


@dataclass(slots=True)
class ResponseInfo:
    """What the provider calls this answer, the model that really gave it, and the wire."""

    id: str | None = None
    model: str | None = None
    api: str | None = None


Delta: TypeAlias = (
    Text
    | TextSignature
    | Thinking
    | ThinkingSignature
    | RedactedThinking
    | ToolFragment
    | Finish
    | UsageReport
    | ResponseInfo
)
