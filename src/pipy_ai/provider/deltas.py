"""The deltas of an answer: the only values that a provider may yield.

Each provider decodes its wire format into these, and the assembler accepts nothing else. `block`
is the wire's own number of a content block, if it has one: a new number starts a new block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never, TypeAlias


@dataclass(slots=True)
class Text:
    """A piece of the answer's text, or of a refusal's."""

    text: str
    block: int | None = None


@dataclass(slots=True)
class TextSignature:
    """The signature of the latest text block.

    With `starts_block` it is that of a new block without text, if the latest block is not text.
    """

    signature: str
    starts_block: bool = False


@dataclass(slots=True)
class Thinking:
    """A piece of readable reasoning."""

    text: str
    block: int | None = None


@dataclass(slots=True)
class ThinkingSignature:
    """The signature of the open thinking block, or of a new block without readable text."""

    signature: str
    block: int | None = None


@dataclass(slots=True)
class RedactedThinking:
    """A complete block of encrypted reasoning, which only the provider can read."""

    data: str
    block: int | None = None


@dataclass(slots=True)
class ToolFragment:
    """A piece of a tool call. Providers may omit any of index, id, name and arguments."""

    index: int | None = None
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    thought_signature: str | None = None


@dataclass(slots=True)
class Omitted:
    """Content that a message cannot represent, by its name on the wire, such as `image`."""

    type: str


@dataclass(slots=True)
class Finish:
    """The wire's own signal that the answer is complete, with the finish reason if it has one."""

    reason: str | None = None


@dataclass(slots=True)
class UsageReport:
    """Token counts reported by the provider. Later values replace earlier ones.

    `input` excludes cache reads and writes. `output` includes `reasoning`. The audio counts are
    included in `input` and `output`. `cost` is in US dollars. `service_tier` and `region` are those
    that served the request. `server_tool_calls` counts calls of tools that the provider runs.
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
    service_tier: str | None = None
    region: str | None = None
    server_tool_calls: dict[str, int] | None = None


@dataclass(slots=True)
class ResponseInfo:
    """The provider's id of the response, the model that produced it, and the wire format."""

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
    | Omitted
    | Finish
    | UsageReport
    | ResponseInfo
)


def invalid_delta(value: Never) -> TypeError:
    """Return the error for a value that is not a delta: a provider is the user's code.

    The type `Never` makes a new kind of delta a type error wherever it is not handled.
    """
    return TypeError(f"not a delta: {value!r}")
