"""Keep what is typed off the screen while something is drawn there.

It stays in the terminal's input, and the next program that reads gets it.
"""

from __future__ import annotations

import os
import signal


class HiddenInput:
    """Whether the terminal shows what is typed. `hide` and `show` may be called repeatedly."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._is_hidden = False

    def hide(self) -> None:
        """Turn echo off, if it is on. Only the foreground process may do so."""
        if not self._is_hidden:
            self._is_hidden = self._set_echo(False)

    def show(self) -> None:
        """Turn echo on again, if `hide` turned it off."""
        if self._is_hidden:
            self._is_hidden = False
            if is_foreground(self._fd):
                self._set_echo(True)

    def _set_echo(self, on: bool) -> bool:
        """Turn echo on or off; return whether that changed anything."""
        if os.name == "nt":
            return False
        import termios

        # A shell that takes the terminal back just now must not make this call stop the process.
        previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
        try:
            attributes = termios.tcgetattr(self._fd)
            if bool(attributes[3] & termios.ECHO) == on:
                return False
            attributes[3] ^= termios.ECHO
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        except (OSError, termios.error):  # the terminal is gone
            return False
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous_mask)
        return True


def is_foreground(fd: int) -> bool:
    """Return whether the terminal is ours: in the background, a shell's prompt may be there."""
    try:
        return os.name == "nt" or os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # not the terminal that controls this process
        return True
