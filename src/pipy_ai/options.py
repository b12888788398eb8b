"""Request options: `StreamOptions`, and `SimpleStreamOptions` with the reasoning level.

A new option is a field of one of these and, at the same place, of `Options`: the same options as
keyword arguments. A sampling option is also in `SAMPLING_OPTIONS`, and in the `sampling` of each
wire that has it. An option that can change an answer is also in `ANSWER_OPTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, ClassVar, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from .abort import AbortSignal


class ThinkingLevel(StrEnum):
    """How much a model may think. The nearest level is used if a model does not support one."""

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


class ThinkingBudgets(BaseModel):
    """Thinking tokens per level, for models that take a budget."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", defer_build=True)

    minimal: int = 1024
    low: int = 2048
    medium: int = 8192
    high: int = 16384


class StreamOptions(BaseModel):
    """Options of a request. Each field is also a keyword argument of the request functions.

    `timeout` (whole request) and `idle_timeout` (no content) are in seconds, `max_retry_delay_ms`
    in milliseconds. A request is retried only before its first content. `handoff_thinking` controls
    whether another model's thinking in the history is dropped or kept as text. `metadata` describes
    the request to providers that take it; its `user_id` identifies your user. `think_tags` says
    what happens to `<think>…</think>` at the start of a response's text: it becomes thinking if the
    catalogue marks the model as a reasoning model (`auto`) or in any case (`parse`), or stays text
    (`keep`). With `opened` the text begins with thinking, because the model's prompt template ends
    with the opening tag. `extra` holds
    provider parameters that are passed on unchanged. Unknown fields raise `ValidationError`.
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
    top_k: int | None = Field(default=None, gt=0)
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
    think_tags: Literal["auto", "parse", "opened", "keep"] = "auto"
    extra: dict[str, Any] | None = Field(default=None, repr=False)
    raise_on_error: bool = False

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        from .reprs import model_args

        return model_args(self)


class SimpleStreamOptions(StreamOptions):
    """`StreamOptions` with options for reasoning."""

    reasoning: ThinkingLevel | None = None
    thinking_budgets: ThinkingBudgets | None = None


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
    session_id: str | None
    api_key: str | None
    api_base: str | None
    headers: dict[str, str] | None
    metadata: dict[str, Any] | None
    timeout: float | None
    idle_timeout: float | None
    max_retries: int
    max_retry_delay_ms: int
    signal: AbortSignal | None
    on_payload: Callable[[dict[str, Any]], dict[str, Any] | None] | None
    transport: Literal["auto", "litellm", "direct"] | None
    handoff_thinking: Literal["drop", "text"]
    think_tags: Literal["auto", "parse", "opened", "keep"]
    extra: dict[str, Any] | None
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
    "extra",
)
