"""The deltas of an answer: the only values that a provider may yield.

Each provider decodes its wire format into these, and the assembler accepts nothing else. `block`
is the wire's own number of a content block, if it has one: a new number starts a new block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Never, TypeAlias, assert_never

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from ..utils.dataclass import dataclass, field


@dataclass(slots=True)
class Text:
    """A piece of the answer's text, or of a refusal's."""

    text: str
    """The text."""
    block: int | None = None
    """The wire's number of the block. None: it has none."""


@dataclass(slots=True)
class TextSignature:
    """The signature of the latest text block.

    With `starts_block` it is that of a new block without text, if the latest block is not text.
    """

    signature: str
    """Opaque data of the provider."""
    starts_block: bool = False
    """Whether it begins a block if the latest is not text."""


@dataclass(slots=True)
class Thinking:
    """A piece of readable reasoning."""

    text: str
    """The thinking."""
    block: int | None = None
    """The wire's number of the block. None: it has none."""


@dataclass(slots=True)
class ThinkingSignature:
    """The signature of the open thinking block, or of a new block without readable text."""

    signature: str
    """Opaque data of the provider."""
    block: int | None = None
    """The wire's number of the block. None: it has none."""


@dataclass(slots=True)
class RedactedThinking:
    """A complete block of encrypted reasoning, which only the provider can read."""

    data: str
    """Opaque data of the provider."""
    block: int | None = None
    """The wire's number of the block. None: it has none."""


@dataclass(slots=True)
class ToolFragment:
    """A piece of a tool call. Providers may omit any of index, id, name and arguments."""

    index: int | None = None
    """The wire's number of the call."""
    id: str | None = None
    """The id of the call."""
    name: str | None = None
    """The name of the tool."""
    arguments: str = ""
    """The next part of the arguments, as JSON text."""
    thought_signature: str | None = None
    """Opaque data of the provider."""


@dataclass(slots=True)
class CitationReport:
    """A source of a part of the text or thinking.

    It belongs to the block `block`, or else to the latest one that contains `text`. Providers count
    bytes, characters or nothing: `text` is searched if it is not at `start`.
    """

    text: str = ""
    """The part of the answer."""
    start: int | None = None
    """The first character of the part in its block. None: not reported."""
    source: str = ""
    """The address of the source, or the id of the document or tool call."""
    title: str | None = None
    """The title of the source."""
    quote: str | None = None
    """The words of the source that support the part."""
    data: dict[str, Any] = field(default_factory=dict)
    """The citation as the provider sent it."""
    block: int | None = None
    """The wire's number of the block. None: not reported."""
    end: int | None = None
    """The character after the part, for providers that do not repeat `text`."""
    whole_block: bool = False
    """Whether the part is the whole block."""
    in_bytes: bool = False
    """Whether `start` and `end` count bytes of UTF-8."""


@dataclass(slots=True)
class ServerToolFragment:
    """A piece of a call of a tool that the provider runs. `raw` completes it.

    Fragments of one call have the same `block`, or else the same `id`.
    """

    block: int | None = None
    """The wire's number of the block. None: it has none."""
    id: str = ""
    """The provider's id of the call."""
    name: str = ""
    """The tool, by the name that all providers share if there is one, such as `web_search`."""
    arguments: str = ""
    """The next part of the arguments, as JSON text."""
    raw: dict[str, Any] | None = None
    """The complete call as the provider sent it. None: more may follow."""


@dataclass(slots=True)
class ServerToolOutput:
    """The complete result of a tool that the provider ran."""

    call_id: str = ""
    """The provider's id of the call."""
    name: str = ""
    """The tool, as in the call."""
    text: str = ""
    """The readable part."""
    is_error: bool = False
    """Whether the tool failed."""
    sources: list[CitationReport] = field(default_factory=list)
    """What a search found, or the page that was read."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The result as the provider sent it."""


@dataclass(slots=True)
class ImageData:
    """An image of an answer. A partial one is a preview of that with the same `block`."""

    data: str = ""
    """The bytes, base64-encoded."""
    mime_type: str = ""
    """The media type."""
    url: str | None = None
    """Where the provider offers the image, if it sends no bytes."""
    partial: bool = False
    """Whether a better one follows."""
    block: int | None = None
    """The wire's number of the block. None: it has none."""
    raw: dict[str, Any] = field(default_factory=dict)
    """What the provider wants back with the image."""


@dataclass(slots=True)
class AudioData:
    """A piece of audio of an answer, of its transcript, or both."""

    data: str = ""
    """The next bytes, base64-encoded on their own."""
    transcript: str = ""
    """The next words."""
    mime_type: str = ""
    """The media type, with the first piece."""
    block: int | None = None
    """The wire's number of the block. None: it has none."""
    raw: dict[str, Any] = field(default_factory=dict)
    """What the provider wants back with the audio. Later values are added to earlier ones."""


@dataclass(slots=True)
class Omitted:
    """Content that a message cannot represent, by its name in the API, such as `image`."""

    type: str
    """The name of the content in the API."""


@dataclass(slots=True)
class Finish:
    """The wire's own signal that the answer is complete, with the finish reason if it has one."""

    reason: str | None = None
    """The finish reason as the provider spells it."""


@dataclass(slots=True)
class UsageReport:
    """Token counts reported by the provider. Later values replace earlier ones.

    `input` excludes cache reads and writes. `output` includes `reasoning`. The audio counts are
    included in `input` and `output`. `cost` is in US dollars. `service_tier` and `region` are those
    that served the request. `server_tool_calls` counts calls of tools that the provider runs.
    """

    input: int | None = None
    """Tokens of the prompt, without cached ones."""
    output: int | None = None
    """Tokens of the answer, including `reasoning`."""
    cache_read: int | None = None
    """Tokens read from the cache."""
    cache_write: int | None = None
    """Tokens written to the cache."""
    cache_write_1h: int | None = None
    """The part of `cache_write` that is kept for an hour."""
    reasoning: int | None = None
    """Tokens of thinking."""
    input_audio: int | None = None
    """Tokens of audio in `input`."""
    output_audio: int | None = None
    """Tokens of audio in `output`."""
    output_image: int | None = None
    """Tokens of images in `output`."""
    cost: float | None = None
    """US dollars."""
    service_tier: str | None = None
    """The tier that served the request."""
    region: str | None = None
    """The region that served the request."""
    server_tool_calls: dict[str, int] | None = None
    """Calls of the provider's own tools by name."""


@dataclass(slots=True)
class OutputCount:
    """The output tokens so far, for providers that report them with each event.

    It means the same as `UsageReport(output=…)`, and takes less time.
    """

    output: int
    """Tokens of the answer."""


@dataclass(slots=True)
class ResponseInfo:
    """The provider's id of the response, the model that produced it, the API, and timings."""

    id: str | None = None
    """The provider's id of the response."""
    model: str | None = None
    """The model that answered."""
    api: str | None = None
    """The API, such as `openai-completions`."""
    timings_ms: dict[str, float] | None = field(default=None, kw_only=True)
    """Milliseconds of the phases that the server reports."""
    container: str | None = field(default=None, kw_only=True)
    """The provider's id of the sandbox in which code ran."""


RepeatableDelta: TypeAlias = Text | Thinking | ToolFragment
"""A delta with text."""


def with_text(delta: RepeatableDelta, text: str) -> RepeatableDelta:
    """Return a delta like another with another text.

    Example:
        >>> with_text(Text("Hel", 1), "lo")
        Text(text='lo', block=1)
    """
    match delta:
        case Text():
            return Text(text, delta.block)
        case Thinking():
            return Thinking(text, delta.block)
        case ToolFragment():
            return ToolFragment(delta.index, None, None, text)
        case _:
            assert_never(delta)


@dataclass(slots=True)
class DeltaRun:
    """Consecutive deltas that differ only in their text.

    pipy-ai passes them from its decoders to the assembler together, which takes less time.
    """

    delta: RepeatableDelta
    """One like those of the run."""
    texts: list[str]
    """The texts of the deltas. None is empty."""
    counts: list[int] = field(default_factory=list)
    """The output tokens after each delta, or nothing if the provider does not report them."""

    def __iter__(self) -> Iterator[RepeatableDelta | OutputCount]:
        for text, count in zip_longest(self.texts, self.counts):
            yield with_text(self.delta, text)
            if count is not None:
                yield OutputCount(count)


SingleDelta: TypeAlias = (
    Text
    | TextSignature
    | Thinking
    | ThinkingSignature
    | RedactedThinking
    | ToolFragment
    | CitationReport
    | ServerToolFragment
    | ServerToolOutput
    | ImageData
    | AudioData
    | Omitted
    | Finish
    | UsageReport
    | OutputCount
    | ResponseInfo
)
"""A piece of a response."""

Delta: TypeAlias = SingleDelta | DeltaRun
"""What a provider yields."""


def expand_runs(deltas: Iterable[Delta]) -> Iterator[SingleDelta]:
    """Return single deltas.

    Example:
        >>> list(expand_runs([DeltaRun(Text(""), ["Hel", "lo"])]))
        [Text(text='Hel', block=None), Text(text='lo', block=None)]
    """
    for delta in deltas:
        if isinstance(delta, DeltaRun):
            yield from delta
        else:
            yield delta


def join_text(deltas: Sequence[Delta]) -> Sequence[Delta]:
    """Return deltas with each sequence of pieces of text as one piece.

    Example:
        >>> join_text([Text("Hel"), Text("lo"), Finish("stop")])
        [Text(text='Hello', block=None), Finish(reason='stop')]
    """
    if len(deltas) == 1 and type(deltas[0]) is Text:
        return deltas
    joined: list[Delta] = []
    pieces: list[str] = []
    block: int | None = None
    for delta in _join_runs(deltas):
        if type(delta) is Text and delta.block == block:
            pieces.append(delta.text)
            continue
        if pieces:
            joined.append(Text("".join(pieces), block))
            pieces = []
        if type(delta) is Text:
            pieces, block = [delta.text], delta.block
        else:
            joined.append(delta)
    if pieces:
        joined.append(Text("".join(pieces), block))
    return joined


def _join_runs(deltas: Iterable[Delta]) -> Iterator[Delta]:
    for delta in deltas:
        if isinstance(delta, DeltaRun) and type(delta.delta) is Text:
            yield Text("".join(delta.texts), delta.delta.block)
            if delta.counts:
                yield OutputCount(delta.counts[-1])
        else:
            yield delta


def invalid_delta(value: Never) -> TypeError:
    """Return the error for a value that is not a delta: a provider is the user's code.

    The type `Never` makes a new kind of delta a type error wherever it is not handled.
    """
    return TypeError(f"not a delta: {value!r}")
