"""Calls to the batch API of a provider, with the credentials of a request to a model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, BinaryIO, TypeVar
from urllib.parse import urlsplit

from ..errors import ErrorKind, ProviderError, error_info
from ..failures import classify_exception
from ..provider.direct import DirectProvider, encode_json, resolve_endpoint
from ..provider.endpoint import Endpoint
from ..provider.exchange import error_from_response
from ..provider.http.client import (
    CONNECTION_ERRORS,
    USER_AGENT,
    FileContent,
    HTTPRequest,
    HTTPResponse,
    send,
)
from ..provider.prepare import merge_headers
from ..provider.redaction import redacted_error
from ..provider.request import EncodedRequest, Request
from ..provider.wire import Wire

T = TypeVar("T")

CALL_TIMEOUT_S = 60.0
MIN_UPLOAD_BYTES_PER_S = 50_000  # slower uploads time out
IDLE_TIMEOUT_S = 120.0  # between two pieces of a download
MAX_RESPONSE_BYTES = 64 << 20  # of a description of jobs


class BatchClient:
    """Sends calls to the provider of a request."""

    def __init__(self, request: Request, wire: Wire) -> None:
        self.request = request
        self._provider = DirectProvider(wire)
        self.wire = wire
        self._endpoint: Endpoint | None = None
        self._api_headers: dict[str, str] = {}
        self.url: str = ""
        """Where requests to the model go, without the query; set by `connect`."""
        self.key_fingerprint: str = ""
        """Tells API keys apart without revealing them; set by `connect`."""

    async def connect(self) -> None:
        """Find the credentials and the address. Nothing is sent.

        Raises:
            ProviderError: The key or something else is missing.
        """
        self._endpoint = await resolve_endpoint(self.request, self.wire)
        encoded = self.encode(self.request)
        self.url = encoded.url.partition("?")[0]
        self._api_headers = {
            name: value
            for name, value in encoded.headers.items()
            if name.lower() not in ("accept", "content-type")
        }
        secret = "\n".join(sorted(self._endpoint.secrets))
        self.key_fingerprint = blake2b(
            secret.encode("utf-8", "replace"), digest_size=4, person=b"pipy-batch"
        ).hexdigest()

    def encode(self, request: Request) -> EncodedRequest:
        """Return a request to the model as the provider's API expects it.

        Raises:
            ProviderError: The API cannot carry it.
        """
        assert self._endpoint is not None
        return self._provider.encode(request, self._endpoint)

    def url_of(self, path: str) -> str:
        """Return the address of `path`, a path of the provider's host."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}{path}"

    async def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        file: FileContent | None = None,
        once: bool = False,
    ) -> Any:
        """Return the JSON body of a response; None if it has none.

        `once`: the call must not have its effect twice.

        Raises:
            ProviderError: The call failed. Kind `connection` or `timeout`, or a status of 500 or
                more: it may have had its effect.
        """
        return (
            await self.call_with_headers(method, url, body, headers=headers, file=file, once=once)
        )[0]

    async def call_with_headers(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        file: FileContent | None = None,
        once: bool = False,
    ) -> tuple[Any, dict[str, str]]:
        """Return the JSON body and the headers of a response."""
        content = b"" if body is None else encode_json(body)
        own = {} if body is None and method == "GET" else {"content-type": "application/json"}
        upload_s = (0 if file is None else file.size) / MIN_UPLOAD_BYTES_PER_S

        async def attempt(base: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
            merged = merge_headers(own, base, headers or {})
            request = HTTPRequest(method, url, list(merged.items()), content, file, once)
            async with asyncio.timeout(CALL_TIMEOUT_S + upload_s):
                response = await send(request)
                try:
                    return await _read_json(response), response.headers
                finally:
                    response.close()

        return await self._with_credentials(attempt)

    async def download(self, url: str, output: BinaryIO) -> None:
        """Append the body of a response to a file, piece by piece; nothing if that fails.

        Raises:
            ProviderError: The download failed.
            OSError: The file cannot be written.
        """
        start = output.tell()

        async def attempt(base: Mapping[str, str]) -> None:
            output.seek(start)
            output.truncate()
            request = HTTPRequest("GET", url, list(base.items()))
            async with asyncio.timeout(CALL_TIMEOUT_S):
                response = await send(request)
            try:
                if response.status >= 300:
                    raise await error_from_response(response)
                while True:
                    async with asyncio.timeout(IDLE_TIMEOUT_S):
                        piece = await response.read()
                    if not piece:
                        return
                    output.write(piece)
            finally:
                response.close()

        await self._with_credentials(attempt)

    async def _with_credentials(self, attempt: Callable[[Mapping[str, str]], Awaitable[T]]) -> T:
        """Call `attempt` with the headers of a request; again if the token has expired."""
        renewed = False
        while True:
            endpoint = self._endpoint or await resolve_endpoint(self.request, self.wire)
            self._endpoint = endpoint
            headers = merge_headers(
                {"accept": "application/json", "accept-encoding": "identity"},
                {"user-agent": USER_AGENT},
                endpoint.headers,
                self._api_headers,
            )
            try:
                return await attempt(headers)
            except (ProviderError, *CONNECTION_ERRORS) as error:
                failure = redacted_error(_as_provider_error(error), self.request, endpoint.secrets)
                if renewed or endpoint.renew is None or failure.error.status_code != 401:
                    raise failure from None
            renewed = True
            endpoint.renew()
            self._endpoint = None


def _as_provider_error(error: Exception) -> ProviderError:
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, TimeoutError):
        return ProviderError(error_info(ErrorKind.TIMEOUT, "The provider did not respond in time."))
    info = classify_exception(error)
    info.message = f"The connection broke: {str(error).rstrip('.')}."
    return ProviderError(info)


async def _read_json(response: HTTPResponse) -> Any:
    if response.status >= 300:
        raise await error_from_response(response)
    body = bytearray()
    while piece := await response.read():
        body += piece
        if len(body) > MAX_RESPONSE_BYTES:
            text = "The provider sent a job description that never ends."
            raise ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        text = f"The provider's response is not JSON: {bytes(body[:200])!r}"
        raise ProviderError(error_info(ErrorKind.SERVER, text)) from None
