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
    SecretStr,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import to_jsonable_python

from .abort import AbortSignal
from .errors import ErrorInfo, ErrorKind, exception_for

if TYPE_CHECKING:
    from typing import Self


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class _Data(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", defer_build=True
    )


# === Enums ===


class ThinkingLevel(StrEnum):
    """How much a model may think. A level that a model lacks moves to its nearest one."""

    OFF = "off"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class CacheRetention(StrEnum):
    """How long the provider should keep the prompt in its cache."""

    NONE = "none"
    SHORT = "short"
    LONG = "long"


class StopReason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_USE = "toolUse"
    ERROR = "error"
    ABORTED = "aborted"


# === Content ===


class TextContent(_Data):
    """A piece of text."""

    type: Literal["text"] = "text"
    text: str = ""
    text_signature: str | None = None


class ThinkingContent(_Data):
    """A piece of the model's reasoning.

    `thinking_signature` is what the provider needs to take the block back. A `redacted` block
    has no readable text; its signature holds the provider's opaque data.
    """

    type: Literal["thinking"] = "thinking"
    thinking: str = ""
    thinking_signature: str | None = None
    redacted: bool = False


class ImageContent(_Data):
    """An image: base64 `data` of `mime_type`, or a `url` that the provider fetches itself."""

    type: Literal["image"] = "image"
    data: str = Field(default="", repr=False)
    mime_type: str = ""
    url: str | None = None


class DocumentContent(_Data):
    """A PDF: base64 `data`, or a `url` that the provider fetches itself; `name` is what the model
    is told that it is called, where the provider does so."""

    type: Literal["document"] = "document"
    data: str = Field(default="", repr=False)
    mime_type: str = "application/pdf"
    url: str | None = None
    name: str | None = None


class ToolCall(_Data):
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


class Cost(_Data):
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


class Usage(_Data):
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


class Warning(_Data):
    """Something that was done differently than asked, or that the caller should know."""

    code: str
    message: str


class Attempt(_Data):
    """One try at an answer: of which model, what went wrong, what it used, how long it took (ms).

    The one that answered has no `error`.
    """

    provider: str = ""
    model: str = ""
    error: ErrorInfo | None = None
    usage: Usage = Field(default_factory=Usage)
    duration_ms: float | None = None


class UserMessage(_Data):
    """What the user says: plain text, or text, images and documents."""

    role: Literal["user"] = "user"
    content: str | list[UserContent] = ""
    timestamp: int = Field(default_factory=now_ms)


class AssistantMessage(_Data):
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
    def _pending_is_none(cls, value: Any) -> Any:
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


class ToolResultMessage(_Data):
    """What a tool answered. `details` is for the application; the model does not see it."""

    role: Literal["toolResult"] = "toolResult"
    tool_call_id: str = ""
    tool_name: str = ""
    content: list[ToolResultContent] = Field(default_factory=list)
    details: Any = None
    is_error: bool = False
    timestamp: int = Field(default_factory=now_ms)

    @field_serializer("details", mode="wrap", when_used="json")
    def _any_details(self, value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        return to_jsonable_python(value, serialize_unknown=True)


Message: TypeAlias = Annotated[
    UserMessage | AssistantMessage | ToolResultMessage, Field(discriminator="role")
]


# === Tools and context ===


class Tool(_Data):
    """A function that the model may call; `parameters` is its JSON Schema.

    Wherever tools are taken, a plain function, a Pydantic model class, or a dict in the words of
    OpenAI, Anthropic or MCP is taken as well.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    _code: Any = PrivateAttr(default=None)  # a `tools.Code`, when a function or a type made it

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
        if self._code is None or self._code.function is None:
            raise TypeError(f"the tool {self.name!r} was not made of a function")
        return self._code.function(*args, **kwargs)


class Context(_Data):
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
    def _as_tools(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple) or all(type(one) is Tool for one in value):
            return value
        from .tools import as_tools

        return as_tools(value)

    def extend(self, messages: Iterable[Message]) -> None:
        """Go on from there: add messages, for instance those of a `run_tools`."""
        self.messages.extend(messages)


# === Options ===


class ThinkingBudgets(BaseModel):
    """Thinking tokens per level, for models that take a budget."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", defer_build=True)

    minimal: int = 1024
    low: int = 2048
    medium: int = 8192
    high: int = 16384


class StreamOptions(BaseModel):
    """How a request is made. Every field may also be a keyword of every verb.

    `timeout` (whole request) and `idle_timeout` (no content) are in seconds, `max_retry_delay_ms`
    in milliseconds. `max_retries` counts tries before the first content only. `handoff_thinking`
    says what becomes of another model's thinking in the history: it is dropped, or kept as text.
    `extra` holds provider parameters that are passed on as they are. Unknown fields raise
    `ValidationError`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    temperature: float | None = Field(default=None, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, allow_inf_nan=False)
    stop: str | list[str] | None = None
    seed: int | None = None
    tool_choice: str | dict[str, Any] | None = None
    cache_retention: CacheRetention | None = None
    session_id: str | None = None
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    api_base: str | None = None
    headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    metadata: dict[str, Any] | None = None
    timeout: float | None = Field(default=None, gt=0)
    idle_timeout: float | None = Field(default=120.0, gt=0)
    max_retries: int = Field(default=2, ge=0)
    max_retry_delay_ms: int = Field(default=60_000, ge=0)
    signal: AbortSignal | None = Field(default=None, exclude=True, repr=False)
    on_payload: Callable[[dict[str, Any]], dict[str, Any] | None] | None = Field(
        default=None, exclude=True, repr=False
    )
    transport: Literal["auto", "litellm", "direct"] | None = None
    handoff_thinking: Literal["drop", "text"] = "drop"
    extra: dict[str, Any] | None = Field(default=None, repr=False)


class SimpleStreamOptions(StreamOptions):
    """`StreamOptions` and how much to think."""

    reasoning: ThinkingLevel | None = None
    thinking_budgets: ThinkingBudgets | None = None
