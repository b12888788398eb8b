"""Ask the user before a tool call runs."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, TextIO, cast

from ...utils.text import display_width, format_count
from .printer import escape_unprintable, format_tool_call
from .status import hide_status
from .terminal import discard_typed_ahead, read_answer, warn, write_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...types import ToolCall

MAX_NAME_CHARS = 64  # what providers allow
TERMINAL_PATH = "/dev/tty"  # exists also when stdin is a pipe


class ToolApproval:
    """Approve or refuse tool calls, as `run_tools(approve=…)` needs it.

    Each call is shown to the user, who answers yes, no or always. Only what is typed after the call
    was shown is an answer. Without a terminal no call is allowed.

    Args:
        approve_all: Allow every call without asking.
        tools: The tools. The question names the MCP server of a tool that is from one.
    """

    def __init__(self, approve_all: bool = False, tools: Sequence[Any] = ()) -> None:
        self.approve_all = approve_all
        self.tools = tools
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
                except (KeyboardInterrupt, SystemExit):  # a signal
                    with contextlib.suppress(OSError):
                        write_raw("\n", screen)  # end the line of the question
                    raise
        except OSError:
            if not self._warned:
                warn("no terminal to ask for approval, so no tool was run; --yes runs all calls")
            self._warned = True
            return "The user could not be asked, so the call was not executed."

    def _ask_user(self, call: ToolCall, keyboard: TextIO, screen: TextIO) -> bool:
        columns, lines = os.get_terminal_size(screen.fileno())
        rows = _boxed_rows(format_tool_call(call), columns or 80)
        shown_rows = _shortened(rows, max((lines or 24) // 2, 4))
        write_raw("".join(f"{row}\n" for row in shown_rows), screen)
        name = escape_unprintable(call.name)[:MAX_NAME_CHARS]
        view_all = ", [v]iew all of the call" if len(shown_rows) < len(rows) else ""
        while True:
            discard_typed_ahead(keyboard.fileno())
            write_raw(f"Run {name}{self._source(call)}? [y]es, [n]o, [a]lways{view_all}: ", screen)
            typed = read_answer(keyboard)
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
            if view_all and answer in ("v", "view"):
                write_raw("".join(f"{row}\n" for row in rows), screen)

    def _source(self, call: ToolCall) -> str:
        """Return the MCP server of a tool, for the question."""
        for tools in self.tools:
            server_of = getattr(tools, "server_of", None)
            if server_of is not None and (server := server_of(call.name)) is not None:
                return f" of the MCP server {escape_unprintable(server)[:MAX_NAME_CHARS]}"
        return ""


def confirm(lines: list[str], question: str) -> bool | None:
    """Show what would be done and ask on the terminal. Only a typed yes counts.

    Each line is on rows of its own, so that none can look like another or like the question.
    Return None if the lines do not fit on the screen.

    Raises:
        OSError: There is no terminal.
    """
    with _open_terminal() as keyboard, _open_terminal("w") as screen:
        columns, height = os.get_terminal_size(screen.fileno())
        heading, *others = (escape_unprintable(line) for line in lines)
        rows = [*_boxed_rows(heading, columns or 80)]
        for line in others:
            rows += _boxed_rows(f"- {line}", columns or 80)
        if len(rows) + 2 > max(height or 24, 8):
            return None
        write_raw("".join(f"{row}\n" for row in rows), screen)
        discard_typed_ahead(keyboard.fileno())
        write_raw(f"{question} [y]es, [n]o: ", screen)
        try:
            typed = read_answer(keyboard)
        except (KeyboardInterrupt, SystemExit):  # a signal
            with contextlib.suppress(OSError):
                write_raw("\n", screen)  # end the line of the question
            raise
        if not typed:
            write_raw("\n", screen)
        return typed.strip().lower() in ("y", "yes")


def _boxed_rows(line: str, columns: int) -> list[str]:
    """Break a line into rows; if there are several, each begins with a bar.

    So nothing in the arguments can look like a row of ours.
    """
    if display_width(line) < columns:
        return [line]
    rows, width = ["| "], 2
    for char in line:
        char_width = display_width(char)
        if width + char_width >= columns:
            rows.append("| ")
            width = 2
        rows[-1] += char
        width += char_width
    return rows


def _shortened(rows: list[str], limit: int) -> list[str]:
    """Return the first and last rows, with a note in between, if there are more than `limit`."""
    if len(rows) <= limit:
        return rows
    last = limit // 4
    first = limit - last - 1
    hidden = rows[first : len(rows) - last]
    characters = sum(len(row) - 2 for row in hidden)
    note = f"… {format_count(len(hidden), 'row')}, {characters:,} characters are not shown …"
    return [*rows[:first], note, *rows[len(rows) - last :]]


def _open_terminal(mode: str = "r") -> TextIO:
    """Open the terminal itself; for writing, without the status line.

    Raises:
        OSError: There is no terminal.
    """
    if mode == "w":
        hide_status()
    name = ("CONOUT$" if mode == "w" else "CONIN$") if os.name == "nt" else TERMINAL_PATH
    return cast("TextIO", open(name, mode, encoding="utf-8", errors="replace"))
