"""Request options: `StreamOptions`, and `SimpleStreamOptions` with the reasoning level.

A new option is a field of one of these and, at the same place, of `Options`: the same options as
keyword arguments. A sampling option is also in `SAMPLING_OPTIONS`, and in the `sampling` of each
wire that has it. An option that can change an answer is also in `ANSWER_OPTIONS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypeAlias, TypedDict

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from .abort import AbortSignal
from .response_cache import ResponseCache

Modality: TypeAlias = Literal["text", "image", "audio"]
"""A kind of content of an answer."""
ServiceTier: TypeAlias = Literal["default", "flex", "priority"]
"""A service tier: how fast a provider serves a request, and at which price."""


class ThinkingLevel(StrEnum):
    """How much a model may think. The nearest level is used if a model does not support one."""

    OFF = "off"
    """No thinking."""
    MINIMAL = "minimal"
    """As little as possible."""
    LOW = "low"
    """A little."""
    MEDIUM = "medium"
    """A medium amount."""
    HIGH = "high"
    """Much."""
    XHIGH = "xhigh"
    """More than `high`, if the model has such a level."""
    MAX = "max"
    """As much as the model allows."""


class CacheRetention(StrEnum):
    """How long the provider should keep the prompt in its cache."""

    NONE = "none"
    """Do not use the cache."""
    SHORT = "short"
    """The provider's default, usually five minutes."""
    LONG = "long"
    """As long as the provider offers, usually an hour."""


def check_hook(name: str, hook: Any) -> None:
    """Raise `TypeError` if a hook cannot be called, or is asynchronous."""
    import inspect

    if not callable(hook):
        raise TypeError(f"{name} must be a function, not {type(hook).__name__}")
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
        raise TypeError(f"{name} must be a plain function: hooks are called in a thread")


class ThinkingBudgets(BaseModel):
    """Thinking tokens per level, for models that take a budget."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", defer_build=True)

    minimal: int = 1024
    """Tokens for the level `minimal`."""
    low: int = 2048
    """Tokens for the level `low`."""
    medium: int = 8192
    """Tokens for the level `medium`."""
    high: int = 16384
    """Tokens for the level `high`."""


class StreamOptions(BaseModel):
    """Options of a request. Each field is also a keyword argument of the request functions.

    `timeout` (whole request) and `idle_timeout` (no content) are in seconds, `max_retry_delay_ms`
    in milliseconds. A request is retried only before its first content. `handoff_thinking` controls
    whether another model's thinking in the history is dropped or kept as text. `metadata` describes
    the request to providers that accept it; its `user_id` identifies your user. `think_tags` sets
    how to treat `<think>…</think>` at the start of a response's text: it becomes thinking if the
    catalogue marks the model as a reasoning model (`auto`) or always (`parse`), or stays text
    (`keep`). With `opened` the text begins with thinking, because the model's prompt template ends
    with the opening tag. `extra` holds provider parameters that are passed on unchanged. Unknown
    fields raise `ValidationError`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    temperature: float | None = Field(default=None, allow_inf_nan=False)
    """Sampling temperature, from 0. None: the provider's default."""
    max_tokens: int | None = Field(default=None, gt=0)
    """The maximum number of tokens of the answer, including thinking."""
    top_p: float | None = Field(default=None, allow_inf_nan=False)
    """Nucleus sampling: the share of probability to sample from, 0 to 1."""
    top_k: int | None = Field(default=None, gt=0)
    """Sample only from this many most likely tokens."""
    stop: str | list[str] | None = None
    """Text, or a list of texts, at which the answer stops."""
    seed: int | None = None
    """Makes sampling repeatable, where the provider supports it."""
    tool_choice: str | dict[str, Any] | None = None
    """`auto`, `none`, `required`, the name of a tool, or a dict in the provider's format."""
    cache_retention: CacheRetention | None = None
    """How long to keep the prompt in the cache: `none`, `short` or `long`. None: the provider's
    default."""
    service_tier: ServiceTier | list[ServiceTier] | None = None
    """How the provider serves the request: `flex` costs about half and may be slow or refused,
    `priority` is faster and more expensive, `default` is the list price. In a list, the tiers after
    the first are tried if a tier has no capacity. None: the setting of the account."""
    modalities: list[Modality] | None = None
    """The kinds of content of the answer: `text`, `image`, `audio`. None: all that the model
    produces."""
    session_id: str | None = None
    """Identifies the conversation, so that providers can reuse their cache."""
    api_key: SecretStr | Callable[[], Any] | None = Field(default=None, exclude=True, repr=False)
    """The API key. None: from the environment or from `pipy keys`. Or a function, possibly
    asynchronous, that returns an access token, or a tuple of a token and the time when it expires
    (a `datetime`, or seconds since 1970). A token is kept until five minutes before it expires."""
    api_base: str | None = None
    """The base URL of the server."""
    headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Additional HTTP headers."""
    metadata: dict[str, Any] | None = None
    """Metadata for providers that accept it; `user_id` identifies your user."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds for the whole request. None: no limit."""
    idle_timeout: float | None = Field(default=120.0, gt=0)
    """Seconds without content after which the request fails. None: no limit."""
    max_retries: int = Field(default=2, ge=0)
    """How often to retry a request that failed before its first content."""
    max_retry_delay_ms: int = Field(default=60_000, ge=0)
    """Milliseconds. If the provider asks for a longer delay, the request fails instead."""
    signal: AbortSignal | None = Field(default=None, exclude=True, repr=False)
    """Aborts the request: `AbortController().signal`."""
    on_payload: Callable[[dict[str, Any]], dict[str, Any] | None] | None = Field(
        default=None, exclude=True, repr=False
    )
    """Called with the JSON body before it is sent; may return a replacement."""
    on_request: Callable[[Any], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with the `Request` before each attempt; see docs/observability.md."""
    on_response: Callable[[Any, Any], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with the `Request` and the `AssistantMessage` after each attempt."""
    on_event: Callable[[Any, Any], object] | None = Field(default=None, exclude=True, repr=False)
    """Called with the `Request` and each event."""
    transport: Literal["auto", "litellm", "direct"] | None = None
    """`direct`: pipy-ai sends the request. `litellm`: LiteLLM does. `auto` or None: direct if
    possible."""
    handoff_thinking: Literal["drop", "text"] = "drop"
    """What happens to another model's thinking in the conversation: `drop` it, or keep it as
    `text`."""
    think_tags: Literal["auto", "parse", "opened", "keep"] = "auto"
    """`<think>…</think>` at the start of the text becomes thinking if the model is known to reason
    (`auto`), always (`parse`), or never (`keep`). `opened`: the text begins inside of it."""
    extra: dict[str, Any] | None = Field(default=None, repr=False)
    """Parameters of the provider that are passed on unchanged."""
    raw: bool = False
    """Whether to keep the HTTP response, with its headers and body, as `message.raw`."""
    cache: bool | str | os.PathLike[str] | ResponseCache | None = Field(
        default=None, exclude=True, repr=False
    )
    """Answer equal requests from a cache of responses: True, a file, the address of a Redis server,
    or a `ResponseCache`. None: as the environment variable `PIPY_CACHE` says. False: never."""
    raise_on_error: bool = False
    """Whether a failed request raises a `PipyError` instead of returning a message with `error`."""

    @field_validator("on_request", "on_response", "on_event")
    @classmethod
    def _check_hook(cls, hook: Any, info: ValidationInfo) -> Any:
        if hook is not None:
            check_hook(str(info.field_name), hook)
        return hook

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import model_args
        from .utils.secrets import mask_url

        if self.api_base:
            return model_args(self.model_copy(update={"api_base": mask_url(self.api_base)}))
        return model_args(self)


class SimpleStreamOptions(StreamOptions):
    """`StreamOptions` with options for reasoning."""

    reasoning: ThinkingLevel | None = None
    """How much the model should think. None: the provider's default."""
    thinking_budgets: ThinkingBudgets | None = None
    """Thinking tokens for each level, for models that take a number."""


class Options(TypedDict, total=False):
    """Options as keyword arguments: the fields of `SimpleStreamOptions`, which documents them."""

    temperature: float | None
    max_tokens: int | None
    top_p: float | None
    top_k: int | None
    stop: str | list[str] | None
    seed: int | None
    tool_choice: str | dict[str, Any] | None
    cache_retention: CacheRetention | Literal["none", "short", "long"] | None
    service_tier: ServiceTier | Sequence[ServiceTier] | None
    modalities: Sequence[Modality] | None
    session_id: str | None
    api_key: str | SecretStr | Callable[[], Any] | None
    api_base: str | None
    headers: dict[str, str] | None
    metadata: dict[str, Any] | None
    timeout: float | None
    idle_timeout: float | None
    max_retries: int
    max_retry_delay_ms: int
    signal: AbortSignal | None
    on_payload: Callable[[dict[str, Any]], dict[str, Any] | None] | None
    on_request: Callable[[Any], object] | None
    on_response: Callable[[Any, Any], object] | None
    on_event: Callable[[Any, Any], object] | None
    transport: Literal["auto", "litellm", "direct"] | None
    handoff_thinking: Literal["drop", "text"]
    think_tags: Literal["auto", "parse", "opened", "keep"]
    extra: dict[str, Any] | None
    raw: bool
    cache: bool | str | os.PathLike[str] | ResponseCache | None
    raise_on_error: bool
    reasoning: (
        ThinkingLevel | Literal["off", "minimal", "low", "medium", "high", "xhigh", "max"] | None
    )
    thinking_budgets: ThinkingBudgets | dict[str, int] | None


# Options that choose how tokens are sampled. APIs differ in which they take, and under which name.
SAMPLING_OPTIONS = ("temperature", "top_p", "top_k", "seed")
# Options that can change an answer. `pipy batch --redo-changed` compares them.
ANSWER_OPTIONS = (
    "temperature",
    "max_tokens",
    "reasoning",
    "top_p",
    "top_k",
    "seed",
    "stop",
    "think_tags",
    "modalities",
    "extra",
)
