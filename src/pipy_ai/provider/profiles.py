"""How hosts differ from the API that they implement, as data.

Three tables, each with one row per fact:

- `BACKENDS`: which API a provider speaks, by LiteLLM's name for it.
- `PROFILES`: what a host does differently, by its models.dev id, LiteLLM's name or its family.
- `FAMILIES`: what a model does differently wherever it is hosted, by its name.

`converse_families` has what Bedrock's Converse API accepts for a model.

A new quirk is one row here and a test of the request that it changes. Other code never compares the
names of hosts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

from .apis import (
    ANTHROPIC,
    BEDROCK,
    COHERE_CHAT,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
)

# === Backends ===============================================================================


class Backend(NamedTuple):
    """The API behind one of LiteLLM's provider names.

    Attributes:
        api: the API of its models.
        claude_api: the API of its Claude models where it differs.
        chat_models: a pattern of models that speak Chat Completions instead.
        direct: the APIs for which pipy-ai builds and sends the requests itself.
        has_default_url: requests need no address.
        captured: LiteLLM hands the requests that it builds to pipy-ai's client (tested).
        reports_finish: LiteLLM's streams show whether the provider sent a finish reason.
    """

    api: str = OPENAI_CHAT
    claude_api: str = ""
    chat_models: str = ""
    direct: frozenset[str] = frozenset()
    has_default_url: bool = False
    captured: bool = False
    reports_finish: bool = True

    def api_for(self, model_id: str) -> str:
        """Return the API of one model."""
        if self.chat_models and re.match(self.chat_models, model_id):
            return OPENAI_CHAT
        return self.claude_api if self.claude_api and CLAUDE.search(model_id) else self.api


_CHAT = Backend(direct=frozenset({OPENAI_CHAT}), captured=True)
_OLLAMA = Backend(OLLAMA_CHAT, direct=frozenset({OLLAMA_CHAT}))
_CHAT_AND_RESPONSES = Backend(direct=frozenset({OPENAI_CHAT, OPENAI_RESPONSES}), captured=True)

# Besides Gemini and Claude, Vertex AI has Mistral's models, and open ones with names like
# `meta/llama-3.3-70b-instruct-maas`.
_VERTEX_MISTRAL = r"(mistralai/)?(codestral|devstral|magistral|ministral|mistral|pixtral)-"
_VERTEX_CHAT_MODELS = rf"{_VERTEX_MISTRAL}|[^/]+/"

BACKENDS: dict[str, Backend] = {
    "anthropic": Backend(
        ANTHROPIC, direct=frozenset({ANTHROPIC}), has_default_url=True, captured=True
    ),
    "azure": Backend(direct=frozenset({OPENAI_CHAT, OPENAI_RESPONSES})),
    "azure_ai": Backend(
        claude_api=ANTHROPIC, direct=frozenset({ANTHROPIC, OPENAI_CHAT, OPENAI_RESPONSES})
    ),
    "bedrock": Backend(BEDROCK, direct=frozenset({ANTHROPIC, BEDROCK})),
    "cerebras": _CHAT,
    "cohere_chat": Backend(COHERE_CHAT, direct=frozenset({COHERE_CHAT}), has_default_url=True),
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
    "hosted_vllm": _CHAT,  # also the route to every other OpenAI-compatible host
    "litellm_proxy": _CHAT,
    "llamafile": Backend(direct=frozenset({OPENAI_CHAT})),
    "lm_studio": Backend(direct=frozenset({OPENAI_CHAT})),
    "mistral": _CHAT,
    "moonshot": _CHAT,
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "openai": _CHAT_AND_RESPONSES._replace(has_default_url=True),
    "openrouter": _CHAT,
    "perplexity": _CHAT,
    "together_ai": _CHAT,
    "vercel_ai_gateway": _CHAT,
    "vertex_ai": Backend(
        GEMINI, claude_api=ANTHROPIC, chat_models=_VERTEX_CHAT_MODELS, reports_finish=False
    ),
    "vertex_ai_beta": Backend(reports_finish=False),
    "xai": _CHAT_AND_RESPONSES,
    "zai": _CHAT,
}
_UNKNOWN_BACKEND = Backend()


def backend_for(name: str) -> Backend:
    """Return the row of a LiteLLM provider name; unknown ones use Chat Completions via LiteLLM."""
    return BACKENDS.get(name, _UNKNOWN_BACKEND)


class NamePattern:
    """A pattern for names of models, compiled on first use to keep the start fast.

    With `words`, only names that contain one of them are matched, which is faster.
    """

    __slots__ = ("_pattern", "_words")

    def __init__(self, pattern: str, *words: str) -> None:
        self._pattern, self._words = pattern, words

    def search(self, name: str) -> bool:
        """Return whether the pattern is in a name."""
        if self._words and not any(word in name for word in self._words):
            return False
        return re.search(self._pattern, name) is not None

    def match(self, name: str) -> bool:
        """Return whether a name begins with the pattern."""
        return re.match(self._pattern, name) is not None


# === Hosts ==================================================================================


class ToolCallIds(NamedTuple):
    """The tool-call ids that a host accepts from other hosts, and how new ones are made."""

    pattern: re.Pattern[str]
    prefix: str
    digest_chars: int

    def accepts(self, call_id: str) -> bool:
        """Return whether the host accepts an id unchanged."""
        return self.pattern.fullmatch(call_id) is not None

    def make(self, digest: str) -> str:
        """Return a new id from a hexadecimal digest."""
        return self.prefix + digest[: self.digest_chars]


PORTABLE_IDS = ToolCallIds(re.compile(r"[A-Za-z0-9_-]{1,40}"), "call_", 24)
NINE_ALPHANUMERIC = ToolCallIds(re.compile(r"[A-Za-z0-9]{9}"), "", 9)

VERTEX_GEMINI = NamePattern("gemini-")
VERTEX_MISTRAL = NamePattern(_VERTEX_MISTRAL)

ThinkingSwitch = Callable[[bool], dict[str, Any]]


class Profile(NamedTuple):
    """What one host does differently.

    Request fields (Chat Completions):
        rename_fields: fields under another name; "" drops the field. Applies to requests that
            pipy-ai sends itself; LiteLLM has its own rules.
        rejected_options: options, and fields of `extra`, that are rejected whatever their value.
        extra_fields: fields that every request carries.
        tool_choice: other names for values of `tool_choice`; "named" stands for the name of a
            tool. A value that forces less than requested adds a warning.
        max_completion_tokens: the host's reasoning models reject `max_tokens`.
        max_tokens_models: models of such a host that accept only `max_tokens`.
        translates_max_tokens: a gateway that accepts `max_tokens` for every model.
        forced_calls: whether it accepts a `tool_choice` that forces a call.
        unforced_models: models for which it rejects such a `tool_choice`.
        max_temperature: higher values are rejected.
        max_stops: more values of `stop` are rejected; 0 is no limit.
        fixed_sampling: models that reject any `temperature` and `top_p`.
        schema_with_thinking: accepts a response schema for a model that thinks.
        min_output_tokens: the smallest limit that its Responses API accepts.
        strict_fields: the host rejects fields that its API does not document.

    Structured output:
        json_schema: `response_format` accepts a schema; otherwise only `json_object`.
        schema_with_tools: accepts a schema together with tools.
        schema_limits: has OpenAI's limits for strict schemas.

    Messages:
        tool_call_ids: the ids that it accepts.
        assistant_after_tool_results: a user message must not follow tool results directly, and a
            final assistant message must be marked as a prefix.
        image_types: the types of images that it reads; empty: those of its API.
        text_only: its models read no images, PDFs, audio and video.
        rejected_inputs: other kinds of files that none of its models reads: "audio", "video".
        audio_input: how a message carries audio: "object" (its base64 and format), "data_url" (the
            same with a `data:` URL) or "string" (its base64 alone).
        alternating_roles: users and assistants must take turns, users first.
        prefill: continues a final assistant message; others reject it.
        documents: which models read PDFs, if not those that the catalogue lists: "all", "none", or
            "with_images" (in addition all models that read images).

    Thinking:
        thinking_switch: the fields that turn thinking on and off.
        thinking_effort: the fields for an effort; by default `reasoning_effort`.
        thinking_budget: the fields for a budget, if the host accepts one.
        default_off_models: models that think only on request, unlike most on the host.
        thinks_by_default: its models that can think do so unless that is turned off.
        unsigned_thinking: accepts unsigned thinking of earlier turns if the record does not say.
        reasoning_fields: the fields from which it reads the thinking of earlier turns if the
            record names none.
        thinking_chunks: thinking of earlier turns is sent as chunks of the content.
        signed_thinking: returns signed thinking of other vendors' models and accepts it again.
        thinking_blocks: accepts signed thinking as LiteLLM's `thinking_blocks`.

    Caching:
        prompt_cache_key: accepts the session id as `prompt_cache_key`.
        max_cache_key_chars: longer session ids are hashed; 0 is no limit.
        day_cache_models: models that keep a prompt for 24 hours on request.
        cache_options_models: models that accept `prompt_cache_options` instead.
        cache_control_models: models that accept Anthropic's `cache_control` markers.

    Other rows:
        makers: models that follow the row of their maker instead, whose servers they resemble.

    Billing (figures of other hosts are ignored):
        reports_cost: responses report the US dollars that the host bills.
        litellm_headers: LiteLLM's headers name the model and report the cost.
    """

    names: tuple[str, ...] = ()
    rename_fields: Mapping[str, str] = {}
    rejected_options: frozenset[str] = frozenset()
    extra_fields: Mapping[str, Any] = {}
    tool_choice: Mapping[str, str] = {}
    max_completion_tokens: bool = False
    max_tokens_models: NamePattern | None = None
    translates_max_tokens: bool = False
    forced_calls: Literal["always", "without_thinking", "never"] = "always"
    unforced_models: NamePattern | None = None
    max_temperature: float = 2.0
    max_stops: int = 0
    fixed_sampling: NamePattern | None = None
    schema_with_thinking: bool = True
    min_output_tokens: int = 0
    strict_fields: bool = False
    json_schema: bool = True
    schema_with_tools: bool = True
    schema_limits: bool = False
    tool_call_ids: ToolCallIds = PORTABLE_IDS
    assistant_after_tool_results: bool = False
    image_types: frozenset[str] = frozenset()
    rejected_inputs: frozenset[str] = frozenset()
    audio_input: Literal["object", "data_url", "string"] = "object"
    text_only: bool = False
    alternating_roles: bool = False
    prefill: bool = True
    documents: str = ""
    thinking_switch: ThinkingSwitch | None = None
    thinking_effort: Callable[[str], dict[str, Any]] | None = None
    thinking_budget: Callable[[int], dict[str, Any]] | None = None
    default_off_models: NamePattern | None = None
    thinks_by_default: bool = False
    unsigned_thinking: bool = False
    reasoning_fields: tuple[str, ...] = ("reasoning_content",)
    thinking_chunks: bool = False
    signed_thinking: bool = False
    thinking_blocks: bool = False
    prompt_cache_key: bool = False
    max_cache_key_chars: int = 0
    day_cache_models: NamePattern | None = None
    cache_options_models: NamePattern | None = None
    cache_control_models: NamePattern | None = None
    makers: tuple[tuple[NamePattern, str], ...] = ()
    reports_cost: bool = False
    litellm_headers: bool = False


def _thinking_type(enabled: bool) -> dict[str, Any]:
    return {"thinking": {"type": "enabled" if enabled else "disabled"}}


def _enable_thinking(enabled: bool) -> dict[str, Any]:
    return {"enable_thinking": enabled}


def _chat_template_thinking(enabled: bool) -> dict[str, Any]:
    # Templates of Qwen and GLM read the first, those of DeepSeek and Kimi the second.
    return {"chat_template_kwargs": {"enable_thinking": enabled, "thinking": enabled}}


# Kimi K2.5 and later on Moonshot's own servers; other hosts differ in how they run the weights.
FIXED_SAMPLING_KIMI = NamePattern(r"kimi-k(2[.p-]?[5-9]|[3-9])|^k2p[5-9]|kimi-for-coding")

_ROWS = (
    Profile(
        names=("alibaba", "dashscope"),
        audio_input="data_url",  # help.aliyun.com/en/model-studio/qwen-omni
        # "does not support being set to required or object in thinking mode" (cloudwego/eino#994)
        forced_calls="without_thinking",
        # "Json mode response is not supported when enable_thinking is true" (presenton#184)
        schema_with_thinking=False,
        default_off_models=NamePattern(r"qwen-(plus|flash|turbo)|qwen3-max|qwen3-vl-(plus|flash)"),
        thinking_switch=_enable_thinking,
        unsigned_thinking=True,
    ),
    Profile(
        names=("azure", "azure_ai"),
        rejected_inputs=frozenset({"video"}),
        max_completion_tokens=True,
        # "Extra inputs are not permitted" (pydantic/pydantic-ai#6593)
        max_tokens_models=NamePattern(r"mistral|ministral|codestral|mixtral", "stral", "mixtral"),
        max_stops=4,
        min_output_tokens=16,
        strict_fields=True,
        schema_limits=True,
    ),
    Profile(
        names=("amazon-bedrock", "bedrock"),
        # "This model doesn't support the toolConfig.toolChoice.tool field" (maximhq/bifrost#3196);
        # Claude, Nova, GLM, Kimi and Grok accept it (pydantic-ai 2.68).
        unforced_models=NamePattern(r"^(?!.*(claude|nova-|glm-|kimi-|grok-))"),
        fixed_sampling=NamePattern(r"grok-|openai\.gpt-[5-9]"),  # pydantic-ai 2.68
        strict_fields=True,
        cache_control_models=NamePattern(r".*(claude|nova-)"),
    ),
    # Cerebras, Mistral and Perplexity report usage by default and reject `stream_options`.
    Profile(names=("cerebras",), rename_fields={"stream_options": ""}, strict_fields=True),
    # aimlapi.com, deepinfra.com, edenai.co, nano-gpt.com, opencode.ai/zen and requesty.ai
    Profile(names=("aiml", "aimlapi", "edenai", "nano-gpt"), reports_cost=True),
    Profile(names=("deepinfra", "opencode", "requesty"), reports_cost=True),
    Profile(
        names=("cohere", "cohere_chat"),
        max_temperature=1.0,  # docs.cohere.com/reference/chat
        # "compatible with models Command-r7b and newer"
        unforced_models=NamePattern(r"aya|command-(r|r-plus|light|nightly)(-0\d-2024)?$|command$"),
        documents="none",
        thinks_by_default=True,  # docs.cohere.com/docs/reasoning
        prefill=False,  # the last message has to be the user's (SillyTavern/SillyTavern#2916)
    ),
    Profile(
        names=("deepseek",),
        thinking_switch=_thinking_type,
        unsigned_thinking=True,
        prompt_cache_key=True,
        json_schema=False,  # "This response_format type is unavailable now" (2026-07)
    ),
    Profile(
        names=("fireworks-ai", "fireworks_ai"),
        tool_choice={"required": "any"},
        schema_with_tools=False,  # WorkflowAI/WorkflowAI#687, also Mistral
    ),
    # "json mode cannot be combined with tool/function calling" (vercel/ai#16540)
    Profile(
        names=("groq",),
        strict_fields=True,
        schema_with_tools=False,
        max_stops=4,
        rejected_inputs=frozenset({"audio", "video"}),
    ),
    Profile(
        names=("hosted_vllm",),
        thinking_switch=_chat_template_thinking,
        unsigned_thinking=True,
        # vLLM renamed the first to the second and ignores the old name (vllm-project/vllm#38488);
        # older versions, SGLang and llama.cpp read the first.
        reasoning_fields=("reasoning_content", "reasoning"),
    ),
    Profile(names=("kimi-for-coding",), fixed_sampling=FIXED_SAMPLING_KIMI),
    Profile(
        names=("litellm_proxy",),
        translates_max_tokens=True,
        signed_thinking=True,
        thinking_blocks=True,
        reports_cost=True,
        litellm_headers=True,
    ),
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
        rejected_inputs=frozenset({"video"}),
        audio_input="string",  # `AudioChunk` of mistralai 3.7
        rename_fields={"seed": "random_seed", "stream_options": "", "user": ""},
        max_temperature=1.5,
        tool_choice={"required": "any"},
        strict_fields=True,
        schema_with_tools=False,
        tool_call_ids=NINE_ALPHANUMERIC,
        assistant_after_tool_results=True,
        thinking_chunks=True,  # vercel/ai#17930
    ),
    Profile(
        names=("moonshotai", "moonshot"),
        tool_choice={"required": "auto"},
        max_temperature=1.0,
        # "only 1 is allowed for this model" (QuantumNous/new-api#5372); 0.6 without thinking
        fixed_sampling=FIXED_SAMPLING_KIMI,
        thinking_switch=_thinking_type,
        unsigned_thinking=True,
    ),
    Profile(
        names=("ollama", "ollama_chat"),
        forced_calls="never",
        documents="none",
        thinking_switch=lambda enabled: {"think": enabled},
        unsigned_thinking=True,
    ),
    Profile(names=("ollama-cloud",)),  # OpenAI-compatible
    Profile(
        names=("openai",),
        rejected_inputs=frozenset({"video"}),
        max_completion_tokens=True,
        max_stops=4,
        min_output_tokens=16,
        strict_fields=True,
        schema_limits=True,
        documents="with_images",
        prompt_cache_key=True,
        max_cache_key_chars=64,
        day_cache_models=NamePattern(
            r"gpt-5(\.[1-5])?(-codex(-max|-mini)?|(?<=\.\d)-(chat-latest|pro))?(-\d{4}-\d\d-\d\d)?$"
        ),
        cache_options_models=NamePattern(r"gpt-(5\.([6-9]|\d\d)|[6-9]|\d\d)"),
    ),
    Profile(
        names=("openrouter",),
        extra_fields={"usage": {"include": True}},  # returns the cost that it bills
        translates_max_tokens=True,
        documents="all",  # it converts PDFs for models that do not read them
        thinking_switch=lambda enabled: {"reasoning": {"enabled": enabled}},
        thinking_effort=lambda effort: {"reasoning": {"effort": effort}},
        thinking_budget=lambda tokens: {"reasoning": {"max_tokens": tokens}},
        signed_thinking=True,
        prompt_cache_key=True,
        cache_control_models=NamePattern(r"anthropic/"),
        reports_cost=True,
    ),
    Profile(
        names=("perplexity",),
        rename_fields={"stream_options": ""},
        strict_fields=True,
        alternating_roles=True,  # anomalyco/opencode#9416
        prefill=False,  # "Last message must have role `user` or `tool`"
        reports_cost=True,
    ),
    Profile(names=("siliconflow",), thinking_switch=_enable_thinking),
    Profile(
        names=("vercel", "vercel_ai_gateway"),
        translates_max_tokens=True,
        reasoning_fields=("reasoning_content", "reasoning"),
        reports_cost=True,
    ),
    Profile(
        names=("xai",),
        rejected_inputs=frozenset({"audio", "video"}),
        strict_fields=True,
        image_types=frozenset({"image/png", "image/jpeg"}),  # docs.x.ai, image understanding
        reports_cost=True,
    ),
    # Its open models run on vLLM.
    Profile(
        names=("google-vertex", "vertex_ai"),
        thinking_switch=_chat_template_thinking,
        makers=((VERTEX_MISTRAL, "mistral"),),
    ),
    Profile(names=("xiaomi",), thinking_switch=_thinking_type),
    Profile(
        names=("zai", "zhipuai"),
        max_temperature=1.0,
        forced_calls="never",  # "Tool choice must be auto" (vectorize-io/hindsight#4246)
        thinking_switch=_thinking_type,
        unsigned_thinking=True,
        json_schema=False,  # documents only `json_object`, and stalls on a named tool
    ),
)
PROFILES: dict[str, Profile] = {name: row for row in _ROWS for name in row.names}
_DEFAULT_PROFILE = Profile()


@cache
def profile_for(provider: str, backend: str, model_id: str = "") -> Profile:
    """Return the profile of a host.

    The host's row is found by its models.dev id, or by its family: `alibaba-cn` and
    `zai-coding-plan` are other addresses of `alibaba` and `zai`. Fields that it does not set come
    from the row of LiteLLM's name, which for most hosts is `hosted_vllm`.
    """
    profile = _host_profile(provider, backend)
    maker = next((name for pattern, name in profile.makers if pattern.match(model_id)), None)
    return profile if maker is None else PROFILES[maker]


def _host_profile(provider: str, backend: str) -> Profile:
    base = PROFILES.get(backend, _DEFAULT_PROFILE)
    row = PROFILES.get(provider) or PROFILES.get(provider.split("-")[0])
    if row is None or row is base:
        return base
    default = _DEFAULT_PROFILE._asdict()
    return base._replace(**{n: v for n, v in row._asdict().items() if v != default[n]})


# === Service tiers ==========================================================================

_OPENAI_TIERS = {"default": "default", "flex": "flex", "priority": "priority"}
# Patterns of providers and models, and what they call the tiers, from their documentation as of
# 2026-11-29. "" is the default of the host, which needs no field.
_SERVICE_TIERS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("openai|openrouter", ".*", _OPENAI_TIERS),
    ("azure(-.*)?|azure_ai", "(?!.*claude).*", {"default": "default", "priority": "priority"}),
    ("groq", ".*", {"default": "on_demand", "flex": "flex", "priority": "performance"}),
    # "auto" uses priority capacity that the account has committed to.
    ("anthropic", ".*", {"default": "standard_only", "priority": "auto"}),
    (
        "google|gemini", "(models/)?gemini-.*",
        {"default": "standard", "flex": "flex", "priority": "priority"},
    ),
    (
        "google-vertex|vertex_ai", "gemini-.*",
        {"default": "", "flex": "flex", "priority": "priority"},
    ),
    ("amazon-bedrock|bedrock", ".*", _OPENAI_TIERS),
)  # fmt: skip


@cache
def service_tier_name(provider: str, model_id: str, tier: str) -> str | None:
    """Return what a provider calls a service tier of a model; None: it does not have the tier.

    Example:
        >>> service_tier_name("groq", "openai/gpt-oss-120b", "default")
        'on_demand'
    """
    for providers, models, names in _SERVICE_TIERS:
        if re.fullmatch(providers, provider) and re.fullmatch(models, model_id.lower()):
            return names.get(tier)
    return None


# === Model families =========================================================================

_SAMPLING = frozenset({"temperature", "top_p", "top_k"})
_PENALTIES = frozenset({"presence_penalty", "frequency_penalty"})


class Family(NamedTuple):
    """What the models of a family do differently on every host.

    Attributes:
        rejected_options: options, and fields of `extra`, that are rejected whatever their value.
        max_temperature: higher values are rejected.
        rejected_with_thinking: options that are rejected while the model thinks.
        min_top_p_with_thinking: lower values are rejected while the model thinks.
        one_of_temperature_and_top_p: rejects both together.
        max_completion_tokens: rejects `max_tokens`.
        thinks_by_default: thinks unless that is turned off.
        thinking_switch: the fields that turn thinking on and off on its maker's servers; other
            hosts may pass them on.
        forced_calls_with_thinking: a tool call can be forced while it thinks.
        unsigned_thinking: reads its unsigned thinking of earlier turns.
        placeholder_reasoning: sent as the thinking of a turn that has none. Hosts reject a turn
            with tool calls without it, and later turns (earendil-works/pi#3835).
        alternating_roles: its template requires users and assistants to take turns, users first.
        thinks_in_text: writes its thinking as tagged text, also if it is not listed as a reasoning
            model.
        system_role: accepts a system prompt.
        prefill: continues a final assistant message; others reject it.
    """

    pattern: NamePattern
    rejected_options: frozenset[str] = frozenset()
    max_temperature: float = 2.0
    rejected_with_thinking: frozenset[str] = frozenset()
    min_top_p_with_thinking: float = 0.0
    one_of_temperature_and_top_p: bool = False
    max_completion_tokens: bool = False
    thinks_by_default: bool = False
    thinking_switch: ThinkingSwitch | None = None
    forced_calls_with_thinking: bool = True
    unsigned_thinking: bool = False
    placeholder_reasoning: str | None = None
    alternating_roles: bool = False
    thinks_in_text: bool = False
    system_role: bool = True
    prefill: bool = True


def _claude(pattern: str, **fields: Any) -> Family:
    return Family(
        NamePattern(pattern, "claude"),
        rejected_with_thinking=frozenset({"temperature", "top_k"}),
        min_top_p_with_thinking=0.95,
        forced_calls_with_thinking=False,
        max_temperature=1.0,
        **fields,
    )


def _deepseek(pattern: str, **fields: Any) -> Family:
    return Family(
        NamePattern(pattern, "deepseek"),
        thinks_by_default=True,
        thinking_switch=_thinking_type,
        # "Thinking mode does not support this tool_choice" (BerriAI/litellm#37470)
        forced_calls_with_thinking=False,
        unsigned_thinking=True,
        placeholder_reasoning="",
        **fields,
    )


# The first match applies. Names are matched in lower case, with dots unchanged.
FAMILIES = (
    # From Opus 4.7 on Claude accepts no sampling options (anomalyco/models.dev#1468), from 4.6 on
    # no prefill (vercel/ai#12296), from 4.1 on not both options (open-webui/pipelines#546). Version
    # 5 thinks by default (promptfoo/promptfoo#10631).
    _claude(
        r"claude-((?!instant)[a-z]+-)?[5-9](?!\d)|claude-mythos",
        rejected_options=_SAMPLING,
        thinks_by_default=True,
        prefill=False,
    ),
    _claude(
        r"claude-([a-z]+-)?4[.-]?([7-9]|\d\d)(?!\d)", rejected_options=_SAMPLING, prefill=False
    ),
    _claude(r"claude-([a-z]+-)?4[.-]?6(?!\d)", one_of_temperature_and_top_p=True, prefill=False),
    _claude(r"claude-([a-z]+-)?4[.-]?[1-5](?!\d)", one_of_temperature_and_top_p=True),
    _claude(r"claude"),
    # OpenAI's reasoning models: huggingface/smolagents#1671. Their chat models are not among them.
    Family(
        NamePattern(
            r"(^|/|openai[-.])(o[134](?![\w.])|gpt-5(?![\w.]|-chat)|gpt-5\.[12](?!\d)"
            r"|gpt-5\.([3-9]|\d\d)(?!\d|-chat|-instant))",
            "o1",
            "o3",
            "o4",
            "gpt-5",
        ),
        rejected_options=_SAMPLING | _PENALTIES | {"stop", "logit_bias"},
        max_completion_tokens=True,
    ),
    Family(
        NamePattern(r"command-a-plus|command-\S*reasoning", "command-"),
        thinks_by_default=True,  # docs.cohere.com/docs/reasoning
        unsigned_thinking=True,
    ),
    # "stop" is for Grok 2 and 3 only (maximhq/bifrost#1286).
    Family(
        NamePattern(r"grok-(?!2|3(?!-mini)|beta)", "grok"), rejected_options=_PENALTIES | {"stop"}
    ),
    # "deepseek-reasoner does not support successive user or assistant messages", "The last message
    # of deepseek-reasoner must be a user message"
    _deepseek(r"deepseek-reasoner", alternating_roles=True, prefill=False),
    _deepseek(r"deepseek-v[4-9]|deepseek-v3[.p]\d+-think"),
    Family(
        NamePattern(r"deepseek-v3[.p-]?[12]", "deepseek"),
        unsigned_thinking=True,
        placeholder_reasoning="",
    ),
    # "tool_choice 'specified' is incompatible with thinking enabled" (can1357/oh-my-pi#1077)
    Family(
        NamePattern(
            r"kimi-k(2-thinking|2[.p-]?[5-9]|[3-9])|^k2p[5-9]|kimi-for-coding", "kimi", "k2p"
        ),
        thinks_by_default=True,
        thinking_switch=_thinking_type,
        forced_calls_with_thinking=False,
        unsigned_thinking=True,
        placeholder_reasoning=" ",
    ),
    # "The reasoning_content in the thinking mode must be passed back" (earendil-works/pi#4602)
    Family(NamePattern(r"mimo-v2", "mimo"), unsigned_thinking=True, placeholder_reasoning=""),
    Family(
        NamePattern(r"minimax-m[2-9]", "minimax"), thinks_by_default=True, unsigned_thinking=True
    ),
    Family(
        NamePattern(
            r"glm-(4[.p-]?[5-9]|[5-9])|gpt-oss|qwen3|qwq", "glm-", "gpt-oss", "qwen3", "qwq"
        ),
        unsigned_thinking=True,
    ),
    # `<thinking>` before the answer when it has tools (vercel/ai#7078)
    Family(NamePattern(r"(^|[./])nova-(2|lite|micro|pro|premier)", "nova-"), thinks_in_text=True),
    # Their templates raise "Conversation roles must alternate" and "System role not supported";
    # Google's API says "Developer instruction is not enabled" for Gemma 3.
    Family(NamePattern(r"gemma-?[123](?!\d)", "gemma"), alternating_roles=True, system_role=False),
    Family(
        NamePattern(
            r"gemma|mistral|mixtral|ministral|codestral|devstral|magistral|pixtral",
            "gemma",
            "stral",
            "mixtral",
        ),
        alternating_roles=True,
    ),
)
_DEFAULT_FAMILY = Family(NamePattern(""))


@cache
def family_for(model_id: str, default: str = "") -> Family:
    """Return the family of a model by its name, or else the family named `default`."""
    for name in (model_id.lower(), default):
        for family in FAMILIES:
            if family.pattern.search(name):
                return family
    return _DEFAULT_FAMILY


# === Patterns ===============================================================================

CLAUDE = NamePattern("claude")
# From 4.6 on Claude decides itself how much to think, given an effort.
ADAPTIVE_CLAUDE = NamePattern(r"claude-[a-z]+-(4[.-]([6-9]|\d\d)|[5-9])(?!\d)")
# These think by default, and that can be turned off; Fable and Mythos always think
# (ex-machina-co/opencode-anthropic-auth#159).
SWITCHED_CLAUDE = NamePattern(r"claude-(sonnet|opus|haiku)-[5-9](?!\d)")
REASONING_COMMAND = NamePattern(r"command-a-plus|command-\S*reasoning", "command-")
# Gemini 1 and 2 reject a response schema together with tools.
GEMINI_1_AND_2 = NamePattern(r"gemini-[12]\b")
# From Gemini 3 on tool calls have ids, and signatures are required.
GEMINI_3_AND_LATER = NamePattern(r"gemini-([3-9]|\d\d)")
# OpenAI's own models, behind any host; not gpt-oss.
OPENAI_MODELS = NamePattern(r"(^|[/:])(gpt-\d|chatgpt|o[134](-|$))")
# These answer in one piece, after many minutes.
UNSTREAMED_OPENAI = NamePattern(r"(o1-pro|gpt-5-pro)(-\d|$)")
