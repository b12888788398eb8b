"""`Vendor`: what differs between the batch APIs of providers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from ..errors import ErrorInfo, ErrorKind, ProviderError, error_info
from .client import BatchClient
from .handle import BatchJob

Outcome: TypeAlias = Literal["running", "completed", "expired", "cancelled", "failed"]

MAX_LISTED_JOBS = 1000  # looked at in search of one, newest first


class RowError(NamedTuple):
    """Why the provider rejected a row, or with `line` None the whole job, at validation."""

    line: int | None  # from 1
    error: ErrorInfo


@dataclass(slots=True)
class JobStatus:
    """What the provider says of a job: ids of the files of results, or results in `inline`."""

    outcome: Outcome
    status: str
    completed: int = 0
    files: list[str] = field(default_factory=list)
    errors: list[RowError] = field(default_factory=list)
    inline: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        """Whether nothing more will be answered."""
        return self.outcome != "running"


class RowResult(NamedTuple):
    """The result of one row: the body of an answer, or an error."""

    custom_id: str
    body: str | None
    error: ErrorInfo | None = None


class Vendor(Protocol):
    """The batch API of one provider, for one model.

    A request file is `opening`, then the lines of `line` with `separator` between them, then
    `closing`.
    """

    max_rows: int
    max_bytes: int
    opening: bytes
    separator: bytes
    closing: bytes

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """Return a request as a part of a request file, without a line break."""
        ...

    async def upload(self, client: BatchClient, job: BatchJob, path: Path) -> str | None:
        """Upload a request file and return its id; None: `create` sends it."""
        ...

    async def newest_job(self, client: BatchClient) -> str | None:
        """Return the id of the newest job, if jobs cannot be named; else None."""
        ...

    async def create(self, client: BatchClient, job: BatchJob, path: Path) -> str:
        """Create a job and return its id. Must not be repeated before `find`."""
        ...

    async def discard_upload(self, client: BatchClient, job: BatchJob) -> None:
        """Delete the uploaded requests of a job that was rejected."""
        ...

    async def find(self, client: BatchClient, job: BatchJob) -> str | None:
        """Return the id of a job that was created with our key; None: there is none.

        Raises:
            ProviderError: The call failed, or several jobs may be the one.
        """
        ...

    async def status(self, client: BatchClient, job: BatchJob) -> JobStatus:
        """Return what the provider says of a job."""
        ...

    async def cancel(self, client: BatchClient, job: BatchJob) -> None:
        """Ask the provider to stop a job. It may answer a few more rows."""
        ...

    def result_urls(self, client: BatchClient, job: BatchJob, status: JobStatus) -> list[str]:
        """Return the addresses of the files of results, whose lines are in any order."""
        ...

    def parse(self, line: dict[str, Any]) -> RowResult:
        """Return the result in a line of the results."""
        ...


def json_line(value: Any) -> bytes:
    """Return a value as one line of JSON, without a line break."""
    from ..provider.direct import encode_json

    return encode_json(value)


def body_text(value: Any) -> str:
    """Return the JSON text of the body of an answer."""
    return json.dumps(value, ensure_ascii=False)


async def find_by_name(
    jobs: AsyncIterator[dict[str, Any]], name_of: Callable[[dict[str, Any]], Any], key: str
) -> dict[str, Any] | None:
    """Return the job that carries our key, among the newest."""
    count = 0
    async for job in jobs:
        if name_of(job) == key:
            return job
        count += 1
        if count >= MAX_LISTED_JOBS:
            break
    return None


def unexpected_error(what: str, value: Any) -> ProviderError:
    """Return the error of a response that does not have the expected form."""
    text = f"The provider's response has no {what}: {json.dumps(value, default=str)[:300]}"
    return ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))


def text_field(document: Any, name: str, what: str) -> str:
    """Return a field of a response that must be a text."""
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        raise unexpected_error(what, document)
    return value


def count_of(document: Any, *names: str) -> int:
    """Return the sum of counts of a response; missing ones are 0."""
    if not isinstance(document, dict):
        return 0
    values = (document.get(name) for name in names)
    return sum(
        int(value) for value in values if isinstance(value, int | str) and str(value).isdigit()
    )
