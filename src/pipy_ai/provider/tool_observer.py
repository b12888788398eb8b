"""Observers of tool loops: what OpenTelemetry is built on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from ..types import AssistantMessage, Tool, ToolCall, ToolResultMessage


class ToolCallObserver(Protocol):
    """Watches one call of a tool. The methods must not raise."""

    def running(self) -> AbstractContextManager[None]:
        """Return what the function, or a part of it, runs in."""
        ...

    def ended(self, result: ToolResultMessage | None) -> None:
        """The call has ended; None: it was cancelled. Only the first of several calls counts."""
        ...


class ToolLoopObserver(Protocol):
    """Watches one run of `run_tools`. The methods must not raise."""

    def begun(self) -> None:
        """The run begins."""
        ...

    def requesting(self) -> AbstractContextManager[None]:
        """Return what a request of the run is created in."""
        ...

    def tool_call(self, call: ToolCall, tool: Tool | None) -> ToolCallObserver:
        """Return the observer of a call that is about to run."""
        ...

    def ended(self, message: AssistantMessage | None) -> None:
        """The run has ended; None: it was left."""
        ...

    def wait(self) -> None:
        """Finish work that the caller may rely on, in a bounded time."""
        ...

    async def settle(self) -> None:
        """Do the same as `wait`, without blocking the event loop."""
        ...


# Each returns the observer of a new run of `run_tools`. The last one is used.
tool_loop_factories: list[Callable[[], ToolLoopObserver]] = []
