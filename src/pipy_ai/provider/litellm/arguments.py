"""A Request as the arguments of a LiteLLM call. Pure: no litellm, no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...registry.routing import expand_variables
from ..prepare import prepare_request
from ..request import Request, bad_request_error
from ..wires._openai_messages import chat_fields, responses_fields


def build_arguments(request: Request, preview: bool = False) -> dict[str, Any]:
    """The arguments, without the key. For a preview, what is not set is named and warned of.

    Raises:
        ProviderError: as `prepare`, or a direct lane was demanded.
    """
    if request.options.transport == "direct":
        raise bad_request_error(request, f'transport="direct" has no lane for {request.model}')
    prepared = prepare_request(request, preview)
    if prepared.style == "responses":
        arguments = responses_fields(request, prepared)
        arguments["model"] = f"{request.backend}/{request.model_id}"
    else:
        arguments = chat_fields(request, prepared)
        arguments["model"] = request.route.model
    arguments["api_base"] = prepared.base_url
    arguments["extra_headers"] = prepared.headers or None
    for name, template in request.route.parameters.items():
        arguments[name] = expand_variables(template) or None
    arguments = {name: value for name, value in arguments.items() if value is not None}
    return _merge_extra(arguments, request.options.extra or {})


def _merge_extra(arguments: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """`extra` over `arguments`; bodies are joined, not replaced."""
    body = {**arguments.get("extra_body", {}), **(extra.get("extra_body") or {})}
    merged = {**arguments, **extra}
    return {**merged, "extra_body": body} if body else merged
