"""Decode the usage of each API: tokens, service tier, reported cost and calls of provider tools."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..apis import GEMINI
from ..deltas import OutputCount, UsageReport
from ._fields import as_mapping as _mapping
from ._fields import as_mappings as _mappings
from ._fields import token_count

_IMAGE_KINDS = ("text", "image", "other")
USD_PER_XAI_TICK = 1e-10  # docs.x.ai/developers/cost-tracking

# === Chat Completions =======================================================================


def usage_from_chat(usage: Mapping[str, Any]) -> UsageReport:
    """Return the usage of Chat Completions, whatever names the host uses."""
    input_tokens = token_count(usage.get("prompt_tokens"))
    input_details = _mapping(usage.get("prompt_tokens_details"))
    cache_read = _first_count(
        (input_details, ("cached_tokens", "cache_read_tokens", "cache_read_input_tokens")),
        # DeepSeek, Moonshot; Anthropic's names from LiteLLM and Databricks
        (usage, ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")),
    )
    cache_write = _first_count(
        (
            input_details,
            # OpenRouter and OpenAI, LiteLLM, Alibaba, Requesty
            (
                "cache_write_tokens",
                "cache_creation_tokens",
                "cache_creation_input_tokens",
                "caching_tokens",
            ),
        ),
        (usage, ("cache_creation_input_tokens", "cache_write_tokens", "cache_write_input_tokens")),
    )
    output_details = _mapping(usage.get("completion_tokens_details"))
    output = token_count(usage.get("completion_tokens"))
    reasoning = token_count(output_details.get("reasoning_tokens"))
    if reasoning is None:
        reasoning = token_count(usage.get("reasoning_tokens"))  # Perplexity, NanoGPT
    if reasoning and output is not None and _is_separate(reasoning, usage):
        output += reasoning
    return UsageReport(
        input=_uncached(input_tokens, cache_read, cache_write),
        output=output,
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=_long_cache_writes(usage, input_details),
        reasoning=reasoning,
        input_audio=token_count(input_details.get("audio_tokens")),
        output_audio=token_count(output_details.get("audio_tokens")),
        output_image=token_count(output_details.get("image_tokens")),
        cost=_usage_cost(usage),
        service_tier=_tier(usage),
        region=_text(usage.get("inference_geo")),
        server_tool_calls=_chat_tool_calls(usage) or None,
    )


def _is_separate(reasoning: int, usage: Mapping[str, Any]) -> bool:
    """Return whether `completion_tokens` excludes the reasoning, as at xAI and Perplexity."""
    output = token_count(usage.get("completion_tokens")) or 0
    total = token_count(usage.get("total_tokens"))
    if total == (token_count(usage.get("prompt_tokens")) or 0) + output + reasoning:
        return True
    # The total of sonar-deep-research also excludes it (docs.perplexity.ai/api-reference).
    is_perplexity = "citation_tokens" in usage or "num_search_queries" in usage
    return (total is None or is_perplexity) and reasoning > output


def billing_from_chunk(chunk: Mapping[str, Any]) -> UsageReport | None:
    """Return the cost that a chunk of Chat Completions reports outside `usage`, if any."""
    choice = next(iter(_mappings(chunk.get("choices"))), {})
    message = _mapping(choice.get("delta")) or _mapping(choice.get("message"))
    cost = _first_cost(
        _nanogpt_cost(_mapping(chunk.get("x_nanogpt_pricing"))),
        _vercel_cost(chunk.get("provider_metadata") or message.get("provider_metadata")),
        _usd(_mapping(_mapping(chunk.get("meta")).get("usage")).get("usd_spent")),  # AI/ML API
        _usd(chunk.get("cost")),  # Eden AI, OpenCode Zen
    )
    tier = _text(chunk.get("service_tier"))
    has_searched = isinstance(chunk.get("web_search"), list)  # Z.ai; its prices are not listed
    if cost is None and tier is None and not has_searched:
        return None
    calls = {"web_search": 1} if has_searched else None
    return UsageReport(cost=cost, service_tier=tier, server_tool_calls=calls)


def _chat_tool_calls(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return the billable tool calls that the usage of Chat Completions counts."""
    calls: dict[str, int] = {}
    for source in ("server_tool_use", "server_tool_use_details"):  # LiteLLM, OpenRouter
        for name, value in _mapping(usage.get(source)).items():
            tool, suffix, _ = name.partition("_requests")
            if suffix and not tool.startswith("tool_search") and (count := token_count(value)):
                calls[tool] = count
    if searches := token_count(_mapping(_mapping(usage.get("plugins")).get("search")).get("count")):
        calls["search"] = searches  # Alibaba
    for name, value in _mapping(usage.get("connectors")).items():  # Mistral
        if count := token_count(value):
            calls[name] = count
    details = _mapping(usage.get("server_side_tool_usage_details"))  # xAI
    calls |= _counts_of_xai(details)
    if sources := token_count(usage.get("num_sources_used")):
        calls["live_search_source"] = sources
    # Perplexity charges for the search of each request, by its size or the number of queries.
    if queries := token_count(usage.get("num_search_queries")):
        calls["search_query"] = queries
        if citation_tokens := token_count(usage.get("citation_tokens")):
            calls["citation_token"] = citation_tokens
    elif size := _text(usage.get("search_context_size")):
        calls[f"search_{size}"] = 1
    return calls


def _counts_of_xai(details: Mapping[str, Any]) -> dict[str, int]:
    """Return `{"web_search": 2}` for `{"web_search_calls": 2}`; MCP calls cost nothing."""
    counts = {name.removesuffix("_calls"): token_count(value) for name, value in details.items()}
    return {name: count for name, count in counts.items() if count and name != "mcp"}


def _long_cache_writes(usage: Mapping[str, Any], details: Mapping[str, Any]) -> int | None:
    """Return the tokens that are kept for an hour or more."""
    for source, name in (
        (details, "cache_creation_token_details"),  # LiteLLM
        (details, "cache_creation"),  # Alibaba
        (usage, "cache_creation"),
    ):
        if tokens := token_count(_mapping(source.get(name)).get("ephemeral_1h_input_tokens")):
            return tokens
    return None


# === The other APIs =========================================================================


def usage_from_cohere(usage: Mapping[str, Any]) -> UsageReport:
    """Return the usage of Cohere's chat API: the tokens that it bills.

    `tokens` also counts Cohere's own preamble, which is not billed. `cached_tokens` is a part of
    `tokens`; the uncached ones are the end of the prompt. Cached tokens are billed.
    """
    tokens, billed = _mapping(usage.get("tokens")), _mapping(usage.get("billed_units"))
    total_input, input_tokens = (token_count(u.get("input_tokens")) for u in (tokens, billed))
    if input_tokens is None:
        input_tokens = total_input
    output = token_count(billed.get("output_tokens"))
    cached = token_count(usage.get("cached_tokens")) or 0
    cache_read = 0
    if cached and input_tokens is not None:
        uncached = max(0, (input_tokens if total_input is None else total_input) - cached)
        cache_read = max(0, input_tokens - uncached)
    searches = token_count(billed.get("search_units"))
    return UsageReport(
        input=None if input_tokens is None else input_tokens - cache_read,
        output=token_count(tokens.get("output_tokens")) if output is None else output,
        cache_read=cache_read,
        server_tool_calls={"search": searches} if searches else None,
    )


def usage_from_responses(response: Mapping[str, Any], items: Any) -> UsageReport | None:
    """Return the usage of a finished response of OpenAI's Responses API; `items` is its output."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    input_details = _mapping(usage.get("input_tokens_details"))
    cache_read = _first_count((input_details, ("cached_tokens", "cache_read_input_tokens")))
    cache_write = _first_count(
        (input_details, ("cache_write_tokens", "cache_creation_input_tokens"))
    )
    write_details = _mapping(input_details.get("cache_write_tokens_details"))
    output_details = _mapping(usage.get("output_tokens_details"))
    return UsageReport(
        input=_uncached(token_count(usage.get("input_tokens")), cache_read, cache_write),
        output=token_count(usage.get("output_tokens")),
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=token_count(write_details.get("ttl_12h_tokens")) or None,
        reasoning=token_count(output_details.get("reasoning_tokens")),
        cost=_usage_cost(usage),
        service_tier=_text(response.get("service_tier")) or _tier(usage),
        server_tool_calls=responses_tool_calls(response, items),
    )


def responses_tool_calls(response: Mapping[str, Any], items: Any) -> dict[str, int]:
    """Return the billable calls of provider tools."""
    usage = _mapping(response.get("usage"))
    if details := _counts_of_xai(_mapping(usage.get("server_side_tool_usage_details"))):
        return details
    tools = _mappings(response.get("tools"))
    types = [str(tool.get("type")) for tool in tools]
    preview = any(name.startswith("web_search_preview") for name in types)
    searches, files, images, containers = 0, 0, 0, set()
    for item in _mappings(items):
        item_type, status = item.get("type"), item.get("status")
        action = _mapping(item.get("action"))
        environment = _mapping(item.get("environment"))
        if item_type == "web_search_call" and status != "failed":
            searches += action.get("type") in (None, "search")  # reading a page is free
        files += item_type == "file_search_call"
        images += item_type == "image_generation_call" and status != "failed"
        if container := item.get("container_id") or environment.get("container_id"):
            containers.add(str(container))
    tool_usage = _mapping(response.get("tool_usage"))
    reported = _mapping(tool_usage.get("web_search"))
    billed_searches = token_count(reported.get("num_requests"))
    calls = {
        "web_search_preview" if preview else "web_search": (
            searches if billed_searches is None else billed_searches
        ),
        "file_search": files,
        "image_generation": images,
        f"container_{_container_size(tools)}": len(containers),
        **_image_tokens(_mapping(tool_usage.get("image_gen")), tools),
    }
    return {name: count for name, count in calls.items() if count}


def _image_tokens(usage: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Return the tokens of the image model, which are not in the usage of the response."""
    models = [tool.get("model") for tool in tools if tool.get("type") == "image_generation"]
    model = next((name for name in models if _text(name)), "image model")
    tokens: dict[str, int] = {}
    for side in ("input", "output"):
        details = _mapping(usage.get(f"{side}_tokens_details"))
        counts = {kind: token_count(details.get(f"{kind}_tokens")) or 0 for kind in _IMAGE_KINDS}
        total = token_count(usage.get(f"{side}_tokens")) or 0
        # Some responses have no details; what a model draws with are image tokens.
        counts["image" if side == "output" else "other"] += max(0, total - sum(counts.values()))
        tokens |= {f"{model}_{side}_{kind}_token": count for kind, count in counts.items()}
    return tokens


def _container_size(tools: Iterable[Mapping[str, Any]]) -> str:
    """Return the memory of the container that a response's tools run in."""
    for tool in tools:
        for name in ("container", "environment"):
            if limit := _mapping(tool.get(name)).get("memory_limit"):
                return str(limit)
    return "1g"


def usage_from_anthropic(usage: Mapping[str, Any], blocks: Mapping[str, int]) -> UsageReport:
    """Return the usage of an Anthropic message; `blocks` counts its calls of Anthropic's tools."""
    creation = _mapping(usage.get("cache_creation"))
    output_details = _mapping(usage.get("output_tokens_details"))
    report = UsageReport(
        input=token_count(usage.get("input_tokens")),
        output=token_count(usage.get("output_tokens")),
        cache_read=token_count(usage.get("cache_read_input_tokens")),
        cache_write=token_count(usage.get("cache_creation_input_tokens")),
        cache_write_1h=token_count(creation.get("ephemeral_1h_input_tokens")),
        reasoning=token_count(output_details.get("thinking_tokens")),
        cost=_usage_cost(usage),
        service_tier=_tier(usage),
        region=_text(usage.get("inference_geo")),
        server_tool_calls=_anthropic_tool_calls(usage, blocks),
    )
    for iteration in _mappings(usage.get("iterations")):
        if iteration.get("type") == "compaction":
            _add_iteration(report, iteration)
    return report


def _add_iteration(report: UsageReport, iteration: Mapping[str, Any]) -> None:
    """Add a compaction, which is billed and not in the sums (anthropic-sdk `BetaUsage`)."""
    creation = _mapping(iteration.get("cache_creation"))
    counts = {
        "input": iteration.get("input_tokens"),
        "output": iteration.get("output_tokens"),
        "cache_read": iteration.get("cache_read_input_tokens"),
        "cache_write": iteration.get("cache_creation_input_tokens"),
        "cache_write_1h": creation.get("ephemeral_1h_input_tokens"),
    }
    for name, value in counts.items():
        if count := token_count(value):
            setattr(report, name, (getattr(report, name) or 0) + count)


def anthropic_tool(block: Mapping[str, Any]) -> str:
    """Return the billed tool that a `server_tool_use` block calls, or an empty string.

    Tool search is free. Code execution may be free (it is with web search, and for a number of
    hours), which a response does not show.
    """
    name = str(block.get("name"))
    if "code_execution" in name:
        return "code_execution"
    return "" if name.startswith("tool_search") else name


def _anthropic_tool_calls(usage: Mapping[str, Any], blocks: Mapping[str, int]) -> dict[str, int]:
    calls = dict(blocks)
    for name, value in _mapping(usage.get("server_tool_use")).items():
        if name.endswith("_requests") and (count := token_count(value)) is not None:
            calls[name.removesuffix("_requests")] = count
    for iteration in _mappings(usage.get("iterations")):
        # Another model answered, or advised, at its own price.
        if iteration.get("type") in ("advisor_message", "fallback_message"):
            calls[f"model {iteration.get('model')}"] = 1
    return {name: count for name, count in calls.items() if count}


_GROWING_COUNTS = ("candidatesTokenCount", "totalTokenCount")


def usage_from_gemini(
    usage: Mapping[str, Any], previous: Mapping[str, Any] | None = None
) -> UsageReport | OutputCount | None:
    """Return the usage of a Gemini response; Vertex AI counts tokens only at its end.

    `previous` is that of a chunk before, which usually differs only in the tokens of the answer.
    None: it has no new count.
    """
    answer_tokens = token_count(usage.get("candidatesTokenCount"))
    thinking_tokens = token_count(usage.get("thoughtsTokenCount"))
    output_reported = answer_tokens is not None or thinking_tokens is not None
    output = (answer_tokens or 0) + (thinking_tokens or 0) if output_reported else None
    if previous and {**previous, **{n: usage.get(n) for n in _GROWING_COUNTS}} == usage:
        return None if output is None else OutputCount(output)
    prompt_tokens = token_count(usage.get("promptTokenCount"))
    cached_tokens = token_count(usage.get("cachedContentTokenCount")) or 0
    # Results of Google's own tools, which are billed as input.
    tool_tokens = token_count(usage.get("toolUsePromptTokenCount")) or 0
    audio = _modality_tokens(usage.get("promptTokensDetails"), "AUDIO")
    cached_audio = _modality_tokens(usage.get("cacheTokensDetails"), "AUDIO") or 0
    answer_details = usage.get("candidatesTokensDetails")
    return UsageReport(
        input=None
        if prompt_tokens is None
        else max(0, prompt_tokens + tool_tokens - cached_tokens),
        output=output,
        cache_read=None if prompt_tokens is None else cached_tokens,
        cache_write=None if prompt_tokens is None else 0,
        reasoning=thinking_tokens,
        input_audio=None if audio is None else max(0, audio - cached_audio),
        output_audio=_modality_tokens(answer_details, "AUDIO"),
        output_image=_modality_tokens(answer_details, "IMAGE"),
        service_tier=_text(usage.get("serviceTier")) or _text(usage.get("trafficType")),
    )


def usage_from_converse(metadata: Mapping[str, Any]) -> UsageReport:
    """Return the usage of a response of Bedrock's Converse API."""
    usage = _mapping(metadata.get("usage"))
    hour_writes = [
        token_count(detail.get("inputTokens")) or 0
        for detail in _mappings(usage.get("cacheDetails"))
        if detail.get("ttl") == "1h"
    ]
    return UsageReport(
        input=token_count(usage.get("inputTokens")),
        output=token_count(usage.get("outputTokens")),
        cache_read=token_count(usage.get("cacheReadInputTokens")),
        cache_write=token_count(usage.get("cacheWriteInputTokens")),
        cache_write_1h=sum(hour_writes) if hour_writes else None,
        service_tier=_text(_mapping(metadata.get("serviceTier")).get("type")),
    )


def tool_calls_from_gemini(grounding: Any) -> dict[str, int]:
    """Return the billable calls that `groundingMetadata` shows."""
    grounding = _mapping(grounding)
    chunks = _mappings(grounding.get("groundingChunks"))
    queries = [
        query
        for name in ("webSearchQueries", "imageSearchQueries")
        for query in _list(grounding.get(name))
        if _text(query)  # an empty one is not billed
    ]
    calls = {
        "google_search": len(queries),
        "google_maps": int(any("maps" in chunk for chunk in chunks)),
        "file_search": int(any("retrievedContext" in chunk for chunk in chunks)),
    }
    return {name: count for name, count in calls.items() if count}


def _modality_tokens(details: Any, modality: str) -> int | None:
    """Return the tokens of a modality in a list of them."""
    for part in details if isinstance(details, list) else ():
        if isinstance(part, dict) and part.get("modality") == modality:
            return token_count(part.get("tokenCount"))
    return None


# === Headers ================================================================================


def usage_from_headers(
    headers: Mapping[str, str], api: str, from_litellm_proxy: bool
) -> UsageReport | None:
    """Return the cost and model that the headers of a response report, if any.

    Only Gemini's API has Gemini's header, and only a LiteLLM proxy has LiteLLM's.
    """
    tier = headers.get("x-gemini-service-tier") if api == GEMINI else None
    # A LiteLLM proxy sends 0 for a model of unknown price.
    cost = _usd(headers.get("x-litellm-response-cost")) or None if from_litellm_proxy else None
    return None if tier is None and cost is None else UsageReport(cost=cost, service_tier=tier)


# === Values =================================================================================


def _usage_cost(usage: Mapping[str, Any]) -> float | None:
    """Return the US dollars that `usage` reports, whatever names the host uses."""
    ticks = token_count(usage.get("cost_in_usd_ticks"))  # xAI
    if ticks is not None:
        return round(ticks * USD_PER_XAI_TICK, 12)
    cost = usage.get("cost")
    if isinstance(cost, dict):  # Perplexity
        currency = cost.get("currency") or "USD"
        cost = cost.get("total_cost") if currency == "USD" else None
    billed = _first_cost(_usd(cost), _usd(usage.get("estimated_cost")))  # DeepInfra
    upstream = _usd(_mapping(usage.get("cost_details")).get("upstream_inference_cost"))
    market = _usd(usage.get("market_cost"))  # Vercel
    if upstream and (usage.get("is_byok") or (billed is not None and upstream > billed)):
        # With the user's own key OpenRouter bills its fee, and the upstream provider the tokens.
        # Without, `upstream_inference_cost` is a part of `cost` (RooCodeInc/Roo-Code#5144).
        return round((billed or 0.0) + upstream, 12)
    return billed or market if market is not None else billed


def _vercel_cost(metadata: Any) -> float | None:
    """Return the cost in Vercel's `provider_metadata`: with the user's own key, `cost` is 0."""
    gateway = _mapping(_mapping(metadata).get("gateway"))
    return _usd(gateway.get("cost")) or _usd(gateway.get("marketCost"))


def _nanogpt_cost(pricing: Mapping[str, Any]) -> float | None:
    if (pricing.get("currency") or "USD") != "USD":
        return None
    return _first_cost(*(_usd(pricing.get(name)) for name in ("costUsd", "cost", "amount")))


def _first_cost(*costs: float | None) -> float | None:
    return next((cost for cost in costs if cost is not None), None)


def _usd(value: Any) -> float | None:
    """Return an amount given as a number or text; None if it is not plausible."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        usd = float(value)
    except (ValueError, OverflowError):
        return None
    return usd if 0 <= usd < math.inf else None


def _tier(usage: Mapping[str, Any]) -> str | None:
    """Return the service tier; Anthropic's speed is one too."""
    tier, speed = _text(usage.get("service_tier")), _text(usage.get("speed"))
    return speed if tier in (None, "standard") and speed is not None else tier


def _first_count(*sources: tuple[Mapping[str, Any], tuple[str, ...]]) -> int:
    """Return the first count of these fields that is not 0."""
    for mapping, names in sources:
        for name in names:
            if count := token_count(mapping.get(name)):
                return count
    return 0


def _uncached(input_tokens: int | None, cache_read: int, cache_write: int) -> int | None:
    """Return the input without cached tokens, which some hosts count separately."""
    if input_tokens is None:
        return None
    cached = cache_read + cache_write
    return input_tokens - cached if input_tokens >= cached else input_tokens


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
