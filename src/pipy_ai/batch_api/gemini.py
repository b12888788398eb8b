"""Gemini's batch mode. Vertex AI has another one, with files in its own storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ErrorInfo, ErrorKind, error_info
from ..provider.exchange import error_from_document
from ..provider.http.client import FileContent
from .client import BatchClient
from .handle import BatchJob
from .vendor import (
    JobStatus,
    Outcome,
    RowError,
    RowResult,
    body_text,
    count_of,
    find_by_name,
    json_line,
    text_field,
    unexpected_error,
)

_OUTCOMES: dict[str, Outcome] = {
    "SUCCEEDED": "completed", "PARTIALLY_SUCCEEDED": "completed", "FAILED": "failed",
    "CANCELLED": "cancelled", "EXPIRED": "expired",
}  # fmt: skip
# HTTP statuses of google.rpc.Code, which errors of rows carry.
_HTTP_STATUSES = {
    1: 499, 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 13: 500, 14: 503,
    16: 401,
}  # fmt: skip


class GeminiBatches:
    """See `Vendor`."""

    max_rows = 1_000_000
    max_bytes = 2_000_000_000
    opening, separator, closing = b"", b"\n", b"\n"

    def _url(self, client: BatchClient, path: str) -> str:
        return client.url.rpartition("/models/")[0] + path

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """See `Vendor`."""
        return json_line({"key": custom_id, "request": body})

    async def upload(self, client: BatchClient, job: BatchJob, path: Path) -> str | None:
        """See `Vendor`."""
        version = urlsplit(self._url(client, "")).path
        file = FileContent(str(path))
        _, headers = await client.call_with_headers(
            "POST",
            client.url_of(f"/upload{version}/files"),
            {"file": {"displayName": job.key}},
            headers={
                "x-goog-upload-protocol": "resumable",
                "x-goog-upload-command": "start",
                "x-goog-upload-header-content-length": str(file.size),
                "x-goog-upload-header-content-type": "application/jsonl",
            },
        )
        url = headers.get("x-goog-upload-url", "")
        if urlsplit(url).netloc != urlsplit(client.url).netloc:  # the key is sent there
            raise unexpected_error("address for the upload", url)
        uploaded = await client.call(
            "POST",
            url,
            headers={
                "content-type": "application/jsonl",
                "x-goog-upload-offset": "0",
                "x-goog-upload-command": "upload, finalize",
            },
            file=file,
        )
        return text_field((uploaded or {}).get("file"), "name", "name of the file")

    async def discard_upload(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("DELETE", self._url(client, f"/{job.input_file}"))

    async def newest_job(self, client: BatchClient) -> str | None:
        """See `Vendor`."""
        return None

    async def create(self, client: BatchClient, job: BatchJob, path: Path) -> str:
        """See `Vendor`."""
        batch = {"displayName": job.key, "inputConfig": {"fileName": job.input_file}}
        url = client.url.replace(":streamGenerateContent", ":batchGenerateContent")
        created = await client.call("POST", url, {"batch": batch}, once=True)
        return text_field(created, "name", "name of the job")

    async def find(self, client: BatchClient, job: BatchJob) -> str | None:
        """See `Vendor`."""
        found = await find_by_name(
            self._list(client), lambda item: _metadata(item).get("displayName"), job.key
        )
        return None if found is None else text_field(found, "name", "name of the job")

    async def _list(self, client: BatchClient) -> AsyncIterator[dict[str, Any]]:
        token = ""
        while True:
            page = (
                await client.call("GET", self._url(client, f"/batches?pageSize=100{token}")) or {}
            )
            for item in page.get("operations") or ():
                yield item
            if not page.get("nextPageToken"):
                return
            token = f"&pageToken={page['nextPageToken']}"

    async def status(self, client: BatchClient, job: BatchJob) -> JobStatus:
        """See `Vendor`."""
        found = await client.call("GET", self._url(client, f"/{job.id}"))
        metadata = _metadata(found)
        name = text_field(metadata, "state", "state of the job").rpartition("STATE_")[2]
        stats = metadata.get("batchStats")
        completed = count_of(stats, "successfulRequestCount", "failedRequestCount")
        status = JobStatus(_OUTCOMES.get(name, "running"), name.lower(), completed)
        if not status.ended:
            return status
        output = metadata.get("output") or found.get("response") or {}
        if file := output.get("responsesFile"):
            status.files = [str(file)]
        inlined = output.get("inlinedResponses") or {}
        status.inline = list(inlined.get("inlinedResponses") or ())
        if (error := found.get("error")) and status.outcome == "failed":
            status.errors = [RowError(None, _error(error))]
        return status

    async def cancel(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("POST", self._url(client, f"/{job.id}:cancel"), {})

    def result_urls(self, client: BatchClient, job: BatchJob, status: JobStatus) -> list[str]:
        """See `Vendor`."""
        version = urlsplit(self._url(client, "")).path
        return [
            client.url_of(f"/download{version}/{file}:download?alt=media") for file in status.files
        ]

    def parse(self, line: dict[str, Any]) -> RowResult:
        """See `Vendor`."""
        key = line.get("key") or (line.get("metadata") or {}).get("key")
        if (response := line.get("response")) is not None:
            return RowResult(str(key), body_text(response))
        return RowResult(str(key), None, _error(line.get("error") or line))


def _metadata(operation: Any) -> dict[str, Any]:
    metadata = operation.get("metadata") if isinstance(operation, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _error(error: Any) -> ErrorInfo:
    """Return the error of a row or a job, whose code is one of gRPC."""
    if isinstance(error, dict) and error.get("code") in _HTTP_STATUSES:
        error = {**error, "code": _HTTP_STATUSES[error["code"]]}
    info = error_from_document(error).error
    if info.status_code == _HTTP_STATUSES[1]:
        return error_info(ErrorKind.ABORTED, info.message, retryable=True)
    if info.status_code == _HTTP_STATUSES[4]:
        return error_info(ErrorKind.TIMEOUT, info.message)
    return info
