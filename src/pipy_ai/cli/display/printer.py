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

from .status import hide_status, show_status
from .terminal import (
    DIM,
    RESET,
    StreamEscaper,
    dimmed,
    escape_controls,
    hint,
    is_dumb,
    uses_styles,
    write,
    write_raw,
)

if TYPE_CHECKING:
    from typing import Self

    from ...events import ToolEvent
    from ...types import ServerToolCall, ServerToolResult, ToolCall, ToolResultMessage
    from .markdown import LiveMarkdown

MAX_RESULT_CHARS = 200  # the rest of a tool result is not shown


class Printer:
    """Print the events of `stream` or `run_tools` as they arrive.

    Args:
        plain: Print Markdown as it is. It is never rendered unless stdout is a terminal that can
            show it.
        show_calls: Print tool calls; false if the user approves each call.
        show_text: Print text; false if only a part of it is printed.
    """

    def __init__(
        self, *, plain: bool = False, show_calls: bool = True, show_text: bool = True
    ) -> None:
        self._plain = plain or not show_text or not supports_markdown()
        self._show_calls, self._show_text = show_calls, show_text
        self._markdown: LiveMarkdown | None = None
        self._thinking = False  # whether thinking is being printed
        self._open_calls = 0  # tool calls without a result
        self._line_is_open = False  # whether stdout is in the middle of a line
        self._dim, self._reset = (DIM, RESET) if uses_styles(sys.stderr) else ("", "")
        self._escaper = StreamEscaper() if sys.stdout.isatty() else None
        self._thinking_escaper = StreamEscaper()

    def show(self, event: ToolEvent) -> None:
        """Print one event."""
        match event.type:
            case "text_delta":
                if self._show_text:
                    self._write_text(event.delta)
            case "thinking_delta":
                if not self._thinking and event.delta:
                    self._start_thinking()
                write_raw(self._thinking_escaper.feed(event.delta), sys.stderr)
            case "start":  # the second answer of a tool run does not continue the first's line
                self._end_line()
            case "text_start":
                if self._show_text:
                    hide_status()
                else:
                    show_status("answering")
                if not self._plain:
                    from .markdown import LiveMarkdown

                    self._markdown = LiveMarkdown()
            case "text_end":
                self._end_text()
            case "thinking_start":
                self._end_line_on_terminal()
                show_status("thinking")
            case "thinking_end":
                if self._thinking:
                    self._end_thinking()
            case "toolcall_start":
                self._end_line_on_terminal()
                show_status("writing a tool call")
            case "toolcall_end":
                hide_status()  # the tool may print, and the user may be asked
                self._open_calls += 1
                if self._show_calls:
                    self._end_line()
                    write(f"{format_tool_call(event.tool_call)}\n", sys.stderr)
            case "tool_result":
                self._write_result(event.message)
                self._open_calls -= 1
                if not self._open_calls:
                    show_status("waiting for the next answer")
            case "servertool_start":
                self._end_line_on_terminal()
                call = event.partial.content[event.content_index]
                show_status(f"running {getattr(call, 'name', '')}")
            case "servertool_end":
                hide_status()
                self._write_server_tool(event.server_tool_call)
            case "servertool_result":
                self._write_server_tool(event.result)
            case "image_start":
                self._end_line_on_terminal()
                show_status("drawing")
            case "audio_start":
                self._end_line_on_terminal()
                show_status("speaking")
            case "audio_delta":
                if event.transcript and self._show_text:
                    hide_status()
                    self._write_text(event.transcript)
            case "audio_end":
                self._end_text()
            case (
                "toolcall_delta" | "servertool_delta"
                | "citation" | "image_partial" | "image_end"
            ):  # fmt: skip
                pass
            case "done" | "error":
                hide_status()
            case _:
                assert_never(event)

    def end(self) -> None:
        """End the open line and leave the terminal without a style or a status line."""
        hide_status()
        if self._thinking:  # interrupted while thinking
            self._end_thinking()
        self._end_text()
        self._end_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _write_text(self, delta: str) -> None:
        if self._markdown is not None:
            self._markdown.feed(delta)
        elif self._escaper is not None:
            self._write_raw(self._escaper.feed(delta))
        else:  # a program, which gets what the model wrote
            self._write_raw(delta)

    def _write_raw(self, text: str) -> None:
        if text:
            write_raw(text)
            self._line_is_open = not text.endswith("\n")

    def _end_text(self) -> None:
        markdown, self._markdown = self._markdown, None
        if markdown is not None:
            markdown.end()
        elif self._escaper is not None:
            self._write_raw(self._escaper.feed("", final=True))

    def _end_line(self) -> None:
        if self._line_is_open:
            write("\n")
        self._line_is_open = False

    def _end_line_on_terminal(self) -> None:
        """End the open line if what follows on stderr would continue it."""
        if sys.stdout.isatty():
            self._end_line()

    def _write_server_tool(self, part: ServerToolCall | ServerToolResult) -> None:
        """Print a dim line about a tool that the provider runs, if stderr is a terminal."""
        from .sources import format_server_tool

        if line := format_server_tool(part):
            self._end_line_on_terminal()
            hint(line)

    def _start_thinking(self) -> None:
        hide_status()
        self._thinking = True
        sys.stderr.write(self._dim)

    def _end_thinking(self) -> None:
        self._thinking = False
        write_raw(f"{self._thinking_escaper.feed('', final=True)}{self._reset}\n", sys.stderr)

    def _write_result(self, message: ToolResultMessage) -> None:
        texts = [part.text if part.type == "text" else f"[{part.type}]" for part in message.content]
        text = " ".join(" ".join(texts).split())
        text = text if len(text) <= MAX_RESULT_CHARS else f"{text[:MAX_RESULT_CHARS]}…"
        line = f"→ {'failed: ' if message.is_error else ''}{text}"
        write_raw(f"{dimmed(escape_controls(line), sys.stderr)}\n", sys.stderr)


def supports_markdown() -> bool:
    """Return whether stdout is a terminal that can show Markdown, with its styles."""
    import os

    if os.name == "nt" and not os.environ.get("WT_SESSION"):  # the old console
        return False
    return sys.stdout.isatty() and uses_styles(sys.stdout) and not is_dumb()


def format_tool_call(call: ToolCall) -> str:
    """Return a tool call on one line, `get_weather({"city": "Rome"})`, and nothing unprintable."""
    arguments = json.dumps(call.arguments, ensure_ascii=False, default=str)
    return escape_unprintable(f"{call.name}({arguments})")


def escape_unprintable(text: str) -> str:
    """Return `text` with the escapes of Python for whatever is not printed as a character."""
    return "".join(c if _is_printed(c) else c.encode("unicode_escape").decode() for c in text)


def _is_printed(char: str) -> bool:
    return char.isprintable() and escape_controls(char) == char
