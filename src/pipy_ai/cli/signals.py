"""Shut down cleanly when a signal stops the command: restore the terminal, keep partial output."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would take every command 2 ms
    from types import FrameType
    from typing import Any, Self

# Without SIGINT, which Python turns into a KeyboardInterrupt.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)
RESEND_AFTER_S = 0.01
_RESET_SCREEN = "\x1b[?25h\x1b[?2004l\x1b[0m"  # show the cursor, no bracketed paste, no style


class ExitOnSignals:
    """A context manager that turns signals into `SystemExit` with the code 128 + number.

    So the `finally` blocks run that restore the terminal. The exit code holds even if one of them
    fails, as they do when the terminal is closed. A second signal ends the process at once; SIGHUP
    usually comes twice and is then ignored. Signals that the caller ignores, as `nohup` does, stay
    ignored.
    """

    def __init__(self) -> None:
        self._exit_code: int | None = None
        self._previous_handlers: dict[int, Any] = {}
        self._terminal: list[Any] | None = None

    def __enter__(self) -> Self:
        self._terminal = _terminal_attributes()
        with contextlib.suppress(ValueError):  # not in the main thread
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous_handlers[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        if self._exit_code is not None:
            _restore(self._terminal)
            raise SystemExit(self._exit_code) from None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if _ignores_exceptions(frame):
            _thread.start_new_thread(_send_again, (number,))
            return
        exit_code = 128 + number
        if self._exit_code is None:
            self._exit_code = exit_code
            raise SystemExit(exit_code)
        if number != getattr(signal, "SIGHUP", None):
            _restore(self._terminal)
            os._exit(exit_code)


def _ignores_exceptions(frame: FrameType | None) -> bool:
    """Return whether Python would ignore an exception in this frame, as while it frees an object.

    That happens during imports, which free their locks in a callback.
    """
    while frame is not None:
        code = frame.f_code
        is_import_callback = code.co_name == "cb" and "importlib" in code.co_filename
        if is_import_callback or code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    time.sleep(RESEND_AFTER_S)
    os.kill(os.getpid(), number)


def _terminal_attributes() -> list[Any] | None:
    """Return the attributes of the terminal on stdin, or None if it is none."""
    if sys.stdin is None or not sys.stdin.isatty() or os.name != "posix":
        return None
    import termios

    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except termios.error:
        return None


def _restore(attributes: list[Any] | None) -> None:
    """Restore the terminal. The line editor does so itself, unless it was drawing just then."""
    if attributes is None:
        return
    import termios

    fd = sys.stdin.fileno()
    with contextlib.suppress(OSError, termios.error):
        if os.tcgetpgrp(fd) != os.getpgrp():  # the terminal is another process's now
            return
        if termios.tcgetattr(fd) != attributes:
            termios.tcsetattr(fd, termios.TCSANOW, attributes)
        if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            os.write(sys.stderr.fileno(), _RESET_SCREEN.encode())
