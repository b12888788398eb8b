"""Abort requests: `AbortController` and `AbortSignal`, as in the web's API."""

from __future__ import annotations

import threading
from collections.abc import Callable


class AbortSignal:
    """A signal that aborts requests: pass it as `signal=` to one or more of them.

    Create it with `AbortController().signal`. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, Callable[[], None]] = {}
        self._next_key = 0
        self._aborted = False
        self._reason: str | None = None

    def __deepcopy__(self, memo: object) -> AbortSignal:
        return self  # copied options keep the same signal

    @property
    def aborted(self) -> bool:
        """Whether `AbortController.abort()` was called."""
        return self._aborted

    @property
    def reason(self) -> str | None:
        """The reason passed to `AbortController.abort()`."""
        return self._reason

    def add_listener(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` on abort, or now if already aborted. Return a function to remove it."""
        with self._lock:
            if not self._aborted:
                key = self._next_key
                self._next_key += 1
                self._listeners[key] = listener
                return lambda: self._remove(key)
        listener()
        return lambda: None

    def _remove(self, key: int) -> None:
        with self._lock:
            self._listeners.pop(key, None)

    def _abort(self, reason: str | None) -> None:
        with self._lock:
            if self._aborted:
                return
            self._aborted, self._reason = True, reason
            listeners = list(self._listeners.values())
            self._listeners.clear()
        errors: list[Exception] = []
        for listener in listeners:
            try:
                listener()
            except Exception as error:  # call the other listeners first
                errors.append(error)
        if errors:
            raise errors[0]


class AbortController:
    """Aborts the requests that use its `signal`.

    Example:
        >>> from pipy_ai import AbortController, faux, complete
        >>> controller = AbortController()
        >>> controller.abort("no longer needed")
        >>> complete("faux/echo", "Hi", signal=controller.signal).stop_reason
        <StopReason.ABORTED: 'aborted'>
    """

    def __init__(self) -> None:
        self.signal: AbortSignal = AbortSignal()

    def abort(self, reason: str | None = None) -> None:
        """Abort every request with this controller's signal. May be called from any thread."""
        self.signal._abort(reason)
