"""The batch API of OpenAI, and of Azure and Groq, which have copied it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ..errors import ErrorKind, error_info
from ..provider.exchange import classify_response, error_from_document
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
)

_BOUNDARY = "pipy-ai-batch-4f1c9b7e2d"
_OUTCOMES: dict[str, Outcome] = {
    "completed": "completed", "expired": "expired", "cancelled": "cancelled", "failed": "failed",
}  # fmt: skip


class OpenAIBatches:
    """See `Vendor`. `endpoint` is the path of the API, `suffix` the end of its address."""

    max_rows = 50_000
    max_bytes = 200_000_000
    opening, separator, closing = b"", b"\n", b"\n"

    def __init__(self, endpoint: str, suffix: str) -> None:
        self._endpoint = endpoint
        self._suffix = suffix

    def _url(self, client: BatchClient, path: str) -> str:
        return client.url.removesuffix(self._suffix) + path

    def line(self, custom_id: str, body: dict[str, Any]) -> bytes:
        """See `Vendor`."""
        request = {"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": body}
        return json_line(request)

    async def upload(self, client: BatchClient, job: BatchJob, path: Path) -> str | None:
        """See `Vendor`."""
        return await upload_multipart(client, self._url(client, "/files"), job, path)

    async def newest_job(self, client: BatchClient) -> str | None:
        """See `Vendor`."""
        return None

    async def create(self, client: BatchClient, job: BatchJob, path: Path) -> str:
        """See `Vendor`."""
        body = {
            "input_file_id": job.input_file,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {"pipy_job": job.key},
        }
        url = self._url(client, "/batches")
        created = await client.call("POST", url, body, headers=job.headers, once=True)
        return text_field(created, "id", "id of the job")

    async def discard_upload(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("DELETE", self._url(client, f"/files/{job.input_file}"))

    async def find(self, client: BatchClient, job: BatchJob) -> str | None:
        """See `Vendor`."""
        found = await find_by_name(
            self._list(client), lambda item: (item.get("metadata") or {}).get("pipy_job"), job.key
        )
        return None if found is None else text_field(found, "id", "id of the job")

    async def _list(self, client: BatchClient) -> AsyncIterator[dict[str, Any]]:
        after = ""
        while True:
            url = self._url(client, f"/batches?limit=100{after}")
            page = await client.call("GET", url) or {}
            items = page.get("data") or []
            for item in items:
                yield item
            if not items or not page.get("has_more"):
                return
            after = f"&after={items[-1].get('id')}"

    async def status(self, client: BatchClient, job: BatchJob) -> JobStatus:
        """See `Vendor`."""
        found = await client.call("GET", self._url(client, f"/batches/{job.id}"))
        name = text_field(found, "status", "status of the job")
        errors = ((found.get("errors") or {}).get("data") or []) if name == "failed" else []
        files = [found.get("output_file_id"), found.get("error_file_id")]
        return JobStatus(
            _OUTCOMES.get(name, "running"),
            name,
            count_of(found.get("request_counts"), "completed", "failed"),
            [file for file in files if file],
            [_validation_error(error) for error in errors],
        )

    async def cancel(self, client: BatchClient, job: BatchJob) -> None:
        """See `Vendor`."""
        await client.call("POST", self._url(client, f"/batches/{job.id}/cancel"))

    def result_urls(self, client: BatchClient, job: BatchJob, status: JobStatus) -> list[str]:
        """See `Vendor`."""
        return [self._url(client, f"/files/{file}/content") for file in status.files]

    def parse(self, line: dict[str, Any]) -> RowResult:
        """See `Vendor`."""
        return parse_openai_line(line)


async def upload_multipart(client: BatchClient, url: str, job: BatchJob, path: Path) -> str:
    """Upload a request file in the way of OpenAI, and return its id."""
    before = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{job.key}.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'
    )
    file = FileContent(str(path), before.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode())
    headers = {"content-type": f"multipart/form-data; boundary={_BOUNDARY}"}
    uploaded = await client.call("POST", url, headers=headers, file=file)
    return text_field(uploaded, "id", "id of the file")


def parse_openai_line(line: dict[str, Any]) -> RowResult:
    """Return the result in a line of OpenAI's or Mistral's results."""
    custom_id = str(line.get("custom_id"))
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict):
        status, body = response.get("status_code"), response.get("body")
        text = body if isinstance(body, str) else body_text(body)
        if not isinstance(status, int) or status < 300:
            return RowResult(custom_id, text)
        info = classify_response(max(status, 400), {}, text).error
        info.request_id = info.request_id or response.get("request_id")
        return RowResult(custom_id, None, info)
    if isinstance(error, dict) and error.get("code") in ("batch_expired", "batch_cancelled"):
        kind = ErrorKind.TIMEOUT if error["code"] == "batch_expired" else ErrorKind.ABORTED
        text = str(error.get("message") or error["code"])
        return RowResult(custom_id, None, error_info(kind, text, retryable=True))
    return RowResult(custom_id, None, error_from_document(error or line).error)


def _validation_error(error: dict[str, Any]) -> RowError:
    line = error.get("line")
    info = error_from_document(error).error
    if error.get("code") == "token_limit_exceeded":  # too many tokens wait in other jobs
        info = error_info(ErrorKind.RATE_LIMIT, info.message)
    elif info.kind in (ErrorKind.SERVER, ErrorKind.UNKNOWN):
        info = error_info(ErrorKind.BAD_REQUEST, info.message)
    return RowError(line if isinstance(line, int) else None, info)
