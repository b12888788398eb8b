"""Cassettes: HTTP requests and their responses, recorded in a file and replayed from it.

A cassette is below retries and decoders: each attempt is one interaction, and the bytes of its
response are decoded again. The format is in docs/testing.md.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeAlias, get_args

from ..errors import MAX_MESSAGE_CHARS, ErrorKind, ProviderError, error_info
from .cassette_file import CassetteError, Interaction, difference, load, merge_into
from .cassette_masking import masked_request, plain_request, response_secrets
from .http.client import CONNECTION_ERRORS, HTTPRequest, HTTPResponse, send_over_network
from .http.connection import ConnectionBroken
from .interception import opened, own_interceptor

RecordMode: TypeAlias = Literal["none", "once", "new", "all"]
"""What a cassette records. none: nothing. once: everything if there is no file, else nothing. new:
requests that are not in the file. all: everything, which replaces the file."""

__all__ = ["Cassette", "CassetteError", "RecordMode", "cassette"]


def cassette(
    path: str | os.PathLike[str], mode: RecordMode = "once", *, timing: bool = False
) -> Cassette:
    """Record the requests of a `with` block in a YAML file, or replay them from it.

    A replay needs neither network nor API keys. Requests match by method, URL and body, and
    each recorded response is replayed once, in the recorded order. A request that is not in the
    cassette fails with an error that shows the difference to the most similar recorded request.
    API keys, cookies, signatures and account ids are not recorded.

    Args:
        path: The file.
        mode: "none" only replays. "once" records if the file does not exist, else only replays.
            "new" also records requests that are not in the file. "all" records everything again.
        timing: Replay the pieces of each response with their recorded delays.

    Raises:
        CassetteError: The file is not a valid cassette.
        OSError: The file cannot be read, or written at the end of the block.

    Example:
        >>> from pipy_ai import cassette, complete
        >>> with cassette("tests/cassettes/capital.yaml"):    # doctest: +SKIP
        ...     print(complete("openai/gpt-5-mini", "The capital of France?").text)
        Paris.
    """
    return Cassette(path, mode, timing=timing)


class Cassette:
    """An open cassette: the result of `with cassette(…)`.

    Attributes:
        path: The file.
        unmatched: The errors of requests that were not in the file.
    """

    def __init__(
        self, path: str | os.PathLike[str], mode: RecordMode = "once", *, timing: bool = False
    ) -> None:
        if mode not in get_args(RecordMode):
            raise ValueError(f"mode must be 'none', 'once', 'new' or 'all', not {mode!r}")
        self.path = Path(path)
        self.unmatched: list[str] = []
        self.records = self.skips_waits = False
        self._mode = mode
        self._timing = timing
        self._lock = threading.Lock()
        self._file: list[Interaction] = []
        self._replayable: list[Interaction] = []
        self._recorded: list[Interaction] = []
        self._call_ids = 0
        self._token: Any = None

    def __enter__(self) -> Cassette:
        if self in opened:
            raise RuntimeError("the cassette is open already")
        exists = self.path.exists()
        self.unmatched, self._recorded, self._call_ids = [], [], 0
        self._file = load(self.path) if exists and self._mode != "all" else []
        self._before = load(self.path, damaged_is_empty=True) if self._mode == "all" else []
        self._replayable = list(self._file)
        self.records = self._mode in ("new", "all") or (self._mode == "once" and not exists)
        self.skips_waits = not (self.records or self._timing)
        self._token = own_interceptor.set(self)
        opened.append(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        opened.remove(self)
        try:
            own_interceptor.reset(self._token)
        except ValueError:  # closed in another context, as fixtures of async tests are
            own_interceptor.set(None)
        with self._lock:
            recorded = [interaction.copy() for interaction in self._recorded]
        if recorded:
            merge_into(self.path, recorded, known=len(self._file), replaced=self._before)

    def make_call_id(self) -> str:
        """Return an id for a tool call that has none: the same in every replay."""
        with self._lock:
            self._call_ids += 1
            return f"call_{self._call_ids:024x}"

    async def send(self, http_request: HTTPRequest) -> HTTPResponse:
        """Replay the response to a request, or send it and record its response."""
        method, url, content = http_request.method, http_request.url, http_request.content
        if (found := self._take(method, url, content)) is not None:
            return await _replayed(found, self._timing)
        interaction = _started(method, url, http_request.headers, content)
        started_at = time.monotonic()
        try:
            response = await send_over_network(http_request)
        except CONNECTION_ERRORS as error:
            interaction.error = str(error) or type(error).__name__
            self._add(interaction)
            raise
        self._add_response(interaction, response.status, response.headers)
        return _Recording(response, interaction, started_at)

    async def send_httpx(self, send: Any, http_request: Any, options: dict[str, Any]) -> Any:
        """Do the same for a request that LiteLLM sends with httpx."""
        import httpx

        content = await http_request.aread()
        method, url = http_request.method, str(http_request.url)
        body: _Recording | _Replay
        try:
            found = self._take(method, url, content)
        except ProviderError as failure:  # LiteLLM would make it a broken connection
            error = {"error": {"message": failure.error.message, "type": "invalid_request_error"}}
            return httpx.Response(400, json=error, request=http_request)
        if found is not None:
            try:
                body = await _replayed(found, self._timing)
            except ConnectionBroken as error:
                raise httpx.ConnectError(str(error), request=http_request) from None
        else:
            interaction = _started(method, url, http_request.headers.multi_items(), content)
            started_at = time.monotonic()
            try:
                sent = await send(http_request, **{**options, "stream": True})
            except httpx.TransportError as error:
                interaction.error = str(error) or type(error).__name__
                self._add(interaction)
                raise
            self._add_response(interaction, sent.status_code, dict(sent.headers))
            body = _Recording(_HttpxResponse(sent), interaction, started_at)
        headers = dict(body.headers)
        for name in ("content-encoding", "content-length", "transfer-encoding"):
            headers.pop(name, None)  # the body is decompressed
        response = httpx.Response(
            body.status, headers=headers, stream=_httpx_stream(body), request=http_request
        )
        if not options.get("stream", False):
            await response.aread()
        return response

    def _add(self, interaction: Interaction) -> None:
        with self._lock:
            self._recorded.append(interaction)

    def _add_response(
        self, interaction: Interaction, status: int, headers: Mapping[str, str]
    ) -> None:
        interaction.status, interaction.headers = status, dict(headers)
        interaction.secrets += response_secrets(headers)
        self._add(interaction)

    def _take(self, method: str, url: str, content: bytes) -> Interaction | None:
        """Return the interaction to replay; None: the request is to be recorded.

        Raises:
            ProviderError: The request is not in the cassette, which records nothing.
        """
        request = plain_request(method, url, content)
        with self._lock:
            for interaction in self._replayable:
                if interaction.matches(request):
                    self._replayable.remove(interaction)
                    return interaction
            if self.records:
                return None
            text = self._explain(request, masked_request(method, url, (), content)[0])
            self.unmatched.append(text)
        raise ProviderError(error_info(ErrorKind.BAD_REQUEST, text[:MAX_MESSAGE_CHARS]))

    def _explain(self, request: dict[str, Any], masked: dict[str, Any]) -> str:
        """Return why a request cannot be replayed."""
        where = f"the cassette {os.fspath(self.path)!r}"
        how = "Record it with mode='new', or with `pytest --record`."
        times = sum(interaction.matches(request) for interaction in self._file)
        if times:
            return (
                f"The request is in {where} {times} time{'s' if times > 1 else ''}, and was made "
                f"once more. {how}"
            )
        if not self._file:
            reason = "is empty" if self.path.exists() else "does not exist"
            return f"The request cannot be replayed: {where} {reason}. {how}"
        requests = [interaction.request for interaction in self._file]
        return f"The request is not in {where}. {how}\n{difference(requests, masked)}"


def _started(
    method: str, url: str, headers: Iterable[tuple[str, str]], content: bytes
) -> Interaction:
    request, secrets = masked_request(method, url, headers, content)
    return Interaction(request, secrets=secrets)


class _Recording(HTTPResponse):
    """A response that is recorded while it is read."""

    def __init__(
        self, response: HTTPResponse | _HttpxResponse, interaction: Interaction, started_at: float
    ) -> None:
        self._response, self._interaction, self._started_at = response, interaction, started_at
        self.proxy = response.proxy
        self.status = response.status
        self.headers = response.headers

    async def read(self) -> bytes:
        try:
            piece = await self._response.read()
        except CONNECTION_ERRORS as error:
            self._interaction.error = str(error) or type(error).__name__
            raise
        if piece:
            self._interaction.pieces.append((time.monotonic() - self._started_at, piece))
        else:
            self._interaction.complete = True
        return piece

    @property
    def fully_received(self) -> bool:
        return self._response.fully_received

    def close(self) -> None:
        self._response.close()

    async def aclose(self) -> None:
        if isinstance(self._response, _HttpxResponse):
            await self._response.aclose()


class _HttpxResponse:
    """A response of httpx with our interface."""

    proxy = ""
    fully_received = False

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status_code
        self.headers: dict[str, str] = dict(response.headers)
        self._pieces = response.aiter_bytes()

    async def read(self) -> bytes:
        import httpx

        try:
            async for piece in self._pieces:
                if piece:
                    return bytes(piece)
        except httpx.TransportError as error:
            raise ConnectionBroken(str(error)) from error
        return b""

    def close(self) -> None: ...

    async def aclose(self) -> None:
        await self._response.aclose()


class _Replay(HTTPResponse):
    """A recorded response."""

    def __init__(self, interaction: Interaction, timing: bool) -> None:
        self.proxy = ""
        self.status: int = interaction.status
        self.headers: dict[str, str] = dict(interaction.headers)
        self._interaction = interaction
        self._pieces: Iterator[tuple[float, bytes]] = iter(interaction.pieces)
        self._started_at = time.monotonic() if timing else None

    async def read(self) -> bytes:
        for seconds, piece in self._pieces:
            if self._started_at is not None:
                await asyncio.sleep(max(0.0, self._started_at + seconds - time.monotonic()))
            return piece
        if self._interaction.error:
            raise ConnectionBroken(self._interaction.error)
        if not self._interaction.complete:
            raise ConnectionBroken("the recording ends here, because its stream was left early")
        return b""

    @property
    def fully_received(self) -> bool:
        return self._started_at is None

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


async def _replayed(interaction: Interaction, timing: bool) -> _Replay:
    await asyncio.sleep(0)
    if not interaction.status:
        raise ConnectionBroken(interaction.error)
    return _Replay(interaction, timing)


def _httpx_stream(response: _Recording | _Replay) -> Any:
    import httpx

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                while piece := await response.read():
                    yield piece
            except ConnectionBroken as error:
                raise httpx.ReadError(str(error)) from error

        async def aclose(self) -> None:
            await response.aclose()

    return Body()
