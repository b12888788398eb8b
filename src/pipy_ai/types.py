"""The vocabulary: content, messages, tools, context, options, usage.

All of these are Pydantic models. They read pi's camelCase JSON as well as snake_case, write
snake_case (`model_dump_json(by_alias=True)` for camelCase), and keep fields that they do not
know, so that a round trip loses nothing. Options are different: they refuse unknown fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python

from .errors import ErrorInfo, ErrorKind, exception_for

if TYPE_CHECKING:
    from typing import Self


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class _DataModel(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", defer_build=True
    )


# === Enums ===


class StopReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_USE = "toolUse"
    ERROR = "error"
    ABORTED = "aborted"


# === Content ===


class TextContent(_DataModel):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str = ""
    text_signature: str | None = None


class ThinkingContent(_DataModel):
    """A piece of the model's reasoning.

    `thinking_signature` is what the provider needs to take the block back. A `redacted` block
    has no readable text; its signature holds the provider's opaque data.
    """

    type: Literal["thinking"] = "thinking"
    thinking: str = ""
    thinking_signature: str | None = None
    redacted: bool = False


class ImageContent(_DataModel):
    """An image: base64 `data` of `mime_type`, or a `url` that the provider fetches itself."""

    type: Literal["image"] = "image"
    data: str = Field(default="", repr=False)
    mime_type: str = ""
    url: str | None = None


class DocumentContent(_DataModel):
    """A PDF: base64 `data`, or a `url` that the provider fetches itself; `name` is what the model
    is told that it is called, where the provider does so."""

    type: Literal["document"] = "document"
    data: str = Field(default="", repr=False)
    mime_type: str = "application/pdf"
    url: str | None = None
    name: str | None = None


class ToolCall(_DataModel):
    """The model's wish to call a tool.

    When the model's arguments were no JSON object, `arguments` is `{}`, `arguments_error` says
    why, and `raw_arguments` keeps what came: do not run such a call, tell the model.
    """

    type: Literal["toolCall"] = "toolCall"
    id: str = ""
    name: str = ""
    arguments: dict[str, Any] = Field(default_factory=dict)
    thought_signature: str | None = None
    arguments_error: str | None = None
    raw_arguments: str | None = None


UserContent: TypeAlias = Annotated[
    TextContent | ImageContent | DocumentContent, Field(discriminator="type")
]
AssistantContent: TypeAlias = Annotated[
    TextContent | ThinkingContent | ToolCall, Field(discriminator="type")
]
ToolResultContent: TypeAlias = Annotated[
    TextContent | ImageContent | DocumentContent, Field(discriminator="type")
]


# === Usage and cost ===


class Cost(_DataModel):
    """What a request cost, in US dollars. `None` is unknown, never free.

    `source` says where the figure comes from: `provider` (billed or told by it), `catalog`
    (worked out from listed prices), or `unknown`.
    """

    input: float | None = None
    output: float | None = None
    cache_read: float | None = None
    cache_write: float | None = None
    total: float | None = None
    source: Literal["provider", "catalog", "unknown"] = "unknown"


class Usage(_DataModel):
    """Tokens of one request.

    `input` is without the cached part; `output` includes `reasoning`; `cache_write_1h` is the
    part of `cache_write` that is kept for an hour; `input_audio` and `output_audio` are the parts
    of `input` and `output` that are sound. `None` means that the provider did not say.
    `estimated` marks figures that were worked out here because the provider sent none.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    total_tokens: int = 0
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    cache_write_1h: int | None = Field(
        default=None,
        validation_alias=AliasChoices("cache_write_1h", "cacheWrite1h"),
        serialization_alias="cacheWrite1h",
    )
    estimated: bool = False
    cost: Cost = Field(default_factory=Cost)


# === Messages ===


class Warning(_DataModel):
    """Something that was done differently than asked, or that the caller should know."""

    code: str
    message: str


class Attempt(_DataModel):
    """One try at an answer: of which model, what went wrong, what it used, how long it took (ms).

    The one that answered has no `error`.
    """

    provider: str = ""
    model: str = ""
    error: ErrorInfo | None = None
    usage: Usage = Field(default_factory=Usage)
    duration_ms: float | None = None


class UserMessage(_DataModel):
    """What the user says: plain text, or text, images and documents."""

    role: Literal["user"] = "user"
    content: str | list[UserContent] = ""
    timestamp: int = Field(default_factory=now_ms)


class AssistantMessage(_DataModel):
    """What the model says. A failed request is one, too: see `error` and `raise_for_error()`.

    `stop_reason` is `None` as long as the answer is under way. Times are in milliseconds:
    `ttft_ms` to the first content, `duration_ms` to the end. `attempts` are all tries, the last
    one included, when one was not enough; `usage` is that of the last.
    """

    role: Literal["assistant"] = "assistant"
    content: list[AssistantContent] = Field(default_factory=list)
    api: str = ""
    provider: str = ""
    model: str = ""
    usage: Usage = Field(default_factory=Usage)
    stop_reason: StopReason | None = None
    raw_stop_reason: str | None = None
    error_message: str | None = None
    error: ErrorInfo | None = None
    warnings: list[Warning] = Field(default_factory=list)
    attempts: list[Attempt] = Field(default_factory=list)
    response_id: str | None = None
    response_model: str | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    timestamp: int = Field(default_factory=now_ms)

    @field_validator("stop_reason", mode="before")
    @classmethod
    def _pending_to_none(cls, value: Any) -> Any:
        return None if value == "pending" else value  # what pi calls an answer under way

    @property
    def text(self) -> str:
        """All text, joined."""
        return "".join(c.text for c in self.content if isinstance(c, TextContent))

    @property
    def thinking_text(self) -> str:
        """All readable thinking, joined."""
        return "".join(c.thinking for c in self.content if isinstance(c, ThinkingContent))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """All tool calls, in order."""
        return [c for c in self.content if isinstance(c, ToolCall)]

    def raise_for_error(self) -> Self:
        """Return self, or raise the exception that belongs to `error`.

        Raises:
            PipyError: one of its subclasses, by `error.kind`; it holds this message.
        """
        if self.error is not None:
            raise exception_for(self.error, self)
        if self.stop_reason in (StopReason.ERROR, StopReason.ABORTED):  # of another library's
            kind = "aborted" if self.stop_reason is StopReason.ABORTED else "unknown"
            text = self.error_message or f"The answer ended with {self.stop_reason}."
            raise exception_for(ErrorInfo(kind=ErrorKind(kind), message=text), self)
        return self


class ToolResultMessage(_DataModel):
    """What a tool answered. `details` is for the application; the model does not see it."""

    role: Literal["toolResult"] = "toolResult"
    tool_call_id: str = ""
    tool_name: str = ""
    content: list[ToolResultContent] = Field(default_factory=list)
    details: Any = None
    is_error: bool = False
    timestamp: int = Field(default_factory=now_ms)

    @field_serializer("details", mode="wrap", when_used="json")
    def _serialize_details(self, value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        return to_jsonable_python(value, serialize_unknown=True)


Message: TypeAlias = Annotated[
    UserMessage | AssistantMessage | ToolResultMessage, Field(discriminator="role")
]


# === Tools and context ===


class Tool(_DataModel):
    """A function that the model may call; `parameters` is its JSON Schema.

    Wherever tools are taken, a plain function, a Pydantic model class, or a dict in the words of
    OpenAI, Anthropic or MCP is taken as well.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    _implementation: Any = PrivateAttr(
        default=None
    )  # a `tools.Code`, when a function or a type made it

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Tool:
        """A tool out of a function, sync or async: its name, type hints and docstring (Google's,
        NumPy's or reST's style) say what the model has to know.

        Raises:
            TypeError: a parameter cannot be given as JSON, or has no name (`*args`).
            ValueError: the function has no name that a tool can have; `name=` gives it one.

        Example:
            >>> from pipy_ai import Tool
            >>> def get_weather(city: str) -> str:
            ...     "The weather of a city."
            ...     return "sunny"
            >>> tool = Tool.from_function(get_weather)
            >>> tool.name, tool.parameters["required"], tool("Rome")
            ('get_weather', ['city'], 'sunny')
        """
        from .tools import from_function

        return from_function(function, name=name, description=description)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function that the tool was made of.

        Raises:
            TypeError: it was not made of one.
        """
        if self._implementation is None or self._implementation.function is None:
            raise TypeError(f"the tool {self.name!r} was not made of a function")
        return self._implementation.function(*args, **kwargs)


class Context(_DataModel):
    """All that a model is given: system prompt, messages, tools.

    Example:
        >>> from pipy_ai import Context, UserMessage
        >>> context = Context(system_prompt="Be brief.", messages=[UserMessage(content="Hi")])
        >>> context.messages[0].role
        'user'
    """

    system_prompt: str | None = None
    messages: list[Message] = Field(default_factory=list)
    tools: list[Tool] | None = None

    @field_validator("tools", mode="before")
    @classmethod
    def _convert_tools(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or all(type(tool) is Tool for tool in value):
            return value
        from .tools import as_tools

        return as_tools(value)

    def extend(self, messages: Iterable[Message]) -> None:
        """Go on from there: add messages, for instance those of a `run_tools`."""
        self.messages.extend(messages)


# === Options ===
