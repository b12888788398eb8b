"""Test bills worked out by hand: responses as on the wire, and what they cost.

Prices per million tokens are those of models.dev on 2026-07-01, which are in the catalogue of the
tests. `sum` is the arithmetic; `source` says where rules beyond the catalogue come from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipy_ai import budget, complete, ctx, web_search

from ..support.scripted_server import DONE, STALL, Lab, Scene, Status, chunk, sse

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # LiteLLM's own clients
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

Body = Scene | Status


@dataclass
class Bill:
    """A response, the model that was asked for it, and its cost; None: unknown, with a warning."""

    name: str
    model: str
    body: Body
    dollars: float | None
    sum: str  # dollars
    source: str = "models.dev"
    extra: dict[str, Any] = field(default_factory=dict)
    litellm: bool = False  # also through LiteLLM
    responses: bool = False  # over the Responses API, although the model also has another one


# --- Responses as on the wire ---------------------------------------------------------------


def chat(prompt: int, completion: int, **fields: Any) -> dict[str, Any]:
    """Return the fields of a Chat Completions usage."""
    total = prompt + completion
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
    } | fields


def document(usage: dict[str, Any], headers: dict[str, str] | None = None, **top: Any) -> Status:
    """Return a Chat Completions response in one piece."""
    message = {"role": "assistant", "content": "Hi.", **top.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], **top}
    return Status(200, json.dumps({**body, "usage": usage}), headers or {})


def streamed(usage: dict[str, Any], finish: dict[str, Any] | None = None, **top: Any) -> Scene:
    """Return a streamed Chat Completions response; `top` is in every chunk."""
    return sse(
        chunk({"content": "Hi."}, **top),
        chunk({}, finish_reason="stop", **top, **(finish or {})),
        chunk(choices=[], usage=usage, **top),
        DONE,
    )


def anthropic(start: dict[str, Any], end: dict[str, Any], *tools: str) -> Scene:
    """Return a streamed Anthropic message: usage at its start and end, calls of its own tools."""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": "Hi."}]
    for number, tool in enumerate(tools):
        call = {"type": "server_tool_use", "id": f"srvtoolu_{number}", "name": tool, "input": {}}
        blocks.append(call)
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m", "model": "x", "usage": start}}
    ]
    for index, block in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events.append({"type": "content_block_stop", "index": index})
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": end}
    return sse(*events, delta, {"type": "message_stop"})


def responses(
    usage: dict[str, Any], *items: dict[str, Any], stream: bool = True, **top: Any
) -> Body:
    """Return a response of the Responses API with these output items besides its text."""
    text = {"type": "output_text", "text": "Hi.", "annotations": []}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": [text]}
    output = [*items, {**message, "status": "completed"}]
    response = {"id": "r", "model": "m", "status": "completed", "usage": usage, **top}
    if not stream:
        return Status(200, json.dumps({**response, "object": "response", "output": output}), {})
    events = [
        {"type": "response.output_item.done", "output_index": index, "item": item}
        for index, item in enumerate(output)
    ]
    return sse(*events, {"type": "response.completed", "response": response})


def tokens(input: int, output: int, cached: int = 0, **more: Any) -> dict[str, Any]:
    """Return the usage of the Responses API."""
    details = {"input_tokens_details": {"cached_tokens": cached}}
    return {"input_tokens": input, "output_tokens": output, **details, **more}


def gemini(usage: dict[str, Any], **candidate: Any) -> Scene:
    """Return a streamed Gemini response."""
    parts = {"role": "model", "parts": [{"text": "Hi."}]}
    return sse(
        {"candidates": [{"content": parts, "finishReason": "STOP", **candidate}]}
        | {"usageMetadata": usage, "modelVersion": "x"}
    )


def gemini_tokens(prompt: int, answer: int, **more: Any) -> dict[str, Any]:
    return {"promptTokenCount": prompt, "candidatesTokenCount": answer, **more}


SEARCH = {"type": "web_search_call", "id": "ws", "status": "completed"}
CODE = {"type": "code_interpreter_call", "id": "ci", "status": "completed"}
CLAUDE = {"input_tokens": 100_000, "output_tokens": 1}

OPENAI_PRICES = "openai.com/api/pricing as in LiteLLM 1.110.2"
OPENAI_TOOLS = "platform.openai.com/docs/pricing#built-in-tools"
CLAUDE_PRICES = "platform.claude.com/docs/en/about-claude/pricing"
GOOGLE_PRICES = "ai.google.dev/gemini-api/docs/pricing"
GROQ_TOOLS = "groq.com/pricing as in LiteLLM 1.110.2"
PERPLEXITY = "docs.perplexity.ai/getting-started/pricing"

IMAGE = [{"modality": "IMAGE", "tokenCount": 1290}, {"modality": "TEXT", "tokenCount": 20}]

BILLS = [
    # === Images ===
    Bill(
        "Gemini image and text", "google/gemini-2.5-flash-image",
        gemini(gemini_tokens(1_000, 1_310, candidatesTokensDetails=IMAGE)),
        0.03905, "(1_000*0.3 + 1_290*30 + 20*2.5) / 1e6", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini image at half price", "google/gemini-2.5-flash-image",
        gemini(gemini_tokens(1_000, 1_290, candidatesTokensDetails=IMAGE[:1],
                             serviceTier="batch")),
        0.0195, "(1_000*0.3 + 1_290*30) / 1e6 * 0.5", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini's text without an image", "google/gemini-3.1-flash-image-preview",
        gemini(gemini_tokens(1_000, 100)),
        0.0008, "(1_000*0.5 + 100*3) / 1e6", GOOGLE_PRICES,
    ),
    Bill(
        "an image at a host that lists only the price of text and reports no cost",
        "openrouter/google/gemini-2.5-flash-image",
        streamed(chat(1_000, 1_310, completion_tokens_details={"image_tokens": 1_290})),
        None, "at $2.5 instead of $30 it would be a twelfth of the bill", "models.dev",
    ),
    Bill(
        "speech at a host that lists only the price of text and reports no cost",
        "openrouter/openai/gpt-audio",
        document(chat(100, 60, completion_tokens_details={"audio_tokens": 50})),
        None, "at $10 instead of $64", "models.dev, platform.openai.com/docs/pricing",
    ),
    Bill(
        "Gemini's speech", "google/gemini-2.5-flash-preview-tts",
        gemini(gemini_tokens(1_000, 500, candidatesTokensDetails=[
            {"modality": "AUDIO", "tokenCount": 500}])),
        0.0055, "(1_000*0.5 + 500*10) / 1e6", GOOGLE_PRICES,
    ),
    # === Service tiers ===
    Bill(
        "OpenAI flex", "openai/gpt-5", streamed(chat(100_000, 10_000), service_tier="flex"),
        0.1125, "(100_000*1.25 + 10_000*10) / 1e6 * 0.5", OPENAI_PRICES, litellm=True,
    ),
    Bill(
        "OpenAI flex with cached tokens", "openai/responses/gpt-5",
        responses(tokens(100_000, 10_000, cached=80_000), service_tier="flex"),
        0.0675, "(20_000*1.25 + 80_000*0.125 + 10_000*10) / 1e6 * 0.5", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI flex above the size of a tier", "openai/gpt-5.4",
        document(chat(300_000, 1_000), service_tier="flex"),
        0.76125, "(300_000*5 + 1_000*22.5) / 1e6 * 0.5", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI batch", "openai/gpt-4.1", document(chat(10_000, 1_000), service_tier="batch"),
        0.014, "(10_000*2 + 1_000*8) / 1e6 * 0.5", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI priority of the catalogue", "openai/gpt-5.5",
        document(chat(10_000, 1_000), service_tier="priority"),
        0.2, "(10_000*12.5 + 1_000*75) / 1e6", "models.dev, mode fast", litellm=True,
    ),
    Bill(
        "OpenAI priority by its factor", "openai/gpt-4o",
        document(chat(10_000, 1_000), service_tier="priority"),
        0.0595, "(10_000*2.5 + 1_000*10) / 1e6 * 1.7", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI priority of a small model", "openai/responses/o4-mini",
        responses(tokens(11_000, 1_000), service_tier="priority"),
        0.03, "(11_000*2 + 1_000*8) / 1e6", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI priority that was served by default", "openai/gpt-5",
        document(chat(10_000, 1_000), service_tier="default"),
        0.0225, "(10_000*1.25 + 1_000*10) / 1e6", extra={"service_tier": "priority"},
    ),
    Bill(
        "OpenAI default that was served by priority", "openai/gpt-5",
        document(chat(10_000, 1_000), service_tier="priority"),
        0.045, "(10_000*1.25 + 1_000*10) / 1e6 * 2", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI scale", "openai/gpt-5", document(chat(10_000, 1_000), service_tier="scale"),
        None, "bought by the month, so no price per token", OPENAI_PRICES,
    ),
    Bill(
        "OpenAI priority without a price", "openai/o1",
        document(chat(10_000, 1_000), service_tier="priority"), None, "not in the list",
        OPENAI_PRICES,
    ),
    Bill(
        "a tier that a host invents", "togetherai/openai/gpt-oss-120b",
        document(chat(10_000, 1_000), service_tier="turbo"), None, "no list has it",
    ),
    Bill(
        "Groq on demand", "groq/openai/gpt-oss-120b",
        streamed(chat(10_000, 1_000), service_tier="on_demand"),
        0.0021, "(10_000*0.15 + 1_000*0.6) / 1e6",
    ),
    Bill(
        "Groq flex", "groq/openai/gpt-oss-120b",
        streamed(chat(10_000, 1_000), service_tier="flex"),
        0.0021, "(10_000*0.15 + 1_000*0.6) / 1e6", "console.groq.com/docs/flex-processing",
    ),
    Bill(
        "Groq performance", "groq/openai/gpt-oss-120b",
        streamed(chat(10_000, 1_000), service_tier="performance"), None, "by contract",
        "console.groq.com/docs/service-tiers",
    ),
    Bill(
        "Anthropic batch", "anthropic/claude-sonnet-4-5",
        anthropic({**CLAUDE, "service_tier": "batch"}, {"output_tokens": 1_000}),
        0.1575, "(100_000*3 + 1_000*15) / 1e6 * 0.5", CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic fast mode", "anthropic/claude-opus-4-6",
        anthropic({**CLAUDE, "service_tier": "standard", "speed": "fast"},
                  {"output_tokens": 1_000}),
        3.15, "(100_000*30 + 1_000*150) / 1e6", "models.dev, mode fast", litellm=True,
    ),
    Bill(
        "Anthropic fast mode that was served at standard speed", "anthropic/claude-opus-4-8",
        anthropic({**CLAUDE, "speed": "standard"}, {"output_tokens": 1_000}),
        0.525, "(100_000*5 + 1_000*25) / 1e6", extra={"speed": "fast"},
    ),
    Bill(
        "Anthropic priority", "anthropic/claude-sonnet-4-5",
        anthropic({**CLAUDE, "service_tier": "priority"}, {"output_tokens": 1_000}),
        None, "bought in advance", CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic in the US only", "anthropic/claude-opus-4-6",
        anthropic({**CLAUDE, "inference_geo": "us"}, {"output_tokens": 1_000}),
        0.5775, "(100_000*5 + 1_000*25) / 1e6 * 1.1",
        "platform.claude.com/docs/en/manage-claude/data-residency", litellm=True,
    ),
    Bill(
        "Anthropic in the US only, with the cache", "anthropic/claude-sonnet-4-6",
        anthropic(
            {**CLAUDE, "cache_creation_input_tokens": 4_000, "cache_read_input_tokens": 50_000,
             "cache_creation": {"ephemeral_1h_input_tokens": 1_000}, "inference_geo": "us"},
            {"output_tokens": 1_000},
        ),
        0.381975, "(100_000*3 + 3_000*3.75 + 1_000*6 + 50_000*0.3 + 1_000*15) / 1e6 * 1.1",
        CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic where the region is not available", "anthropic/claude-sonnet-4-5",
        anthropic({**CLAUDE, "inference_geo": "not_available"}, {"output_tokens": 1_000}),
        0.315, "(100_000*3 + 1_000*15) / 1e6", CLAUDE_PRICES,
    ),
    Bill(
        "Gemini flex by header", "google/gemini-3.5-flash",
        Status(200, b"".join(gemini(gemini_tokens(10_000, 1_000))).decode(), {
            "content-type": "text/event-stream", "x-gemini-service-tier": "flex"}),
        0.012, "(10_000*1.5 + 1_000*9) / 1e6 * 0.5", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini flex does not reduce reads of the cache", "google/gemini-2.5-flash",
        gemini(gemini_tokens(10_000, 1_000, cachedContentTokenCount=8_000, serviceTier="flex")),
        0.00179, "(2_000*0.3*0.5 + 8_000*0.03 + 1_000*2.5*0.5) / 1e6", GOOGLE_PRICES,
    ),
    Bill(
        "Vertex AI's priority", "google/gemini-3.5-flash",
        gemini(gemini_tokens(10_000, 1_000, trafficType="ON_DEMAND_PRIORITY")),
        0.0432, "(10_000*1.5 + 1_000*9) / 1e6 * 1.8", GOOGLE_PRICES,
    ),
    Bill(
        "Vertex AI on demand", "google/gemini-3.5-flash",
        gemini(gemini_tokens(10_000, 1_000, trafficType="ON_DEMAND")),
        0.024, "(10_000*1.5 + 1_000*9) / 1e6",
    ),
    Bill(
        "Vertex AI's provisioned throughput", "google/gemini-3.5-flash",
        gemini(gemini_tokens(10_000, 1_000, trafficType="PROVISIONED_THROUGHPUT")),
        None, "bought by the month", GOOGLE_PRICES,
    ),
    # === Costs that the provider reports ===
    Bill(
        "OpenRouter", "openrouter/openai/gpt-5",
        streamed(chat(100, 10, cost=0.0123, is_byok=False,
                      cost_details={"upstream_inference_cost": 0.0123})),
        0.0123, "0.0123", "openrouter.ai/docs usage accounting", litellm=True,
    ),
    Bill(
        "OpenRouter with one's own key", "openrouter/openai/gpt-5",
        streamed(chat(9171, 113, cost=0.0018, is_byok=True,
                      cost_details={"upstream_inference_cost": 0.0360795})),
        0.0378795, "0.0018 + 0.0360795", "tailcallhq/forgecode#1641", litellm=True,
    ),
    Bill(
        "OpenRouter with one's own key, without is_byok", "openrouter/openai/gpt-5",
        document(chat(194, 2, cost=0.95, cost_details={"upstream_inference_cost": 19})),
        19.95, "0.95 + 19", "openrouter.ai/docs usage accounting",
    ),
    Bill(
        "Vercel AI Gateway", "vercel/openai/gpt-5",
        streamed(chat(100, 10), {"provider_metadata": {"gateway": {"cost": "0.00001155"}}}),
        0.00001155, "0.00001155", "vercel.com/docs/ai-gateway",
    ),
    Bill(
        "Vercel AI Gateway with one's own key", "vercel/openai/gpt-5",
        document(chat(100, 10), message={
            "provider_metadata": {"gateway": {"cost": "0", "marketCost": "0.000225"}}}),
        0.000225, "0.000225", "vercel.com/docs/ai-gateway",
    ),
    Bill(
        "xAI's ticks", "xai/grok-4.3",
        streamed(chat(100, 10, cost_in_usd_ticks=37_756_000, server_side_tool_usage_details={
            "web_search_calls": 1})),
        0.0037756, "37_756_000 / 1e10", "docs.x.ai/developers/cost-tracking",
    ),
    Bill(
        "Perplexity", "perplexity/sonar",
        document(chat(14, 300, search_context_size="low", cost={
            "input_tokens_cost": 0.000014, "output_tokens_cost": 0.0003, "request_cost": 0.005,
            "total_cost": 0.005314})),
        0.005314, "0.000014 + 0.0003 + 0.005", PERPLEXITY, litellm=True,
    ),
    Bill(
        "DeepInfra", "deepinfra/moonshotai/Kimi-K2.5",
        streamed(chat(1_000, 100, estimated_cost=0.000675)), 0.000675, "0.000675",
        "deepinfra.com/docs", litellm=True,
    ),
    Bill(
        "Requesty", "requesty/openai/gpt-5",
        streamed(chat(1_000, 100, cost=0.00236)), 0.00236, "0.00236", "docs.requesty.ai",
    ),
    Bill(
        "NanoGPT", "nano-gpt/openai/gpt-5",
        streamed(chat(1_000, 100), {"x_nanogpt_pricing": {"cost": 0.0034, "currency": "USD"}}),
        0.0034, "0.0034", "docs.nano-gpt.com",
    ),
    Bill(
        "NanoGPT in its own currency", "nano-gpt/openai/gpt-5",
        streamed(chat(1_000, 100), {"x_nanogpt_pricing": {"amount": 12, "currency": "XNO"}}),
        0.00225, "(1_000*1.25 + 100*10) / 1e6", "docs.nano-gpt.com",
    ),
    Bill(
        "LiteLLM's proxy by header", "litellm_proxy/openai/gpt-5",
        document(chat(1_000, 100), {"x-litellm-response-cost": "0.0031"}),
        0.0031, "0.0031", "litellm/proxy/common_request_processing.py",
    ),
    Bill(
        "LiteLLM's proxy without a price", "litellm_proxy/openai/gpt-5",
        document(chat(1_000, 100), {"x-litellm-response-cost": "0.0"}, model="openai/gpt-5"),
        0.00225, "(1_000*1.25 + 100*10) / 1e6", "litellm/proxy/common_request_processing.py",
    ),
    # === Tokens ===
    Bill(
        "Anthropic's compaction", "anthropic/claude-opus-4-6",
        anthropic({"input_tokens": 23_000, "output_tokens": 1}, {
            "input_tokens": 23_000, "output_tokens": 1_000, "iterations": [
                {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
                {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000}]}),
        1.1275, "(203_000*5 + 4_500*25) / 1e6", "anthropic-sdk-python 2.14.0 BetaUsage",
    ),
    Bill(
        "Anthropic's advisor", "anthropic/claude-sonnet-4-6",
        anthropic({"input_tokens": 1_000, "output_tokens": 1}, {
            "input_tokens": 1_000, "output_tokens": 100, "iterations": [
                {"type": "message", "input_tokens": 1_000, "output_tokens": 100},
                {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 9_000,
                 "output_tokens": 900}]}),
        None, "at the prices of the advisor", "anthropic-sdk-python 2.14.0 BetaUsage",
    ),
    Bill(
        "Gemini's tool results and thoughts", "google/gemini-2.5-flash",
        gemini(gemini_tokens(1_000, 100, toolUsePromptTokenCount=9_000, thoughtsTokenCount=900)),
        0.0055, "(10_000*0.3 + 1_000*2.5) / 1e6", GOOGLE_PRICES,
    ),
    Bill(
        "cache writes in Alibaba's spelling", "alibaba/qwen-plus",
        document(chat(10_000, 0, prompt_tokens_details={
            "cached_tokens": 2_000, "cache_creation_input_tokens": 3_000})),
        0.004, "10_000*0.4 / 1e6",
    ),
    Bill(
        "Anthropic's cache", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 5_000, "cache_creation_input_tokens": 3_000,
                   "cache_read_input_tokens": 2_000, "output_tokens": 1}, {"output_tokens": 0}),
        0.026865, "(5_000*3 + 3_000*3.75 + 2_000*0.3 + 1*15) / 1e6",
    ),
    Bill(
        "OpenAI's cache for 12 hours", "openai/responses/gpt-5",
        responses({"input_tokens": 10_000, "output_tokens": 0, "input_tokens_details": {
            "cached_tokens": 0, "cache_write_tokens": 4_000,
            "cache_write_tokens_details": {"ttl_12h_tokens": 4_000, "ttl_30m_tokens": 0}}}),
        0.02, "(6_000*1.25 + 4_000*1.25*2.5) / 1e6", OPENAI_PRICES,
    ),
]  # fmt: skip

# Fees of the provider's tools, alone and together with caches, tiers, regions, images and audio.
FEES = [
    Bill(
        "Anthropic's web search", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 100, "output_tokens": 1}, {
            "input_tokens": 10_000, "output_tokens": 1_000,
            "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 2}}),
        0.075, "(10_000*3 + 1_000*15) / 1e6 + 3*0.01", CLAUDE_PRICES, litellm=True,
    ),
    Bill(
        "Anthropic's web search, not in the usage", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 100}, "web_search"),
        0.0118, "(100*3 + 100*15) / 1e6 + 0.01", CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic's code execution", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 100, "output_tokens": 1}, {"output_tokens": 100},
                  "bash_code_execution"),
        None, "by the hour of the container", CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic's code execution that filters a search", "anthropic/claude-sonnet-4-6",
        anthropic({"input_tokens": 100, "output_tokens": 1}, {
            "output_tokens": 100, "server_tool_use": {"web_search_requests": 1}},
                  "code_execution"),
        0.0118, "(100*3 + 100*15) / 1e6 + 0.01", CLAUDE_PRICES,
    ),
    Bill(
        "a search in batch mode costs the same", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 10_000, "output_tokens": 1, "service_tier": "batch"}, {
            "output_tokens": 1_000, "server_tool_use": {"web_search_requests": 1}}),
        0.0325, "(10_000*3 + 1_000*15) / 1e6 * 0.5 + 0.01", CLAUDE_PRICES,
    ),
    Bill(
        "OpenAI's web search", "openai/responses/gpt-5",
        responses(tokens(10_000, 1_000), {**SEARCH, "action": {"type": "search", "query": "q"}},
                  {**SEARCH, "action": {"type": "open_page", "url": "u"}},
                  tools=[{"type": "web_search"}]),
        0.0325, "(10_000*1.25 + 1_000*10) / 1e6 + 0.01", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's billable searches", "openai/responses/gpt-5",
        responses(tokens(10_000, 1_000), SEARCH, SEARCH, stream=False,
                  tool_usage={"web_search": {"num_requests": 1}}),
        0.0325, "(10_000*1.25 + 1_000*10) / 1e6 + 0.01", "openai-python 3.57.0 ToolUsage",
    ),
    Bill(
        "OpenAI's old web search", "openai/responses/gpt-4.1",
        responses(tokens(1_000, 100), SEARCH, tools=[{"type": "web_search_preview"}]),
        0.0278, "(1_000*2 + 100*8) / 1e6 + 0.025", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's file search and code interpreter", "openai/responses/gpt-5-mini",
        responses(tokens(10_000, 1_000), {"type": "file_search_call", "id": "fs"},
                  {**CODE, "container_id": "c1"}, {**CODE, "container_id": "c1"}),
        0.037, "(10_000*0.25 + 1_000*2) / 1e6 + 0.0025 + 0.03", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's code interpreter with 4 GB", "openai/responses/gpt-5-mini",
        responses(tokens(10_000, 1_000), {**CODE, "container_id": "c1"}, tools=[
            {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}]),
        0.1245, "(10_000*0.25 + 1_000*2) / 1e6 + 0.12", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's images", "openai/responses/gpt-5",
        responses(tokens(10_000, 1_000), {"type": "image_generation_call", "id": "ig"}),
        None, "by tokens of another model", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's images by the token", "openai/responses/gpt-5-mini",
        responses(tokens(2_279, 683), {"type": "image_generation_call", "id": "ig"},
                  tools=[{"type": "image_generation", "model": "gpt-image-2"}], tool_usage={
            "image_gen": {"input_tokens": 71, "output_tokens": 196, "total_tokens": 267,
                          "input_tokens_details": {"image_tokens": 0, "text_tokens": 71},
                          "output_tokens_details": {"image_tokens": 196, "text_tokens": 0}}}),
        0.00817075, "(2_279*0.25 + 683*2 + 71*5 + 196*30) / 1e6", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's edited image, without the kinds of output", "openai/responses/gpt-5-mini",
        responses(tokens(1_000, 100), {"type": "image_generation_call", "id": "ig"},
                  tools=[{"type": "image_generation", "model": "gpt-image-1-mini"}], tool_usage={
            "image_gen": {"input_tokens": 323, "output_tokens": 1_056,
                          "input_tokens_details": {"image_tokens": 300, "text_tokens": 23}}}),
        0.009694, "(1_000*0.25 + 100*2 + 300*2.5 + 23*2 + 1_056*8) / 1e6", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's images of an unknown model", "openai/responses/gpt-5-mini",
        responses(tokens(1_000, 100), {"type": "image_generation_call", "id": "ig"}, tool_usage={
            "image_gen": {"input_tokens": 23, "output_tokens": 1_056}}),
        None, "by tokens of another model", OPENAI_TOOLS,
    ),
    Bill(
        "Gemini 2.5 with Google Search", "google/gemini-2.5-flash",
        gemini(gemini_tokens(1_000, 100), groundingMetadata={"webSearchQueries": ["a", "b"]}),
        0.03555, "(1_000*0.3 + 100*2.5) / 1e6 + 0.035", GOOGLE_PRICES + ": by the prompt",
    ),
    Bill(
        "Gemini 3 with Google Search", "google/gemini-3-flash-preview",
        gemini(gemini_tokens(1_000, 100), groundingMetadata={"webSearchQueries": ["a", "b"]}),
        0.0288, "(1_000*0.5 + 100*3) / 1e6 + 2*0.014", GOOGLE_PRICES + ": by the query",
    ),
    Bill(
        "Gemini with Google Maps", "google/gemini-2.5-flash",
        gemini(gemini_tokens(1_000, 100), groundingMetadata={"groundingChunks": [{"maps": {}}]}),
        0.02555, "(1_000*0.3 + 100*2.5) / 1e6 + 0.025", GOOGLE_PRICES,
    ),
    Bill(
        "Perplexity's request fee", "perplexity/sonar-pro",
        document(chat(1_000, 100, search_context_size="high")),
        0.0185, "(1_000*3 + 100*15) / 1e6 + 0.014", PERPLEXITY,
    ),
    Bill(
        "Perplexity's deep research", "perplexity/sonar-deep-research",
        document(chat(1_000, 10_000, num_search_queries=18, citation_tokens=20_000,
                      completion_tokens_details={"reasoning_tokens": 0})),
        0.212, "(1_000*2 + 10_000*8 + 20_000*2) / 1e6 + 18*0.005", PERPLEXITY,
    ),
    Bill(
        "Perplexity's reasoning", "perplexity/sonar-deep-research",
        document(chat(33, 7_163, citation_tokens=20_016, num_search_queries=18,
                      reasoning_tokens=73_997)),
        0.409393, "(33*2 + 7_163*8 + 73_997*3 + 20_016*2) / 1e6 + 18*0.005", PERPLEXITY,
    ),
    Bill(
        "Alibaba's search", "alibaba/qwen-plus",
        document(chat(1_000, 100, plugins={"search": {"count": 1, "strategy": "turbo"}})),
        None, "by the strategy", "help.aliyun.com/model-studio web search",
    ),
    Bill(
        "Z.ai's search", "zai/glm-4.7",
        document(chat(1_000, 100), web_search=[{"title": "t", "link": "l"}]),
        None, "by the engine", "docs.z.ai/guides/tools/web-search",
    ),
    Bill(
        "Groq's browser", "groq/openai/gpt-oss-120b",
        document(chat(1_000, 100), message={"executed_tools": [{"type": "browser_search"}]}),
        0.00521, "(1_000*0.15 + 100*0.6) / 1e6 + 0.005", GROQ_TOOLS,
    ),
    Bill(
        "xAI's searches without ticks", "xai/grok-4.3",
        document(chat(1_000, 100, server_side_tool_usage_details={
            "web_search_calls": 2, "x_search_calls": 1, "mcp_calls": 4})),
        0.0165, "(1_000*1.25 + 100*2.5) / 1e6 + 3*0.005", "docs.x.ai/developers/models",
    ),
    Bill(
        "OpenRouter's search without a cost", "openrouter/openai/gpt-5",
        document(chat(1_000, 100, server_tool_use_details={"web_search_requests": 1})),
        None, "the price depends on the engine", "openrouter.ai/docs web search",
    ),
    # === With caches, tiers and regions ===
    Bill(
        "Anthropic's searches with the cache", "anthropic/claude-sonnet-4-5",
        anthropic(
            {"input_tokens": 2_000, "cache_creation_input_tokens": 4_000,
             "cache_read_input_tokens": 50_000,
             "cache_creation": {"ephemeral_1h_input_tokens": 1_000}, "output_tokens": 1},
            {"output_tokens": 1_000, "server_tool_use": {"web_search_requests": 4}},
        ),
        0.09325, "(2_000*3 + 3_000*3.75 + 1_000*6 + 50_000*0.3 + 1_000*15) / 1e6 + 4*0.01",
        CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic's searches in the US only: the region raises only the tokens",
        "anthropic/claude-opus-4-6",
        anthropic({"input_tokens": 10_000, "output_tokens": 1, "inference_geo": "us"}, {
            "output_tokens": 1_000,
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 5}}),
        0.1025, "(10_000*5 + 1_000*25) / 1e6 * 1.1 + 2*0.01", CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic's searches in fast mode", "anthropic/claude-opus-4-6",
        anthropic({"input_tokens": 10_000, "output_tokens": 1, "speed": "fast"}, {
            "output_tokens": 1_000, "server_tool_use": {"web_search_requests": 1}}),
        0.46, "(10_000*30 + 1_000*150) / 1e6 + 0.01", "models.dev, mode fast; " + CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic's pages alone are free", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 10_000, "output_tokens": 1}, {
            "output_tokens": 1_000, "server_tool_use": {"web_fetch_requests": 7}}),
        0.045, "(10_000*3 + 1_000*15) / 1e6", CLAUDE_PRICES,
    ),
    Bill(
        "Anthropic's search in batch mode with the cache", "anthropic/claude-sonnet-4-5",
        anthropic({"input_tokens": 10_000, "cache_read_input_tokens": 100_000,
                   "output_tokens": 1, "service_tier": "batch"}, {
            "output_tokens": 1_000, "server_tool_use": {"web_search_requests": 3}}),
        0.0675, "(10_000*3 + 100_000*0.3 + 1_000*15) / 1e6 * 0.5 + 3*0.01", CLAUDE_PRICES,
    ),
    Bill(
        "Claude's search on Vertex AI", "google-vertex-anthropic/claude-sonnet-4-5@20250929",
        anthropic({"input_tokens": 10_000, "output_tokens": 1}, {
            "output_tokens": 1_000, "server_tool_use": {"web_search_requests": 2}}),
        0.065, "(10_000*3 + 1_000*15) / 1e6 + 2*0.01", "cloud.google.com/vertex-ai pricing",
    ),
    Bill(
        "OpenAI's searches with flex and cached tokens", "openai/responses/gpt-5",
        responses(tokens(100_000, 10_000, cached=80_000), SEARCH, SEARCH, SEARCH,
                  service_tier="flex", tools=[{"type": "web_search"}]),
        0.0975, "(20_000*1.25 + 80_000*0.125 + 10_000*10) / 1e6 * 0.5 + 3*0.01", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's search with priority", "openai/responses/gpt-5",
        responses(tokens(10_000, 1_000), SEARCH, service_tier="priority"),
        0.055, "(10_000*1.25 + 1_000*10) / 1e6 * 2 + 0.01", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's search, files and code in batch mode", "openai/responses/gpt-5-mini",
        responses(tokens(10_000, 1_000), SEARCH, {"type": "file_search_call", "id": "f1"},
                  {"type": "file_search_call", "id": "f2"}, {**CODE, "container_id": "c1"},
                  {**CODE, "container_id": "c2"}, service_tier="batch"),
        0.07725, "(10_000*0.25 + 1_000*2) / 1e6 * 0.5 + 0.01 + 2*0.0025 + 2*0.03", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's search and image with cached tokens", "openai/responses/gpt-5-mini",
        responses(tokens(10_000, 1_000, cached=8_000), SEARCH,
                  {"type": "image_generation_call", "id": "ig"},
                  tools=[{"type": "image_generation", "model": "gpt-image-1.5"}], tool_usage={
            "web_search": {"num_requests": 1},
            "image_gen": {"input_tokens": 1_100, "output_tokens": 1_056,
                          "input_tokens_details": {"image_tokens": 1_000, "text_tokens": 100},
                          "output_tokens_details": {"image_tokens": 1_040, "text_tokens": 16}}}),
        0.05464, "(2_000*0.25 + 8_000*0.025 + 1_000*2) / 1e6 + 0.01"
        " + (100*5 + 1_000*8 + 1_040*32 + 16*10) / 1e6", OPENAI_TOOLS,
    ),
    Bill(
        "OpenAI's search that failed is free", "openai/responses/gpt-5",
        responses(tokens(1_000, 100), {**SEARCH, "status": "failed"}, SEARCH),
        0.01225, "(1_000*1.25 + 100*10) / 1e6 + 0.01", OPENAI_TOOLS,
    ),
    Bill(
        "Azure's search and container", "azure/responses/gpt-5",
        responses(tokens(10_000, 1_000), SEARCH, {**CODE, "container_id": "c1"}),
        0.0695, "(10_000*1.25 + 1_000*10) / 1e6 + 0.014 + 0.033", "LiteLLM 1.110.2's table",
    ),
    Bill(
        "xAI's tools without ticks, with cached tokens above the size of a tier",
        "xai/grok-4.3",
        responses(tokens(300_000, 1_000, cached=100_000, server_side_tool_usage_details={
            "web_search_calls": 2, "code_interpreter_calls": 1, "file_search_calls": 4,
            "mcp_calls": 9})),
        0.57, "(200_000*2.5 + 100_000*0.4 + 1_000*5) / 1e6 + 3*0.005 + 4*0.0025",
        "docs.x.ai/developers/models", responses=True,
    ),
    Bill(
        "Gemini 3 with queries, flex and cached tokens", "google/gemini-3-flash-preview",
        gemini(gemini_tokens(10_000, 1_000, cachedContentTokenCount=8_000, serviceTier="flex"),
               groundingMetadata={"webSearchQueries": ["a", "b", "c"]}),
        0.0444, "(2_000*0.5*0.5 + 8_000*0.05 + 1_000*3*0.5) / 1e6 + 3*0.014", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini's search about audio", "google/gemini-3-flash-preview",
        gemini(gemini_tokens(5_000, 100, promptTokensDetails=[
            {"modality": "AUDIO", "tokenCount": 4_000}, {"modality": "TEXT", "tokenCount": 1_000}]),
               groundingMetadata={"webSearchQueries": ["a"]}),
        0.0188, "(1_000*0.5 + 4_000*1 + 100*3) / 1e6 + 0.014", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini's image after a search", "google/gemini-3-pro-image-preview",
        gemini(gemini_tokens(1_000, 1_220, candidatesTokensDetails=[
            {"modality": "IMAGE", "tokenCount": 1_120}, {"modality": "TEXT", "tokenCount": 100}]),
               groundingMetadata={"webSearchQueries": ["a", "b"]}),
        0.1656, "(1_000*2 + 1_120*120 + 100*12) / 1e6 + 2*0.014", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini 2.5 with search and maps in one prompt", "google/gemini-2.5-flash",
        gemini(gemini_tokens(1_000, 100, toolUsePromptTokenCount=500, thoughtsTokenCount=50),
               groundingMetadata={"webSearchQueries": ["a"], "groundingChunks": [{"maps": {}}]}),
        0.060825, "(1_500*0.3 + 150*2.5) / 1e6 + 0.035 + 0.025", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini on Vertex AI with a search and priority", "google-vertex/gemini-3-flash-preview",
        gemini(gemini_tokens(10_000, 1_000, trafficType="ON_DEMAND_PRIORITY"),
               groundingMetadata={"webSearchQueries": ["a"]}),
        0.0284, "(10_000*0.5 + 1_000*3) / 1e6 * 1.8 + 0.014", GOOGLE_PRICES,
    ),
    Bill(
        "Gemini's file search costs only tokens", "google/gemini-3-flash-preview",
        gemini(gemini_tokens(1_000, 100),
               groundingMetadata={"groundingChunks": [{"retrievedContext": {"title": "t"}}]}),
        0.0008, "(1_000*0.5 + 100*3) / 1e6", GOOGLE_PRICES,
    ),
    Bill(
        "Groq's browser with flex and cached tokens", "groq/openai/gpt-oss-20b",
        document(chat(10_000, 1_000, prompt_tokens_details={"cached_tokens": 8_000}),
                 service_tier="flex", message={"executed_tools": [
            {"index": 0, "type": "function", "name": "browser.search", "output": "x"},
            {"index": 1, "type": "function", "name": "browser.open", "output": "x"}]}),
        0.00675, "(2_000*0.075 + 8_000*0.0375 + 1_000*0.3) / 1e6 + 0.005 + 0.001", GROQ_TOOLS,
    ),
    Bill(
        "Groq's searches in a stream", "groq/openai/gpt-oss-120b",
        sse(chunk({"executed_tools": [{"index": 0, "type": "browser_search"}]}),
            chunk({"executed_tools": [{"index": 1, "type": "browser_search"}]}),
            chunk({"content": "Hi."}),
            chunk({}, finish_reason="stop", x_groq={"usage": chat(1_000, 100)}), DONE),
        0.01021, "(1_000*0.15 + 100*0.6) / 1e6 + 2*0.005", GROQ_TOOLS,
    ),
    Bill(
        "Perplexity's medium search", "perplexity/sonar-reasoning-pro",
        document(chat(1_000, 100, search_context_size="medium")),
        0.0128, "(1_000*2 + 100*8) / 1e6 + 0.01", PERPLEXITY,
    ),
    Bill(
        "Perplexity's search without its size", "perplexity/sonar", document(chat(1_000, 100)),
        0.0061, "(1_000*1 + 100*1) / 1e6 + 0.005", PERPLEXITY + ": low is the default",
    ),
    Bill(
        "OpenRouter's cost has its searches", "openrouter/openai/gpt-5",
        streamed(chat(1_000, 100, cost=0.0225, server_tool_use_details={
            "web_search_requests": 1})),
        0.0225, "0.0225", "openrouter.ai/docs web search",
    ),
    Bill(
        "xAI's ticks have its tools", "xai/grok-4.3",
        responses(tokens(1_000, 100, cost_in_usd_ticks=150_000_000,
                         server_side_tool_usage_details={"web_search_calls": 2})),
        0.015, "150_000_000 / 1e10", "docs.x.ai/developers/cost-tracking", responses=True,
    ),
]  # fmt: skip
BILLS += FEES


def paid(bill: Bill, lab: Lab, **options: Any) -> Any:
    lab.play(bill.body)
    root = bill.model.startswith(("anthropic/", "google/", "azure/"))
    base = lab.url.removesuffix("/v1") if root else lab.url
    if bill.model.startswith("google-vertex"):
        base = f"{lab.url}/projects/p/locations/global"
    prompt = ctx("Hi", tools=[web_search()] if bill.responses else None)
    message = complete(
        bill.model, prompt, api_base=base, api_key="k", extra=bill.extra or None, **options
    )
    assert message.error is None, message.error
    return message


@pytest.mark.parametrize("bill", BILLS, ids=lambda bill: re.sub(r"\W+", "-", bill.name))
def test_bill(lab: Lab, july: Any, bill: Bill) -> None:
    message = paid(bill, lab)
    cost = message.usage.cost
    codes = [warning.code for warning in message.warnings]
    if bill.dollars is None:
        assert (cost.total, cost.source) == (None, "unknown")
        assert "cost_unknown" in codes
    else:
        assert eval(bill.sum) == pytest.approx(bill.dollars, abs=1e-12)
        assert cost.total == pytest.approx(bill.dollars, abs=1e-12)
        assert "cost_unknown" not in codes
    # Google does not say how many free searches are left.
    has_free_calls = {"google_search", "google_maps"} & message.usage.server_tool_calls.keys()
    assert cost.is_upper_bound == bool(has_free_calls)
    if cost.source == "catalog":
        parts = (cost.input, cost.output, cost.cache_read, cost.cache_write, cost.tools)
        assert cost.total == pytest.approx(sum(parts), abs=1e-12)


@pytest.mark.parametrize(
    "bill",
    [bill for bill in BILLS if bill.litellm],
    ids=lambda bill: re.sub(r"\W+", "-", bill.name),
)
@pytest.mark.litellm
def test_bill_through_litellm(lab: Lab, july: Any, bill: Bill) -> None:
    message = paid(bill, lab, transport="litellm")
    assert message.usage.cost.total == pytest.approx(bill.dollars, abs=1e-12)


@pytest.mark.parametrize(
    ("tier", "dollars"),
    [("default", 0.0225), ("flex", 0.01125), ("priority", 0.045), ("scale", None)],
)
@pytest.mark.litellm
def test_tier_of_a_response_that_litellm_reads(
    lab: Lab, july: Any, monkeypatch: pytest.MonkeyPatch, tier: str, dollars: float | None
) -> None:
    """(10_000*1.25 + 1_000*10) / 1e6, times 0.5 or 2."""
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
    lab.play(streamed(chat(10_000, 1_000), service_tier=tier))
    message = complete(
        "azure/gpt-5", "Hi", api_base=lab.url.removesuffix("/v1"), api_key="k", transport="litellm"
    )
    assert message.error is None, message.error
    assert message.api == "litellm"
    assert message.usage.cost.total == dollars


def test_searches_of_a_response_that_breaks_off_are_billed(lab: Lab, july: Any) -> None:
    """(10_000*3 + 10*15) / 1e6 + 2*0.01: the text and two calls are about 10 tokens."""
    start = {"input_tokens": 10_000, "output_tokens": 1}
    whole = anthropic(start, {"output_tokens": 10}, "web_search", "web_search")
    lab.play(whole[:-2])  # without its end
    base = lab.url.removesuffix("/v1")
    message = complete("anthropic/claude-sonnet-4-5", "Hi", api_base=base, api_key="k")
    assert message.error is not None
    assert message.usage.server_tool_calls == {"web_search": 2}
    assert message.usage.cost.tools == 0.02
    assert message.usage.cost.total == pytest.approx(0.05015, abs=0.0001)


def test_fees_count_in_budgets_before_the_end(lab: Lab, july: Any) -> None:
    start = {"input_tokens": 100, "output_tokens": 1}
    whole = anthropic(start, {"output_tokens": 10}, *["web_search"] * 5)
    lab.play([*whole[:-2], STALL])
    base = lab.url.removesuffix("/v1")
    with budget(usd=0.03) as b:  # three searches, and no token
        message = complete("anthropic/claude-sonnet-4-5", "Hi", api_base=base, api_key="k")
    assert message.error is not None
    assert message.error.kind == "budget"
    assert b.spent >= 0.03


def test_there_are_forty_bills_and_thirty_of_them_with_fees() -> None:
    assert len(BILLS) >= 40
    assert sum(bill.dollars is not None for bill in FEES) >= 30
    assert all(bill.source and bill.sum for bill in BILLS)
