"""What `pipy batch --batch-api` shows of jobs at a provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...utils.text import format_count, format_usd
from .terminal import is_quiet, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...batch.estimate import ModelEstimate
    from ...batch_api.handle import BatchJob
    from ...batch_api.vendor import JobStatus


def job_fields(job: BatchJob, status: JobStatus | None) -> dict[str, Any]:
    """Return a job for `--status --json`."""
    return {
        "id": job.id,
        "model": job.model,
        "rows": job.rows,
        "status": job.state if status is None else status.status,
        "completed": 0 if status is None else status.completed,
        "created_at": job.created_at or None,
    }


def estimate_text(estimates: Sequence[ModelEstimate]) -> str:
    """Return what rows cost at once, and what they cost through the batch API."""
    full = [estimate.cost for estimate in estimates]
    half = [estimate.batch_cost for estimate in estimates]
    note = ""
    if None in full or None in half:
        full = [estimate.input_cost for estimate in estimates]
        half = [estimate.batch_input_cost for estimate in estimates]
        note = " for the prompts alone"
    now, later = _sum(full), _sum(half)
    if now is None or later is None:
        return ""
    return f"now {format_usd(now)}, by tomorrow {format_usd(later)}{note}"


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


class JobReporter:
    """Prints a line for each job that is submitted, and whenever its status changes."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[str, int]] = {}

    def submitted(self, jobs: list[BatchJob]) -> None:
        """Print what was sent, and that it goes on by itself."""
        if not jobs or is_quiet():
            return
        rows = format_count(sum(job.rows for job in jobs), "row")
        names = ", ".join(job.id or job.key for job in jobs)
        batches = format_count(len(jobs), "batch", "batches")
        warn(f"{rows} sent in {batches} ({names}); Ctrl-C leaves {_pronoun(len(jobs))} running")

    def status(self, job: BatchJob, status: JobStatus) -> None:
        """Print the status of a job if it has changed."""
        now = (status.status, status.completed)
        if self._shown.get(job.key) == now or is_quiet():
            return
        self._shown[job.key] = now
        rows = format_count(job.rows, "row")
        warn(f"{job.id}: {status.status}, {status.completed:,} of {rows} done")


def _pronoun(count: int) -> str:
    return "it" if count == 1 else "them"
