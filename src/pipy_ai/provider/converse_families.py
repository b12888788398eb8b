"""What Bedrock's Converse API accepts for a model, by its name, as data."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from .profiles import NamePattern

_Fields = dict[str, Any]


class ConverseFamily(NamedTuple):
    """What Bedrock's Converse API accepts for the models of a family.

    Unless another source is named, seen by pydantic-ai 2.68 in us-east-1 in 2026.

    Attributes:
        beside_results: the content that may be in one message with tool results.
        files_in_results: the files that a tool result may hold.
        result_status: accepts `status` of a tool result.
        tool_cache_point: accepts a `cachePoint` after tool definitions.
        pdf_cache_point: accepts it after a PDF.
        hour_cache_point: the models for which it may last an hour.
        own_tool_choice: accepts Anthropic's `tool_choice`, so that no tool is called.
        efforts: the efforts for thinking.
        effort: the fields for one of them; None: Converse's own.
        top_k: the fields for `top_k`; None: rejects it.
    """

    pattern: NamePattern
    beside_results: frozenset[str] = frozenset({"text", "image", "document"})
    files_in_results: frozenset[str] = frozenset({"image"})
    result_status: bool = True
    tool_cache_point: bool = False
    pdf_cache_point: bool = False
    hour_cache_point: NamePattern | None = None
    own_tool_choice: bool = False
    efforts: tuple[str, ...] = ()
    effort: Callable[[str], _Fields] | None = None
    top_k: Callable[[int], _Fields] | None = None


def _reasoning_effort(effort: str) -> _Fields:
    return {"reasoning_effort": effort}


def _reasoning_object(effort: str) -> _Fields:
    return {"reasoning": {"effort": effort}}


# The first match applies. Names are matched in lower case.
CONVERSE_FAMILIES = (
    ConverseFamily(
        NamePattern("claude"),
        beside_results=frozenset({"text", "image"}),
        files_in_results=frozenset({"image", "document"}),
        tool_cache_point=True,
        pdf_cache_point=True,
        hour_cache_point=NamePattern(r"claude-[a-z]+-(4-[5-9]|[5-9])(?!\d)"),
        own_tool_choice=True,
        effort=lambda effort: {
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": effort},
        },
        top_k=lambda value: {"top_k": value},
    ),
    ConverseFamily(
        NamePattern("nova-2"),
        efforts=("low", "medium", "high"),
        effort=lambda effort: {
            "reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}
        },
        top_k=lambda value: {"inferenceConfig": {"topK": value}},
    ),
    ConverseFamily(
        NamePattern("nova-"),
        top_k=lambda value: {"inferenceConfig": {"topK": value}},
    ),
    ConverseFamily(
        NamePattern("llama"),
        beside_results=frozenset(),
        files_in_results=frozenset({"image", "document"}),
    ),
    ConverseFamily(
        NamePattern("mistral"),
        beside_results=frozenset(),
        files_in_results=frozenset({"document"}),
    ),
    ConverseFamily(NamePattern("palmyra"), beside_results=frozenset(), result_status=False),
    ConverseFamily(
        NamePattern("gpt-oss"), efforts=("low", "medium", "high"), effort=_reasoning_effort
    ),
    ConverseFamily(
        NamePattern(r"openai\.gpt-[5-9]"),
        efforts=("none", "low", "medium", "high", "xhigh"),
        effort=_reasoning_object,
    ),
    ConverseFamily(
        NamePattern("grok-"), efforts=("low", "medium", "high", "xhigh"), effort=_reasoning_object
    ),
    ConverseFamily(NamePattern("qwen3-coder"), files_in_results=frozenset()),
    ConverseFamily(
        NamePattern("qwen"),
        files_in_results=frozenset(),
        efforts=("none", "low", "medium", "high"),
        effort=lambda effort: {"reasoning_config": effort},
    ),
    ConverseFamily(NamePattern("kimi-"), files_in_results=frozenset()),
    ConverseFamily(
        NamePattern(r"glm-5\.[3-9]"),
        efforts=("low", "medium", "high", "xhigh", "max"),
        effort=_reasoning_effort,
    ),
    ConverseFamily(
        NamePattern(r"glm-|deepseek\.v3\.2"), efforts=("none", "high"), effort=_reasoning_effort
    ),
)
_DEFAULT_CONVERSE_FAMILY = ConverseFamily(NamePattern(""))


@cache
def converse_family(model_id: str) -> ConverseFamily:
    """Return what Bedrock's Converse API accepts for a model."""
    name = model_id.lower()
    for family in CONVERSE_FAMILIES:
        if family.pattern.search(name):
            return family
    return _DEFAULT_CONVERSE_FAMILY
