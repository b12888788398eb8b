"""The data types: content, messages, usage, tools, context. Re-exports the options.

All are Pydantic models. They read pi's camelCase JSON and snake_case, write snake_case
(`model_dump_json(by_alias=True)` for camelCase), and keep unknown fields, so that a round trip
loses nothing. Options are different: unknown fields raise an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python

from .errors import ErrorInfo, ErrorKind, exception_for, warn_unchecked
from .options import (
    CacheRetention,
    SimpleStreamOptions,
    StreamOptions,
    ThinkingBudgets,
    ThinkingLevel,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    from .function_schema import FunctionSchema

__all__ = [
    "AssistantContent",
    "AssistantMessage",
    "Attempt",
    "AudioContent",
    "CacheRetention",
    "Citation",
    "Context",
    "Cost",
    "DocumentContent",
    "FileContent",
    "ImageContent",
    "Message",
    "RateLimit",
    "RawResponse",
    "ServerTool",
    "ServerToolCall",
    "ServerToolResult",
    "SimpleStreamOptions",
    "StopReason",
    "StreamOptions",
    "TextContent",
    "ThinkingBudgets",
    "ThinkingContent",
    "ThinkingLevel",
    "Tool",
    "ToolCall",
    "ToolLike",
    "ToolResultContent",
    "ToolResultMessage",
    "Usage",
    "UserContent",
    "UserMessage",
    "VideoContent",
    "Warning",
    "as_tool",
    "as_tools",
    "now_ms",
]


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class _DataModel(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", defer_build=True
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import model_args

        return model_args(self)


class StopReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model finished its answer."""
    LENGTH = "length"
    """The answer reached its token limit."""
    TOOL_USE = "toolUse"
    """The model calls tools and waits for their results."""
    ERROR = "error"
    """The request failed; see `error`."""
    ABORTED = "aborted"
    """The request was aborted."""


# === Content ===


class Citation(_DataModel):
    """A source of a part of an answer.

    A part with several sources has one citation for each.

    Example:
        >>> from pipy_ai import Citation, TextContent
        >>> citation = Citation(source="doc:1", title="Penguins", start=0, end=8)
        >>> part = TextContent(text="Emperors are the tallest.", citations=[citation])
        >>> part.text[citation.start : citation.end], part.citations[0].title
        ('Emperors', 'Penguins')
    """

    source: str = ""
    """The address of the source, or the id of the document or tool call."""
    title: str | None = None
    """The title of the source. None: the provider sent none."""
    start: int | None = None
    """The first character of the part in the text of the content. None: unknown."""
    end: int | None = None
    """The character after the part. None: unknown."""
    quote: str | None = None
    """The words of the source that support the part. None: the provider sent none."""
    data: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The citation as the provider sent it."""


class TextContent(_DataModel):
    """A piece of text."""

    type: Literal["text"] = "text"
    """Always `text`."""
    text: str = ""
    """The text."""
    text_signature: str | None = None
    """Opaque data of the provider that belongs to the text, sent back with it."""
    citations: list[Citation] = Field(default_factory=list)
    """The sources of its parts, if the provider names them."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class ThinkingContent(_DataModel):
    """A piece of the model's reasoning.

    The provider needs `thinking_signature` to accept the block in a later request. A `redacted`
    block has no readable text; its signature holds the provider's opaque data.
    """

    type: Literal["thinking"] = "thinking"
    """Always `thinking`."""
    thinking: str = ""
    """The readable reasoning. Empty if it is redacted."""
    thinking_signature: str | None = None
    """Opaque data that the provider needs to accept the block in a later request."""
    redacted: bool = False
    """Whether the provider withheld the text."""
    citations: list[Citation] = Field(default_factory=list)
    """The sources of its parts, if the provider names them."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


_Bytes: TypeAlias = bytes  # hidden by the property below


class MediaContent(_DataModel):
    """The base of images, audio and video: base64 `data` of `mime_type`, or a `url`."""

    data: str = Field(default="", repr=False)
    """The bytes, base64-encoded. Empty if there is a `url`."""
    mime_type: str = ""
    """The media type, such as `image/png`."""
    url: str | None = None
    """An address from which the provider fetches the file, or at which it offers it."""

    @property
    def bytes(self) -> _Bytes:
        """The file's content.

        Raises:
            ValueError: There is only a `url`, or `data` is not valid base64.
        """
        from .media import content_bytes

        return content_bytes(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the content to a file and return its path. Bare PCM audio is saved as WAV.

        A path without a suffix gets that of the media type. The file is replaced atomically.

        Raises:
            ValueError: There is only a `url`, or `data` is not valid base64.
            OSError: The file cannot be written.
        """
        from .media import save_content

        return save_content(self, path)


class ImageContent(MediaContent):
    """An image: base64 `data` of `mime_type`, or a `url` that the provider fetches.

    Example:
        >>> from pipy_ai import ImageContent
        >>> ImageContent(data="iVBORw==", mime_type="image/png").bytes
        b'\x89PNG'
    """

    type: Literal["image"] = "image"
    """Always `image`."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Data of the provider that belongs to an image of an answer, sent back with it."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class AudioContent(MediaContent):
    """Audio: base64 `data` of `mime_type`, with the words if they are known."""

    type: Literal["audio"] = "audio"
    """Always `audio`."""
    transcript: str = ""
    """The spoken words. Empty: unknown."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Data of the provider that belongs to the audio of an answer, sent back with it."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class VideoContent(MediaContent):
    """A video: base64 `data` of `mime_type`, or a `url` that the provider fetches.

    Example:
        >>> from pipy_ai import VideoContent
        >>> print(VideoContent(url="https://example.com/film.mp4"))
        [video: https://example.com/film.mp4]
    """

    type: Literal["video"] = "video"
    """Always `video`."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class DocumentContent(_DataModel):
    """A PDF: base64 `data`, or a `url` that the provider fetches.

    `name` is the file name that the model sees, if the provider passes it on.
    """

    type: Literal["document"] = "document"
    """Always `document`."""
    data: str = Field(default="", repr=False)
    """The bytes, base64-encoded. Empty if there is a `url`."""
    mime_type: str = "application/pdf"
    """The media type."""
    url: str | None = None
    """An address from which the provider fetches the document."""
    name: str | None = None
    """The file name that the model sees."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class FileContent(_DataModel):
    """A file that is stored at a provider: uploaded, or created by its code execution.

    Only models of this provider can read it. See `upload` and `message.files`.

    Example:
        >>> from pipy_ai import FileContent
        >>> print(FileContent(id="file-7", provider="openai", name="report.pdf"))
        [file 'report.pdf' at openai]
    """

    type: Literal["file"] = "file"
    """Always `file`."""
    id: str = ""
    """The provider's id of the file."""
    provider: str = ""
    """The provider that stores it, as in the catalogue: `openai`, `anthropic` or `google`."""
    mime_type: str = ""
    """The media type. Empty: unknown."""
    name: str | None = None
    """The name of the file."""
    size: int | None = None
    """The number of bytes."""
    url: str | None = None
    """The address by which Gemini refers to the file."""
    expires_at: int | None = None
    """When the provider deletes it, in Unix milliseconds. None: never, or unknown."""
    container_id: str | None = None
    """The container of code execution in which OpenAI stores it."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class ToolCall(_DataModel):
    """A request by the model to call a tool.

    If the arguments are not a JSON object, `arguments` is `{}`, `arguments_error` holds the reason
    and `raw_arguments` the original text. Do not run such a call: return the error to the model.
    """

    type: Literal["toolCall"] = "toolCall"
    """Always `toolCall`."""
    id: str = ""
    """The id of the call, unique within an answer. Its result refers to it."""
    name: str = ""
    """The name of the tool."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """The arguments by name. `{}` if they are not a JSON object."""
    thought_signature: str | None = None
    """Opaque data of the provider that belongs to the call, sent back with it."""
    arguments_error: str | None = None
    """The reason why the arguments are invalid. None: they are valid JSON."""
    raw_arguments: str | None = None
    """The original text of invalid arguments."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class ServerToolCall(_DataModel):
    """A call of a tool that the provider runs itself, such as a web search.

    You don't have to handle it: its result is in the same message, as a `ServerToolResult`.
    """

    type: Literal["serverToolCall"] = "serverToolCall"
    """Always `serverToolCall`."""
    id: str = ""
    """The provider's id of the call."""
    name: str = ""
    """The tool: `web_search`, `web_fetch`, `code_execution`, … or the provider's name of it."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """The arguments by name, such as `{"query": "…"}`."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The call as the provider sent it. It is sent back unchanged to the same API."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


class ServerToolResult(_DataModel):
    """The result of a tool that the provider ran.

    It is sent back unchanged to the API that produced it, and as text with its sources to any
    other.
    """

    type: Literal["serverToolResult"] = "serverToolResult"
    """Always `serverToolResult`."""
    tool_call_id: str = ""
    """The id of the `ServerToolCall`."""
    name: str = ""
    """The tool, as in the call."""
    text: str = ""
    """The readable part, such as the output of a program. Empty: there is none."""
    is_error: bool = False
    """Whether the tool failed. `text` then holds the reason."""
    sources: list[Citation] = Field(default_factory=list)
    """What a search found, or the page that was read."""
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The result as the provider sent it. It is sent back unchanged to the same API."""

    def __str__(self) -> str:
        from .reprs import part_text

        return part_text(self)


UserContent: TypeAlias = Annotated[
    TextContent | ImageContent | DocumentContent | AudioContent | VideoContent | FileContent,
    Field(discriminator="type"),
]
"""Content of a message of the user."""
AssistantContent: TypeAlias = Annotated[
    TextContent
    | ThinkingContent
    | ToolCall
    | ServerToolCall
    | ServerToolResult
    | ImageContent
    | AudioContent,
    Field(discriminator="type"),
]
"""Content of an answer."""
ToolResultContent: TypeAlias = Annotated[
    TextContent | ImageContent | DocumentContent | AudioContent | VideoContent | FileContent,
    Field(discriminator="type"),
]
"""Content of a tool result."""


# === Usage and cost ===


class Cost(_DataModel):
    """The cost of a request in US dollars. `None` is unknown, never free.

    `tools` are the fees of the provider's own tools, such as web search. `source` is `provider`
    (reported by the provider), `catalog` (computed from listed prices), `cache` (a cached response,
    which costs nothing) or `unknown`.
    """

    input: float | None = None
    """US dollars for uncached input."""
    output: float | None = None
    """US dollars for output, including reasoning."""
    cache_read: float | None = None
    """US dollars for tokens read from the cache."""
    cache_write: float | None = None
    """US dollars for tokens written to the cache."""
    tools: float | None = None
    """US dollars for calls of the provider's own tools."""
    total: float | None = None
    """US dollars in total. None: a part of it is unknown."""
    cache_savings: float | None = None
    """US dollars by which the prompt cache made the request cheaper. Negative if writing to it cost
    more than reading from it saved. None: it was not used, or its price is unknown."""
    source: Literal["provider", "catalog", "cache", "unknown"] = "unknown"
    """`provider`: reported by the provider. `catalog`: computed from listed prices. `cache`: the
    response comes from the cache of pipy-ai. `unknown`: there is no total."""
    is_upper_bound: bool = False
    """Whether the bill may be lower, because a number of the tools' calls is free each day or month
    and responses do not show how many are left."""

    def __str__(self) -> str:
        from .reprs import cost_text

        return cost_text(self)

    def __format__(self, spec: str) -> str:
        from .reprs import format_cost

        return format_cost(self, spec)


class Usage(_DataModel):
    """Tokens of one request.

    `input` excludes cached tokens; `output` includes `reasoning`; `cache_write_1h` is the part of
    `cache_write` that is kept for an hour; `input_audio` and `output_audio` are the audio parts of
    `input` and `output`, `output_image` is the part of images. `None` means that the provider did
    not report the number. `estimated` marks figures computed by pipy-ai because the provider sent
    none.

    `service_tier` and `region` are those that served the request, as the provider names them; they
    may change the price. `server_tool_calls` counts calls of tools that the provider runs, such as
    `{"web_search": 2}`.
    """

    input: int = 0
    """Tokens of the prompt, without cached ones."""
    output: int = 0
    """Tokens of the answer, including `reasoning`."""
    cache_read: int = 0
    """Tokens of the prompt that were read from the cache."""
    cache_write: int = 0
    """Tokens of the prompt that were written to the cache."""
    total_tokens: int = 0
    """The sum of `input`, `cache_read`, `cache_write` and `output`."""
    reasoning: int | None = None
    """Tokens of thinking, a part of `output`. None: not reported."""
    input_audio: int | None = None
    """Tokens of audio, a part of `input`. None: not reported."""
    output_audio: int | None = None
    """Tokens of audio, a part of `output`. None: not reported."""
    output_image: int | None = None
    """Tokens of images, a part of `output`. None: not reported."""
    cache_write_1h: int | None = Field(
        default=None,
        validation_alias=AliasChoices("cache_write_1h", "cacheWrite1h"),
        serialization_alias="cacheWrite1h",
    )
    """The part of `cache_write` that is kept for an hour. None: not reported."""
    estimated: bool = False
    """Whether pipy-ai estimated the numbers because the provider sent none."""
    service_tier: str | None = None
    """The tier that served the request, as the provider names it."""
    region: str | None = None
    """The region that served the request, as the provider names it."""
    server_tool_calls: dict[str, int] = Field(default_factory=dict)
    """Calls of the provider's own tools by name, such as `{"web_search": 2}`."""
    cost: Cost = Field(default_factory=Cost)
    """The cost of the request."""

    def __str__(self) -> str:
        from .reprs import usage_text

        return usage_text(self)


# === Messages ===


class Warning(_DataModel):
    """A deviation from the request, or other information for the caller."""

    code: str
    """A stable name, such as `option_ignored`."""
    message: str
    """What happened, as a sentence."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Attempt(_DataModel):
    """One attempt at a request. `duration_ms` is in milliseconds.

    The attempt that succeeded has no `error`.
    """

    provider: str = ""
    """The provider that the request was sent to."""
    model: str = ""
    """The id of the model that the request was sent to."""
    error: ErrorInfo | None = None
    """Why the attempt failed. None: it succeeded."""
    usage: Usage = Field(default_factory=Usage)
    """Tokens and cost of this attempt."""
    duration_ms: float | None = None
    """Milliseconds from start to end."""


class CacheHit(_DataModel):
    """A response from the cache: see the option `cache`."""

    saved: float | None = None
    """US dollars that the request would have cost. None: the price is unknown."""
    stored_at: int = 0
    """When the response was stored, in milliseconds of Unix time."""


class RateLimit(_DataModel):
    """One of a provider's limits, as the headers of a response describe it. None: unknown."""

    limit: int | None = None
    """How many requests or tokens are allowed."""
    remaining: int | None = None
    """How many of them are left."""
    reset_at: int | None = None
    """When all of them are allowed again, in milliseconds of Unix time."""


class RawResponse(_DataModel):
    """An HTTP response, kept with `raw=True`. Header names are in lower case.

    It may contain secrets that the provider repeated. It is neither shown nor serialized with its
    message.
    """

    status: int = 0
    """The HTTP status."""
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    """The headers."""
    body: bytes | None = Field(default=None, repr=False)
    """The body, decompressed, as far as it was read: for a stream, its events. None: LiteLLM sent
    the request."""

    @property
    def text(self) -> str:
        """The body as text; empty if there is none."""
        return (self.body or b"").decode("utf-8", "replace")


class _ShownMessage(_DataModel):
    """A message that notebooks show."""

    def _repr_markdown_(self) -> str:
        from .notebook import message_markdown

        return message_markdown(self)

    def _repr_html_(self) -> str:
        from .notebook import message_html

        return message_html(self)


class UserMessage(_ShownMessage):
    """A message of the user: plain text, or a list of text, images and documents."""

    role: Literal["user"] = "user"
    """Always `user`."""
    content: str | list[UserContent] = ""
    """The text, or a list of text, images and documents."""
    timestamp: int = Field(default_factory=now_ms)
    """When the message was made, in milliseconds of Unix time."""

    def __str__(self) -> str:
        from .reprs import message_text

        return message_text(self)


def _file_items(content: Any) -> list[dict[str, Any]]:
    """Return the items of Anthropic's results of code execution that are files."""
    items = content.get("content") if isinstance(content, dict) else None
    return [
        item
        for item in (items if isinstance(items, list) else ())
        if isinstance(item, dict)
        and str(item.get("type")).endswith("code_execution_output")
        and isinstance(item.get("file_id"), str)
    ]


class AssistantMessage(_ShownMessage):
    """The response of a model. A failed request is also one: see `error` and `raise_for_error()`.

    `stop_reason` is `None` while the response is in flight. Times are in milliseconds: `ttft_ms`
    to the first content, `duration_ms` to the end. `attempts` is filled if there was more than one
    attempt, and includes the last; `usage` is that of the last.
    """

    role: Literal["assistant"] = "assistant"
    """Always `assistant`."""
    content: list[AssistantContent] = Field(default_factory=list)
    """Text, thinking, tool calls, and what else the model produced, in order."""
    api: str = ""
    """The API that was used, such as `anthropic-messages`."""
    provider: str = ""
    """The provider that answered, by its models.dev name."""
    model: str = ""
    """The id of the model that was asked."""
    usage: Usage = Field(default_factory=Usage)
    """Tokens and cost."""
    stop_reason: StopReason | None = None
    """Why the answer ended. None while it is in flight."""
    raw_stop_reason: str | None = None
    """The finish reason as the provider spells it."""
    error_message: str | None = None
    """The text of the error; the same as `error.message`."""
    error: ErrorInfo | None = None
    """Why the request failed. None: it did not."""
    warnings: list[Warning] = Field(default_factory=list)
    """Options that were ignored or changed, and other notices."""
    attempts: list[Attempt] = Field(default_factory=list)
    """All attempts, if there was more than one."""
    response_id: str | None = None
    """The provider's id of the response."""
    response_model: str | None = None
    """The model that answered, as the provider names it."""
    request_id: str | None = None
    """The provider's id of the HTTP request, for contacting its support. None: it sent none."""
    rate_limits: dict[str, RateLimit] = Field(default_factory=dict)
    """The provider's limits by name, such as `requests` or `tokens`. Empty: it sent none."""
    raw: RawResponse | None = Field(default=None, repr=False, exclude=True)
    """The HTTP response. None without `raw=True`, and where no HTTP request was sent."""
    container: str | None = None
    """The provider's id of the sandbox in which its code execution ran. To use it again in a later
    turn, pass `extra={"container": message.container}`."""
    cached: CacheHit | None = None
    """Set if the response comes from the cache of pipy-ai, with the amount saved."""
    ttft_ms: float | None = None
    """Milliseconds to the first content. None: there was none."""
    duration_ms: float | None = None
    """Milliseconds to the end."""
    server_timings_ms: dict[str, float] = Field(default_factory=dict)
    """Milliseconds that the server reports for `load` (of the model), `input`, `output` and
    `total`. Empty: none are reported."""
    timestamp: int = Field(default_factory=now_ms)
    """When the request started, in milliseconds of Unix time."""

    # Whether the caller has yet to see the error. Not a field: it is not compared, copied or
    # serialized.
    __slots__ = ("_error_unseen",)

    @field_validator("stop_reason", mode="before")
    @classmethod
    def _pending_to_none(cls, value: Any) -> Any:
        return None if value == "pending" else value  # pi's value for a response in flight

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import assistant_args

        mark_error_seen(self)
        return assistant_args(self)

    def __str__(self) -> str:
        from .reprs import answer_text

        mark_error_seen(self)
        return answer_text(self)

    @property
    def text(self) -> str:
        """All text, joined.

        The first access issues an `UncheckedErrorWarning` if the request failed and the error was
        not looked at before: by reading `error`, `error_message` or `stop_reason`, by
        `raise_for_error()`, by showing or serializing the message, or by reading it from an
        `ErrorEvent`.
        """
        error = self.__dict__.get("error")
        if error is not None and getattr(self, "_error_unseen", False):
            mark_error_seen(self)
            warn_unchecked(error, self)
        return self._joined_text

    @property
    def _joined_text(self) -> str:
        return "".join(c.text for c in self.content if isinstance(c, TextContent))

    @property
    def thinking_text(self) -> str:
        """All readable thinking, joined."""
        return "".join(c.thinking for c in self.content if isinstance(c, ThinkingContent))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """All tool calls, in order."""
        return [c for c in self.content if isinstance(c, ToolCall)]

    @property
    def server_tool_calls(self) -> list[ServerToolCall]:
        """All calls of tools that the provider ran itself, in order."""
        return [c for c in self.content if isinstance(c, ServerToolCall)]

    @property
    def citations(self) -> list[Citation]:
        """All citations of the text, in order."""
        return [cite for c in self.content if isinstance(c, TextContent) for cite in c.citations]

    @property
    def images(self) -> list[ImageContent]:
        """All images, in order."""
        return [c for c in self.content if isinstance(c, ImageContent)]

    @property
    def audio(self) -> list[AudioContent]:
        """All audio, in order."""
        return [c for c in self.content if isinstance(c, AudioContent)]

    @property
    def files(self) -> list[FileContent]:
        """The files that code of the provider created, for `download`."""
        found: dict[str, FileContent] = {}
        for part in self.content:
            if isinstance(part, ServerToolResult):
                for item in _file_items(part.raw.get("content")):
                    found[item["file_id"]] = FileContent(id=item["file_id"], provider=self.provider)
        for citation in self.citations:
            container_id = citation.data.get("container_id")
            if citation.data.get("type") == "container_file_citation" and citation.source:
                found[citation.source] = FileContent(
                    id=citation.source,
                    provider=self.provider,
                    name=citation.title,
                    container_id=container_id if isinstance(container_id, str) else None,
                )
        return list(found.values())

    def raise_for_error(self) -> Self:
        """Return self, or raise the exception for `error`.

        Raises:
            PipyError: The subclass for `error.kind`, with this message as `response`.
        """
        if self.error is not None:
            raise exception_for(self.error, self)
        if self.stop_reason in (StopReason.ERROR, StopReason.ABORTED):  # created by another library
            kind = "aborted" if self.stop_reason is StopReason.ABORTED else "unknown"
            text = self.error_message or f"The answer ended with {self.stop_reason}."
            raise exception_for(ErrorInfo(kind=ErrorKind(kind), message=text), self)
        return self

    def _repr_markdown_(self) -> str:
        mark_error_seen(self)
        return super()._repr_markdown_()

    def _repr_html_(self) -> str:
        mark_error_seen(self)
        return super()._repr_html_()

    if not TYPE_CHECKING:  # type checkers see Pydantic's signatures

        def model_dump(self, **kwargs):
            mark_error_seen(self)
            return super().model_dump(**kwargs)

        def model_dump_json(self, **kwargs):
            mark_error_seen(self)
            return super().model_dump_json(**kwargs)

        def __iter__(self):
            mark_error_seen(self)
            return super().__iter__()

        def __getattr__(self, name):
            if name == "parsed":
                raise AttributeError(
                    "this message has no `parsed`: pass `output=` with the request, as in"
                    " complete(model, prompt, output=Invoice).parsed"
                )
            return super().__getattr__(name)

    def _hand_over(self, raise_on_error: bool = False) -> Self:
        """Return self to a caller who has not seen the error, or raise it."""
        if raise_on_error:
            return self.raise_for_error()
        object.__setattr__(self, "_error_unseen", True)
        return self


class _ErrorField:
    """A field of `AssistantMessage` that reports a failure. Reading it counts as seeing it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, message: AssistantMessage | None, _: type) -> Any:
        if message is None:
            raise AttributeError(self._name)  # as Pydantic's fields; subclasses rely on it
        values = message.__dict__
        try:
            if values.get("error") is not None:
                mark_error_seen(message)
            return values[self._name]
        except KeyError:
            raise AttributeError(self._name) from None

    def __set__(self, message: Any, value: Any) -> None:
        message.__dict__[self._name] = value

    def __delete__(self, message: Any) -> None:
        if message.__dict__.pop(self._name, self) is self:
            raise AttributeError(self._name)


for _name in ("error", "error_message", "stop_reason"):
    setattr(AssistantMessage, _name, _ErrorField(_name))


def mark_error_seen(message: AssistantMessage) -> None:
    """Issue no `UncheckedErrorWarning` for the message any more."""
    object.__setattr__(message, "_error_unseen", False)


class ToolResultMessage(_ShownMessage):
    """The result of a tool call. `details` is for the application; the model does not see it."""

    role: Literal["toolResult"] = "toolResult"
    """Always `toolResult`."""
    tool_call_id: str = ""
    """The id of the call."""
    tool_name: str = ""
    """The name of the tool."""
    content: list[ToolResultContent] = Field(default_factory=list)
    """The content for the model: text, images and documents."""
    details: Any = None
    """Any value for the application. It is not sent to the model."""
    is_error: bool = False
    """Whether the call failed."""
    timestamp: int = Field(default_factory=now_ms)
    """When the message was made, in milliseconds of Unix time."""

    def __str__(self) -> str:
        from .reprs import message_text

        return message_text(self)

    @field_serializer("details", mode="wrap", when_used="json")
    def _serialize_details(self, value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        return to_jsonable_python(value, serialize_unknown=True)


Message: TypeAlias = Annotated[
    UserMessage | AssistantMessage | ToolResultMessage, Field(discriminator="role")
]
"""A message of a conversation, distinguished by its `role`."""


# === Tools and context ===


class Tool(_DataModel):
    """A function that the model may call; `parameters` is its JSON Schema.

    Functions that take tools also accept a plain function, a Pydantic model class, or a dict in
    the format of OpenAI, Anthropic or MCP.

    Args:
        name: The name that the model calls.
        description: What the tool does, for the model.
        parameters: The JSON Schema of the arguments. By default, there are none.
        run: The function, sync or async. It is called with the arguments by name, as plain JSON
            data that matches `parameters`. Without it, you execute the calls yourself.
        timeout: How many seconds `run_tools` waits for one call. By default, without a limit.

    Raises:
        TypeError: `run` is not callable, or `timeout` is not a number.
        ValueError: An argument is invalid, or `timeout` is not more than 0.

    Example:
        >>> from pipy_ai import Tool
        >>> schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        >>> weather = Tool("weather", "The weather.", schema, lambda city: f"sunny in {city}")
        >>> weather(city="Rome")
        'sunny in Rome'
    """

    name: str
    """The name that the model calls: letters, digits, `_` and `-`, at most 64."""
    description: str = ""
    """What the tool does, for the model."""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    """The JSON Schema of the arguments; an object at the root."""
    # A `ToolImplementation` if the tool was made from a function or a model class.
    _implementation: Any = PrivateAttr(default=None)

    def __init__(
        self,
        name: str,
        description: str = "",
        parameters: dict[str, Any] | None = None,
        run: Callable[..., Any] | None = None,
        *,
        timeout: float | None = None,
        **data: Any,
    ) -> None:
        given = {"name": name, "description": description or None, "parameters": parameters}
        super().__init__(
            **data, **{key: value for key, value in given.items() if value is not None}
        )
        if run is not None or timeout is not None:
            from .function_schema import ToolImplementation

            self._implementation = ToolImplementation(run, timeout=timeout)

    # Validation does not go through it, as through that of a `BaseModel`.
    setattr(__init__, "__pydantic_base_init__", True)  # noqa: B010

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> Tool:
        """Make a tool from a function, sync or async.

        The model sees its name, type hints and docstring (Google, NumPy or reST style).

        Raises:
            TypeError: A parameter cannot be expressed in JSON, or has no name (`*args`).
            ValueError: The function's name is not a valid tool name, and no `name` was given, or
                `timeout` is not more than 0.

        Example:
            >>> from pipy_ai import Tool
            >>> def get_weather(city: str) -> str:
            ...     "The weather of a city."
            ...     return "sunny"
            >>> tool = Tool.from_function(get_weather)
            >>> tool.name, tool.parameters["required"], tool("Rome")
            ('get_weather', ['city'], 'sunny')
        """
        from .function_schema import describe_function

        return _tool_from_schema(
            describe_function(function, name=name, description=description, timeout=timeout)
        )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import tool_args

        return tool_args(self)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function that the tool was made from.

        Raises:
            TypeError: The tool was not made from a function.
        """
        if self._implementation is None or self._implementation.function is None:
            raise TypeError(f"the tool {self.name!r} was not made from a function")
        return self._implementation.function(*args, **kwargs)


ServerToolKind: TypeAlias = Literal[
    "web_search",
    "web_fetch",
    "code_execution",
    "file_search",
    "image_generation",
    "mcp_server",
    "native",
]
"""What a `ServerTool` does. `native` is a tool in the provider's own format."""


class ServerTool(_DataModel):
    """A tool that the provider runs itself, created by `web_search()` and similar functions."""

    kind: ServerToolKind
    """What it does."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The arguments of the function that made it. `native`: the tool as it is sent."""
    token: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """The access token of an MCP server. It is never serialized."""

    @property
    def name(self) -> str:
        """A name for messages: the kind, or the type in the provider's own format."""
        if self.kind != "native":
            return self.kind
        return str(self.options.get("type") or next(iter(self.options), "native"))


class ToolSet:
    """Tools that may change during a run: `run_tools` reads them again before each request.

    Pass it as `tools=`, or as an item of the list of tools. Elsewhere it is a plain iterable.

    Args:
        get_tools: Returns the current tools. It is called in the thread that iterates the run.

    Example:
        >>> from pipy_ai import ToolSet, faux, run_tools
        >>> def unlock() -> str:
        ...     tools.append(secret)
        ...     return "done"
        >>> def secret() -> int:
        ...     return 42
        >>> tools = [unlock]
        >>> with faux.script(faux.tool("unlock"), faux.tool("secret"), "It is 42."):
        ...     run_tools("faux/any", "Find it.", ToolSet(lambda: tools)).result().text
        'It is 42.'
    """

    def __init__(self, get_tools: Callable[[], Iterable[ToolLike]]) -> None:
        self._get_tools = get_tools

    def __iter__(self) -> Iterator[Tool | ServerTool]:
        return iter(as_tools(self._get_tools()))


ToolLike: TypeAlias = (
    Tool | ServerTool | ToolSet | Callable[..., Any] | type[BaseModel] | Mapping[str, Any]
)
"""A `Tool`, a function, a Pydantic model class, a dict of OpenAI, Anthropic or MCP, a tool that the
provider runs, or a `ToolSet`."""


def as_tool(tool_like: ToolLike) -> Tool | ServerTool:
    """Convert a function, a Pydantic model class, or a dict in the format of pi, OpenAI, Anthropic
    or MCP to a `Tool`. A `Tool` and a `ServerTool` are returned unchanged; a dict in a provider's
    own format, such as `{"type": "web_search"}`, becomes a `ServerTool`.

    Raises:
        TypeError: Not a tool, or a parameter cannot be expressed in JSON.
        ValueError: The name is missing or is not a valid tool name.
    """
    if isinstance(tool_like, Tool | ServerTool):
        return tool_like
    if isinstance(tool_like, ToolSet):
        raise TypeError("a ToolSet is several tools: pass it to a function that takes a list")
    if isinstance(tool_like, type):
        if not issubclass(tool_like, BaseModel):
            raise TypeError(
                f"the class {tool_like.__name__} is not a tool: use a Pydantic model or a function"
            )
        from .function_schema import describe_model

        return _tool_from_schema(describe_model(tool_like))
    if isinstance(tool_like, Mapping):
        return _tool_from_mapping(tool_like)
    if callable(tool_like):
        return Tool.from_function(tool_like)
    raise TypeError(
        f"a tool must be a function, a Tool, a model class or a dict, not {tool_like!r:.80}"
    )


def as_tools(tool_likes: Iterable[ToolLike]) -> list[Tool | ServerTool]:
    """Convert each item to a `Tool` or a `ServerTool`; see `as_tool`.

    Raises:
        TypeError: An item is not a tool, or `tool_likes` is a single tool instead of a list.
        ValueError: Two tools have the same name.
    """
    if callable(tool_likes) or isinstance(tool_likes, str | Mapping):
        raise TypeError(f"tools must be a list, [{getattr(tool_likes, '__name__', '…')}]")
    tools: list[Tool | ServerTool] = []
    for item in tool_likes:
        tools += as_tools(item) if isinstance(item, ToolSet) else [as_tool(item)]
    names = [tool.name for tool in tools if isinstance(tool, Tool)]
    if len({*names}) < len(names):
        duplicate = min(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"two tools are named {duplicate!r}: give one of them another name,"
            " for example with Tool.from_function(function, name=…)"
        )
    return tools


def _tool_from_schema(schema: FunctionSchema) -> Tool:
    tool = Tool(name=schema.name, description=schema.description, parameters=schema.parameters)
    tool._implementation = schema.implementation
    return tool


def _tool_from_mapping(mapping: Mapping[str, Any]) -> Tool | ServerTool:
    if _is_native(mapping):
        return ServerTool(kind="native", options=dict(mapping))
    if "kind" in mapping and "name" not in mapping:
        return ServerTool.model_validate(mapping)
    inner = mapping.get("function")
    fields = dict(inner if isinstance(inner, Mapping) else mapping)
    for schema_key in ("input_schema", "inputSchema"):
        if schema_key in fields:
            fields.setdefault("parameters", fields.pop(schema_key))
    for name in ("parameters", "description"):
        if fields.get(name, "") is None:
            del fields[name]
    return Tool.model_validate(fields)


def _is_native(mapping: Mapping[str, Any]) -> bool:
    """Return whether a dict is a tool that the provider runs, in the provider's own format.

    OpenAI's and Anthropic's have a type of their own, Google's one key.
    """
    if "function" in mapping or "parameters" in mapping or "input_schema" in mapping:
        return False
    if isinstance(tool_type := mapping.get("type"), str):
        return tool_type not in ("function", "custom", "object")
    return len(mapping) == 1 and isinstance(next(iter(mapping.values())), Mapping)


def function_tools(tools: Iterable[Tool | ServerTool] | None) -> list[Tool]:
    """Return the tools that the caller runs."""
    return [tool for tool in tools or () if isinstance(tool, Tool)]


class Context(_DataModel):
    """The input of a request: system prompt, messages, tools.

    Example:
        >>> from pipy_ai import Context, UserMessage
        >>> context = Context(system_prompt="Be brief.", messages=[UserMessage(content="Hi")])
        >>> context.messages[0].role
        'user'
    """

    system_prompt: str | None = None
    """Instructions that apply to the whole conversation."""
    messages: list[Message] = Field(default_factory=list)
    """The conversation so far."""
    tools: list[Tool | ServerTool] | None = None
    """The tools that the model may call, and those that the provider runs."""

    @field_validator("tools", mode="before")
    @classmethod
    def _convert_tools(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or all(
            type(tool) in (Tool, ServerTool) for tool in value
        ):
            return value
        return as_tools(value)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import context_args

        return context_args(self)

    def __str__(self) -> str:
        from .reprs import conversation_text

        return conversation_text(self)

    def _repr_markdown_(self) -> str:
        from .notebook import context_markdown

        return context_markdown(self)

    def _repr_html_(self) -> str:
        from .notebook import context_html

        return context_html(self)

    def extend(self, messages: Iterable[Message]) -> None:
        """Append messages, for example those of `run_tools`."""
        self.messages.extend(messages)
