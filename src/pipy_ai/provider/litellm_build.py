"""A Request as the arguments of a LiteLLM call. Pure: no litellm, no network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..registry.routing import address, expand
from ..types import CacheRetention
from ..utils.unicode import clean_surrogates
from .history import Target, hand_over
from .keys import missing_key
from .request import (
    Request,
    chat_messages,
    lengthen_cache,
    mark_for_cache,
    openai_tool_choice,
    openai_tools,
    responses_input,
    responses_tool_choice,
    responses_tools,
)
from .thinking import plan

# Hosts that take unsigned thinking of their own back, and think better for it.
_PLAIN_THINKING = frozenset(
    {"deepseek", "dashscope", "hosted_vllm", "llamafile", "lm_studio", "minimax", "moonshot", "zai"}
)
_CLAUDE_HOSTS = frozenset({"bedrock", "vertex_ai", "azure_ai", "databricks"})

_APIS = {
    "anthropic": "anthropic-messages",
    "gemini": "google-generative-ai",
    "responses": "openai-responses",
}


def style_of(request: Request) -> str:
    """The family of the wire behind LiteLLM: `anthropic`, `gemini`, `responses` or `chat`."""
    backend, way = request.backend, request.route
    if way.rule != "router" and (
        way.responses == "always" or (way.responses == "own" and _at_openai(request))
    ):
        return "responses"
    if backend == "anthropic" or (backend in _CLAUDE_HOSTS and "claude" in request.model_id):
        return "anthropic"
    if backend in ("gemini", "vertex_ai"):
        return "gemini"
    return "chat"


def _at_openai(request: Request) -> bool:
    named = (request.options.api_base, *map(os.environ.get, ("OPENAI_BASE_URL", "OPENAI_API_BASE")))
    return not any(named)


def build(request: Request, preview: bool = False) -> dict[str, Any]:
    """The arguments, without the key. For a preview, what is not set is named and warned of.

    Raises:
        ProviderError: nothing is left to say once empty and failed messages are left out, or the
            options ask for what cannot be.
    """
    options = request.options
    style = style_of(request)
    if options.transport == "direct":
        raise _refuse(request, f'transport="direct" has no lane for {request.provider}')
    if request.route.problem and not options.api_base:
        if not preview:
            raise _refuse(request, request.route.problem)
        request.warn("no_route", request.route.problem)
    target = Target(
        provider=request.provider,
        model=request.model_id,
        api=_APIS.get(style, ""),
        vision=request.vision,
        signed_thinking=style in ("anthropic", "responses"),
        plain_thinking=request.backend in _PLAIN_THINKING,
        thinking=options.handoff_thinking,
    )
    messages = hand_over(request.context.messages, target, request.warn)
    if not messages:
        raise _refuse(request, "the conversation holds only empty or failed messages")
    arguments: dict[str, Any] = {
        "stream": True,
        "temperature": options.temperature,
        "top_p": options.top_p,
        **_where(request, preview),
    }
    system = request.context.system_prompt
    if style == "responses":
        arguments |= _responses(request)
        arguments["instructions"] = clean_surrogates(system) if system else None
        arguments["input"] = responses_input(messages)
    else:
        arguments |= _chat(request)
        arguments["messages"] = chat_messages(system, messages, style)
    tools = bool(request.context.tools)
    thinking = plan(request, style, tools)
    beta = thinking.pop("beta", None)
    if style == "responses" and "reasoning_effort" in thinking:
        effort = thinking.pop("reasoning_effort")
        thinking["reasoning"] = {"effort": effort, "summary": "auto"}
    arguments |= thinking
    _cache(request, style, arguments)
    headers = _headers(options.headers, beta)
    if headers:
        arguments["extra_headers"] = headers
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return _merged(arguments, options.extra or {})


def _where(request: Request, preview: bool) -> dict[str, Any]:
    """The address, and what else a cloud needs to be found."""
    way, base = request.route, request.options.api_base
    if way.rule == "router":  # its file says where
        return {}
    if base is None and way.api_base:
        absent = [name for name in way.needs if not os.environ.get(name, "").strip()]
        if absent and not preview:
            raise missing_key(request.provider, absent)
        if absent:
            request.warn("missing_variable", f"{' and '.join(absent)} must be set")
        found = address(way.api_base, {**os.environ, **{name: name for name in absent}})
        # A cloud's address may also come from LiteLLM's own variables.
        base = None if way.rule == "cloud" and "//." in found else found
    where: dict[str, Any] = {"api_base": base}
    for name, template in way.parameters.items():
        where[name] = expand(template) or None
    return where


def _refuse(request: Request, text: str) -> ProviderError:
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))


def _chat(request: Request) -> dict[str, Any]:
    options = request.options
    arguments: dict[str, Any] = {
        "model": request.route.model,
        "stream_options": {"include_usage": True},
        "tools": openai_tools(request.context.tools),
        "tool_choice": openai_tool_choice(options.tool_choice),
        "max_tokens": options.max_tokens,
        "stop": options.stop,
        "seed": options.seed,
    }
    user = (options.metadata or {}).get("user_id")
    if user is not None:
        arguments["user"] = str(user)
    return arguments


def _responses(request: Request) -> dict[str, Any]:
    options = request.options
    for name in ("stop", "seed"):
        if getattr(options, name) is not None:
            request.warn("option_ignored", f"the Responses API knows no {name}")
    return {
        "model": f"{request.backend}/{request.model_id}",
        "tools": responses_tools(request.context.tools),
        "tool_choice": responses_tool_choice(options.tool_choice),
        "max_output_tokens": options.max_tokens,
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "metadata": dict(options.metadata) if options.metadata else None,
    }


def _cache(request: Request, style: str, arguments: dict[str, Any]) -> None:
    """What the provider is to keep, and for how long."""
    retention = request.options.cache_retention or _default_retention()
    if retention is CacheRetention.NONE:
        return
    long = retention is CacheRetention.LONG
    marks = style == "anthropic" or (
        request.backend == "openrouter" and request.model_id.startswith("anthropic/")
    )
    if marks:
        mark_for_cache(arguments["messages"], arguments["tools"])
        if long:
            lengthen_cache([arguments["messages"], arguments["tools"]])
    session = request.options.session_id
    if request.backend == "openai":
        if session:
            arguments["prompt_cache_key"] = session
        if long:  # LiteLLM 1.106 drops the plain argument
            arguments["extra_body"] = {"prompt_cache_retention": "24h"}
    elif request.backend in ("openrouter", "deepseek") and session:
        arguments["prompt_cache_key"] = session
    elif session and not marks:
        request.warn("option_ignored", f"session_id means nothing to {request.provider}")


def _default_retention() -> CacheRetention:
    """`PIPY_CACHE_RETENTION`, or short."""
    try:
        return CacheRetention(os.environ.get("PIPY_CACHE_RETENTION", "short").lower())
    except ValueError:
        return CacheRetention.SHORT


def _headers(given: Mapping[str, str] | None, beta: str | None) -> dict[str, str]:
    """The caller's headers, one of each name whatever its case; beta features add up."""
    headers: dict[str, tuple[str, str]] = {}
    for name, value in (given or {}).items():
        headers[name.lower()] = (name, value)
    if beta:
        name, value = headers.get("anthropic-beta", ("anthropic-beta", ""))
        features = [part.strip() for part in value.split(",") if part.strip()]
        if beta not in features:
            features.append(beta)
        headers["anthropic-beta"] = (name, ",".join(features))
    return dict(headers.values())


def _merged(arguments: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` over `arguments`; bodies are joined, not replaced."""
    body = {**arguments.get("extra_body", {}), **(extra.get("extra_body") or {})}
    merged = {**arguments, **extra}
    return {**merged, "extra_body": body} if body else merged
