"""Adapt a request to its model: conversation, options, address. Pure but for the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..options import CacheRetention
from ..registry.routing import expand_url
from ..utils.surrogates import clean_surrogates
from .conversation import Target, adapt_messages
from .credentials import missing_key_error
from .reasoning import plan_reasoning
from .request import PreparedRequest, ReasoningPlan, Request, bad_request_error
from .wire import Wire


def prepare_request(request: Request, wire: Wire, preview: bool = False) -> PreparedRequest:
    """Prepare a request for an API. A preview warns where sending would fail.

    Raises:
        ProviderError: no message is left once empty and failed ones are left out, the model cannot
            be reached, or an environment variable that its address needs is not set.
    """
    options, profile = request.options, request.profile
    if request.route.problem and not options.api_base:
        if not preview:
            raise bad_request_error(request, request.route.problem)
        request.warn("no_route", request.route.problem)
    target = Target(
        provider=request.provider,
        model=request.model_id,
        api=wire.api if wire.strict_history else "",
        accepts_images=request.accepts_images,
        accepts_documents=request.accepts_documents,
        signed_thinking=wire.signed_thinking or profile.signed_thinking,
        unsigned_thinking=_accepts_unsigned_thinking(request),
        handoff_thinking=options.handoff_thinking,
        tool_call_ids=profile.tool_call_ids,
    )
    messages = adapt_messages(request.context.messages, target, request.warn)
    if not messages:
        raise bad_request_error(request, "the conversation holds only empty or failed messages")
    system_prompt = request.context.system_prompt
    plan = plan_reasoning(request, wire)
    headers = options.headers or {}
    tool_choice = options.tool_choice
    temperature, top_p = options.temperature, options.top_p
    if _thinks(plan) and wire.thinking.limits_sampling:
        temperature, top_p, tool_choice = _limit_sampling(request)
        if plan.budget_tokens and request.context.tools and wire.thinking.tools_beta:
            headers = merge_headers(headers, {"anthropic-beta": wire.thinking.tools_beta})
    if _rejects_temperature(request):
        temperature = _drop(request, "temperature", temperature, "this model takes no temperature")
        text = "this model takes no top_p, as it takes no temperature"
        top_p = _drop(request, "top_p", top_p, text)
    cache_retention = (options.cache_retention or _default_cache_retention()).value
    cache_models = profile.cache_control_models
    return PreparedRequest(
        messages=messages,
        system_prompt=clean_surrogates(system_prompt) if system_prompt else None,
        temperature=temperature,
        top_p=top_p,
        tool_choice=tool_choice if request.has_tools else None,
        reasoning=plan,
        cache_retention=cache_retention,
        cache_control=cache_retention != "none"
        and (wire.cache_control or bool(cache_models and cache_models.match(request.model_id))),
        base_url=_resolve_base_url(request, preview),
        headers=merge_headers(headers),
    )


def _accepts_unsigned_thinking(request: Request) -> bool:
    if request.record is None:
        return request.profile.unsigned_thinking
    return bool(request.record.get("interleaved"))


def _thinks(plan: ReasoningPlan) -> bool:
    return bool(plan.budget_tokens) or plan.effort not in (None, "none")


def _limit_sampling(
    request: Request,
) -> tuple[float | None, float | None, str | dict[str, object] | None]:
    """Return temperature, top_p and tool_choice without what Anthropic rejects with thinking."""
    options = request.options
    temperature, top_p, tool_choice = options.temperature, options.top_p, options.tool_choice
    if temperature is not None and temperature != 1:
        request.warn("temperature_ignored", "Anthropic takes no temperature with thinking")
        temperature = None
    if top_p is not None and top_p < 0.95:
        request.warn("top_p_ignored", "Anthropic takes no top_p below 0.95 with thinking")
        top_p = None
    if tool_choice not in (None, "auto", "none"):
        text = 'with thinking Anthropic takes no forced call; sent "auto"'
        request.warn("tool_choice_changed", text)
        tool_choice = "auto"
    return temperature, top_p, tool_choice


def _rejects_temperature(request: Request) -> bool:
    return request.record is not None and request.record.get("temperature") is False


def _drop(request: Request, name: str, value: float | None, text: str) -> float | None:
    if value is not None and value != 1:
        request.warn(f"{name}_ignored", text)
        return None
    return value


def _default_cache_retention() -> CacheRetention:
    """Return `PIPY_CACHE_RETENTION`, or short."""
    try:
        return CacheRetention(os.environ.get("PIPY_CACHE_RETENTION", "short").lower())
    except ValueError:
        return CacheRetention.SHORT


def _resolve_base_url(request: Request, preview: bool) -> str | None:
    """Return the host's address; None: the default of the API, or one that LiteLLM knows."""
    route = request.route
    if request.options.api_base is not None:
        return request.options.api_base
    if not route.api_base or route.kind == "router":  # the router's file has the address
        return None
    missing = [name for name in route.required_env if not os.environ.get(name, "").strip()]
    if missing and not preview:
        raise missing_key_error(request.provider, missing)
    environment = None
    if missing:
        request.warn("missing_variable", f"{' and '.join(missing)} must be set")
        environment = {**os.environ, **{name: name for name in missing}}
    base_url = expand_url(route.api_base, environment)
    # The address of a cloud may also come from LiteLLM's own variables.
    return None if route.kind == "cloud" and "//." in base_url else base_url


def merge_headers(*sources: Mapping[str, str]) -> dict[str, str]:
    """Merge headers, ignoring case: the last one of a name wins, but `anthropic-beta` adds up."""
    merged: dict[str, tuple[str, str]] = {}
    for source in sources:
        for name, value in source.items():
            key, value = name.lower(), str(value)
            if key == "anthropic-beta":
                name, earlier = merged.get(key, (name, ""))
                features = (part.strip() for part in f"{earlier},{value}".split(","))
                value = ",".join(dict.fromkeys(part for part in features if part))
            merged[key] = (name, value)
    return dict(merged.values())
