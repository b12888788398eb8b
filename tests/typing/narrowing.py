"""Checked by mypy, never run: what a type checker tells users of the events."""

from __future__ import annotations

from typing import Any, assert_type

from pipy_ai import (
    AssistantMessage,
    AssistantMessageEvent,
    StopReason,
    ToolCall,
    acomplete,
    astream,
    complete,
    stream,
)


def narrow(event: AssistantMessageEvent) -> None:
    match event.type:
        case "text_delta" | "thinking_delta" | "toolcall_delta":
            assert_type(event.delta, str)
        case "text_end":
            assert_type(event.content, str)
        case "toolcall_end":
            assert_type(event.tool_call, ToolCall)
        case "done":
            assert_type(event.message, AssistantMessage)
        case "error":
            assert_type(event.error, AssistantMessage)
    assert_type(event.partial, AssistantMessage)
    if event.type == "text_delta":
        event.detla  # type: ignore[attr-defined]
    event.delta  # type: ignore[union-attr]


def verbs() -> None:
    assert_type(complete("a/b", "Hi", temperature=0).stop_reason, StopReason | None)
    complete("a/b", "Hi", temprature=0)  # type: ignore[call-arg]
    complete("a/b", "Hi", reasoning="high")
    complete("a/b", "Hi", reasoning="hgih")  # type: ignore[arg-type]
    for event in stream("a/b", "Hi"):
        assert_type(event, AssistantMessageEvent)


async def twins() -> Any:
    assert_type(await acomplete("a/b", "Hi"), AssistantMessage)
    async for event in astream("a/b", "Hi"):
        assert_type(event, AssistantMessageEvent)
