"""Ask the user before a tool call runs."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, TextIO, cast

from .printer import format_tool_call
from .terminal import escape_controls, warn, write_raw

if TYPE_CHECKING:
    from ...types import ToolCall

LONG_CALL_CHARS = 1000  # a longer call may not fit on the screen
TERMINAL_PATH = "/dev/tty"  # exists also when stdin is a pipe


class ToolApproval:
    """Approve or refuse tool calls, as `run_tools(approve=…)` needs it.

    Each call is shown to the user, who answers yes, no or always. Without a terminal no call is
    allowed.

    Args:
        approve_all: Allow every call without asking.
    """

    def __init__(self, approve_all: bool = False) -> None:
        self.approve_all = approve_all
        self._always_allowed: set[str] = set()
        self._warned = False

    @property
    def asks_user(self) -> bool:
        """Whether calls are shown to the user, so that nothing else has to print them."""
        if self.approve_all:
            return False
        try:
            with _open_terminal():
                return True
        except OSError:
            return False

    def __call__(self, call: ToolCall) -> bool | str:
        """Return True to allow the call, or False or a string with the reason to refuse it."""
        if self.approve_all or call.name in self._always_allowed:
            return True
        try:
            with _open_terminal() as keyboard, _open_terminal("w") as screen:
                try:
                    return self._ask_user(call, keyboard, screen)
                except KeyboardInterrupt:
                    write_raw("\n", screen)  # end the line of the question
                    raise
        except OSError:
            if not self._warned:
                warn("there is no terminal to ask on, so no tool is run; --yes runs them all")
            self._warned = True
            return "The user could not be asked, so the call was not carried out."

    def _ask_user(self, call: ToolCall, keyboard: TextIO, screen: TextIO) -> bool:
        line = format_tool_call(call)
        write_raw(f"{line}\n", screen)
        if len(line) > LONG_CALL_CHARS:  # its beginning may have scrolled off the screen
            write_raw(f"This call has {len(line):,} characters: look at all of them.\n", screen)
        prompt = f"Run {escape_controls(call.name)}? [y]es, [n]o, [a]lways: "
        while True:
            write_raw(prompt, screen)
            screen.flush()
            typed = _read_line(keyboard)
            answer = typed.strip().lower()
            if answer in ("a", "always"):
                self._always_allowed.add(call.name)
                return True
            if answer in ("y", "yes"):
                return True
            if answer in ("", "n", "no"):
                if not typed:
                    write_raw("\n", screen)
                return False


def _read_line(keyboard: TextIO) -> str:
    """Read a line. Ctrl-C works even if it arrives just before the wait begins."""
    if os.name != "nt":
        while not select.select([keyboard], [], [], 0.2)[0]:
            pass
    return keyboard.readline()


def _open_terminal(mode: str = "r") -> TextIO:
    """Open the terminal itself.

    Raises:
        OSError: There is no terminal.
    """
    name = ("CONOUT$" if mode == "w" else "CONIN$") if os.name == "nt" else TERMINAL_PATH
    return cast("TextIO", open(name, mode, encoding="utf-8", errors="replace"))
