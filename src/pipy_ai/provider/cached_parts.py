"""Describe which part of a request the provider would keep in its prompt cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tokens import TOKENS_PER_IMAGE, estimate_tokens
from ..utils.text import format_count

MIN_CACHED_TOKENS = 1024  # for most models; 2,048 or 4,096 for some
_MARKERS = ("cache_control", "cachePoint")
_LIFETIMES = {"24h": "24 hours", "30m": "30 minutes", "1h": "1 hour"}


def describe_cached_parts(body: Mapping[str, Any]) -> str:
    """Return what of a request is cached, and for how long; "" if it does not say.

    Example:
        >>> marked = {"type": "text", "text": "Hi" * 7000, "cache_control": {"type": "ephemeral"}}
        >>> describe_cached_parts({"system": [marked], "messages": []})
        'system prompt; about 4,000 tokens, for 5 minutes'
    """
    if name := body.get("cachedContent"):
        return f"{name}, which you created"
    if options := body.get("prompt_cache_options"):
        if options.get("mode") == "explicit":
            return "nothing"
        return _automatic(options.get("ttl"))
    if "prompt_cache_key" in body or "prompt_cache_retention" in body:
        return _automatic(body.get("prompt_cache_retention"))
    return _marked_parts(body)


def _automatic(lifetime: str | None) -> str:
    duration = _LIFETIMES.get(lifetime or "", "a few minutes")
    size = f"{MIN_CACHED_TOKENS:,} tokens"
    return f"the beginning that requests share, if it has at least {size}, for {duration}"


def _marked_parts(body: Mapping[str, Any]) -> str:
    """Describe everything up to the last marker: tools, system prompt, messages."""
    tools = body.get("tools") or (body.get("toolConfig") or {}).get("tools") or []
    system, messages = body.get("system") or [], body.get("messages") or []
    sections = {"tools": tools, "system prompt": system, "messages": messages}
    marked = [name for name, items in sections.items() if _has_marker(items)]
    if not marked:
        return ""
    names: list[str] = []
    tokens = 0
    for name, items in sections.items():
        if name == "messages" and name in marked:
            last = max(index for index, item in enumerate(items) if _has_marker(item))
            items = items[: last + 1]
            names.append(f"{last + 1} of {format_count(len(messages), 'message')}")
        elif items:
            names.append(name)
        tokens += _count(items)
        if name == marked[-1]:
            break
    if tokens < MIN_CACHED_TOKENS:
        size = format_count(tokens, "token")
        minimum = f"{MIN_CACHED_TOKENS:,}"
        return f"nothing: about {size} are marked, and providers cache only {minimum} or more"
    duration = "1 hour" if _has_hour(body) else "5 minutes"
    return f"{', '.join(names)}; about {format_count(tokens, 'token')}, for {duration}"


def _has_marker(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(name in value for name in _MARKERS) or any(map(_has_marker, value.values()))
    return isinstance(value, list) and any(map(_has_marker, value))


def _has_hour(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.get("ttl") == "1h" or any(map(_has_hour, value.values()))
    return isinstance(value, list) and any(map(_has_hour, value))


def _count(value: Any) -> int:
    """Estimate the tokens of the texts in a part of a request; files count as images."""
    if isinstance(value, Mapping):
        if value.get("type") == "base64" or "bytes" in value:
            return TOKENS_PER_IMAGE
        fields = (v for n, v in value.items() if n not in (*_MARKERS, "type", "role", "id"))
        return sum(map(_count, fields))
    if isinstance(value, list):
        return sum(map(_count, value))
    if isinstance(value, str):
        return TOKENS_PER_IMAGE if value.startswith("data:") else estimate_tokens(value)
    return 0
