"""Printing an answer: text on stdout, thinking and tool calls on stderr, a line of usage.

with Printer() as printer:
    for event in events:
        printer.show(event)
show_usage(events.result())
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from .terminal import DIM, PLAIN, write

if TYPE_CHECKING:
    from typing import Any, Self

    from ..types import AssistantMessage, ToolCall, Usage
    from .markdown import Markdown

SHORT = 200  # characters that are shown of what a tool said
PAUSE = 0.2  # seconds below which an answer came at once, and its speed says nothing


class Printer:
    """Prints the events of `stream` or `run_tools` as they come.

    Args:
        plain: Whether Markdown is printed as it is. It is so anyway where stdout is no terminal
            that can show it.
        calls: Whether tool calls are printed; not where somebody is asked about each.
        text: Whether text is printed; not where only a part of it is wanted.
    """

    def __init__(self, *, plain: bool = False, calls: bool = True, text: bool = True) -> None:
        self._plain = plain or not text or not renders()
        self._calls, self._prints = calls, text
        self._markdown: Markdown | None = None
        self._thinking = False
        self._open = False  # whether the line on stdout has not ended
        self._dim, self._undim = (DIM, PLAIN) if sys.stderr.isatty() else ("", "")

    def show(self, event: Any) -> None:
        """Print one event."""
        match event.type:
            case "start":  # of the second answer of a run: it is no continuation of the first
                self._end_line()
            case "text_start" if not self._plain:
                from .markdown import Markdown

                self._markdown = Markdown()
            case "text_delta" if self._prints:
                self._text(event.delta)
            case "text_end":
                self._end_markdown()
            case "thinking_start":
                if sys.stdout.isatty():
                    self._end_line()
                self._thinking = True
                sys.stderr.write(self._dim)
            case "thinking_delta":
                write(event.delta, sys.stderr)
            case "thinking_end":
                self._end_thinking()
            case "toolcall_end" if self._calls:
                self._end_line()
                write(f"{call_line(event.tool_call)}\n", sys.stderr)
            case "tool_result":
                self._result(event.message)

    def end(self) -> None:
        """Leave the terminal as it should be: the line ended, nothing dim."""
        if self._thinking:  # stopped in the middle of a thought
            self._end_thinking()
        self._end_markdown()
        self._end_line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _text(self, delta: str) -> None:
        if self._markdown is not None:
            self._markdown.feed(delta)
            return
        write(delta)
        self._open = not delta.endswith("\n")

    def _end_markdown(self) -> None:
        markdown, self._markdown = self._markdown, None
        if markdown is not None:
            markdown.end()

    def _end_line(self) -> None:
        if self._open:
            write("\n")
        self._open = False

    def _end_thinking(self) -> None:
        self._thinking = False
        sys.stderr.write(f"{self._undim}\n")
        sys.stderr.flush()

    def _result(self, message: Any) -> None:
        said = " ".join(getattr(part, "text", f"[{part.type}]") for part in message.content)
        said = " ".join(said.split())
        said = said if len(said) <= SHORT else f"{said[:SHORT]}…"
        sys.stderr.write(self._dim)
        write(f"→ {'failed: ' if message.is_error else ''}{said}", sys.stderr)
        sys.stderr.write(f"{self._undim}\n")
        sys.stderr.flush()


def renders() -> bool:
    """Whether stdout is a terminal that can show Markdown and wants to."""
    import os

    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return False
    if os.name == "nt" and not os.environ.get("WT_SESSION"):  # the old console
        return False
    return os.environ.get("TERM", "dumb" if os.name == "posix" else "") != "dumb"


def call_line(call: ToolCall) -> str:
    """A tool call on one line, whatever cannot be seen escaped: `get_weather({"city": "Rome"})`."""
    line = f"{call.name}({json.dumps(call.arguments, ensure_ascii=False, default=str)})"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def usage_line(*messages: AssistantMessage) -> str:
    """Tokens, cost, time and speed of an answer, or of all of a run together.

    `1,203 in (200 cached) / 345 out  $0.0092  2.1 s  164 tok/s`; "about" stands in front where
    tokens were estimated.
    """
    usage = _summed(messages)
    prompt = usage.input + usage.cache_read + usage.cache_write
    about = "about " if usage.estimated else ""
    cached = f" ({usage.cache_read:,} cached)" if usage.cache_read else ""
    line = f"{about}{prompt:,} in{cached} / {usage.output:,} out  {_cost(usage.cost.total)}"
    times = [message.duration_ms for message in messages]
    if None in times:
        return line
    line += f"  {sum(filter(None, times)) / 1000:.1f} s"
    speed = _speed(messages)
    return f"{line}  {speed:,.0f} tok/s" if speed else line


def show_usage(*messages: AssistantMessage) -> None:
    """Print the line of usage on stderr, dim on a terminal."""
    dim, undim = (DIM, PLAIN) if sys.stderr.isatty() else ("", "")
    sys.stderr.write(dim)
    write(usage_line(*messages), sys.stderr)
    sys.stderr.write(f"{undim}\n")
    sys.stderr.flush()


def on_terminal() -> bool:
    """Whether somebody sees both the answer and what is said beside it."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def _summed(messages: tuple[AssistantMessage, ...]) -> Usage:
    if len(messages) == 1:
        return messages[0].usage
    from ..tool_loop import summed

    return summed(message.usage for message in messages)


def _cost(dollars: float | None) -> str:
    if dollars is None:
        return "cost unknown"
    if dollars == 0 or dollars >= 0.0001:
        return f"${dollars:,.4f}"
    from ..utils.plain import money

    return money(dollars)


def _speed(messages: tuple[AssistantMessage, ...]) -> float | None:
    """Tokens a second from the first one on; None where nobody can tell.

    Thinking that was not shown was done before the first token that was.
    """
    tokens, seconds = 0, 0.0
    for message in messages:
        if message.duration_ms is None or message.ttft_ms is None:
            return None
        usage = message.usage
        tokens += usage.output - (0 if message.thinking_text else usage.reasoning or 0)
        seconds += (message.duration_ms - message.ttft_ms) / 1000
    return tokens / seconds if tokens > 1 and seconds >= PAUSE else None
