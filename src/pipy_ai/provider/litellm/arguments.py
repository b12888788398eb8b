"""Turn a request into the arguments of a LiteLLM call. Pure: no litellm import, no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry.routing import expand_variables
from ..apis import ANTHROPIC, BEDROCK, COHERE_CHAT, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from ..prepare import accepted_extra, merge_tools, prepare_request
from ..profiles import backend_for
from ..request import PreparedRequest, Request, bad_request_error
from ..wire import Wire
from ..wires import anthropic_messages, backend_wire, cohere_chat, gemini
from ..wires._openai_messages import OPENAI_DIALECT, ChatDialect, chat_fields
from ..wires.openai_responses import responses_fields

# LiteLLM accepts Chat Completions fields for every API, with additions for some of them.
_DIALECTS = {
    ANTHROPIC: ChatDialect(thinking="blocks", call_signature="", multipart_results=True),
    BEDROCK: ChatDialect(thinking="blocks", call_signature="", multipart_results=True),
    COHERE_CHAT: ChatDialect(thinking="none", call_signature=""),
    GEMINI: ChatDialect(
        thinking="none", call_signature="provider_specific_fields", multipart_results=True
    ),
}


def build_arguments(request: Request, preview: bool = False) -> dict[str, Any]:
    """Return the arguments, without the key. A preview warns where sending would fail.

    Raises:
        ProviderError: See `prepare_request`; or direct transport was requested.
    """
    if request.options.transport == "direct":
        raise bad_request_error(request, f'transport="direct" cannot reach {request.model}')
    wire = backend_wire(request)
    if wire.api not in (OPENAI_CHAT, OPENAI_RESPONSES):
        # LiteLLM cannot send back what it does not know.
        wire = wire._replace(
            replays_raw=False, audio_types=frozenset(), video_types=frozenset(), title="LiteLLM"
        )
    prepared = prepare_request(request, wire, preview)
    if wire.api == OPENAI_RESPONSES:
        arguments = responses_fields(request, prepared)
        arguments["model"] = f"{request.backend}/{request.model_id}"
    else:
        dialect = _DIALECTS.get(wire.api, OPENAI_DIALECT)
        arguments = chat_fields(request, prepared, dialect)
        arguments["model"] = request.route.model
        if wire.api != OPENAI_CHAT and arguments.pop("service_tier"):
            request.warn("option_ignored", "LiteLLM does not pass on service_tier to this API")
        arguments |= _thinking_arguments(request, prepared, wire)
        if wire.api == GEMINI and gemini.mixes_tools(
            request
        ):  # otherwise LiteLLM drops Gemini's own
            arguments["include_server_side_tool_invocations"] = True
            if prepared.tool_choice == "auto":
                arguments["tool_choice"] = None
    is_cohere = wire.api == COHERE_CHAT  # for which LiteLLM expects the whole address
    arguments["api_base"] = cohere_chat.chat_url(prepared) if is_cohere else prepared.base_url
    arguments["extra_headers"] = prepared.headers or None
    for name, template in request.route.parameters.items():
        arguments[name] = expand_variables(template) or None
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return _merge_extra(request, arguments, accepted_extra(request, wire))


def _thinking_arguments(request: Request, prepared: PreparedRequest, wire: Wire) -> dict[str, Any]:
    """Return the arguments for thinking that differ from Chat Completions."""
    plan = prepared.reasoning
    if is_native_claude(
        request, wire
    ):  # LiteLLM would translate these; they go into the body unchanged
        fields = anthropic_messages.thinking_fields(plan)
        if (output_format := anthropic_messages.output_format(request)) is not None:
            fields["output_config"] = {**fields.get("output_config", {}), "format": output_format}
        return {"reasoning_effort": None, "response_format": None, **fields}
    if plan.enabled is False and wire.thinking.switch:
        return {"thinking": {"type": "disabled"}}
    if plan.budget_tokens is not None and wire.thinking.budget:
        thinking = {"type": "enabled", "budget_tokens": plan.budget_tokens}
        max_tokens = plan.max_tokens or request.options.max_tokens
        return {"thinking": thinking, "max_tokens": max_tokens}
    return {}


def is_native_claude(request: Request, wire: Wire) -> bool:
    """Return whether the host accepts Anthropic's own format: clouds do not."""
    return wire.api == ANTHROPIC and wire.api in backend_for(request.backend).direct


def _merge_extra(
    request: Request, arguments: dict[str, Any], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Override `arguments` with `extra`; `extra_body`, `include` and tools are merged."""
    body = {**arguments.get("extra_body", {}), **(extra.get("extra_body") or {})}
    merged = {**arguments, **extra}
    if "tools" in extra:
        merged["tools"] = merge_tools(request, arguments.get("tools"), extra["tools"])
    if isinstance(included := extra.get("include"), list):
        merged["include"] = list(dict.fromkeys([*arguments.get("include", ()), *included]))
    return {**merged, "extra_body": body} if body else merged
