"""Run a tool loop synchronously or asynchronously and collect what it returns."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipy_ai import AssistantMessage, ToolResultMessage, arun_tools, faux, run_tools
from pipy_ai.utils import event_loop as loops

from .event_grammar import check_events

WAIT = 10.0  # seconds, far above what anything here takes


@dataclass
class Ran:
    """A finished run."""

    run: Any
    events: list[Any]
    message: AssistantMessage

    @property
    def results(self) -> list[ToolResultMessage]:
        return [message for message in self.run.messages if message.role == "toolResult"]

    @property
    def texts(self) -> list[str]:
        return ["".join(getattr(part, "text", "") for part in m.content) for m in self.results]


def ended(run: Any, events: list[Any], message: AssistantMessage) -> Ran:
    """Check a run: turns are valid streams, with one result per call between them."""
    turn: list[Any] = []
    due: list[str] = []
    for event in events:
        if event.type == "tool_result":
            assert not turn
            assert event.message.tool_call_id == event.tool_call.id
            due.remove(event.tool_call.id)
            continue
        if not turn and event.type != "error":
            assert not due, "the next turn before all results"
        turn.append(event)
        if event.type in ("done", "error"):
            calls = check_events(turn).tool_calls
            due = [call.id for call in calls] if event.type == "done" else []
            turn = []
    assert not turn
    # A call that is a typed answer becomes text.
    assert events[-1].partial is message or events[-1].partial.parsed == message.parsed
    open_ids: list[str] = []
    for said in run.messages:
        if said.role == "toolResult":
            assert said.tool_call_id == open_ids.pop(0), "results in the order of the calls"
        else:
            assert not open_ids
            open_ids = [call.id for call in said.tool_calls]
    return Ran(run, events, message)


def sync_run(*args: Any, **options: Any) -> Ran:
    run = run_tools(*args, **options)
    events = list(run)
    return ended(run, events, run.result())


def async_run(*args: Any, **options: Any) -> Ran:
    async def main() -> Ran:
        run = arun_tools(*args, **options)
        events = [event async for event in run]
        return ended(run, events, await run.result())

    return asyncio.run(main())


Go = Callable[..., Ran]


def call(name: str, /, **arguments: Any) -> Any:
    return faux.tool(name, **arguments)


def nothing_left() -> None:
    for tool_thread in threading.enumerate():
        if tool_thread.name == "pipy-ai tool":
            tool_thread.join(WAIT)
            assert not tool_thread.is_alive()
    thread = loops.existing_loop()
    until = time.monotonic() + WAIT
    while thread is not None and thread._tasks:
        assert time.monotonic() < until, thread._tasks
        time.sleep(0.001)
