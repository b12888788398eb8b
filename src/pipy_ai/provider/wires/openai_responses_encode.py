"""OpenAI Responses. Pure."""

from __future__ import annotations

import os
import re
from typing import Any

from ..http.client import endpoint_url
from ..prepare import PreparedRequest
from ..request import Request
from ._openai_messages import DEFAULT_BASE_URL, openai_headers, responses_fields

UNSTREAMED_IDLE_TIMEOUT_S = 1800.0  # seconds to wait for an answer in one piece, where nobody said
_UNSTREAMED_MODELS = re.compile(r"(o1-pro|gpt-5-pro)(-\d|$)")  # they answer in one piece only


def encode(
    request: Request, prepared: PreparedRequest
) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    fields = responses_fields(request, prepared)
    body = {"model": request.model_id, **fields, **(fields.pop("extra_body", None) or {})}
    body.pop("extra_body", None)
    if _UNSTREAMED_MODELS.match(request.model_id):
        del body["stream"]
        if "idle_timeout" not in request.options.model_fields_set:
            timeout_update = {
                "idle_timeout": UNSTREAMED_IDLE_TIMEOUT_S
            }  # they think for many minutes before they speak
            request.options = request.options.model_copy(update=timeout_update)
    env_base_url = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    base_url = prepared.base_url or env_base_url or DEFAULT_BASE_URL
    return endpoint_url(base_url, "/responses"), openai_headers(request), body
