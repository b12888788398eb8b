"""Print an answer: text on stdout, thinking and tool calls on stderr.

with Printer() as printer:
    for event in events:
        printer.show(event)
print_usage(events.result())
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, assert_never

from .terminal import DIM, RESET, write

if TYPE_CHECKING:
    from typing import Self

    from ...events import ToolEvent
    from ...types import ToolCall, ToolResultMessage
    from .markdown import LiveMarkdown

MAX_RESULT_CHARS = 200  # the rest of a tool result is not shown


class Printer:
    """Print the events of `stream` or `run_tools` as they arrive.

    Args:
        plain: Print Markdown as it is. It is never rendered unless stdout is a terminal that can
            show it.
        show_calls: Print tool calls; false where the user is asked about each call.
        show_text: Print text; false where only a part of it is wanted.
    """

    def __init__(
        self, *, plain: bool = False, show_calls: bool = True, show_text: bool = True
    ) -> None:
        self._plain = plain or not show_text or not supports_markdown()
        self._show_calls, self._show_text = show_calls, show_text
        self._markdown: LiveMarkdown | None = None
        self._thinking = False
        self._line_is_open = False  # whether stdout is in the middle of a line
        self._dim, self._reset = (DIM, RESET) if sys.stderr.isatty() else ("", "")

    def show(self, event: ToolEvent) -> None:
        """Print one event."""
        match event.type:
            case "text_delta":
                if self._show_text:
                    self._write_text(event.delta)
            case "thinking_delta":
                write(event.delta, sys.stderr)
            case "start":  # the second answer of a tool run does not continue the first's line
                self._end_line()
            case "text_start":
                if not self._plain:
                    from .markdown import LiveMarkdown

                    self._markdown = LiveMarkdown()
            case "text_end":
                self._end_markdown()
            case "thinking_start":
                self._start_thinking()
            case "thinking_end":
                self._end_thinking()
            case "toolcall_end":
                if self._show_calls:
                    self._end_line()
                    write(f"{format_tool_call(event.tool_call)}\n", sys.stderr)
            case "tool_result":
                self._write_result(event.message)
            case "toolcall_start" | "toolcall_delta" | "done" | "error":
                pass
            case _:
                assert_never(event)

    def end(self) -> None:
        """End the open line and leave the terminal without a style."""
        if self._thinking:  # interrupted while thinking
            self._end_thinking()
        self._end_markdown()
        self._end_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _write_text(self, delta: str) -> None:
        if self._markdown is not None:
            self._markdown.feed(delta)
            return
        write(delta)
        self._line_is_open = not delta.endswith("\n")

    def _end_markdown(self) -> None:
        markdown, self._markdown = self._markdown, None
        if markdown is not None:
            markdown.end()

    def _end_line(self) -> None:
        if self._line_is_open:
            write("\n")
        self._line_is_open = False

    def _start_thinking(self) -> None:
        if sys.stdout.isatty():
            self._end_line()
        self._thinking = True
        sys.stderr.write(self._dim)

    def _end_thinking(self) -> None:
        self._thinking = False
        sys.stderr.write(f"{self._reset}\n")
        sys.stderr.flush()

    def _write_result(self, message: ToolResultMessage) -> None:
        texts = [part.text if part.type == "text" else f"[{part.type}]" for part in message.content]
        text = " ".join(" ".join(texts).split())
        text = text if len(text) <= MAX_RESULT_CHARS else f"{text[:MAX_RESULT_CHARS]}…"
        sys.stderr.write(self._dim)
        write(f"→ {'failed: ' if message.is_error else ''}{text}", sys.stderr)
        sys.stderr.write(f"{self._reset}\n")
        sys.stderr.flush()


def supports_markdown() -> bool:
    """Return whether stdout is a terminal that can show Markdown, and `NO_COLOR` is not set."""
    import os

    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return False
    if os.name == "nt" and not os.environ.get("WT_SESSION"):  # the old console
        return False
    return os.environ.get("TERM", "dumb" if os.name == "posix" else "") != "dumb"


def format_tool_call(call: ToolCall) -> str:
    """Return a tool call on one line, `get_weather({"city": "Rome"})`, and nothing unprintable."""
    line = f"{call.name}({json.dumps(call.arguments, ensure_ascii=False, default=str)})"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
