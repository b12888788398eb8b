"""What LiteLLM's proxy says in its own way: which model stands behind a name, whether an answer
comes from its cache, and what the provider behind it said of a failure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...errors import clean_text
from ..deltas import Delta, ResponseInfo, UsageReport

MODEL = "x-litellm-model-name"  # the body only repeats the name that was asked for
CACHE = "x-litellm-cache-key"  # only an answer out of the cache has it
_PASSED_ON = "llm_provider-"  # before the names of the provider's own headers
_OWN_LIMIT = "litellm.RateLimitError: Model rate limit exceeded. "
NO_DATABASE = (
    "The proxy refused the key. It has no database, so its master key is the only one: is"
    " LITELLM_PROXY_API_KEY here what LITELLM_MASTER_KEY is there?"
)


def with_headers(deltas: list[Delta], headers: Mapping[str, str]) -> list[Delta]:
    """The deltas of an answer with what a proxy's headers tell: the model that really answers, and
    that one out of the cache costs nothing, though the proxy repeats what it once cost."""
    model, cached = headers.get(MODEL), CACHE in headers
    if model or cached:
        for delta in deltas:
            if model and isinstance(delta, ResponseInfo):
                delta.model = model
            elif cached and isinstance(delta, UsageReport):
                delta.cost = 0.0
    return deltas


def passed_on(headers: Mapping[str, str], body: str) -> dict[str, str]:
    """The headers of a refusal, those of the provider under their own names.

    A proxy keeps its limits by its clock's minute but always asks to wait for a whole one; how much
    is left of it, its date tells.
    """
    said = {name.removeprefix(_PASSED_ON): value for name, value in headers.items()} | dict(headers)
    if _OWN_LIMIT in body and (second := re.search(r":(\d\d) GMT", headers.get("date", ""))):
        said["retry-after"] = str(60 - int(second[1]))
    return said


def own_words(text: str) -> str:
    """What the provider said, out of the exceptions that LiteLLM wraps around it."""
    if not text.startswith("litellm."):
        return text
    return clean_text(text).partition("\n\nLiteLLM: ")[0]
