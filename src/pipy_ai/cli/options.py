"""`-o name=value`: any option of a request."""

from __future__ import annotations

import difflib
import json
from typing import Any

# What -o sets. The others are set in Python only, or are secrets that no command line may hold.
NOT_HERE = ("api_key", "signal", "on_payload")
TEXTS = ("session_id", "api_base", "tool_choice", "stop")
GROUPS = ("extra", "headers", "metadata", "thinking_budgets")


def read(given: list[str]) -> dict[str, Any]:
    """Options by name, of `name=value` and `group.name=value`; values are JSON, or text.

    Raises:
        ValueError: there is no such option, or it has no value.
    """
    found: dict[str, Any] = {}
    for one in given:
        name, sign, text = one.partition("=")
        name = name.strip()
        if not sign or not name:
            raise ValueError(f"-o {one}: write name=value")
        group, dot, inner = name.partition(".")
        if dot and group in GROUPS and inner:
            found.setdefault(group, {})[inner] = text if group == "headers" else _value(text)
        else:
            found[_known(name)] = text if _is_text(name, text) else _value(text)
    return found


def _known(name: str) -> str:
    from ..types import SimpleStreamOptions

    name = name.replace("-", "_")
    fields = [field for field in SimpleStreamOptions.model_fields if field not in NOT_HERE]
    if name in fields:
        return name
    if name == "api_key":
        raise ValueError("-o api_key: others could read it; set the provider's variable instead")
    near = difflib.get_close_matches(name, fields, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(
        f"there is no option {name!r}; {hint}What only the provider knows is extra.{name}=…"
    )


def _is_text(name: str, text: str) -> bool:
    return name in TEXTS and not text.lstrip().startswith(("[", "{"))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
