"""Parse `-o name=value`, which sets any option of a request."""

from __future__ import annotations

import json
from typing import Any

from ...utils.text import suggest
from .common import split_assignment

# Options that -o does not set: they exist in Python only, or must not be on a command line.
EXCLUDED_OPTIONS = (
    "api_key", "signal", "on_payload", "on_request", "on_response", "on_event", "raw",
    "raise_on_error",
)  # fmt: skip
TEXT_OPTIONS = ("service_tier", "session_id", "api_base", "tool_choice", "stop")
OPTION_GROUPS = ("extra", "headers", "metadata", "thinking_budgets")


def parse_options(assignments: list[str]) -> dict[str, Any]:
    """Parse `name=value` and `group.name=value` into options; values are JSON, or text.

    Raises:
        ValueError: An option does not exist or has no value.
    """
    options: dict[str, Any] = {}
    for assignment in assignments:
        name, text = _split(assignment)
        name = name.strip()
        group, dot, key = name.partition(".")
        if dot and group in OPTION_GROUPS and key:
            options.setdefault(group, {})[key] = text if group == "headers" else _parse_value(text)
        else:
            options[_option_name(name)] = text if _is_text_value(name, text) else _parse_value(text)
    return options


def _split(assignment: str) -> tuple[str, str]:
    try:
        return split_assignment("-o", assignment)
    except ValueError as error:
        from ..display.media_files import is_media_path

        if not is_media_path(assignment):
            raise
        raise ValueError(
            f"{error}, such as seed=7; images and audio are saved in the current directory"
        ) from None


def _option_name(name: str) -> str:
    from ...options import SimpleStreamOptions

    name = name.replace("-", "_")
    fields = [field for field in SimpleStreamOptions.model_fields if field not in EXCLUDED_OPTIONS]
    if name in fields:
        return name
    if name == "api_key":
        raise ValueError(
            "-o api_key: other users could read it; set the provider's environment variable instead"
        )
    suggestion = suggest(name, fields)
    if_word = f"{suggestion} If" if suggestion else "if"
    advice = f"{if_word} the provider supports it: -o extra.{name}=…"
    raise ValueError(f"unknown option {name!r}; {advice}")


def _is_text_value(name: str, text: str) -> bool:
    return name in TEXT_OPTIONS and not text.lstrip().startswith(("[", "{"))


def _parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
