"""What every way of sending needs to know about a request, worked out once. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..registry.routing import address
from ..types import CacheRetention, Message
from ..utils.unicode import clean_surrogates
from .history import Target, hand_over
from .keys import missing_key
from .request import Request
from .thinking import plan

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
    backend, way = request.backend, request.route
    if way.rule != "router" and (
        way.responses == "always" or (way.responses == "own" and at_openai(request))
    ):
        return "responses"
    if backend == "anthropic" or (backend in _CLAUDE_HOSTS and "claude" in request.model_id):
        return "anthropic"
    if backend in ("gemini", "vertex_ai"):
        return "gemini"
    return "chat"


def at_openai(request: Request) -> bool:
    """Whether a request of OpenAI's goes to OpenAI's own address."""
    named = (request.options.api_base, *map(os.environ.get, ("OPENAI_BASE_URL", "OPENAI_API_BASE")))
    return not any(named)


@dataclass(slots=True)
class Prepared:
    """A request whose history is handed over and whose options are weighed.

    `thinking` holds fields of the request in OpenAI's or Anthropic's words, `base` the address
    where it is not the wire's own, `headers` the caller's.
    """

    style: str
    messages: list[Message]
    system: str | None
    temperature: float | None
    top_p: float | None
    thinking: dict[str, Any]
    retention: str
    base: str | None
    headers: dict[str, str] = field(default_factory=dict)


def prepare(request: Request, preview: bool = False) -> Prepared:
    """Work it out. For a preview, what is not set is named and warned of.

    Raises:
        ProviderError: nothing is left to say once empty and failed messages are left out, there
            is no way to the model, or a variable that its address needs is not set.
    """
    options = request.options
    if request.route.problem and not options.api_base:
        if not preview:
            raise refuse(request, request.route.problem)
        request.warn("no_route", request.route.problem)
    style = style_of(request)
    target = Target(
        provider=request.provider,
        model=request.model_id,
        api=_APIS.get(style, ""),
        vision=request.vision,
        documents=request.documents,
        signed_thinking=style in ("anthropic", "responses")
        or request.backend in ("litellm_proxy", "openrouter"),
        plain_thinking=_wants_thinking_back(request),
        thinking=options.handoff_thinking,
    )
    messages = hand_over(request.context.messages, target, request.warn)
    if not messages:
        raise refuse(request, "the conversation holds only empty or failed messages")
    system = request.context.system_prompt
    thinking = plan(request, style, bool(request.context.tools))
    if style == "anthropic" and request.backend == "anthropic":
        _shape(request, thinking)
    temperature = options.temperature
    if temperature is not None and temperature != 1 and _takes_no_temperature(request):
        request.warn("temperature_ignored", "this model takes no temperature")
        temperature = None
    top_p = options.top_p
    if top_p is not None and top_p != 1 and _takes_no_temperature(request):
        request.warn("top_p_ignored", "this model takes no top_p, as it takes no temperature")
        top_p = None
    return Prepared(
        style=style,
        messages=messages,
        system=clean_surrogates(system) if system else None,
        temperature=thinking.pop("temperature", temperature),
        top_p=thinking.pop("top_p", top_p),
        thinking=thinking,
        retention=(options.cache_retention or _default_retention()).value,
        base=_base(request, preview),
        headers=_headers(options.headers, thinking.pop("beta", None)),
    )


def _shape(request: Request, fields: dict[str, Any]) -> None:
    """The type that the answer shall have, in Anthropic's words, beside how hard it shall try."""
    output = request.output
    if output is not None and output.mode == "native":
        from ..utils.json_schema import closed

        form = {"type": "json_schema", "schema": closed(output.schema)}
        fields["output_config"] = {**fields.get("output_config", {}), "format": form}


def endpoint(base: str, path: str, query: str = "") -> str:
    """An address of a host with `path` behind its own, once; its query stays at the end."""
    head, _, own = base.partition("?")
    head = head.rstrip("/").removesuffix(path)
    queries = "&".join(part for part in (own, query) if part)
    return f"{head.rstrip('/')}{path}" + (f"?{queries}" if queries else "")


def refuse(request: Request, text: str) -> ProviderError:
    """The error of a request that cannot be."""
    return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, provider=request.provider))


def _wants_thinking_back(request: Request) -> bool:
    if request.record is None:
        return request.backend in _PLAIN_THINKING
    return bool(request.record.get("interleaved"))


def _takes_no_temperature(request: Request) -> bool:
    return request.record is not None and request.record.get("temperature") is False


def _default_retention() -> CacheRetention:
    """`PIPY_CACHE_RETENTION`, or short."""
    try:
        return CacheRetention(os.environ.get("PIPY_CACHE_RETENTION", "short").lower())
    except ValueError:
        return CacheRetention.SHORT


def _base(request: Request, preview: bool) -> str | None:
    """The address of the host; None: the wire's own, or one that LiteLLM finds."""
    way = request.route
    if request.options.api_base is not None:
        return request.options.api_base
    if not way.api_base or way.rule == "router":  # the router's file says where
        return None
    absent = [name for name in way.needs if not os.environ.get(name, "").strip()]
    if absent and not preview:
        raise missing_key(request.provider, absent)
    if absent:
        request.warn("missing_variable", f"{' and '.join(absent)} must be set")
    found = address(
        way.api_base, {**os.environ, **{name: name for name in absent}} if absent else None
    )
    # A cloud's address may also come from LiteLLM's own variables.
    return None if way.rule == "cloud" and "//." in found else found


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
