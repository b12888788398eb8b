"""Faults of the direct lanes that a second review found."""

from __future__ import annotations

from typing import Any

import pytest

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
