"""Test contexts."""

from __future__ import annotations

from pipy_ai import TextContent, ToolCall, ToolResultMessage, assistant, ctx, tool_result


def test_contexts_and_results() -> None:
    call = ToolCall(id="c1", name="f")
    context = ctx("Hi", assistant(call), tool_result(call, "a", 7, {"b": 1}), system="s")
    assert [m.role for m in context.messages] == ["user", "assistant", "toolResult"]
    result = context.messages[2]
    assert isinstance(result, ToolResultMessage)
    assert (result.tool_call_id, result.tool_name) == ("c1", "f")
    assert [p.text for p in result.content if isinstance(p, TextContent)] == ["a", "7", '{"b": 1}']
    assert assistant(call).stop_reason == "toolUse"
