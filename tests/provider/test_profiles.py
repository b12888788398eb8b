"""Test that hosts get the requests that their profiles describe."""

from __future__ import annotations

from typing import Any

import pytest

from pipy_ai import Tool, ctx, preview

LOOKUP = Tool(name="lookup", description="Look something up.")
SEARCH = Tool(name="search", description="Search for something.")


@pytest.mark.parametrize("model", ["lm_studio/qwen3-4b", "lmstudio/qwen/qwen3-30b-a3b-2507"])
@pytest.mark.parametrize("tools", [[LOOKUP], [LOOKUP, SEARCH]])
def test_lm_studio_gets_required_for_a_named_tool(july: Any, model: str, tools: list[Tool]) -> None:
    shown = preview(model, ctx("q", tools=tools), tool_choice="lookup")
    assert shown.body["tool_choice"] == "required"
    codes = [warning.code for warning in shown.warnings]
    assert ("tool_choice_changed" in codes) == (len(tools) > 1)
