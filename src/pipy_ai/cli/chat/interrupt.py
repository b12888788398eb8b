"""Handle Ctrl-C during an answer."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Self

    from ...events import ToolEvent


class InterruptHandler:
    """Handle Ctrl-C while an answer is requested.

    It aborts an answer and keeps what arrived; tools and approval questions stop at once. Unless
    `enabled`, Ctrl-C ends the command as usual.
    """

    def __init__(self, abort: Callable[[], None], enabled: bool) -> None:
        self._abort = abort
        self._enabled = enabled
        self.interrupted = False

    def on_event(self, event: ToolEvent) -> None:
        """Choose how Ctrl-C acts after this event."""
        if self._enabled and event.type == "start":
            signal.signal(signal.SIGINT, self._on_sigint)
        elif self._enabled and event.type == "done":  # only tools can run next
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _on_sigint(self, *_: object) -> None:
        self.interrupted = True
        self._abort()

    def __enter__(self) -> Self:
        self._previous_handler = signal.getsignal(signal.SIGINT)
        if self._enabled:
            signal.signal(signal.SIGINT, self._on_sigint)
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *_: object) -> bool:
        if not self._enabled:
            return False
        signal.signal(signal.SIGINT, self._previous_handler)
        self.interrupted = self.interrupted or exc_type is KeyboardInterrupt
        return exc_type is KeyboardInterrupt


@contextlib.contextmanager
def sigint_handled_by(handler: Any) -> Generator[Any, None, None]:
    """Install a handler for SIGINT in the `with` block, which gets the previous one."""
    previous_handler = signal.signal(signal.SIGINT, handler)
    try:
        yield previous_handler
    finally:
        signal.signal(signal.SIGINT, previous_handler)
