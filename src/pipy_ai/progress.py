"""The progress of `complete_many`: a line on the terminal, or a bar in a notebook.

It is not shown in a service, a pipe, a log file or another thread, unless requested.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any

from .usage import UsageTotals
from .utils.log import logger
from .utils.text import format_count

if TYPE_CHECKING:
    from typing import Self

    from .types import AssistantMessage

DELAY_S = 0.5  # a shorter batch shows no progress
INTERVAL_S = 0.2  # between two updates

_shown = threading.Lock()  # held by the progress line on the screen


def create_progress(enabled: bool | None, contexts: object) -> BatchProgress:
    """Return the progress display of a batch, which may show nothing.

    Args:
        enabled: Whether to show it. None: in a notebook, or if stderr is a terminal and this is
            the main thread.
        contexts: The prompts. If they have a length, it is the total.

    Raises:
        TypeError: `enabled` is none of these.
    """
    if enabled is not None and not isinstance(enabled, bool):
        raise TypeError(f"progress must be True, False or None, got {enabled!r}")
    total = len(contexts) if isinstance(contexts, Sized) else None
    is_notebook = "ipykernel" in sys.modules and _in_notebook()
    if enabled is None:
        enabled = (
            threading.current_thread() is threading.main_thread()
            and (total is None or total > 1)
            and (is_notebook or _is_terminal())
        )
    if not enabled:
        return BatchProgress(None)
    return BatchProgress(_NotebookBar(total) if is_notebook else _TerminalLine(total))


def _in_notebook() -> bool:
    from .notebook import in_notebook

    return in_notebook()


def _is_terminal() -> bool:
    import os

    if os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
        return False
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stderr, or a closed one
        return False


class BatchProgress:
    """Counts the answers of a batch and regularly shows their number."""

    def __init__(self, view: Any) -> None:
        self._view: Any = view
        self._totals = UsageTotals()
        self._failed = 0
        self._started = self._last_update = time.monotonic()
        self._on_screen = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_screen:
            self._show(self._view.close)
            _shown.release()

    def add(self, message: AssistantMessage) -> None:
        """Count an answer."""
        if self._view is None:
            return
        self._totals.add_usage(message.usage)
        self._failed += message.__dict__["error"] is not None  # the caller has not seen it yet
        now = time.monotonic()
        if now < self._started + DELAY_S or now < self._last_update + INTERVAL_S:
            return
        if not self._on_screen:
            if not _shown.acquire(blocking=False):
                return  # of another batch that runs at the same time
            self._on_screen = True
            self._show(lambda *_: self._view.open())
        self._last_update = now
        self._show(self._view.update)

    def _show(self, show: Callable[[int, str], None]) -> None:
        # A batch must not fail because its progress cannot be written, e.g. to a closed terminal.
        try:
            show(self._totals.requests, self._text())
        except Exception:
            logger.debug("the progress of a batch is not shown", exc_info=True)
            self._view = _NoView()

    def _text(self) -> str:
        totals, seconds = self._totals, max(time.monotonic() - self._started, 0.001)
        parts = [f"{totals.requests / seconds:,.1f}/s", f"{totals.input + totals.output:,} tokens"]
        if totals.usd or totals.unpriced:
            parts.append("cost unknown" if totals.cost == "unknown" else totals.cost)
        parts += [f"{self._failed:,} failed"] if self._failed else []
        return "  ".join(parts)


class _NoView:
    def update(self, done: int, text: str) -> None:
        pass

    close = update


class _TerminalLine:
    """A line on stderr that disappears at the end."""

    def __init__(self, total: int | None) -> None:
        self._total = total

    def open(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        # Rich would print to the terminal what the caller prints to a file or a pipe.
        redirect_stdout = sys.stdout is not None and sys.stdout.isatty()
        self._bar = Progress(
            BarColumn(24), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(compact=True), console=Console(stderr=True), transient=True,
            redirect_stdout=redirect_stdout, auto_refresh=False,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=self._total, text="")
        self._bar.start()

    def update(self, done: int, text: str) -> None:
        self._bar.update(self._task, completed=done, text=text, refresh=True)

    def close(self, done: int, text: str) -> None:
        self._bar.stop()


class _NotebookBar:
    """An output of the cell that ends with the totals."""

    def __init__(self, total: int | None) -> None:
        self._total = total

    def open(self) -> None:
        from .notebook import LiveDisplay

        self._display = LiveDisplay()

    def update(self, done: int, text: str) -> None:
        from .notebook import progress_html

        count = f"{done:,}/{self._total:,}" if self._total else format_count(done, "answer")
        line = f"{count}  {text}"
        self._display.update(lambda: (line, progress_html(done, self._total, line)), now=True)

    close = update
