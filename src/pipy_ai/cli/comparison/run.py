"""Send one prompt to several models at once and report what they answer."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

from ...utils.text import display_width, format_count
from ..display.notices import (
    ending_notices,
    is_unrecorded,
    show_demo_notice,
    warn_error,
    warning_texts,
)
from ..display.printer import Printer, supports_markdown
from ..display.status import hide_status, show_request_status, show_status
from ..display.table import print_table
from ..display.terminal import (
    bold,
    escape_controls,
    hint,
    is_interactive,
    uses_styles,
    warn,
    write,
    write_json,
    write_raw,
)
from ..display.usage import format_cost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...events import AssistantMessageEvent
    from ...types import AssistantMessage
    from ..args.prompt import PromptArgs
    from .columns import LiveColumns

MIN_COLUMN_WIDTH = 30  # narrower columns are hard to read: the answers follow each other instead
COLUMN_GAP = 3


def compare_answers(prompt_args: PromptArgs, *, json: bool, plain: bool) -> int:
    """Send the prompt to every model, print the answers and return the exit code.

    Raises:
        ValueError: Invalid arguments; nothing was sent.
        TypeError: Invalid arguments; nothing was sent.
    """
    comparison = _Comparison(prompt_args)
    display = _display(prompt_args, json, plain)
    show_status(f"waiting for {format_count(len(prompt_args.models), 'model')}")
    try:
        messages = asyncio.run(comparison.run(display))
    finally:
        hide_status()
    if json:
        write_json(
            [
                {"model": name, "text": message.text, "message": message.model_dump(mode="json")}
                for name, message in zip(prompt_args.models, messages, strict=True)
            ]
        )
    for name, message in zip(prompt_args.models, messages, strict=True):
        display.report(name, message)
    is_saved = json or _save_media(prompt_args.models, messages)
    if comparison.interrupted:
        return 130
    if not json:
        print_summary(prompt_args.models, messages)
    answered = [
        name
        for name, message in zip(prompt_args.models, messages, strict=True)
        if message.error is None
    ]
    is_saved = is_saved and not any(map(is_unrecorded, messages))
    if len(answered) > 1 and is_interactive() and sys.stdin.isatty() and not json:
        from .votes import ask_for_vote, save_vote

        vote = ask_for_vote(answered)
        if vote is not None:
            if save_vote(vote):
                hint("vote saved; pipy compare --votes lists the standings")
            else:
                is_saved = False
    return 0 if len(answered) == len(messages) and is_saved else 1


def _save_media(names: Sequence[str], messages: Sequence[AssistantMessage]) -> bool:
    """Save the images and audio of the answers. Return whether that succeeded."""
    if not any(message.images or message.audio for message in messages):
        return True
    from ..display.media_files import save_media

    results = [
        save_media([message], prefix=f"{name}: ")
        for name, message in zip(names, messages, strict=True)
    ]
    return all(results)


class _Comparison:
    """The requests of one comparison. Ctrl-C stops all of them; partial answers are kept."""

    def __init__(self, prompt_args: PromptArgs) -> None:
        from ... import AbortController

        self._args = prompt_args
        self._controller = AbortController()
        self.interrupted = False

    async def run(self, display: _Display) -> list[AssistantMessage]:
        """Send the requests and return the messages in the order of the models."""
        from ... import astream

        options: Any = {**self._args.options, "signal": self._controller.signal}
        streams = [astream(name, self._args.context, **options) for name in self._args.models]
        with self._stops_on_ctrl_c():
            tasks = [
                asyncio.ensure_future(display.run()),
                *(
                    asyncio.ensure_future(self._follow(index, events, display))
                    for index, events in enumerate(streams)
                ),
            ]
            try:
                await asyncio.gather(*tasks)
            finally:  # for example, stdout was closed
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return [await events.result() for events in streams]

    async def _follow(self, index: int, events: Any, display: _Display) -> None:
        async with events:
            async for event in events:
                display.feed(index, event)
        display.end(index, await events.result())

    @contextlib.contextmanager
    def _stops_on_ctrl_c(self) -> Any:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGINT, self._stop)
        except (NotImplementedError, RuntimeError, ValueError):  # on Windows, in a thread
            yield
            return
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGINT)

    def _stop(self) -> None:
        self.interrupted = True
        self._controller.abort()


def _display(prompt_args: PromptArgs, json: bool, plain: bool) -> _Display:
    """Return columns if the terminal can show them, otherwise one answer after another."""
    models, api_base = prompt_args.models, prompt_args.options["api_base"]
    if json:
        return _Display(api_base)
    width = (shutil.get_terminal_size().columns - COLUMN_GAP * (len(models) - 1)) // len(models)
    if not plain and is_interactive() and supports_markdown() and width >= MIN_COLUMN_WIDTH:
        from .columns import LiveColumns

        return _SideBySide(api_base, LiveColumns(models))
    return _InTurn(api_base, models, plain)


class _Display:
    """Show nothing but warnings and errors: the answers are printed as JSON at the end."""

    def __init__(self, api_base: str | None) -> None:
        self._api_base = api_base

    def feed(self, index: int, event: AssistantMessageEvent) -> None:
        """Take an event of the answer number `index`."""
        if event.type == "start":
            show_demo_notice(f"{event.partial.provider}/{event.partial.model}")

    def end(self, index: int, message: AssistantMessage) -> None:
        """Take the complete answer number `index`."""

    async def run(self) -> None:
        """Show the answers until all have ended."""

    def report(self, name: str, message: AssistantMessage) -> None:
        """Print the warnings and the error of an answer, after all have been shown."""
        _warn_about(name, message)
        _warn_failure(name, message, self._api_base)


def _warn_about(name: str, message: AssistantMessage) -> None:
    for text in [*warning_texts([message]), *ending_notices(message)]:
        warn(f"{name}: {text}")


def _warn_failure(name: str, message: AssistantMessage, api_base: str | None) -> None:
    if message.error is not None and message.error.kind != "aborted":  # the user pressed Ctrl-C
        warn_error(message, api_base, f"{name}: ")


class _SideBySide(_Display):
    """Show the answers, and errors, in columns while they arrive."""

    def __init__(self, api_base: str | None, columns: LiveColumns) -> None:
        super().__init__(api_base)
        self._columns = columns

    def feed(self, index: int, event: AssistantMessageEvent) -> None:
        match event.type:
            case "text_delta":
                self._columns.add_text(index, event.delta)
            case "thinking_start":
                self._columns.set_state(index, "thinking")
            case "text_end":
                self._columns.add_text(index, "\n\n")
            case _:
                pass

    def end(self, index: int, message: AssistantMessage) -> None:
        error = message.error
        self._columns.end(index, "" if error is None else f"[{error.kind}] {error.message}")

    async def run(self) -> None:
        hide_status()
        await self._columns.run()

    def report(self, name: str, message: AssistantMessage) -> None:
        _warn_about(name, message)


class _InTurn(_Display):
    """Print one answer after another, each with its warnings and its error.

    The first that is not complete is printed live.
    """

    def __init__(self, api_base: str | None, models: Sequence[str], plain: bool) -> None:
        super().__init__(api_base)
        self._models, self._plain = models, plain
        self._queues: list[asyncio.Queue[AssistantMessageEvent | None]] = [
            asyncio.Queue() for _ in models
        ]
        self._messages: dict[int, AssistantMessage] = {}

    def feed(self, index: int, event: AssistantMessageEvent) -> None:
        super().feed(index, event)
        self._queues[index].put_nowait(event)

    def end(self, index: int, message: AssistantMessage) -> None:
        self._messages[index] = message
        self._queues[index].put_nowait(None)

    async def run(self) -> None:
        for index, (name, queue) in enumerate(zip(self._models, self._queues, strict=True)):
            write_raw(f"{_heading(name)}\n\n")
            show_request_status(name)
            with Printer(plain=self._plain) as printer:
                while (event := await queue.get()) is not None:
                    printer.show(event)
            super().report(name, self._messages[index])
            write("\n")

    def report(self, name: str, message: AssistantMessage) -> None:
        """Print nothing: `run` has printed it in its place."""


def _heading(name: str) -> str:
    name = escape_controls(name)
    return bold(name, sys.stdout) if uses_styles(sys.stdout) else f"## {name}"


def print_summary(models: Sequence[str], messages: Sequence[AssistantMessage]) -> None:
    """Print time, tokens and cost of each answer. A narrow terminal gets a line for each value."""
    header = ["model", "first", "total", "in", "out", "cost", "result"]
    rows = [[name, *_measures(message)] for name, message in zip(models, messages, strict=True)]
    width = max(sum(map(display_width, row)) + 2 * len(header) for row in [header, *rows])
    if sys.stdout.isatty() and width > shutil.get_terminal_size().columns:
        for row in rows:
            write(f"{row[0]}\n")
            for label, cell in zip(header[1:], row[1:], strict=True):
                write(f"  {label} {cell}\n")
        return
    print_table(header, rows, {"first", "total", "in", "out", "cost"})


def _measures(message: AssistantMessage) -> list[str]:
    usage, error = message.usage, message.error
    about = "~" if usage.estimated else ""
    return [
        _seconds(message.ttft_ms),
        _seconds(message.duration_ms),
        f"{about}{usage.input + usage.cache_read + usage.cache_write:,}",
        f"{about}{usage.output:,}",
        format_cost(usage.cost.total).removeprefix("cost "),
        str(error.kind) if error is not None else str(message.stop_reason or ""),
    ]


def _seconds(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds / 1000:.1f} s"
