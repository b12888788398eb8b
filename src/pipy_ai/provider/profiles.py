"""How hosts differ from the API that they implement, as data.

Three tables, each with one row per fact:

- `BACKENDS`: which API a provider speaks, by LiteLLM's name for it.
- `PROFILES`: what a host does differently, by its models.dev id, LiteLLM's name or its family.
- Model families: patterns for models whose rules follow the model wherever it is hosted.

A new quirk is one row here and a test of the request that it changes: no other code asks which host
it is to find out how the host differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

OPENAI_CHAT = "openai-completions"
OPENAI_RESPONSES = "openai-responses"
ANTHROPIC = "anthropic-messages"
GEMINI = "google-generative-ai"

# === Backends ===============================================================================


@dataclass(frozen=True, slots=True, eq=False)
class Backend:
    """The API behind one of LiteLLM's provider names.

    Attributes:
        api: the API of its models.
        claude_api: the API of its Claude models where it differs.
        direct: the APIs for which pipy-ai builds and sends the requests itself.
        has_default_url: requests need no address.
        captured: LiteLLM hands the requests that it builds to pipy-ai's client (tested).
        reports_finish: LiteLLM's streams tell whether the provider sent a finish reason.
    """

    api: str = OPENAI_CHAT
    claude_api: str = ""
    direct: frozenset[str] = frozenset()
    has_default_url: bool = False
    captured: bool = False
    reports_finish: bool = True

    def api_for(self, model_id: str) -> str:
        """Return the API of one model."""
        return self.claude_api if self.claude_api and CLAUDE.search(model_id) else self.api


_CHAT = Backend(direct=frozenset({OPENAI_CHAT}), captured=True)
_CHAT_AND_RESPONSES = Backend(direct=frozenset({OPENAI_CHAT, OPENAI_RESPONSES}), captured=True)

BACKENDS: dict[str, Backend] = {
    "anthropic": Backend(
        ANTHROPIC, direct=frozenset({ANTHROPIC}), has_default_url=True, captured=True
    ),
    "azure_ai": Backend(claude_api=ANTHROPIC),
    "bedrock": Backend(claude_api=ANTHROPIC),
    "cerebras": _CHAT,
    "dashscope": _CHAT,
    "databricks": Backend(claude_api=ANTHROPIC),
    "deepinfra": _CHAT,
    "deepseek": _CHAT,
    "fireworks_ai": _CHAT,
    "gemini": Backend(
        GEMINI,
        direct=frozenset({GEMINI}),
        has_default_url=True,
        captured=True,
        reports_finish=False,
    ),
    "groq": _CHAT,
    "hosted_vllm": _CHAT,  # also the route to every host that is only OpenAI-compatible
    "litellm_proxy": _CHAT,
    "llamafile": Backend(direct=frozenset({OPENAI_CHAT})),
    "lm_studio": Backend(direct=frozenset({OPENAI_CHAT})),
    "mistral": _CHAT,
    "moonshot": _CHAT,
    "openai": replace(_CHAT_AND_RESPONSES, has_default_url=True),
    "openrouter": _CHAT,
    "perplexity": _CHAT,
    "together_ai": _CHAT,
    "vercel_ai_gateway": _CHAT,
    "vertex_ai": Backend(GEMINI, claude_api=ANTHROPIC, reports_finish=False),
    "vertex_ai_beta": Backend(reports_finish=False),
    "xai": _CHAT_AND_RESPONSES,
    "zai": _CHAT,
}
_UNKNOWN_BACKEND = Backend()


def backend_for(name: str) -> Backend:
    """Return the row of a LiteLLM provider name; unknown ones speak Chat Completions by LiteLLM."""
    return BACKENDS.get(name, _UNKNOWN_BACKEND)


# === Hosts ==================================================================================


@dataclass(frozen=True, slots=True, eq=False)
class ToolCallIds:
    """The tool-call ids that a host accepts from other hosts, and how new ones are made."""

    pattern: re.Pattern[str]
    prefix: str
    digest_chars: int

    def accepts(self, call_id: str) -> bool:
        """Return whether the host accepts an id as it is."""
        return self.pattern.fullmatch(call_id) is not None

    def make(self, digest: str) -> str:
        """Return a new id from a hexadecimal digest."""
        return self.prefix + digest[: self.digest_chars]


PORTABLE_IDS = ToolCallIds(re.compile(r"[A-Za-z0-9_-]{1,40}"), "call_", 24)
NINE_ALPHANUMERIC = ToolCallIds(re.compile(r"[A-Za-z0-9]{9}"), "", 9)

ThinkingSwitch = Callable[[bool], dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What one host does differently.

    Request fields (Chat Completions):
        rename_fields: fields under another name; "" drops the field. Applies to requests that
            pipy-ai sends itself; LiteLLM has its own rules.
        extra_fields: fields that every request carries.
        tool_choice: other words for values of `tool_choice`; "named" stands for the name of a
            tool. A value that forces less than was asked for gives a warning.
        max_completion_tokens: the host's reasoning models reject `max_tokens`.
        min_output_tokens: the smallest limit that its Responses API accepts.
        strict_fields: the host rejects fields that its API does not document.

    Structured output:
        json_schema: `response_format` takes a schema; otherwise only `json_object`.
        schema_with_tools: takes a schema together with tools.
        schema_limits: has OpenAI's limits for strict schemas.

    Messages:
        tool_call_ids: the ids that it accepts.
        assistant_after_tool_results: a user message must not follow tool results directly, and a
            final assistant message must be marked as a prefix.
        image_types: the types of images that it reads; empty: those of its API.
        text_only: its models read no images and no PDFs.
        documents: which models read PDFs beyond what the catalogue lists: "all", or
            "with_images" (all models that read images).

    Thinking:
        thinking_switch: the fields that turn thinking on and off.
        thinking_effort: the fields for an effort; by default `reasoning_effort`.
        thinking_budget: the fields for a budget, where the host takes one.
        unsigned_thinking: takes unsigned thinking back, where no record says whether.
        signed_thinking: returns signed thinking of other vendors' models and takes it back.
        thinking_blocks: takes signed thinking back as LiteLLM's `thinking_blocks`.
        placeholder_reasoning: sent as the reasoning of a turn with tool calls that has none.

    Caching:
        prompt_cache_key: takes the session id as `prompt_cache_key`.
        max_cache_key_chars: longer session ids are hashed; 0 is no limit.
        day_cache_models: models that keep a prompt for 24 hours on request.
        cache_control_models: models that take Anthropic's `cache_control` markers.
    """

    names: tuple[str, ...] = ()
    rename_fields: Mapping[str, str] = field(default_factory=dict)
    extra_fields: Mapping[str, Any] = field(default_factory=dict)
    tool_choice: Mapping[str, str] = field(default_factory=dict)
    max_completion_tokens: bool = False
    min_output_tokens: int = 0
    strict_fields: bool = False
    json_schema: bool = True
    schema_with_tools: bool = True
    schema_limits: bool = False
    tool_call_ids: ToolCallIds = PORTABLE_IDS
    assistant_after_tool_results: bool = False
    image_types: frozenset[str] = frozenset()
    text_only: bool = False
    documents: str = ""
    thinking_switch: ThinkingSwitch | None = None
    thinking_effort: Callable[[str], dict[str, Any]] | None = None
    thinking_budget: Callable[[int], dict[str, Any]] | None = None
    unsigned_thinking: bool = False
    signed_thinking: bool = False
    thinking_blocks: bool = False
    placeholder_reasoning: str | None = None
    prompt_cache_key: bool = False
    max_cache_key_chars: int = 0
    day_cache_models: re.Pattern[str] | None = None
    cache_control_models: re.Pattern[str] | None = None


def _thinking_type(enabled: bool) -> dict[str, Any]:
    return {"thinking": {"type": "enabled" if enabled else "disabled"}}


def _enable_thinking(enabled: bool) -> dict[str, Any]:
    return {"enable_thinking": enabled}


def _chat_template_thinking(enabled: bool) -> dict[str, Any]:
    return {"chat_template_kwargs": {"enable_thinking": enabled}}


_ROWS = (
    Profile(
        names=("alibaba", "dashscope"),
        thinking_switch=_enable_thinking,
        unsigned_thinking=True,
    ),
    Profile(names=("azure",), schema_limits=True),
    # These three report usage unasked and reject `stream_options`: Cerebras, Mistral, Perplexity.
    Profile(names=("cerebras",), rename_fields={"stream_options": ""}, strict_fields=True),
    Profile(
        names=("deepseek",),
        thinking_switch=_thinking_type,
        unsigned_thinking=True,
        placeholder_reasoning="",
        prompt_cache_key=True,
        json_schema=False,  # "This response_format type is unavailable now" (2026-07)
    ),
    Profile(names=("fireworks-ai", "fireworks_ai"), tool_choice={"required": "any"}),
    # "json mode cannot be combined with tool/function calling" (vercel/ai#16540)
    Profile(names=("groq",), strict_fields=True, schema_with_tools=False),
    Profile(
        names=("hosted_vllm",),
        thinking_switch=_chat_template_thinking,
        unsigned_thinking=True,
    ),
    Profile(names=("litellm_proxy",), signed_thinking=True, thinking_blocks=True),
    Profile(names=("llamafile",), unsigned_thinking=True),
    Profile(
        names=("lmstudio", "lm_studio"),
        tool_choice={"named": "required"},  # 400 for an object (lmstudio-bug-tracker#670, 2026-07)
        thinking_switch=_chat_template_thinking,
        unsigned_thinking=True,
    ),
    Profile(names=("local",), text_only=True),  # the embedded model
    Profile(names=("minimax",), unsigned_thinking=True),
    Profile(
        names=("mistral",),
        rename_fields={"seed": "random_seed", "stream_options": "", "user": ""},
        tool_choice={"required": "any"},
        strict_fields=True,
        tool_call_ids=NINE_ALPHANUMERIC,
        assistant_after_tool_results=True,
    ),
    Profile(
        names=("moonshotai", "moonshot"),
        tool_choice={"required": "auto"},
        thinking_switch=_thinking_type,
        unsigned_thinking=True,
        placeholder_reasoning=" ",
    ),
    Profile(
        names=("openai",),
        max_completion_tokens=True,
        min_output_tokens=16,
        strict_fields=True,
        schema_limits=True,
        documents="with_images",
        prompt_cache_key=True,
        max_cache_key_chars=64,
        day_cache_models=re.compile(
            r"gpt-5(\.[1-5])?(-codex(-max|-mini)?|(?<=\.\d)-(chat-latest|pro))?(-\d{4}-\d\d-\d\d)?$"
        ),
    ),
    Profile(
        names=("openrouter",),
        extra_fields={"usage": {"include": True}},  # returns the cost that it bills
        documents="all",  # it converts PDFs for models that do not read them
        thinking_switch=lambda enabled: {"reasoning": {"enabled": enabled}},
        thinking_effort=lambda effort: {"reasoning": {"effort": effort}},
        thinking_budget=lambda tokens: {"reasoning": {"max_tokens": tokens}},
        signed_thinking=True,
        prompt_cache_key=True,
        cache_control_models=re.compile(r"anthropic/"),
    ),
    Profile(names=("perplexity",), rename_fields={"stream_options": ""}, strict_fields=True),
    Profile(names=("siliconflow",), thinking_switch=_enable_thinking),
    Profile(
        names=("xai",),
        strict_fields=True,
        image_types=frozenset({"image/png", "image/jpeg"}),  # docs.x.ai, image understanding
    ),
    Profile(names=("xiaomi",), thinking_switch=_thinking_type),
    Profile(
        names=("zai", "zhipuai"),
        thinking_switch=_thinking_type,
        unsigned_thinking=True,
        json_schema=False,  # documents only `json_object`, and stalls on a named tool
    ),
)
PROFILES: dict[str, Profile] = {name: row for row in _ROWS for name in row.names}
_DEFAULT_PROFILE = Profile()


@cache
def profile_for(provider: str, backend: str) -> Profile:
    """Return the profile of a host.

    The host's row is found by its models.dev id, or by its family: `alibaba-cn` and
    `zai-coding-plan` are other addresses of `alibaba` and `zai`. What it does not set comes from
    the row of LiteLLM's name, which for most hosts is `hosted_vllm`.
    """
    base = PROFILES.get(backend, _DEFAULT_PROFILE)
    row = PROFILES.get(provider) or PROFILES.get(provider.split("-")[0])
    if row is None or row is base:
        return base
    values = {item.name: getattr(row, item.name) for item in fields(Profile)}
    changes = {n: value for n, value in values.items() if value != getattr(_DEFAULT_PROFILE, n)}
    return replace(base, **changes)


# === Model families =========================================================================

CLAUDE = re.compile("claude")
# From 4.6 on Claude decides itself how much to think, given an effort.
ADAPTIVE_CLAUDE = re.compile(r"claude-[a-z]+-(4[.-]([6-9]|\d\d)|[5-9])(?!\d)")
# Gemini 1 and 2 take no response schema together with tools.
GEMINI_1_AND_2 = re.compile(r"gemini-[12]\b")
# From Gemini 3 on tool calls have ids, and signatures are required.
GEMINI_3_AND_LATER = re.compile(r"gemini-([3-9]|\d\d)")
# These answer in one piece only, after many minutes.
UNSTREAMED_OPENAI = re.compile(r"(o1-pro|gpt-5-pro)(-\d|$)")
