"""Sends a prepared HTTP request and reads the answer. Nothing else talks HTTP to providers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator

from ...errors import (
    PROXY_KEY,
    RETRYABLE,
    ErrorKind,
    ProviderError,
    classify,
    classify_status,
    error_info,
    retry_after_seconds,
)
from ..deltas import Delta, ResponseInfo
from . import Decoder
from .http import BROKEN, Answer, Call, send
from .opening import refused_by_proxy
from .proxied import NO_DATABASE, own_words, passed_on, with_headers
from .reading import Unreadable, documents, unreadable
from .sse import MAX_EVENT, EventTooLong, SSEReader

MAX_ERROR_BODY = 64 << 10  # bytes
REFUSAL = 5.0  # seconds that the body of an error may take
DRAIN = 0.25  # seconds to wait for the end of a body whose answer is complete


async def exchange(call: Call, decoder: Decoder) -> AsyncGenerator[list[Delta], None]:
    """Send `call` and yield the deltas of each read. The first batch says: accepted.

    Raises:
        ProviderError: the provider refused or reports a failure.
        Exception: one of `BROKEN`: it was not reached.
    """
    answer = await send(call)
    try:
        if answer.status >= 300:
            raise await _refusal(answer)
        yield with_headers([ResponseInfo(api=decoder.api)], answer.headers)
        first = piece = await answer.read()
        while piece and not (first := first.lstrip()):
            first = piece = await answer.read()
        # What a body is shows in its first character, whatever its content type claims.
        opening = first.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if opening == b"<":
            raise unreadable(first.decode("utf-8", "replace"))
        if opening in (b"{", b"["):
            whole = await _rest(first, answer)
            try:
                yield with_headers(decoder.decode_whole(whole), answer.headers)
            except (AttributeError, TypeError, KeyError, ValueError):  # not of the wire's shape
                raise unreadable(whole) from None
            return
        reader = SSEReader()
        failure: Exception | None = None
        piece = first
        while True:
            deltas, failure = _decode(decoder, reader, piece)
            if deltas:
                yield with_headers(deltas, answer.headers)
            if failure is not None:
                raise failure
            if decoder.done:
                await _drain(answer)
                return
            try:
                piece = await answer.read()
            except BROKEN as error:
                piece, failure = b"", error
            if not piece:
                break
        deltas, _ = _decode(decoder, reader, None)  # half an event is no event
        if deltas:
            yield with_headers(deltas, answer.headers)
        if failure is not None:
            raise failure
    except BROKEN as error:
        info = classify(error)
        info.message = f"The connection broke: {str(error).rstrip('.')}. Ask again."
        raise ProviderError(info) from None
    finally:
        answer.close()


def _decode(
    decoder: Decoder, reader: SSEReader, piece: bytes | None
) -> tuple[list[Delta], Exception | None]:
    """The deltas of one read (None: the end), and what is wrong with what follows them."""
    deltas: list[Delta] = []
    try:
        for event, data in reader.end() if piece is None else reader.feed(piece):
            _event(decoder, event, data, deltas)
    except EventTooLong:
        return deltas, _endless("a line")
    except ProviderError as error:
        return deltas, error
    return deltas, None


def _event(decoder: Decoder, event: str, data: str, deltas: list[Delta]) -> None:
    try:
        deltas += decoder.decode(event, data)
    except Unreadable:
        several = documents(data)
        if len(several) < 2:
            raise
        for document in several:  # some hosts put more than one into an event
            _event(decoder, event, document, deltas)
    except (AttributeError, TypeError, KeyError, ValueError):  # not of the wire's shape
        raise unreadable(data) from None


async def _rest(first: bytes, answer: Answer) -> str:
    pieces, size = [first], len(first)
    while piece := await answer.read():
        pieces.append(piece)
        size += len(piece)
        if size > MAX_EVENT:
            raise _endless("a body")
    return b"".join(pieces).decode("utf-8", "replace")


def _endless(what: str) -> ProviderError:
    text = f"The provider sent {what} without end: {MAX_EVENT >> 20} MB so far. Is api_base right?"
    return ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))


async def _drain(answer: Answer) -> None:
    """Read to the end of the body if it is near, so that the connection can be used again."""

    async def read() -> None:
        while await answer.read():
            pass

    with contextlib.suppress(Exception):
        if answer.arrived:  # nothing to wait for, so no task for it
            await read()
        else:
            await asyncio.wait_for(read(), DRAIN)


async def _refusal(answer: Answer) -> ProviderError:
    """An answer with an error status, as the failure that it tells of."""
    body = b""

    async def read() -> None:
        nonlocal body
        while len(body) < MAX_ERROR_BODY and (piece := await answer.read()):
            body += piece

    with contextlib.suppress(Exception):  # the status says enough
        await asyncio.wait_for(read(), REFUSAL)
    raw = body[:MAX_ERROR_BODY].decode("utf-8", "replace")
    status, headers = answer.status, answer.headers
    if status < 400:
        target = re.sub("//[^/]*@", "//", headers.get("location", "nowhere").partition("?")[0])
        error = error_info(
            ErrorKind.BAD_REQUEST,
            f"The provider redirects (HTTP {status}) to {target}, which is not followed, lest a key"
            " goes astray: set api_base to the address that it means.",
            status_code=status,
        )
        return ProviderError(error)
    if status == 407 and answer.proxy:
        return refused_by_proxy(answer.proxy, f"407 {_sentence(raw)}")
    kind = classify_status(status, raw)
    said = own_words(_sentence(raw)) or _silence(status, raw, kind)
    headers = passed_on(headers, raw)
    retryable = None
    if headers.get("x-should-retry") in ("true", "false"):
        retryable = headers["x-should-retry"] == "true"
    if status != 429:  # some hosts say with every answer when the next window begins
        headers = {n: v for n, v in headers.items() if not n.startswith("x-ratelimit-reset")}
    error = error_info(
        kind,
        NO_DATABASE if PROXY_KEY in raw else said,
        status_code=status,
        retryable=retryable,
        retry_after=retry_after_seconds(headers, raw),
        request_id=headers.get("request-id") or headers.get("x-request-id"),
    )
    return ProviderError(error)


def _silence(status: int, raw: str, kind: ErrorKind) -> str:
    """What to say when the provider said nothing that is for people."""
    title = re.search(r"<title>\s*(.{1,200}?)\s*</title>", raw, re.IGNORECASE | re.DOTALL)
    page = f" and a web page, {title[1]!r}" if title else ""
    hint = {ErrorKind.AUTH: " Is the key right?", ErrorKind.NOT_FOUND: " Is api_base right?"}
    again = " Ask again." if kind in RETRYABLE else ""
    return f"The provider answered with HTTP {status}{page}.{hint.get(kind, again)}"


def _sentence(raw: str) -> str:
    """The words for people in an error body."""
    try:
        body = json.loads(raw)
    except ValueError:
        return "" if raw.lstrip().startswith("<") else raw.strip()
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return raw.strip()
    for key in ("error", "message", "detail", "errors"):
        found = body.get(key)
        if isinstance(found, dict):
            inner = found.get("message") or found.get("msg")
            metadata = found.get("metadata")
            detail = metadata.get("raw") if isinstance(metadata, dict) else None
            if isinstance(inner, str):
                return f"{inner}: {detail}" if isinstance(detail, str) else inner
        if isinstance(found, str) and found:
            return found
    return raw.strip()
