"""A batch of a file: reads, compares with what is there, asks what is missing, writes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python

from ..context import Prompt
from ..errors import ErrorInfo, ErrorKind, error_info
from ..output.schema import Output
from ..types import AssistantMessage
from .input import InputError, InputFile, InputRow, digest
from .results import FAILED, OPEN, ResultLine, ResultsFile
from .scheduler import DEFAULT_STOP_ON, BatchScheduler, astream_rows, create_scheduler

STOPPED_TEXT = "Stopped by the user."
SYNC_INTERVAL_S = 1.0  # seconds after which the disk is asked to keep what landed
_FINGERPRINTED_OPTIONS = (
    "temperature",
    "max_tokens",
    "reasoning",
    "top_p",
    "seed",
    "stop",
    "extra",
)


@dataclass(slots=True)
class BatchProgress:
    """What a run has done so far. `cost` is in dollars, of the answers whose price is known."""

    rows: int = 0  # of the input
    previously_answered: int = 0  # of them answered by earlier runs
    kept_errors: int = 0  # and failed in them, and not tried again
    answered: int = 0
    failed: int = 0
    error_kinds: Counter[str] = field(default_factory=Counter)
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    stop_error: ErrorInfo | None = None

    @property
    def unanswered(self) -> int:
        """Rows without an answer."""
        return self.rows - self.previously_answered - self.kept_errors - self.answered - self.failed

    def count_row(self, message: AssistantMessage) -> None:
        """Count an answer."""
        if message.error is None:
            self.answered += 1
        else:
            self.failed += 1
            self.error_kinds[message.error.kind] += 1

    def count_usage(self, message: AssistantMessage) -> None:
        """Count what an answer cost, also that of a row which is left open."""
        usage = message.usage
        self.input_tokens += usage.input + usage.cache_read + usage.cache_write
        self.output_tokens += usage.output
        if usage.cost.total is None:
            self.unpriced += bool(usage.total_tokens)
        else:
            self.cost += usage.cost.total


@dataclass(slots=True)
class Job:
    """What to ask of whom, and how. `output` is the type of each answer."""

    input_file: InputFile
    results: ResultsFile
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    concurrency: int = 16
    retry_errors: bool = False
    redo_changed: bool = False
    executor: Any = None
    progress: BatchProgress = field(default_factory=BatchProgress)
    scheduler: BatchScheduler | None = None

    def stop(self) -> None:
        """Ask nothing new; what is under way is finished and written."""
        if self.scheduler is not None:
            self.scheduler.stop(error_info(ErrorKind.ABORTED, STOPPED_TEXT))

    async def run(self, on_answer: Callable[[], object] = lambda: None) -> BatchProgress:
        """Ask what `compare` has found open. `watch` is called after each answer.

        Raises:
            TypeError, ValueError: wrong use, told before anything is asked.
            OSError: the answers cannot be written.
        """
        progress = self.progress
        settings_digest = _settings_digest(self)
        options: Any = self.options
        self.scheduler = scheduler = create_scheduler(
            self.model,
            (),
            self.concurrency,
            DEFAULT_STOP_ON,
            self.executor,
            self.output,
            None,
            options,
        )
        pending_rows: dict[int, InputRow] = {}
        loop = asyncio.get_running_loop()
        last_sync = loop.time()
        on_answer()
        async with aclosing(astream_rows(scheduler, _open_rows(self, pending_rows))) as messages:
            async for index, message in messages:
                row = pending_rows.pop(index)
                progress.count_usage(message)
                if _leaves_row_open(message.error, scheduler):
                    continue
                progress.count_row(message)
                self.results.append(index, _record(row, message, settings_digest))
                on_answer()
                if loop.time() > last_sync + SYNC_INTERVAL_S:
                    await asyncio.to_thread(self.results.sync)
                    last_sync = loop.time()
        progress.stop_error = scheduler.stop_error
        if self.results.is_complete:
            self.results.sort_lines()
        return progress


def _leaves_row_open(error: ErrorInfo | None, scheduler: BatchScheduler) -> bool:
    """Whether a row is left open: what failed would have failed for any, or may yet succeed."""
    if error is None or scheduler.stop_error is None:
        return False
    return error.retryable or error.kind in DEFAULT_STOP_ON or error.kind is ErrorKind.ABORTED


async def _open_rows(
    job: Job, pending_rows: dict[int, InputRow]
) -> AsyncIterator[tuple[int, Prompt]]:
    row_states = job.results.row_states
    for row in job.input_file:
        if row.index == len(row_states):  # the input has grown meanwhile; that is for another run
            return
        if row_states[row.index] == OPEN:
            pending_rows[row.index] = row
            yield row.index, row.prompt


# === What is there already ===


def find_open_rows(job: Job) -> None:
    """Read the whole input once: tell what is wrong with it, and find what is to be asked.

    Raises:
        InputError: an id stands twice, or was answered to another question or with other settings.
    """
    previous_lines = job.results.read_lines()
    settings_digest = _settings_digest(job)
    seen: dict[int, int] = {}
    changed: list[tuple[InputRow, ResultLine]] = []
    changed_count = 0
    for row in job.input_file:
        first_index = seen.setdefault(row.id_digest, row.index)
        if first_index != row.index:
            raise InputError(
                f"{job.input_file.path}: the id {row.id!r} stands in rows"
                f" {first_index + 1} and {row.index + 1}; each row needs its own"
            )
        line = previous_lines.pop(row.id_digest, None)
        retry = line is not None and line.failed and job.retry_errors
        if line is not None and line.fingerprint != _fingerprint(settings_digest, row):
            retry = True
            changed_count += 1
            if len(changed) < 1:
                changed.append((row, line))
        job.results.add_row(line, retry)
    if changed and not job.redo_changed:
        raise InputError(_changed_rows_text(changed_count, *changed[0], settings_digest, job))
    job.results.add_unmatched(iter(previous_lines.values()))
    progress, row_states = job.progress, job.results.row_states
    progress.rows = len(row_states)
    progress.kept_errors = row_states.count(FAILED)
    progress.previously_answered = progress.rows - progress.kept_errors - row_states.count(OPEN)


def _changed_rows_text(
    count: int, row: InputRow, line: ResultLine, settings_digest: str, job: Job
) -> str:
    difference = "with another model or other settings"
    if line.fingerprint.partition("-")[0] == settings_digest:
        difference = "to another question"
    row_label = f"row {row.index + 1} (id {row.id!r})"
    more = f" and {count - 1:,} more" if count > 1 else ""
    return (
        f"{job.results.path}: {row_label}{more} was answered before {difference}; choose another file"
        " for the answers, or ask anew what has changed with --redo-changed"
    )


def _settings_digest(job: Job) -> str:
    """What tells the settings of a run from others."""
    options = {name: value for name, value in job.options.items() if value is not None}
    settings = {name: str(options[name]) for name in _FINGERPRINTED_OPTIONS if name in options}
    schema = None if job.output is None else Output.of(job.output).schema
    fingerprinted = [job.model, job.input_file.system, schema, settings]
    return f"{digest(fingerprinted):016x}"


def _fingerprint(settings_digest: str, row: InputRow) -> str:
    return f"{settings_digest}-{row.prompt_digest:016x}"


# === What is written ===


def _record(row: InputRow, message: AssistantMessage, settings_digest: str) -> dict[str, Any]:
    """The line of an answer."""
    usage, error = message.usage, message.error
    counts = {"input": usage.input, "output": usage.output}
    for name in ("cache_read", "cache_write", "reasoning"):
        if count := getattr(usage, name):
            counts[name] = count
    record: dict[str, Any] = {"id": row.id, "text": message.text}
    parsed = getattr(message, "_value", None)
    if parsed is not None:
        record["parsed"] = to_jsonable_python(parsed[0])
    if message.tool_calls:
        record["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": call.arguments}
            for call in message.tool_calls
        ]
    record |= {
        "error": None if error is None else {"kind": error.kind.value, "message": error.message},
        "stop_reason": None if message.stop_reason is None else message.stop_reason.value,
        "model": f"{message.provider}/{message.model}" if message.provider else message.model,
        "usage": {**counts, "estimated": True} if usage.estimated else counts,
        "cost": usage.cost.total,
        "fingerprint": _fingerprint(settings_digest, row),
    }
    return record
