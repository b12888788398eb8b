"""Send the rows of a file that have no answer in the results file yet."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import to_jsonable_python

from ..errors import ErrorInfo, ErrorKind, PipyError, error_info
from ..options import ANSWER_OPTIONS
from ..output.schema import Output, ParsedMessage
from ..types import AssistantMessage, StopReason
from ..usage import UsageTotals
from .input import InputError, InputFile, InputRow, digest
from .results import DONE, FAILED, OPEN, ResultLine, ResultsFile
from .row import RowRequest
from .scheduler import DEFAULT_STOP_ON, BatchScheduler, astream_rows, create_scheduler

STOPPED_TEXT = "Stopped by the user."
SYNC_INTERVAL_S = 1.0  # how often new results are flushed to disk


@dataclass(slots=True)
class BatchProgress:
    """The progress of a run. `usage` includes rows that remain open."""

    rows: int = 0
    previously_answered: int = 0
    kept_errors: int = 0  # rows that failed in an earlier run and are not retried
    answered: int = 0
    failed: int = 0
    truncated: int = 0  # answers that hit their token limit
    empty: int = 0  # other answers without text and tool calls
    unrecorded: int = 0  # answers and failures missing from the ledger
    first_failures: dict[str, str] = field(default_factory=dict)  # of this run, by kind
    kept_error_kinds: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    error_kinds: Counter[str] = field(default_factory=Counter)
    usage: UsageTotals = field(default_factory=UsageTotals)
    stop_error: ErrorInfo | None = None

    @property
    def unanswered(self) -> int:
        """The number of rows without an answer."""
        return self.rows - self.previously_answered - self.kept_errors - self.answered - self.failed

    def count_row(self, message: AssistantMessage) -> None:
        """Count a row as answered or failed."""
        self.unrecorded += any(warning.code == "ledger" for warning in message.warnings)
        if message.error is None:
            self.answered += 1
            if message.stop_reason is StopReason.LENGTH:
                self.truncated += 1
            elif not message.text.strip() and not message.tool_calls:
                self.empty += 1
            self.warnings.update(
                warning.message for warning in message.warnings if warning.code != "demo_model"
            )
        else:
            self.failed += 1
            self.error_kinds[message.error.kind] += 1


@dataclass(slots=True)
class Job:
    """A batch over a file: input, results, model and options. `output` is the type of answers.

    `resolve_model` returns the full name of a row's own model; None: every row uses `model`. The
    options of the job replace those of a row. `retry_kinds` are the errors of earlier runs whose
    rows are sent again; with `retry_errors` it is all of them.
    """

    input_file: InputFile
    results: ResultsFile
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    output: Any = None
    concurrency: int = 16
    retry_errors: bool = False
    redo_changed: bool = False
    executor: Any = None
    resolve_model: Callable[[str], str] | None = None
    progress: BatchProgress = field(default_factory=BatchProgress)
    scheduler: BatchScheduler | None = None
    retry_kinds: frozenset[ErrorKind] = frozenset()
    settings_digests: dict[str, str] = field(default_factory=dict)  # by model

    def stop(self) -> None:
        """Send no more rows. Requests in flight are finished and written."""
        if self.scheduler is not None:
            self.scheduler.stop(error_info(ErrorKind.ABORTED, STOPPED_TEXT))

    async def run(self, on_answer: Callable[[], object] = lambda: None) -> BatchProgress:
        """Send the open rows, which `find_open_rows` has determined, and write their results.

        `on_answer` is called once at the start and after each answer.

        Raises:
            TypeError: Invalid arguments; nothing was sent.
            ValueError: Invalid arguments; nothing was sent.
            OSError: The results cannot be written.
        """
        progress = self.progress
        options: Any = self.options
        self.scheduler = scheduler = create_scheduler(
            self.model,
            (),
            self.concurrency,
            self._stop_on,
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
                progress.usage.add_usage(message.usage)
                if _leaves_row_open(message.error, scheduler):
                    if message.error is scheduler.stop_error and message.error is not None:
                        message.error.message = self._name_error(row, message.error)
                    continue
                progress.count_row(message)
                if message.error is not None and message.error.kind not in progress.first_failures:
                    kind = message.error.kind.value
                    progress.first_failures[kind] = self._name_error(row, message.error)
                settings_digest = _settings_digest(self, model_of(self, row))
                self.results.append(index, _record(row, message, settings_digest))
                on_answer()
                if loop.time() > last_sync + SYNC_INTERVAL_S:
                    await asyncio.to_thread(self.results.sync)
                    last_sync = loop.time()
        progress.stop_error = scheduler.stop_error
        if self.results.is_complete:
            self.results.sort_lines()
        return progress

    @property
    def resends_errors(self) -> bool:
        """Whether rows that failed are sent again."""
        return self.retry_errors or bool(self.retry_kinds)

    @property
    def _stop_on(self) -> tuple[ErrorKind, ...]:
        """The errors that stop the batch; with several models, only those that affect all."""
        return DEFAULT_STOP_ON if len(self.settings_digests) <= 1 else (ErrorKind.BUDGET,)

    def name_row(self, row: InputRow) -> str:
        """Return the line, the id and the model of a row, for messages."""
        return f"{self.input_file.unit} {row.line} (id {row.id!r}, {model_of(self, row)})"

    def _name_error(self, row: InputRow, error: ErrorInfo) -> str:
        return f"{self.name_row(row)}: {error.message}"


def _leaves_row_open(error: ErrorInfo | None, scheduler: BatchScheduler) -> bool:
    """Return whether a row remains open after the batch was stopped.

    It does if its error would have affected any row, or if the next run may succeed.
    """
    if error is None or scheduler.stop_error is None:
        return False
    return error.retryable or error.kind in DEFAULT_STOP_ON or error.kind is ErrorKind.ABORTED


async def _open_rows(
    job: Job, pending_rows: dict[int, InputRow]
) -> AsyncIterator[tuple[int, RowRequest]]:
    """Yield the open rows, and keep them in `pending_rows` until they are answered."""
    for row, request in iter_open_rows(job):
        pending_rows[row.index] = row
        yield row.index, request


def iter_open_rows(job: Job) -> Iterator[tuple[InputRow, RowRequest]]:
    """Yield the rows that have to be sent, which `find_open_rows` has determined."""
    row_states = job.results.row_states
    for row in job.input_file:
        if row.index == len(row_states):  # rows added since the comparison belong to the next run
            return
        if row_states[row.index] == OPEN:
            yield row, _merge_settings(job, row)


def iter_answered_rows(job: Job) -> Iterator[tuple[InputRow, dict[str, Any]]]:
    """Yield the rows that have an answer, with their lines in the results file."""
    results = job.results
    if DONE not in results.row_states:
        return
    with results.path.open("rb") as file:
        for row in job.input_file:
            if row.index == len(results.row_states):
                return
            if results.row_states[row.index] == DONE:
                file.seek(results.offset_of(row.index))
                yield row, json.loads(file.readline())


def model_of(job: Job, row: InputRow) -> str:
    """Return the full name of a row's model."""
    name = row.request.model
    return job.resolve_model(name) if job.resolve_model is not None and name else job.model


def _merge_settings(job: Job, row: InputRow) -> RowRequest:
    """Return a row's request without the options that the job sets."""
    request = row.request
    options = {
        name: value
        for name, value in request.options.items()
        if (job.output if name == "output" else job.options.get(name)) is None
    }
    if (row_extra := request.options.get("extra")) and (job_extra := job.options.get("extra")):
        options["extra"] = {**row_extra, **job_extra}
    return RowRequest(request.prompt, model_of(job, row), options)


def find_open_rows(job: Job) -> None:
    """Compare the whole input with the results file, and mark the rows that have to be sent.

    Raises:
        InputError: A row is malformed; two rows have the same id; a row has changed, or was
            answered with other settings, and `redo_changed` is false.
    """
    previous_lines = job.results.read_lines()
    seen: dict[int, int] = {}  # lines by the digest of the id
    first_changed: tuple[InputRow, ResultLine] | None = None
    changed_count = 0
    for row in job.input_file:
        first_line = seen.setdefault(row.id_digest, row.line)
        if first_line != row.line:
            raise InputError(
                f"{job.input_file.path}: the id {row.id!r} is used in {job.input_file.unit}s"
                f" {first_line} and {row.line}; each row needs its own id"
            )
        try:
            settings_digest = _settings_digest(job, model_of(job, row))
        except (ValueError, LookupError) as error:
            text = f"{job.input_file.path}, {job.input_file.unit} {row.line}: {error}"
            raise InputError(text) from None
        line = previous_lines.pop(row.id_digest)
        retry = line is not None and line.failed and _is_resent(job, line)
        if line is not None and line.fingerprint != _fingerprint(settings_digest, row):
            retry = True
            changed_count += 1
            first_changed = first_changed or (row, line)
        job.results.add_row(line, retry)
        if line is not None and line.error_kind is not None and not retry:
            job.progress.kept_error_kinds[line.error_kind] += 1
    if first_changed is not None and not job.redo_changed:
        raise InputError(_changed_rows_text(changed_count, *first_changed, job))
    job.results.add_unmatched(iter(previous_lines))
    progress, row_states = job.progress, job.results.row_states
    progress.rows = len(row_states)
    progress.kept_errors = row_states.count(FAILED)
    progress.previously_answered = progress.rows - progress.kept_errors - row_states.count(OPEN)


def _is_resent(job: Job, line: ResultLine) -> bool:
    return job.retry_errors or line.error_kind in job.retry_kinds


def _changed_rows_text(count: int, row: InputRow, line: ResultLine, job: Job) -> str:
    difference = "with a different model or settings"
    if line.fingerprint.partition("-")[0] == _settings_digest(job, model_of(job, row)):
        difference = "to a different prompt"
    row_label = f"{job.input_file.unit} {row.line} (id {row.id!r})"
    more = f" and {count - 1:,} more were" if count > 1 else " was"
    return (
        f"{job.results.path}: {row_label}{more} already answered {difference}; write "
        "to another file, or send such rows again with --redo-changed"
    )


def _settings_digest(job: Job, model: str) -> str:
    """Return a digest of a row's model, and the system prompt, schema and options of a job."""
    if (known := job.settings_digests.get(model)) is not None:
        return known
    options = {name: value for name, value in job.options.items() if value is not None}
    settings = {name: str(options[name]) for name in ANSWER_OPTIONS if name in options}
    schema = None if job.output is None else Output.of(job.output).schema
    fingerprinted = [model, job.input_file.system, schema, settings]
    return job.settings_digests.setdefault(model, f"{digest(fingerprinted):016x}")


def settings_digest_of(job: Job, row: InputRow) -> str:
    """Return a digest of a row's model and of the settings of a job."""
    return _settings_digest(job, model_of(job, row))


def _fingerprint(settings_digest: str, row: InputRow) -> str:
    return f"{settings_digest}-{row.prompt_digest:016x}"


def _record(row: InputRow, message: AssistantMessage, settings_digest: str) -> dict[str, Any]:
    """Return the line of a row for the results file."""
    fingerprint = _fingerprint(settings_digest, row)
    return result_record(row.id, row.custom_id, fingerprint, message)


def result_record(
    row_id: str | int,
    custom_id: str | None,
    fingerprint: str,
    message: AssistantMessage,
    batch: str | None = None,
) -> dict[str, Any]:
    """Return the line of a row for the results file.

    `batch` is the id of the job at the provider that has answered the row at half price.
    """
    usage, error = message.usage, message.error
    counts = {"input": usage.input, "output": usage.output}
    for name in ("cache_read", "cache_write", "reasoning"):
        if count := getattr(usage, name):
            counts[name] = count
    record: dict[str, Any] = {"id": row_id}
    if custom_id is not None:
        record["custom_id"] = custom_id
    record["text"] = message.text
    if isinstance(message, ParsedMessage):
        with suppress(PipyError):  # the message has no value
            record["parsed"] = to_jsonable_python(message.parsed)
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
        "fingerprint": fingerprint,
    }
    if batch is not None:
        record |= {"service_tier": usage.service_tier, "batch": batch}
    return record
