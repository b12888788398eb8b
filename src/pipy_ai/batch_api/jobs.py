"""Run a job: create it exactly once, wait for its end, download its results.

What must not be done twice is written to the handle first. So a process that is killed at any
moment, or loses an answer, finds the job by its key and continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from ..provider.retry import retry_delay
from ..utils.log import logger
from .client import BatchClient
from .handle import BatchJob, JobState
from .vendor import JobStatus, Vendor, json_line

T = TypeVar("T")

FIRST_POLL_S = 2.0
POLL_FACTOR = 1.5
DEFAULT_POLL_S = 300.0  # the longest time between two polls
MAX_CALL_RETRIES = 5
MAX_CREATIONS = 3
# A job may appear in the provider's list some time after it was created, or the provider may still
# be reading the requests.
FIND_DELAYS_S = (0.0, 2.0, 8.0, 30.0)

# The key or the project has changed, or the job was deleted: waiting would not help.
_LASTING_KINDS = frozenset({ErrorKind.AUTH, ErrorKind.MISSING_KEY, ErrorKind.NOT_FOUND})


class JobRunner:
    """Runs one job at its provider.

    `save` writes the handle. `poll_s` is the longest time between two polls, in seconds.
    """

    def __init__(
        self,
        client: BatchClient,
        vendor: Vendor,
        job: BatchJob,
        save: Callable[[], object],
        poll_s: float = DEFAULT_POLL_S,
    ) -> None:
        self.job = job
        self._client = client
        self._vendor = vendor
        self._save = save
        self._poll_s = poll_s

    async def submit(self, requests: Path) -> None:
        """Upload the requests and create the job, unless the provider has it already.

        Raises:
            ProviderError: The provider rejected it, or cannot be reached. The job does not exist
                if `job.state` is `prepared`, and may exist if it is `creating`.
            OSError: The requests cannot be read, or the handle cannot be written.
        """
        job = self.job
        await self.find()
        for attempt in range(MAX_CREATIONS):
            if job.state not in ("prepared", "creating"):
                break
            if job.input_file is None:
                job.input_file = await self._persist(
                    lambda: self._vendor.upload(self._client, job, requests)
                )
            if job.newest_job is None:  # not again: an earlier attempt may have created the job
                job.newest_job = await self._persist(lambda: self._vendor.newest_job(self._client))
            job.created_at = _now()
            self._change("creating")
            await self._create(requests, attempt)

    async def _create(self, requests: Path, attempt: int) -> None:
        """Make the call that creates the job; if its answer is lost, search for the job."""
        job = self.job
        try:
            job.id = await self._vendor.create(self._client, job, requests)
        except ProviderError as failure:
            error = failure.error
            last = attempt == MAX_CREATIONS - 1
            if not _may_have_succeeded(error):
                self._change("prepared")
                if last or not error.retryable:
                    await self._discard_upload()
                    raise
                await asyncio.sleep(min(self._poll_s, retry_delay(error.retry_after, attempt)))
                return
            logger.warning("batch %s: the response that created it was lost", job.key)
            await self.find()
            if job.id is None:
                self._change("prepared")
                if last:
                    raise
        else:
            self._change("running")

    async def _discard_upload(self) -> None:
        """Delete the uploaded requests; they expire by themselves if that fails."""
        if self.job.input_file is not None:
            with contextlib.suppress(ProviderError):
                await self._vendor.discard_upload(self._client, self.job)
            self.job.input_file = None
            self._save()

    async def find(self) -> None:
        """Search the provider's jobs for this one, if it may have been created.

        Raises:
            ProviderError: The provider cannot be reached, or several jobs may be the one.
        """
        job = self.job
        if job.state != "creating":
            return
        for delay in FIND_DELAYS_S:
            await asyncio.sleep(min(self._poll_s, delay))
            job.id = await self._persist(lambda: self._vendor.find(self._client, job))
            if job.id is not None:
                self._change("running")
                return

    async def poll(self) -> JobStatus:
        """Ask the provider once how far the job is.

        Raises:
            ProviderError: The key is not accepted, or the provider does not know the job.
        """
        status = await self._persist(lambda: self._vendor.status(self._client, self.job))
        if (status.status, status.completed) != (self.job.status, self.job.completed):
            self.job.status, self.job.completed = status.status, status.completed
            self._save()
        return status

    async def wait(self, on_status: Callable[[JobStatus], object] = lambda _: None) -> JobStatus:
        """Wait until the job has ended, however often the connection breaks.

        Raises:
            ProviderError: As `poll`.
        """
        delay = FIRST_POLL_S
        while True:
            try:
                status = await self.poll()
            except ProviderError as failure:
                if not failure.error.retryable:
                    raise
                logger.info("batch %s: %s", self.job.id, failure.error.message)
            else:
                on_status(status)
                if status.ended:
                    return status
            await asyncio.sleep(min(delay, self._poll_s))
            delay *= POLL_FACTOR

    async def cancel(self) -> None:
        """Ask the provider to stop the job, unless it has ended.

        Raises:
            ProviderError: The call failed.
        """
        try:
            await self._persist(lambda: self._vendor.cancel(self._client, self.job))
        except ProviderError as failure:
            if not (await self.poll()).ended:
                raise failure from None

    async def download(self, status: JobStatus, path: Path) -> ErrorInfo | None:
        """Write the lines of the results to a file. Return the error if some are lost for good.

        Raises:
            ProviderError: The provider cannot be reached, or the key is not accepted.
            OSError: The file cannot be written.
        """
        lost: ErrorInfo | None = None
        urls = self._vendor.result_urls(self._client, self.job, status)
        with path.open("w+b") as output:
            for line in status.inline:
                output.write(json_line(line) + b"\n")
            for url in urls:
                try:
                    await self._persist(lambda url=url: self._client.download(url, output))  # type: ignore[misc]
                except ProviderError as failure:
                    if failure.error.kind is not ErrorKind.NOT_FOUND:
                        raise
                    text = f"The provider no longer has this result: {failure.error.message}"
                    lost = error_info(ErrorKind.NOT_FOUND, text)
                output.write(b"\n")
        return lost

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that may be repeated, and repeat it if it fails for a passing reason."""
        retries = 0
        while True:
            try:
                return await call()
            except ProviderError as failure:
                self._explain(failure)
                if retries >= MAX_CALL_RETRIES or not failure.error.retryable:
                    raise
                delay = retry_delay(failure.error.retry_after, retries)
                await asyncio.sleep(min(self._poll_s, delay))
                retries += 1

    def _explain(self, failure: ProviderError) -> None:
        """Add to an error that the key is another one than that of the job."""
        job, error = self.job, failure.error
        changed = job.key_fingerprint not in ("", self._client.key_fingerprint)
        if changed and error.kind in _LASTING_KINDS:
            note = "This is not the API key that created the batch: use that key."
            if note not in error.message:
                error.message = f"{error.message.rstrip('.')}. {note}"
                error.kind = ErrorKind.AUTH
                error.retryable = False

    def _change(self, state: JobState) -> None:
        self.job.state = state
        self._save()


def _may_have_succeeded(error: ErrorInfo) -> bool:
    """Return whether a call that failed may have had its effect."""
    if error.status_code is None:
        return error.kind in (ErrorKind.CONNECTION, ErrorKind.TIMEOUT, ErrorKind.SERVER)
    return error.status_code >= 500 or error.status_code == 408


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
