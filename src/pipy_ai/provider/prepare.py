"""Adapt a request to its model: conversation, options, address. Pure but for the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..options import SAMPLING_OPTIONS, CacheRetention
from ..registry.routing import expand_url
from ..types import ImageContent, UserMessage
from ..utils.surrogates import clean_surrogates
from .content import image_type_name, unreadable_image_type
from .conversation import Target, adapt_messages
from .credentials import missing_key_error
from .reasoning import plan_reasoning
from .request import PreparedRequest, ReasoningPlan, Request, bad_request_error
from .tool_definitions import adapt_tools, rename_choice, rename_tools
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
    image_types = profile.image_types or wire.image_types
    if not preview and (problem := unreadable_image_problem(request, wire)):
        raise bad_request_error(request, problem)
    target = Target(
        provider=request.provider,
        model=request.model_id,
        api=wire.api if wire.strict_history else "",
        accepts_images=request.accepts_images,
        image_types=image_types,
        accepts_documents=request.accepts_documents,
        signed_thinking=wire.signed_thinking or profile.signed_thinking,
        unsigned_thinking=_accepts_unsigned_thinking(request),
        handoff_thinking=options.handoff_thinking,
        tool_call_ids=profile.tool_call_ids,
    )
    messages = adapt_messages(request.context.messages, target, request.warn)
    if not messages:
        raise bad_request_error(request, "the conversation holds only empty or failed messages")
    tools = adapt_tools(request, wire)
    messages = rename_tools(messages, request, wire)
    system_prompt = request.context.system_prompt
    plan = plan_reasoning(request, wire)
    headers = options.headers or {}
    if plan.budget_tokens and request.context.tools and wire.thinking.tools_beta:
        headers = merge_headers(headers, {"anthropic-beta": wire.thinking.tools_beta})
    cache_retention = (options.cache_retention or _default_cache_retention()).value
    cache_models = profile.cache_control_models
    return PreparedRequest(
        messages=messages,
        system_prompt=clean_surrogates(system_prompt) if system_prompt else None,
        sampling=_resolve_sampling(request, wire, plan),
        tool_choice=rename_choice(_resolve_tool_choice(request, wire, plan), request)
        if request.has_tools
        else None,
        reasoning=plan,
        cache_retention=cache_retention,
        cache_control=cache_retention != "none"
        and (wire.cache_control or bool(cache_models and cache_models.match(request.model_id))),
        base_url=_resolve_base_url(request, preview),
        headers=merge_headers(headers),
        tools=tools,
    )


def unreadable_image_problem(request: Request, wire: Wire) -> str:
    """Return why a host cannot read an image of the newest user message; "" if it can.

    An image of an earlier turn, e.g. one of another host's, is only left out.
    """
    message = request.context.messages[-1] if request.context.messages else None
    if not isinstance(message, UserMessage) or isinstance(message.content, str):
        return ""
    image_types = request.profile.image_types or wire.image_types
    for part in message.content:
        if (
            isinstance(part, ImageContent)
            and request.accepts_images is not False
            and (unreadable := unreadable_image_type(part, image_types))
        ):
            names = ", ".join(sorted(map(image_type_name, image_types)))
            return f"{request.model} does not read {unreadable} images, only {names}: convert it"
    return ""


def _accepts_unsigned_thinking(request: Request) -> bool:
    if request.record is None:
        return request.profile.unsigned_thinking
    return bool(request.record.get("interleaved"))


def _resolve_sampling(request: Request, wire: Wire, plan: ReasoningPlan) -> dict[str, Any]:
    """Return the sampling options that API, host and model accept; warn about the others."""
    sampling: dict[str, Any] = {}
    for name in SAMPLING_OPTIONS:
        value = getattr(request.options, name)
        if value is None:
            continue
        if (rejection := _reject_sampling(request, wire, plan, name, value)) is not None:
            request.warn(*rejection)
        else:
            sampling[name] = value
    return sampling


def _reject_sampling(
    request: Request, wire: Wire, plan: ReasoningPlan, name: str, value: float
) -> tuple[str, str] | None:
    """Return code and text of the warning about an option that cannot be sent."""
    rules, field = wire.thinking, wire.sampling.get(name)
    if field is None:
        return "option_ignored", f"{wire.title} knows no {name}"
    if field in wire.extensions and request.profile.strict_fields:
        return "option_ignored", f"{request.provider} knows no {name}"
    if value == 1 and name in ("temperature", "top_p"):  # the default
        return None
    if plan.thinks and name in rules.rejected_sampling:
        return f"{name}_ignored", f"{wire.title} takes no {name} with thinking"
    if plan.thinks and name == "top_p" and value < rules.min_top_p:
        text = f"{wire.title} takes no top_p below {rules.min_top_p:g} with thinking"
        return "top_p_ignored", text
    if request.record is not None and request.record.get("temperature") is False:
        if name == "temperature":
            return "temperature_ignored", "this model takes no temperature"
        if name == "top_p":
            return "top_p_ignored", "this model takes no top_p, as it takes no temperature"
    return None


def _resolve_tool_choice(
    request: Request, wire: Wire, plan: ReasoningPlan
) -> str | dict[str, Any] | None:
    choice = request.options.tool_choice
    if plan.thinks and not wire.thinking.forced_calls and choice not in (None, "auto", "none"):
        text = f'with thinking {wire.title} takes no forced call; sent "auto"'
        request.warn("tool_choice_changed", text)
        return "auto"
    return choice


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
