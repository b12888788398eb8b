"""Faults of the direct lanes that a second review found."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import preview
from pipy_ai.provider.direct.schema import reduced


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"type": ["array", "string"], "items": {"type": "integer"}},
         {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "string"}]}),
        ({"type": ["array", "null", "string"], "description": "d"},
         {"description": "d", "nullable": True,
          "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}),
        ({"type": "string", "enum": ["", "a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "string", "enum": [""]}, {"type": "string"}),
        ({"type": "object", "required": ["a"]}, {"type": "object"}),
        ({"type": "object", "properties": {"a": {"type": "string"}},
          "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
         {"type": "object", "properties": {"a": {"type": "string"}}}),
    ],
)  # fmt: skip
def test_schemas_that_gemini_refuses(given: dict[str, Any], taken: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": given}}
    assert reduced(schema)["properties"]["x"] == taken


def test_a_model_of_openai_that_nobody_knows_yet(july: Any) -> None:
    """Those that reason refuse `max_tokens`; elsewhere only that is known."""
    body = preview("openai/gpt-9-new", "q", max_tokens=10).body
    assert (body.get("max_completion_tokens"), body.get("max_tokens")) == (10, None)
    body = preview("openai/gpt-9-new", "q", max_tokens=10, api_base="http://127.0.0.1/v1").body
    assert (body.get("max_completion_tokens"), body.get("max_tokens")) == (None, 10)


@pytest.mark.parametrize("model", ["openai/gpt-4o", "openai/gpt-5.4"])
def test_nothing_is_chosen_where_nothing_can_be_called(july: Any, model: str) -> None:
    """OpenAI refuses `tool_choice` without tools."""
    assert "tool_choice" not in preview(model, "q", tool_choice="auto").body
    given = {"tools": [{"type": "web_search"}]}  # of the provider's own
    assert preview(model, "q", tool_choice="auto", extra=given).body["tool_choice"] == "auto"
