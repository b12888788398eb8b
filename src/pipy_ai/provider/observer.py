"""Observers of requests: what hooks and OpenTelemetry are built on.

The engine calls them once per attempt and at the end. Events are only passed to observers that
watch them; without such an observer, nothing is called for a delta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..events import AssistantMessageEvent
from ..types import AssistantMessage
from ..utils.log import logger
from .request import Request


class Observer:
    """Watches one request. The methods are called in the request's task and must not block."""

    watches_events: bool = False
    """Whether `events` is called."""

    def begun(self, request: Request) -> None:
        """The request begins."""

    def attempt_started(self, request: Request) -> None:
        """An attempt is about to be sent, or answered from the cache."""

    def events(self, request: Request, events: Sequence[AssistantMessageEvent]) -> None:
        """Events are about to reach the caller."""

    def attempt_failed(
        self, request: Request, message: AssistantMessage, delay: float, fallback: str | None
    ) -> None:
        """An attempt failed and is followed by another after `delay` seconds.

        `fallback` is the name of the next model. None: the request is retried.
        """

    def ended(self, request: Request, message: AssistantMessage) -> None:
        """The message is final. Called once; without `begun` if the request never began."""

    async def settle(self) -> None:
        """Finish work that the caller may rely on, in a bounded time. Not after an abort."""


# Each returns the observer of a new request, or None. Called in the caller's thread and context.
observer_factories: list[Callable[[Request], Observer | None]] = []


def create_observers(request: Request) -> list[Observer]:
    """Return the observers of a new request. A factory that fails is skipped."""
    observers: list[Observer] = []
    for factory in tuple(observer_factories):
        try:
            observer = factory(request)
        except Exception:
            logger.warning("an observer of requests failed", exc_info=True)
            continue
        if observer is not None:
            observers.append(observer)
    return observers


def notify(observers: Sequence[Observer], method: str, *args: Any) -> None:
    """Call a method of each observer. One that fails is logged and ignored."""
    for observer in observers:
        try:
            getattr(observer, method)(*args)
        except Exception:
            logger.warning("an observer of requests failed", exc_info=True)
