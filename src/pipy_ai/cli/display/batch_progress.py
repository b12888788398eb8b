"""The progress line of `pipy batch`. Imports rich."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TimeRemainingColumn,
)
from rich.text import Text

from ...provider.retry import retry_listeners
from ...utils.text import truncate
from .echo import HiddenInput
from .status import retry_text
from .suspension import SuspensionHandler
from .terminal import uses_styles
from .usage import format_total_cost

if TYPE_CHECKING:
    from ...batch.job import Job
    from ...types import AssistantMessage


class BatchProgressLine:
    """A progress line on stderr that is updated at most five times a second.

    It is a context manager that gives a function to call after each answer.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._started = self._last_update = time.monotonic()
        self._state: dict[str, Any] = {"total": None, "text": "reading the input", "retry": None}
        self._input = HiddenInput(sys.stderr.fileno())  # ^C would begin a new row
        self._suspension = SuspensionHandler(self._hide, self._show)

    def __enter__(self) -> Callable[[], None]:
        retry_listeners.append(self._show_retry)
        self._show()
        self._suspension.install()
        return self._update

    def __exit__(self, *exc: object) -> None:
        retry_listeners.remove(self._show_retry)
        self._suspension.remove()
        self._hide()

    def _show(self) -> None:
        """Draw the line, a new one after Ctrl-Z: other programs have written since then."""
        self._input.hide()
        console = Console(stderr=True, color_system="auto" if uses_styles(sys.stderr) else None)
        self._bar = Progress(
            BarColumn(_bar_width(console)), MofNCompleteColumn(), _StateColumn(console),
            TimeRemainingColumn(compact=True), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("", **self._state)
        self._bar.start()

    def _hide(self) -> None:
        self._bar.stop()
        self._input.show()

    def _change(self, **fields: Any) -> None:
        self._state |= fields
        self._bar.update(self._task, **fields)

    def _show_retry(self, message: AssistantMessage, delay_s: float) -> None:
        if not delay_s and message.error is not None:  # all rows wait for a busy provider
            delay_s = message.error.retry_after or 0.0
        self._change(retry=retry_text(message, delay_s))

    def _update(self) -> None:
        now, progress = time.monotonic(), self._job.progress
        done = progress.answered + progress.failed
        if now < self._last_update + 0.2 and progress.unanswered and done:
            return
        if not done:
            self._started = now
        self._last_update = now
        rate = done / max(now - self._started, 0.001)
        parts = [f"{rate:,.1f}/s", f"{progress.usage.input + progress.usage.output:,} tokens"]
        if progress.usage.usd or progress.usage.unpriced:
            parts.append(format_total_cost(progress.usage))
        parts += [f"{progress.failed:,} failed"] if progress.failed else []
        completed = progress.rows - progress.unanswered
        text = "  ".join(parts) if done else "waiting for the first answer"
        self._change(completed=completed, total=progress.rows, text=text, retry=None)


class _StateColumn(ProgressColumn):
    """The rate, tokens and cost; until the next answer, why a request is sent again."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def render(self, task: Task) -> Text:
        """Return the text of the column, in the room that the others leave."""
        retry: Callable[[], str] | None = task.fields["retry"]
        text = task.fields["text"] if retry is None else retry()
        bar_width = _bar_width(self._console)
        others = bar_width + 2 * len(str(int(task.total or 0))) + len("/  --:--:-- ") + 1
        return Text(truncate(text, max(self._console.width - others, 1)))


def _bar_width(console: Console) -> int:
    return 24 if console.width >= 60 else 8
