"""The file APIs of providers: OpenAI, Anthropic and Gemini."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from ..batch_api.client import BatchClient
from ..errors import ErrorKind, ProviderError, error_info
from ..provider.http.client import FileContent as FileBody
from ..types import FileContent

T = TypeVar("T")

POLL_S = 1.0  # between two questions whether a file has been processed
PROCESSING_TIMEOUT_S = 600.0
RETRY_DELAYS_S = (0.5, 2.0, 8.0)  # before an upload that failed is repeated or resumed
MAX_DELAY_S = 60.0


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to upload."""

    path: str
    name: str
    mime_type: str
    size: int


class FileAPI(Protocol):
    """The file API of one provider."""

    max_bytes: int | None
    """The largest file that it accepts; None: unknown."""
    lifetime_s: tuple[int, int] | None
    """The shortest and the longest time after which files expire; None: it cannot be chosen."""

    async def upload(self, file: LocalFile, expires_in: int | None) -> FileContent:
        """Upload a file, and wait until models can read it."""
        ...

    async def exists(self, file: FileContent) -> bool:
        """Return whether the provider still has a file that models can read."""
        ...

    async def describe(self, file: FileContent) -> FileContent:
        """Return a file with its name and media type."""
        ...

    async def download(self, file: FileContent, output: BinaryIO) -> None:
        """Append the content of a file to `output`."""
        ...

    async def delete(self, file: FileContent) -> None:
        """Delete a file."""
        ...


class OpenAIFiles:
    """See `FileAPI`."""

    max_bytes: int | None = 512_000_000
    lifetime_s: tuple[int, int] | None = (3600, 2_592_000)

    def __init__(self, client: BatchClient) -> None:
        self._client = client
        self._base = client.url.removesuffix(client.wire.url_suffix)

    def _url(self, file: FileContent, end: str = "") -> str:
        container = f"/containers/{quote(file.container_id, '')}" if file.container_id else ""
        return f"{self._base}{container}/files/{quote(file.id, '')}{end}"

    async def upload(self, file: LocalFile, expires_in: int | None) -> FileContent:
        """See `FileAPI`."""
        fields = {"purpose": "user_data"}
        if expires_in is not None:
            fields["expires_after[anchor]"] = "created_at"
            fields["expires_after[seconds]"] = str(expires_in)
        uploaded = await _post_multipart(self._client, f"{self._base}/files", file, fields)
        expires_at = uploaded.get("expires_at")
        return _stored(
            file, "openai", _text(uploaded, "id"),
            expires_at=expires_at * 1000 if isinstance(expires_at, int) else None,
        )  # fmt: skip

    async def exists(self, file: FileContent) -> bool:
        """See `FileAPI`."""
        return await _get_or_none(self._client, self._url(file)) is not None

    async def describe(self, file: FileContent) -> FileContent:
        """See `FileAPI`."""
        found = await self._client.call("GET", self._url(file)) or {}
        name = found.get("filename") or os.path.basename(str(found.get("path") or ""))
        return file.model_copy(update={"name": name or file.name})

    async def download(self, file: FileContent, output: BinaryIO) -> None:
        """See `FileAPI`."""
        await self._client.download(self._url(file, "/content"), output)

    async def delete(self, file: FileContent) -> None:
        """See `FileAPI`."""
        await self._client.call("DELETE", self._url(file))


class AnthropicFiles:
    """See `FileAPI`."""

    max_bytes: int | None = None
    lifetime_s: tuple[int, int] | None = (3600, 7_776_000)

    def __init__(self, client: BatchClient) -> None:
        self._client = client
        self._base = client.url.removesuffix("/messages")

    def _url(self, file: FileContent, end: str = "") -> str:
        return f"{self._base}/files/{quote(file.id, '')}{end}"

    async def upload(self, file: LocalFile, expires_in: int | None) -> FileContent:
        """See `FileAPI`."""
        fields = {} if expires_in is None else {"expires_in_seconds": str(expires_in)}
        uploaded = await _post_multipart(self._client, f"{self._base}/files", file, fields)
        expires_at = _milliseconds(uploaded.get("expires_at"))
        return _stored(file, "anthropic", _text(uploaded, "id"), expires_at=expires_at)

    async def exists(self, file: FileContent) -> bool:
        """See `FileAPI`."""
        return await _get_or_none(self._client, self._url(file)) is not None

    async def describe(self, file: FileContent) -> FileContent:
        """See `FileAPI`."""
        found = await self._client.call("GET", self._url(file)) or {}
        changes = {
            "name": found.get("filename") or file.name,
            "mime_type": found.get("mime_type") or file.mime_type,
        }
        return file.model_copy(update=changes)

    async def download(self, file: FileContent, output: BinaryIO) -> None:
        """See `FileAPI`."""
        await self._client.download(self._url(file, "/content"), output)

    async def delete(self, file: FileContent) -> None:
        """See `FileAPI`."""
        await self._client.call("DELETE", self._url(file))


class GeminiFiles:
    """See `FileAPI`. Files expire after 48 hours."""

    max_bytes: int | None = None
    lifetime_s: tuple[int, int] | None = None

    def __init__(self, client: BatchClient) -> None:
        self._client = client
        self._base = client.url.rpartition("/models/")[0]

    def _url(self, file: FileContent, end: str = "") -> str:
        return f"{self._base}/files/{quote(file.id.removeprefix('files/'), '')}{end}"

    async def upload(self, file: LocalFile, expires_in: int | None) -> FileContent:
        """See `FileAPI`."""
        version = urlsplit(self._base).path
        _, headers = await _retried(
            lambda: self._client.call_with_headers(
                "POST",
                self._client.url_of(f"/upload{version}/files"),
                {"file": {"displayName": file.name, "mimeType": file.mime_type}},
                headers={
                    "x-goog-upload-protocol": "resumable",
                    "x-goog-upload-command": "start",
                    "x-goog-upload-header-content-length": str(file.size),
                    "x-goog-upload-header-content-type": file.mime_type,
                },
            )
        )
        url = headers.get("x-goog-upload-url", "")
        if urlsplit(url).netloc != urlsplit(self._client.url).netloc:  # the key is sent there
            raise _unexpected("address for the upload", url)
        sent = await self._send(url, file)
        found = (sent or {}).get("file") or {}
        waited_s = 0.0
        while found.get("state") == "PROCESSING":
            if waited_s >= PROCESSING_TIMEOUT_S:
                text = f"Gemini has not processed {file.name} within {waited_s:g} s. Try again."
                raise ProviderError(error_info(ErrorKind.TIMEOUT, text))
            await asyncio.sleep(POLL_S)
            waited_s += POLL_S
            found = await self._client.call("GET", f"{self._base}/{_text(found, 'name')}") or {}
        if found.get("state") == "FAILED":
            reason = (found.get("error") or {}).get("message") or "no reason given"
            text = f"Gemini cannot process {file.name}: {reason}"
            raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text))
        return _stored(
            file, "google", _text(found, "name"), url=_text(found, "uri"),
            expires_at=_milliseconds(found.get("expirationTime")),
        )  # fmt: skip

    async def _send(self, url: str, file: LocalFile) -> Any:
        """Send the bytes of a file. If the connection breaks, continue where it broke."""
        offset = 0
        for delay_s in (*RETRY_DELAYS_S, None):
            headers = {
                "content-type": file.mime_type,
                "x-goog-upload-offset": str(offset),
                "x-goog-upload-command": "upload, finalize",
            }
            try:
                body = FileBody(file.path, start=offset)
                return await self._client.call("POST", url, headers=headers, file=body, once=True)
            except ProviderError as failure:
                if delay_s is None or not failure.error.retryable:
                    raise
                await asyncio.sleep(delay_s)
            query = {"x-goog-upload-command": "query"}
            body, found = await self._client.call_with_headers("POST", url, headers=query)
            if found.get("x-goog-upload-status") == "final":
                return body
            received = found.get("x-goog-upload-size-received", "")
            offset = int(received) if received.isdecimal() else 0
        raise AssertionError("the last attempt returns or raises")

    async def exists(self, file: FileContent) -> bool:
        """See `FileAPI`."""
        found = await _get_or_none(self._client, self._url(file))
        return found is not None and found.get("state") == "ACTIVE"

    async def describe(self, file: FileContent) -> FileContent:
        """See `FileAPI`."""
        found = await self._client.call("GET", self._url(file)) or {}
        changes = {
            "name": found.get("displayName") or file.name,
            "mime_type": found.get("mimeType") or file.mime_type,
        }
        return file.model_copy(update=changes)

    async def download(self, file: FileContent, output: BinaryIO) -> None:
        """See `FileAPI`."""
        await self._client.download(self._url(file, ":download?alt=media"), output)

    async def delete(self, file: FileContent) -> None:
        """See `FileAPI`."""
        await self._client.call("DELETE", self._url(file))


FILE_APIS: dict[str, type[OpenAIFiles | AnthropicFiles | GeminiFiles]] = {
    "anthropic": AnthropicFiles, "google": GeminiFiles, "openai": OpenAIFiles,
}  # fmt: skip


async def _post_multipart(
    client: BatchClient, url: str, file: LocalFile, fields: dict[str, str]
) -> dict[str, Any]:
    """Upload a file as a form, read in pieces while it is sent."""
    boundary = f"pipy-ai-{os.urandom(16).hex()}"  # not in the file
    before = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    file_name = file.name
    for char, escaped in (('"', "%22"), ("\r", "%0D"), ("\n", "%0A")):
        file_name = file_name.replace(char, escaped)
    before += (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{file_name}"\r\n'
        f"Content-Type: {file.mime_type}\r\n\r\n"
    )
    body = FileBody(file.path, before.encode(), f"\r\n--{boundary}--\r\n".encode())
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    uploaded = await _retried(lambda: client.call("POST", url, headers=headers, file=body))
    return uploaded if isinstance(uploaded, dict) else {}


async def _retried(call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a call, repeated if it failed for a moment. Uploads are free."""
    for delay_s in RETRY_DELAYS_S:
        try:
            return await call()
        except ProviderError as failure:
            if not failure.error.retryable:
                raise
            await asyncio.sleep(max(delay_s, min(failure.error.retry_after or 0, MAX_DELAY_S)))
    return await call()


async def _get_or_none(client: BatchClient, url: str) -> dict[str, Any] | None:
    try:
        found = await client.call("GET", url)
    except ProviderError as failure:
        if failure.error.status_code in (403, 404, 410):
            return None
        raise
    return found if isinstance(found, dict) else None


def _stored(
    file: LocalFile, provider: str, file_id: str, *, expires_at: int | None, url: str | None = None
) -> FileContent:
    return FileContent(
        id=file_id, provider=provider, mime_type=file.mime_type, name=file.name, size=file.size,
        url=url, expires_at=expires_at,
    )  # fmt: skip


def _text(document: Any, name: str) -> str:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        raise _unexpected(f"{name} of the file", document)
    return value


def _unexpected(what: str, value: Any) -> ProviderError:
    text = f"The provider's response has no {what}: {str(value)[:300]}"
    return ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))


def _milliseconds(value: Any) -> int | None:
    """Return a time in ISO 8601 as Unix milliseconds."""
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000)
    except (TypeError, ValueError):
        return None
