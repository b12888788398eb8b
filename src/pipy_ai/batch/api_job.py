"""Send the rows of a file through providers' batch APIs, at half price.

Next to the results are the handle (`out.jsonl.batch.json`) and, for each job, a file with its rows:
index, id and fingerprint. Both are written before anything is sent, and are removed once all
answers are in the results. A result carries the provider's id of its job, so that a run that was
killed while it read the answers does not add them twice.
"""

from __future__ import annotations

import asyncio
import glob
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..batch_api.handle import BatchHandle, BatchJob
from ..batch_api.jobs import DEFAULT_POLL_S
from ..batch_api.session import ModelSession, Submission
from ..batch_api.vendor import JobStatus
from ..errors import ErrorInfo, ErrorKind, ProviderError
from ..types import AssistantMessage
from ..utils.atomic import remove_if_exists
from .input import InputError, InputRow
from .job import Job, find_open_rows, iter_open_rows, model_of, result_record, settings_digest_of
from .results import OPEN

ROWS_PER_TURN = 32  # then the event loop handles signals and other tasks

# Errors after which a row has not run, or would probably succeed: `--finish-now` sends it again.
UNFINISHED_KINDS = frozenset(
    {
        ErrorKind.TIMEOUT, ErrorKind.ABORTED, ErrorKind.INCOMPLETE, ErrorKind.RATE_LIMIT,
        ErrorKind.OVERLOADED, ErrorKind.SERVER, ErrorKind.CONNECTION,
    }
)  # fmt: skip


def handle_path(results: Path) -> Path:
    """Return the file with the handle of the jobs of a results file."""
    return results.with_name(f"{results.name}.batch.json")


def load_handle(results: Path) -> BatchHandle | None:
    """Return the handle of the jobs of a results file; None: there are none.

    Raises:
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    path = handle_path(results)
    return BatchHandle.load(path) if path.exists() else None


class _JobRow(NamedTuple):
    """A row of a job, as it was sent."""

    row_index: int
    id: str | int
    custom_id: str | None
    fingerprint: str
    label: str  # line, id and model, for messages


@dataclass(slots=True)
class _Group:
    """The rows of one model and one type of answers."""

    session: ModelSession
    output: Any
    submission: Submission
    files: dict[str, BinaryIO] = field(default_factory=dict)  # of rows, by the key of a job


class ApiJob:
    """Runs a `Job` through batch APIs.

    `on_status` is called with a job at the provider and what it says of it. `poll_s` is the
    longest time between two questions, in seconds. With `read_only`, no file is changed: another
    process may be running the jobs.
    """

    def __init__(
        self,
        job: Job,
        poll_s: float = DEFAULT_POLL_S,
        on_status: Callable[[BatchJob, JobStatus], object] = lambda _job, _status: None,
        read_only: bool = False,
    ) -> None:
        self.job = job
        self.handle: BatchHandle | None = load_handle(job.results.path)
        self._poll_s = poll_s
        self._on_status = on_status
        self._read_only = read_only
        self._sessions: dict[tuple[str, str], ModelSession] = {}
        self._submitted: set[str] = set()  # keys of jobs whose rows have the indexes of this run
        self._groups: list[_Group] = []

    @property
    def running(self) -> list[BatchJob]:
        """The jobs whose answers are not in the results yet."""
        jobs = [] if self.handle is None else self.handle.jobs
        return [job for job in jobs if job.state != "collected"]

    async def run(
        self,
        before_submit: Callable[[], object] = lambda: None,
        on_submit: Callable[[list[BatchJob]], object] = lambda _: None,
    ) -> None:
        """Fetch the answers of earlier jobs, then submit the open rows and wait for theirs.

        Raises:
            ProviderError: The provider rejected the rows, has no batch API, or cannot be reached;
                a budget does not cover the estimate.
            InputError: As `find_open_rows`.
            OSError: A file cannot be written.
        """
        await self.collect()
        await self.compare()
        if OPEN in self.job.results.row_states:
            before_submit()
            await self._submit()
            on_submit(self.running)
            await self.collect()
        if self.job.results.is_complete:
            self.job.results.sort_lines()

    async def compare(self) -> None:
        """Find the open rows; what this run has collected so far is not from an earlier one."""
        job, progress = self.job, self.job.progress
        answered, failed = progress.answered, progress.failed
        find_open_rows(job)
        if job.resends_errors:  # what has just failed is open again
            progress.failed = failed = 0
            progress.error_kinds.clear()
            progress.first_failures.clear()
        progress.previously_answered -= answered
        progress.kept_errors -= failed
        progress.kept_error_kinds -= progress.error_kinds

    async def cancel(self) -> None:
        """Ask the providers to stop the jobs. They may still answer a few rows.

        A job that was never created is forgotten; its rows remain open.
        """
        for job in self.running:
            runner = await self._runner(job)
            await runner.find()
            if job.id is not None:
                await runner.cancel()
            elif not self._read_only:
                job.state = "prepared"
                self._forget(job)

    async def poll(self) -> AsyncIterator[tuple[BatchJob, JobStatus | None]]:
        """Yield each job that is not collected, with what its provider says of it."""
        for job in self.running:
            yield job, None if job.id is None else await (await self._runner(job)).poll()

    async def collect(self) -> None:
        """Wait until the jobs have ended, and add their answers to the results.

        Raises:
            ProviderError: The provider rejected a job, does not know it, or cannot be reached.
            OSError: A file cannot be written.
        """
        for job in self.running:  # first of all, so that all jobs run at the same time
            if job.state in ("prepared", "creating"):
                await self._create(job)
        waits = [asyncio.ensure_future(self._wait(job)) for job in self.running]
        try:
            for wait in asyncio.as_completed(waits):
                await self._collect_job(*await wait)
        finally:
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self.handle is not None and not self.running:
            self._remove_files()

    # --- Submitting -------------------------------------------------------------------------

    async def _submit(self) -> None:
        """Write the open rows to files and create their jobs."""
        self._remove_leftovers()
        self.handle = handle = BatchHandle(path=str(handle_path(self.job.results.path)))
        self._groups = []
        try:
            for number, (row, request) in enumerate(iter_open_rows(self.job)):
                if number % ROWS_PER_TURN == 0:
                    await asyncio.sleep(0)  # Ctrl-C
                options = dict(request.options)
                group = await self._group(model_of(self.job, row), options.pop("output", None))
                self._add_row(group, row, request.prompt, options)
            for group in self._groups:
                for file in group.files.values():
                    _sync_and_close(file)
                group.submission.close()
                handle.jobs += group.submission.jobs
            handle.rows = sum(job.rows for job in handle.jobs)
            if handle.jobs:
                handle.save()
        except BaseException:
            self._discard()
            raise
        for job in handle.jobs:
            self._submitted.add(job.key)
            await self._create(job)

    async def _group(self, model: str, output: Any) -> _Group:
        """Return the group of a row, which is connected to its provider if it is new."""
        session = self._session(model, output)
        for group in self._groups:
            if group.session is session:
                return group
        client, vendor = await session.connect()
        assert self.handle is not None
        submission = Submission(session, client, vendor, self.handle.requests_path)
        group = _Group(session, output, submission)
        self._groups.append(group)
        return group

    def _add_row(self, group: _Group, row: InputRow, prompt: Any, options: Any) -> None:
        digest = settings_digest_of(self.job, row)
        fingerprint = f"{digest}-{row.prompt_digest:016x}"
        label = self.job.name_row(row)
        job_row = _JobRow(row.index, row.id, row.custom_id, fingerprint, label)
        placement = group.submission.add(prompt, options)
        if isinstance(placement, ErrorInfo):
            message = group.session.failed_message(placement)
            self._count(job_row, message)
            self.job.results.append(row.index, _record(job_row, message, None))
            return
        key = placement.job.key
        if key not in group.files:
            for file in group.files.values():
                _sync_and_close(file)
            group.files.clear()
            group.files[key] = file = self._rows_path(placement.job).open("xb")
            file.write(json.dumps({"output": group.output}).encode() + b"\n")
        group.files[key].write(json.dumps(job_row, ensure_ascii=False).encode() + b"\n")

    async def _create(self, job: BatchJob) -> None:
        assert self.handle is not None
        runner = await self._runner(job)
        requests = self.handle.requests_path(job)
        try:
            await runner.submit(requests)
        except ProviderError:
            if job.state == "prepared":  # it does not exist, and its rows remain open
                self._forget(job)
            raise
        remove_if_exists(str(requests))

    def _forget(self, job: BatchJob) -> None:
        """Remove a job that was not created, and those that were not tried yet."""
        assert self.handle is not None
        for other in [one for one in self.handle.jobs if one.state == "prepared"]:
            self._remove_job_files(other)
            self.handle.jobs.remove(other)
        if self.handle.jobs:
            self.handle.update()
        else:
            self._remove_files()

    def _discard(self) -> None:
        """Remove everything that was written for jobs that were not created."""
        for group in self._groups:
            for file in group.files.values():
                file.close()
            for job in group.submission.jobs:
                remove_if_exists(str(self._rows_path(job)))
            group.submission.discard()
            group.submission.reservation.release()
        self.handle = None

    # --- Collecting -------------------------------------------------------------------------

    async def _wait(self, job: BatchJob) -> tuple[BatchJob, JobStatus]:
        runner = await self._runner(job)
        return job, await runner.wait(lambda status: self._on_status(job, status))

    async def _collect_job(self, job: BatchJob, status: JobStatus) -> None:
        """Add the answers of a job to the results, those that are not there yet."""
        assert self.handle is not None
        for group in self._groups:
            group.submission.reservation.release()
        path = self.handle.results_path(job)
        lost = await (await self._runner(job)).download(status, path)
        is_fresh = job.key in self._submitted
        known = set() if is_fresh else self.job.results.ids_of_batch(job.id or "")
        with await self._session_of(job).results(job, status, path, lost) as results:
            for position, row in enumerate(self._read_rows(job)):
                if str(row.id) in known:  # added by a run that was killed
                    continue
                if position % ROWS_PER_TURN == 0:
                    await asyncio.sleep(0)  # Ctrl-C
                message = await results.message(position)
                self._count(row, message)
                record = _record(row, message, job.id)
                if is_fresh:
                    self.job.results.append(row.row_index, record)
                else:
                    self.job.results.append_line(record)
        await asyncio.to_thread(self.job.results.sync)
        job.state = "collected"
        self.handle.update()
        self._remove_job_files(job)

    def _count(self, row: _JobRow, message: AssistantMessage) -> None:
        progress = self.job.progress
        progress.usage.add_usage(message.usage)
        progress.count_row(message)
        if message.error is not None:
            text = f"{row.label}: {message.error.message}"
            progress.first_failures.setdefault(message.error.kind.value, text)

    def _read_rows(self, job: BatchJob) -> Iterator[_JobRow]:
        with self._open_rows(job) as file:
            next(file)  # the type of answers
            for line in file:
                yield _JobRow(*json.loads(line))

    def _session_of(self, job: BatchJob) -> ModelSession:
        with self._open_rows(job) as file:
            output = json.loads(next(file))["output"]
        return self._session(job.model, output)

    def _open_rows(self, job: BatchJob) -> BinaryIO:
        path = self._rows_path(job)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise InputError(
                f"{path}: the file is missing, so the answers of {job.id or job.key} belong to no"
                f" row; restore it, or delete {handle_path(self.job.results.path)} to forget the"
                " batch"
            ) from None

    def _session(self, model: str, output: Any) -> ModelSession:
        key = (model, json.dumps(output, sort_keys=True, default=str))
        if key not in self._sessions:
            options: Any = self.job.options
            output = self.job.output if self.job.output is not None else output
            self._sessions[key] = ModelSession(model, output, None, options)
        return self._sessions[key]

    async def _runner(self, job: BatchJob) -> Any:
        return await self._session_of(job).runner(job, self._save, self._poll_s)

    def _save(self) -> None:
        if self.handle is not None and not self._read_only:
            self.handle.update()

    # --- Files ------------------------------------------------------------------------------

    def _rows_path(self, job: BatchJob) -> Path:
        assert self.handle is not None
        path = self.handle.requests_path(job)
        return path.with_name(path.name.replace(".requests.jsonl", ".rows.jsonl"))

    def _remove_job_files(self, job: BatchJob) -> None:
        assert self.handle is not None
        for path in (
            self.handle.requests_path(job), self.handle.results_path(job), self._rows_path(job),
        ):  # fmt: skip
            remove_if_exists(str(path))

    def _remove_files(self) -> None:
        assert self.handle is not None
        for job in self.handle.jobs:
            self._remove_job_files(job)
        assert self.handle.path is not None
        remove_if_exists(self.handle.path)
        self.handle = None

    def _remove_leftovers(self) -> None:
        """Remove the files of a run that was killed before it wrote its handle."""
        path = handle_path(self.job.results.path)
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.pipy-*.jsonl"):
            remove_if_exists(str(leftover))


def _sync_and_close(file: BinaryIO) -> None:
    """Close a file whose content must survive a power failure."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _record(row: _JobRow, message: AssistantMessage, batch: str | None) -> dict[str, Any]:
    return result_record(row.id, row.custom_id, row.fingerprint, message, batch)
