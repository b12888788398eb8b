"""What every way of sending needs to know about a request, worked out once. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..options import CacheRetention
from ..registry.routing import expand_url
from ..types import Message
from ..utils.surrogates import clean_surrogates
from .conversation import Target, adapt_messages
from .credentials import missing_key_error, uses_default_openai_url
from .reasoning import reasoning_fields
from .request import Request, bad_request_error

_CLAUDE_HOSTS = frozenset({"bedrock", "vertex_ai", "azure_ai", "databricks"})
# Backends that take unsigned thinking of their own back when no record says so.
_PLAIN_THINKING = frozenset(
    {"deepseek", "dashscope", "hosted_vllm", "llamafile", "lm_studio", "minimax", "moonshot", "zai"}
)
_APIS = {
    "anthropic": "anthropic-messages",
    "gemini": "google-generative-ai",
    "responses": "openai-responses",
}


def style_of(request: Request) -> str:
    """The family of the wire: `anthropic`, `gemini`, `responses` or `chat`."""
    backend, route = request.backend, request.route
    if route.kind != "router" and (
        route.responses_api == "always"
        or (route.responses_api == "own" and uses_default_openai_url(request))
    ):
        return "responses"
    if backend == "anthropic" or (backend in _CLAUDE_HOSTS and "claude" in request.model_id):
        return "anthropic"
    if backend in ("gemini", "vertex_ai"):
        return "gemini"
    return "chat"


@dataclass(slots=True)
class PreparedRequest:
    """A request whose history is handed over and whose options are weighed.

    `thinking` holds fields of the request in OpenAI's or Anthropic's words, `base` the address
    where it is not the wire's own, `headers` the caller's.
    """

    style: str
    messages: list[Message]
    system_prompt: str | None
    temperature: float | None
    top_p: float | None
    reasoning_fields: dict[str, Any]
    cache_retention: str
    base_url: str | None
    headers: dict[str, str] = field(default_factory=dict)


def prepare_request(request: Request, preview: bool = False) -> PreparedRequest:
    """Work it out. For a preview, what is not set is named and warned of.

    Raises:
        ProviderError: nothing is left to say once empty and failed messages are left out, there
            is no way to the model, or a variable that its address needs is not set.
    """
    options = request.options
    if request.route.problem and not options.api_base:
        if not preview:
            raise bad_request_error(request, request.route.problem)
        request.warn("no_route", request.route.problem)
    style = style_of(request)
    target = Target(
        provider=request.provider,
        model=request.model_id,
        api=_APIS.get(style, ""),
        accepts_images=request.accepts_images,
        accepts_documents=request.accepts_documents,
        signed_thinking=style in ("anthropic", "responses")
        or request.backend in ("litellm_proxy", "openrouter"),
        unsigned_thinking=_accepts_unsigned_thinking(request),
        handoff_thinking=options.handoff_thinking,
    )
    messages = adapt_messages(request.context.messages, target, request.warn)
    if not messages:
        raise bad_request_error(request, "the conversation holds only empty or failed messages")
    system_prompt = request.context.system_prompt
    reasoning = reasoning_fields(request, style, bool(request.context.tools))
    if style == "anthropic" and request.backend == "anthropic":
        _add_output_format(request, reasoning)
    temperature = options.temperature
    if temperature is not None and temperature != 1 and _rejects_temperature(request):
        request.warn("temperature_ignored", "this model takes no temperature")
        temperature = None
    top_p = options.top_p
    if top_p is not None and top_p != 1 and _rejects_temperature(request):
        request.warn("top_p_ignored", "this model takes no top_p, as it takes no temperature")
        top_p = None
    return PreparedRequest(
        style=style,
        messages=messages,
        system_prompt=clean_surrogates(system_prompt) if system_prompt else None,
        temperature=reasoning.pop("temperature", temperature),
        top_p=reasoning.pop("top_p", top_p),
        reasoning_fields=reasoning,
        cache_retention=(options.cache_retention or _default_cache_retention()).value,
        base_url=_resolve_base_url(request, preview),
        headers=_merge_headers(options.headers, reasoning.pop("beta", None)),
    )


def _add_output_format(request: Request, fields: dict[str, Any]) -> None:
    """The type that the answer shall have, in Anthropic's words, beside how hard it shall try."""
    output = request.output
    if output is not None and output.mode == "native":
        from ..utils.json_schema import to_anthropic_schema

        output_format = {"type": "json_schema", "schema": to_anthropic_schema(output.schema)}
        fields["output_config"] = {**fields.get("output_config", {}), "format": output_format}


def _accepts_unsigned_thinking(request: Request) -> bool:
    if request.record is None:
        return request.backend in _PLAIN_THINKING
    return bool(request.record.get("interleaved"))


def _rejects_temperature(request: Request) -> bool:
    return request.record is not None and request.record.get("temperature") is False


def _default_cache_retention() -> CacheRetention:
    """`PIPY_CACHE_RETENTION`, or short."""
    try:
        return CacheRetention(os.environ.get("PIPY_CACHE_RETENTION", "short").lower())
    except ValueError:
        return CacheRetention.SHORT


def _resolve_base_url(request: Request, preview: bool) -> str | None:
    """The address of the host; None: the wire's own, or one that LiteLLM finds."""
    route = request.route
    if request.options.api_base is not None:
        return request.options.api_base
    if not route.api_base or route.kind == "router":  # the router's file says where
        return None
    missing_variables = [
        name for name in route.required_env if not os.environ.get(name, "").strip()
    ]
    if missing_variables and not preview:
        raise missing_key_error(request.provider, missing_variables)
    if missing_variables:
        request.warn("missing_variable", f"{' and '.join(missing_variables)} must be set")
    base_url = expand_url(
        route.api_base,
        {**os.environ, **{name: name for name in missing_variables}} if missing_variables else None,
    )
    # A cloud's address may also come from LiteLLM's own variables.
    return None if route.kind == "cloud" and "//." in base_url else base_url


def _merge_headers(
    caller_headers: Mapping[str, str] | None, beta_feature: str | None
) -> dict[str, str]:
    """The caller's headers, one of each name whatever its case; beta features add up."""
    headers: dict[str, tuple[str, str]] = {}
    for name, value in (caller_headers or {}).items():
        headers[name.lower()] = (name, value)
    if beta_feature:
        name, value = headers.get("anthropic-beta", ("anthropic-beta", ""))
        features = [part.strip() for part in value.split(",") if part.strip()]
        if beta_feature not in features:
            features.append(beta_feature)
        headers["anthropic-beta"] = (name, ",".join(features))
    return dict(headers.values())
