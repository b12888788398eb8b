"""Mistral's batch jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..errors import ErrorKind, error_info
from .client import BatchClient
from .handle import BatchJob
from .openai import parse_openai_line, upload_multipart
from .vendor import (
    JobStatus,
    Outcome,
    RowError,
    RowResult,
    count_of,
    find_by_name,
    json_line,
    text_field,
)

_SUFFIX = "/chat/completions"
_OUTCOMES: dict[str, Outcome] = {
    "SUCCESS": "completed", "FAILED": "failed", "TIMEOUT_EXCEEDED": "expired",
    "CANCELLED": "cancelled",
}  # fmt: skip
_PAGE_SIZE = 100


class MistralBatches:
    """See `Vendor`. `model` is the provider's id of the model, which is that of the job."""

    max_rows = 100_000
    max_bytes = 500_000_000
    opening, separator, closing = b"", b"\n", b"\n"

    def __init__(self, model: str) -> None:
        self._model = model

    def _url(self, client: BatchClient, path: str) -> str:
        return client.url.removesuffix(_SUFFIX) + path

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """See `Vendor`."""
        body = {name: value for name, value in body.items() if name != "model"}
        return json_line({"custom_id": custom_id, "body": body})

    async def upload(self, client: BatchClient, job: BatchJob, path: Path) -> str | None:
        """See `Vendor`."""
        return await upload_multipart(client, self._url(client, "/files"), job, path)

    async def discard_upload(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("DELETE", self._url(client, f"/files/{job.input_file}"))

    async def newest_job(self, client: BatchClient) -> str | None:
        """See `Vendor`."""
        return None

    async def create(self, client: BatchClient, job: BatchJob, path: Path) -> str:
        """See `Vendor`."""
        body = {
            "input_files": [job.input_file],
            "endpoint": f"/v1{_SUFFIX}",
            "model": self._model,
            "metadata": {"pipy_job": job.key},
            "timeout_hours": 24,
        }
        created = await client.call("POST", self._url(client, "/batch/jobs"), body, once=True)
        return text_field(created, "id", "id of the job")

    async def find(self, client: BatchClient, job: BatchJob) -> str | None:
        """See `Vendor`."""
        found = await find_by_name(
            self._list(client), lambda item: (item.get("metadata") or {}).get("pipy_job"), job.key
        )
        return None if found is None else text_field(found, "id", "id of the job")

    async def _list(self, client: BatchClient) -> AsyncIterator[dict[str, Any]]:
        page_number = 0
        while True:
            path = f"/batch/jobs?page={page_number}&page_size={_PAGE_SIZE}"
            page = await client.call("GET", self._url(client, path)) or {}
            items = page.get("data") or []
            for item in items:
                yield item
            if len(items) < _PAGE_SIZE:
                return
            page_number += 1

    async def status(self, client: BatchClient, job: BatchJob) -> JobStatus:
        """See `Vendor`."""
        found = await client.call("GET", self._url(client, f"/batch/jobs/{job.id}"))
        name = text_field(found, "status", "status of the job")
        outcome = _OUTCOMES.get(name, "running")
        files = [found.get("output_file"), found.get("error_file")]
        errors = (found.get("errors") or []) if outcome == "failed" else []
        return JobStatus(
            outcome,
            name.lower(),
            count_of(found, "succeeded_requests", "failed_requests"),
            [file for file in files if file],
            [
                RowError(None, error_info(ErrorKind.BAD_REQUEST, str(error.get("message"))))
                for error in errors[:1]
            ],
        )

    async def cancel(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("POST", self._url(client, f"/batch/jobs/{job.id}/cancel"))

    def result_urls(self, client: BatchClient, job: BatchJob, status: JobStatus) -> list[str]:
        """See `Vendor`."""
        return [self._url(client, f"/files/{file}/content") for file in status.files]

    def parse(self, line: dict[str, Any]) -> RowResult:
        """See `Vendor`."""
        return parse_openai_line(line)
