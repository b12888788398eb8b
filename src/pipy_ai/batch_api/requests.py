"""Write the requests of rows to files, one for each job."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import ErrorKind, ProviderError, error_info
from ..provider.prepare import merge_headers
from ..provider.request import Request
from ..types import function_tools
from ..utils.file_errors import name_file
from .client import BatchClient
from .handle import BatchJob
from .vendor import Vendor

# Fields that make sense only while an answer is streamed.
STREAM_FIELDS = ("stream", "stream_options")

_CUSTOM_ID = re.compile(r"r-([0-9]{1,9})-([0-9a-f]{8})")


def custom_id(job_key: str, position: int) -> str:
    """Return the id of a row of a job. Another job has other ids for the same position."""
    digest = blake2b(f"{job_key}:{position}".encode(), digest_size=4).hexdigest()
    return f"r-{position}-{digest}"


def position_of(job_key: str, rows: int, text: str) -> int | None:
    """Return the position of a row in a job; None if the id is not one of the job."""
    match = _CUSTOM_ID.fullmatch(text)
    if match is None:
        return None
    position = int(match[1])
    return position if position < rows and text == custom_id(job_key, position) else None


class Placement(NamedTuple):
    """Where a row is: its job, and its position in that job."""

    job: BatchJob
    position: int


class RequestWriter:
    """Writes the requests of one model to files, and begins a new job at the provider's limits.

    `path_of` returns the path of a job's file.
    """

    def __init__(
        self, client: BatchClient, vendor: Vendor, path_of: Callable[[BatchJob], Path]
    ) -> None:
        self._client = client
        self._vendor = vendor
        self._path_of = path_of
        self._file: BinaryIO | None = None
        self._bytes = 0
        self.jobs: list[BatchJob] = []

    def add(self, request: Request) -> Placement:
        """Write the request of a row.

        Raises:
            ProviderError: The API cannot carry it, or it is too long.
            OSError: The file cannot be written.
        """
        encoded = self._client.encode(request)
        body = {n: value for n, value in encoded.body.items() if n not in STREAM_FIELDS}
        vendor, limit = self._vendor, self._vendor.max_bytes
        overhead = len(vendor.opening) + len(vendor.closing)
        # The id of the last row of the largest job is the longest.
        size = len(vendor.line(custom_id("", vendor.max_rows), body)) + len(vendor.separator)
        if size + overhead > limit:
            text = f"The request has {size:,} bytes; the limit of a batch is {limit:,}. Shorten it."
            raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text))
        job = self.jobs[-1] if self.jobs else None
        if job is None or job.rows >= vendor.max_rows or self._bytes + size + overhead > limit:
            job = self._begin_job()
        position = job.rows
        line = vendor.line(custom_id(job.key, position), body)
        self._write((vendor.separator if position else b"") + line)
        job.rows += 1
        job.headers = _beta_headers(merge_headers(job.headers, encoded.headers))
        _add_tools(job, request)
        return Placement(job, position)

    def close(self) -> None:
        """Finish the last file.

        Raises:
            OSError: The file cannot be written.
        """
        if self._file is not None:
            self._write(self._vendor.closing)
            with name_file(self._file.name):
                self._file.flush()
                os.fsync(self._file.fileno())  # the handle, which is written next, refers to it
                self._file.close()
            self._file = None

    def discard(self) -> None:
        """Delete all files."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for job in self.jobs:
            self._path_of(job).unlink(missing_ok=True)

    def _begin_job(self) -> BatchJob:
        self.close()
        job = BatchJob(
            key=f"pipy-{secrets.token_hex(8)}",
            model=self._client.request.model,
            key_fingerprint=self._client.key_fingerprint,
        )
        path = self._path_of(job)
        self._file = open(path, "xb", opener=_open_private)  # noqa: SIM115
        self._bytes = 0
        self.jobs.append(job)
        self._write(self._vendor.opening)
        return job

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        with name_file(self._file.name):
            self._file.write(data)
        self._bytes += len(data)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _beta_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers that select features; the others are the same for every call."""
    return {name: value for name, value in headers.items() if name.lower() == "anthropic-beta"}


def _add_tools(job: BatchJob, request: Request) -> None:
    """Keep the definitions of tools: the answers are read with them."""
    known = {tool["name"] for tool in job.tools}
    for tool in function_tools(request.context.tools):
        if tool.name not in known:
            definition: dict[str, Any] = {
                "name": tool.name, "description": tool.description, "parameters": tool.parameters,
            }  # fmt: skip
            job.tools.append(definition)
            known.add(tool.name)
