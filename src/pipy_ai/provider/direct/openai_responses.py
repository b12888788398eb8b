"""OpenAI Responses. Pure."""

from __future__ import annotations

import os
import re
from typing import Any

from ..openai_words import responses_fields
from ..prepare import Prepared, endpoint
from ..request import Request
from .openai_chat import OPENAI, openai_headers

SILENCE = 1800.0  # seconds to wait for an answer in one piece, where nobody said
_UNSTREAMED = re.compile(r"(o1-pro|gpt-5-pro)(-\d|$)")  # they answer in one piece only


def encode(request: Request, prepared: Prepared) -> tuple[str, dict[str, str], dict[str, Any]]:
    """URL, headers and body, without the key."""
    fields = responses_fields(request, prepared)
    body = {"model": request.model_id, **fields, **(fields.pop("extra_body", None) or {})}
    body.pop("extra_body", None)
    if _UNSTREAMED.match(request.model_id):
        del body["stream"]
        if "idle_timeout" not in request.options.model_fields_set:
            waiting = {"idle_timeout": SILENCE}  # they think for many minutes before they speak
            request.options = request.options.model_copy(update=waiting)
    named = os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE")
    base = prepared.base or named or OPENAI
    return endpoint(base, "/responses"), openai_headers(request), body
