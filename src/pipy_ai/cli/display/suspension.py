"""Clean the screen before Ctrl-Z stops the process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any


class SuspensionHandler:
    """Calls `before` when Ctrl-Z is pressed, and `after` when the process continues.

    It handles the signal from `install` to `remove`, unless another handler is there.
    """

    def __init__(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        self._before, self._after = before, after
        self._previous_handler: Any = None

    def install(self) -> None:
        """Handle Ctrl-Z from now on, if this is the main thread of a system that has it."""
        if (
            hasattr(signal, "SIGTSTP")
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
        ):
            self._previous_handler = signal.signal(signal.SIGTSTP, self._suspend)

    def remove(self) -> None:
        """Restore the handler of before."""
        if self._previous_handler is not None:
            signal.signal(signal.SIGTSTP, self._previous_handler)
            self._previous_handler = None

    def _suspend(self, *_: object) -> None:
        self._before()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # and here the process stops
        signal.signal(signal.SIGTSTP, self._suspend)
        self._after()
