"""Hooks: functions of the caller that are called for requests, responses and events.

They run in threads of their own, in order for each request, so that one that blocks or fails does
not affect a request. The last event of a request waits for its hooks, but not for long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from ..events import AssistantMessageEvent
from ..options import check_hook
from ..types import AssistantMessage
from ..utils.background_calls import BackgroundCalls
from .observer import Observer, observer_factories
from .request import Request

if TYPE_CHECKING:
    from typing import Self

RequestHook: TypeAlias = Callable[[Request], object]
"""Called before each attempt is sent."""
ResponseHook: TypeAlias = Callable[[Request, AssistantMessage], object]
"""Called after each attempt, with its message."""
EventHook: TypeAlias = Callable[[Request, AssistantMessageEvent], object]
"""Called for each event."""


@dataclass(eq=False, slots=True)
class Hooks:
    """Hooks for all requests, until `remove()` or the end of a `with` block."""

    on_request: RequestHook | None = None
    """Called before each attempt."""
    on_response: ResponseHook | None = None
    """Called after each attempt."""
    on_event: EventHook | None = None
    """Called for each event."""

    def remove(self) -> None:
        """Call these hooks for no further request. May be called more than once."""
        if self in _hooks:
            _hooks.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


_hooks: list[Hooks] = []  # of all requests


def register_hooks(
    *,
    on_request: RequestHook | None = None,
    on_response: ResponseHook | None = None,
    on_event: EventHook | None = None,
) -> Hooks:
    """Call functions for every request of the process that begins from now on.

    Args:
        on_request: Called with the `Request` before each attempt. A retry is another attempt, and
            a fallback too.
        on_response: Called with the `Request` and the `AssistantMessage` after each attempt. The
            message of a failed attempt has an `error`.
        on_event: Called with the `Request` and each event.

    Raises:
        TypeError: A hook is asynchronous, or cannot be called.

    Example:
        >>> from pipy_ai import complete, register_hooks
        >>> with register_hooks(on_response=lambda request, message: print(request.model)):
        ...     message = complete("faux/echo", "Hi")
        faux/echo
    """
    for name, hook in (
        ("on_request", on_request), ("on_response", on_response), ("on_event", on_event),
    ):  # fmt: skip
        if hook is not None:
            check_hook(name, hook)
    enable_hooks()
    hooks = Hooks(on_request, on_response, on_event)
    _hooks.append(hooks)
    return hooks


def enable_hooks() -> None:
    """Look for hooks when a request begins."""
    if _observe not in observer_factories:
        observer_factories.append(_observe)


def _observe(request: Request) -> Observer | None:
    """Return the observer that calls the hooks of a request, or None if there are none."""
    options = request.options
    hooks = list(_hooks)
    if options.on_request or options.on_response or options.on_event:
        hooks.append(Hooks(options.on_request, options.on_response, options.on_event))
    return HookObserver(hooks) if hooks else None


class HookObserver(Observer):
    """Calls the hooks of one request, one after the other.

    They get copies of the request and the message, so that one that changes them does no harm.
    """

    def __init__(self, hooks: Sequence[Hooks]) -> None:
        self._on_request = [h.on_request for h in hooks if h.on_request is not None]
        self._on_response = [h.on_response for h in hooks if h.on_response is not None]
        self._on_event = [h.on_event for h in hooks if h.on_event is not None]
        self.watches_events = bool(self._on_event)
        self._calls = BackgroundCalls("hook")
        self._source: Request | None = None
        self._request: Request | None = None  # the copy of `_source` that hooks get
        self._attempt_open = False

    def attempt_started(self, request: Request) -> None:
        if request is not self._source:
            self._source, self._request = request, _copy_request(request)
        self._attempt_open = True
        self._calls.submit([(hook, (self._request,)) for hook in self._on_request])

    def events(self, request: Request, events: Sequence[AssistantMessageEvent]) -> None:
        hooks, own = self._on_event, self._request or request
        self._calls.submit([(hook, (own, event)) for event in events for hook in hooks])

    def attempt_failed(
        self, request: Request, message: AssistantMessage, delay: float, fallback: str | None
    ) -> None:
        self.ended(request, message)

    def ended(self, request: Request, message: AssistantMessage) -> None:
        if self._attempt_open and self._on_response:
            copy = message.model_copy(update={"content": list(message.content)})
            self._calls.submit([(hook, (self._request, copy)) for hook in self._on_response])
        self._attempt_open = False

    async def settle(self) -> None:
        await self._calls.settle()


def _copy_request(request: Request) -> Request:
    context = request.context
    return replace(
        request,
        context=context.model_copy(update={"messages": list(context.messages)}),
        options=request.options.model_copy(),
    )
