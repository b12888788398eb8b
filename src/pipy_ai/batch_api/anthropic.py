"""Anthropic's Message Batches."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..errors import ErrorKind, ProviderError, error_info
from ..provider.exchange import error_from_document
from ..provider.http.client import FileContent
from .client import BatchClient
from .handle import BatchJob
from .vendor import (
    MAX_LISTED_JOBS,
    JobStatus,
    RowResult,
    body_text,
    count_of,
    json_line,
    text_field,
)

_COUNTS = ("succeeded", "errored", "canceled", "expired")


class AnthropicBatches:
    """See `Vendor`. Jobs have no names: `find` looks at those newer than the last one."""

    max_rows = 100_000
    max_bytes = 256_000_000
    opening, separator, closing = b'{"requests":[\n', b",\n", b"\n]}\n"

    def _url(self, client: BatchClient, path: str = "") -> str:
        return f"{client.url}/batches{path}"

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """See `Vendor`."""
        return json_line({"custom_id": custom_id, "params": body})

    async def upload(self, client: BatchClient, job: BatchJob, path: Path) -> str | None:
        """See `Vendor`."""
        return None

    async def discard_upload(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""

    async def newest_job(self, client: BatchClient) -> str | None:
        """See `Vendor`."""
        page = await client.call("GET", self._url(client, "?limit=1")) or {}
        jobs = page.get("data") or [{}]
        return str(jobs[0].get("id") or "")

    async def create(self, client: BatchClient, job: BatchJob, path: Path) -> str:
        """See `Vendor`."""
        headers = {"content-type": "application/json", **job.headers}
        file = FileContent(str(path))
        created = await client.call(
            "POST", self._url(client), headers=headers, file=file, once=True
        )
        return text_field(created, "id", "id of the job")

    async def find(self, client: BatchClient, job: BatchJob) -> str | None:
        """See `Vendor`."""
        candidates = [
            str(item["id"])
            async for item in self._newer_jobs(client, job)
            if count_of(item.get("request_counts"), "processing", *_COUNTS) == job.rows
        ]
        if len(candidates) > 1:
            text = (
                "The response that created a batch was lost, and several batches could be it:"
                f" {', '.join(candidates)}. Delete those that are not, then try again."
            )
            raise ProviderError(error_info(ErrorKind.INCOMPLETE, text, retryable=False))
        return candidates[0] if candidates else None

    async def _newer_jobs(
        self, client: BatchClient, job: BatchJob
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the jobs that were created since ours was prepared, newest first."""
        after, count = "", 0
        while count < MAX_LISTED_JOBS:
            page = await client.call("GET", self._url(client, f"?limit=100{after}")) or {}
            items = page.get("data") or []
            for item in items:
                if item.get("id") == job.newest_job:
                    return
                yield item
            count += len(items)
            if not items or not page.get("has_more"):
                return
            after = f"&after_id={items[-1].get('id')}"

    async def status(self, client: BatchClient, job: BatchJob) -> JobStatus:
        """See `Vendor`."""
        found = await client.call("GET", self._url(client, f"/{job.id}"))
        name = text_field(found, "processing_status", "status of the job")
        counts = found.get("request_counts")
        status = JobStatus("running", name, count_of(counts, *_COUNTS))
        if name == "ended":
            cancelled = bool(found.get("cancel_initiated_at"))
            expired = count_of(counts, "expired") > 0
            status.outcome = "cancelled" if cancelled else "expired" if expired else "completed"
            status.files = ["results"]
        return status

    async def cancel(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("POST", self._url(client, f"/{job.id}/cancel"))

    def result_urls(self, client: BatchClient, job: BatchJob, status: JobStatus) -> list[str]:
        """See `Vendor`."""
        return [self._url(client, f"/{job.id}/{name}") for name in status.files]

    def parse(self, line: dict[str, Any]) -> RowResult:
        """See `Vendor`."""
        custom_id, result = str(line.get("custom_id")), line.get("result")
        result = result if isinstance(result, dict) else {}
        match result.get("type"):
            case "succeeded":
                return RowResult(custom_id, body_text(result.get("message")))
            case "canceled":
                text = "The batch was cancelled before the provider answered this row."
                error = error_info(ErrorKind.ABORTED, text, retryable=True)
            case "expired":
                text = "The batch expired before the provider answered this row."
                error = error_info(ErrorKind.TIMEOUT, text)
            case _:
                document = result.get("error") or line
                inner = document.get("error") if isinstance(document, dict) else None
                error = error_from_document(inner or document).error
        return RowResult(custom_id, None, error)
