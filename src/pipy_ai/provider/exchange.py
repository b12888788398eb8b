"""Send an HTTP request to a provider and decode its response, streamed or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from ..errors import RETRYABLE_KINDS, ErrorKind, ProviderError, error_info
from ..failures import (
    PROXY_WRONG_KEY_TEXT,
    classify_exception,
    classify_status,
    request_id_from_headers,
    requested_delay,
    retry_after_seconds,
)
from .deltas import Delta, ResponseInfo, UsageReport
from .endpoint import Signer
from .http.client import (
    CONNECTION_ERRORS,
    HTTPRequest,
    HTTPResponse,
    add_query,
    redacted_url,
    send,
)
from .http.connect import proxy_refused_error
from .http.sse import MAX_EVENT_BYTES, EventTooLong
from .profiles import Profile
from .repeated import RepeatedEvents
from .response import ResponseCapture
from .wire import Decoder, Framing, Wire
from .wires._litellm_proxy import (
    NO_DATABASE_MESSAGE,
    apply_proxy_headers,
    unwrap_error_message,
    upstream_headers,
)
from .wires._parsing import (
    MALFORMED,
    MAX_MALFORMED_CHARS,
    MalformedResponseError,
    error_from_payload,
    parse_object,
    parse_objects,
    reported_error,
    split_documents,
)
from .wires._usage import usage_from_headers

MAX_LIST_PAGES = 100
# Where APIs put the entries of a list, and the token of its next page with its parameter.
_LIST_FIELDS = ("data", "models", "modelSummaries", "inferenceProfileSummaries")
_PAGE_TOKENS = (
    ("nextPageToken", "pageToken"), ("next_page_token", "page_token"), ("nextToken", "nextToken")
)  # fmt: skip
MAX_RESPONSE_BYTES = 512 << 20  # more than any answer needs, without exhausting memory
MAX_ERROR_BODY_BYTES = 64 << 10
ERROR_BODY_TIMEOUT_S = 5.0  # time to wait for the body of an error
DRAIN_TIMEOUT_S = 0.25  # time to wait for the end of a body whose answer is complete


async def stream_deltas(
    request: HTTPRequest,
    wire: Wire,
    profile: Profile,
    capture: ResponseCapture | None = None,
    deliver: Callable[[list[Delta]], None] | None = None,
) -> AsyncGenerator[list[Delta], None]:
    """Send a request and yield the deltas of each read.

    The first batch means that the provider accepted the request. `profile` lists which billing
    figures of the host are trusted. `capture` receives the status and the headers. `deliver` takes
    most deltas of a stream instead, as soon as they arrive.

    Raises:
        ProviderError: The request was rejected, failed, or did not reach the provider.
    """
    response = await send(request)
    if capture is not None:
        response = capture.attach(response)
    decoder, framing = wire.decoder(), wire.framing()
    pending_error: Exception | None
    try:
        if response.status >= 300:
            raise await error_from_response(response)
        request_id = response.headers.get("x-amzn-requestid")  # Converse names no response
        first_deltas: list[Delta] = [ResponseInfo(request_id, api=decoder.api)]
        if billing := usage_from_headers(response.headers, wire.api, profile.litellm_headers):
            first_deltas.append(billing)
        yield _believed(response.headers, profile, first_deltas)
        # The first character tells a stream from a document: content types are often wrong.
        first_chunk = (await response.read()).lstrip()
        while not (first_byte := _first_character(first_chunk)) and (
            chunk := await response.read()
        ):
            first_chunk = (first_chunk + chunk).lstrip()
        if first_byte == b"<":
            raise MalformedResponseError(await _read_beginning(first_chunk, response))
        if first_byte and first_byte in framing.document_starts:
            body = await _read_rest(first_chunk, response)
            deltas, pending_error = decode_document(decoder, body)
            yield _believed(response.headers, profile, deltas)
            if pending_error is not None:
                raise pending_error
            return
        pending_error = None
        reader = _BodyReader(
            decoder, framing, deliver, partial(_believed, response.headers, profile)
        )
        reader.decode(first_chunk)
        while True:
            if reader.deltas:
                yield reader.deltas
            if reader.error is not None:
                raise reader.error
            if decoder.done:
                await _drain(response)
                return
            try:
                if deliver is not None and type(response) is HTTPResponse:
                    has_ended = await response.pass_to(reader.decode_and_deliver)
                elif chunk := await response.read():
                    has_ended = False
                    reader.decode(chunk)
                else:
                    has_ended = True
            except CONNECTION_ERRORS as error:
                has_ended, pending_error = True, error
            if has_ended:
                break
        reader.decode(None)
        if reader.deltas:
            yield reader.deltas
        last_error = reader.error
        if not isinstance(last_error, MalformedResponseError):  # half an event
            pending_error = last_error or pending_error
        if pending_error is not None:
            raise pending_error
    except CONNECTION_ERRORS as error:
        info = classify_exception(error)
        info.message = f"The connection broke: {str(error).rstrip('.')}. Try again."
        raise ProviderError(info) from None
    finally:
        response.close()


class _BodyReader:
    """Decodes the body of a response, piece by piece."""

    def __init__(
        self,
        decoder: Decoder,
        framing: Framing,
        deliver: Callable[[list[Delta]], None] | None,
        believed: Callable[[list[Delta]], list[Delta]],
    ) -> None:
        self.deltas: list[Delta] = []  # of the latest piece, if they were not delivered
        self.error: Exception | None = None  # that follows them
        self._decoder, self._framing = decoder, framing
        self._deliver, self._believed = deliver, believed
        self._repeated = (
            RepeatedEvents(decoder.varying_fields, decoder.count_field)
            if framing.find_end is not None
            else None
        )
        self._total_bytes = 0

    def decode(self, chunk: bytes | None) -> bool:
        """Decode a piece (None: the end), and return whether the response may go on."""
        self.deltas = []
        self._total_bytes += len(chunk or b"")
        if self._total_bytes > MAX_RESPONSE_BYTES:
            self.error = _too_long_error("an answer", MAX_RESPONSE_BYTES)
            return False
        deltas, self.error = decode_chunk(self._decoder, self._framing, chunk, self._repeated)
        if deltas:
            self.deltas = self._believed(deltas)
        return self.error is None and not self._decoder.done

    def decode_and_deliver(self, chunk: bytes) -> bool:
        """Do the same; deliver the deltas if the response may go on."""
        assert self._deliver is not None
        if self._repeated is not None and self._total_bytes < MAX_RESPONSE_BYTES:
            deltas = self._repeated.read_one(chunk)
            if deltas is not None:
                self._total_bytes += len(chunk)
                self._deliver(deltas)
                return True
        if not self.decode(chunk):
            return False
        if self.deltas:
            deltas, self.deltas = self.deltas, []
            self._deliver(deltas)
        return True


async def fetch_json(request: HTTPRequest) -> dict[str, Any]:
    """Send a request and return the JSON object of its response; of a list, as `data`.

    Raises:
        ProviderError: The request was rejected, the body is not a JSON object, or it names an
            error.
        Exception: One of `CONNECTION_ERRORS`.
    """
    response = await send(request)
    try:
        if response.status >= 300:
            raise await error_from_response(response)
        text = await _read_rest(b"", response)
        is_list = text.lstrip().startswith("[")
        body = parse_object(f'{{"data": {text}}}' if is_list else text)
    finally:
        response.close()
    if error := reported_error(body):
        raise error_from_payload(error)
    return body


async def fetch_list(
    url: str, headers: Mapping[str, str], sign: Signer | None
) -> list[dict[str, Any]]:
    """Return the objects of a list at a URL, from all its pages.

    Raises:
        ProviderError: As `fetch_json`; the list does not end.
        Exception: One of `CONNECTION_ERRORS`.
    """
    entries: list[dict[str, Any]] = []
    page_url = url
    for _ in range(MAX_LIST_PAGES):
        request = HTTPRequest("GET", page_url, list(headers.items()))
        if sign is not None:
            request.headers += sign(request).items()
        body = await fetch_json(request)
        lists = (body.get(name) for name in _LIST_FIELDS)
        page = next((value for value in lists if isinstance(value, list)), None)
        if page is None:
            raise MalformedResponseError(json.dumps(body))
        entries += [entry for entry in page if isinstance(entry, dict)]
        following = next_page(body)
        if not following:
            return entries
        page_url = add_query(url, following)
    text = f"The provider's list of models has more than {MAX_LIST_PAGES} pages. Check api_base."
    raise ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))


def next_page(body: Mapping[str, Any]) -> str:
    """Return the query of a list's next page; "" after the last one.

    Example:
        >>> next_page({"has_more": True, "last_id": "model-9"})
        'after_id=model-9'
    """
    if body.get("has_more") and body.get("last_id"):
        return f"after_id={quote(str(body['last_id']), safe='')}"
    for field, parameter in _PAGE_TOKENS:
        if token := body.get(field):
            return f"{parameter}={quote(str(token), safe='')}"
    return ""


def _believed(headers: Mapping[str, str], profile: Profile, deltas: list[Delta]) -> list[Delta]:
    """Return deltas without costs from hosts that do not report what they bill."""
    if profile.litellm_headers:
        return apply_proxy_headers(deltas, headers)
    if not profile.reports_cost:
        for delta in deltas:
            if isinstance(delta, UsageReport):
                delta.cost = None
    return deltas


_BOM = b"\xef\xbb\xbf"


def _first_character(body: bytes) -> bytes:
    """Return the first byte that is not white space; empty if `body` has none so far."""
    text = body.lstrip()
    if len(text) < len(_BOM) and _BOM.startswith(text):
        return b""
    return text.removeprefix(_BOM).lstrip()[:1]


def decode_document(decoder: Decoder, body: str) -> tuple[list[Delta], Exception | None]:
    """Return the deltas of a response in one document, and the error that follows them, if any."""
    deltas: list[Delta] = []
    try:
        decoder.decode_body(body, deltas)
    except MalformedResponseError as error:
        return deltas, _listed_error(body) or error
    except ProviderError as error:
        return deltas, error
    except MALFORMED:
        return deltas, MalformedResponseError(body)
    return deltas, None


def _listed_error(body: str) -> ProviderError | None:
    """Return the error of a body that is a list of one error, as Google sends it, or None."""
    if not body.lstrip().startswith("["):
        return None
    try:
        first = parse_object(f'{{"all": {body}}}')["all"][0]
    except (ProviderError, IndexError):
        return None
    error = reported_error(first) if isinstance(first, dict) else None
    return error_from_payload(error) if error else None


def decode_chunk(
    decoder: Decoder,
    framing: Framing,
    chunk: bytes | None,
    repeated: RepeatedEvents | None = None,
) -> tuple[list[Delta], Exception | None]:
    """Return the deltas of one read (None: the end), and the error that follows them, if any."""
    deltas: list[Delta] = []
    try:
        rest = chunk or b""
        if repeated is not None:
            rest = _decode_repeated(decoder, framing, repeated, rest, deltas)
            if chunk is None:
                rest += repeated.take_partial_event()
        events = framing.feed(rest) if rest else []
        if chunk is None:
            events += framing.finish()
        if events:
            _decode_events(decoder, events, deltas)
    except EventTooLong:
        return deltas, _too_long_error("a line")
    except ProviderError as error:
        return deltas, error
    return deltas, None


def _decode_repeated(
    decoder: Decoder,
    framing: Framing,
    repeated: RepeatedEvents,
    chunk: bytes,
    deltas: list[Delta],
) -> bytes:
    """Decode events that may repeat each other; return the data that is left if they do not."""
    find_end = framing.find_end
    assert find_end is not None
    data, start = repeated.take_partial_event() + chunk, 0
    while not (repeated.given_up or decoder.done):
        run, start = repeated.read(data, start)
        if run is not None:
            deltas.append(run)
            if start == len(data):
                return b""
        end = find_end(data, start)
        if end < 0:
            return repeated.keep_partial_event(data[start:])
        event_bytes, start = data[start:end], end
        events, count = framing.feed(event_bytes), len(deltas)
        for event, text in events:
            _decode_event(decoder, event, text, deltas)
        if events:
            repeated.learn(event_bytes, [text for _, text in events], deltas[count:])
    return data[start:]


def _decode_events(decoder: Decoder, events: list[tuple[str, str]], deltas: list[Delta]) -> None:
    objects = parse_objects([data for _, data in events]) if len(events) > 1 else None
    for number, (event, data) in enumerate(events):
        if decoder.done:
            break
        if objects is None:
            _decode_event(decoder, event, data, deltas)
            continue
        try:
            decoder.decode(event, data, deltas, objects[number])
        except MALFORMED:
            raise MalformedResponseError(data) from None


def _decode_event(decoder: Decoder, event: str, data: str, deltas: list[Delta]) -> None:
    try:
        decoder.decode(event, data, deltas)
    except MalformedResponseError:
        parts = split_documents(data)
        if len(parts) < 2:
            raise
        for document in parts:  # some hosts put several documents into one event
            _decode_event(decoder, event, document, deltas)
    except MALFORMED:
        raise MalformedResponseError(data) from None


async def _read_beginning(first_chunk: bytes, response: HTTPResponse) -> str:
    """Return the beginning of a body, the same however its bytes arrive."""
    beginning = first_chunk
    with contextlib.suppress(*CONNECTION_ERRORS):
        while len(beginning) < MAX_MALFORMED_CHARS and (chunk := await response.read()):
            beginning += chunk
    return beginning[:MAX_MALFORMED_CHARS].decode("utf-8-sig", "replace")


async def _read_rest(first_chunk: bytes, response: HTTPResponse) -> str:
    chunks, total_bytes = [first_chunk], len(first_chunk)
    while chunk := await response.read():
        chunks.append(chunk)
        total_bytes += len(chunk)
        if total_bytes > MAX_EVENT_BYTES:
            raise _too_long_error("a body")
    return b"".join(chunks).decode("utf-8-sig", "replace")


def _too_long_error(subject: str, max_bytes: int = MAX_EVENT_BYTES) -> ProviderError:
    size = f"{max_bytes >> 20} MB"
    text = f"The provider sent {subject} that does not end: {size} so far. Check api_base."
    return ProviderError(error_info(ErrorKind.SERVER, text, retryable=False))


async def _drain(response: HTTPResponse) -> None:
    """Read the rest of the body if it arrives soon, so that the connection can be reused."""

    async def read() -> None:
        while await response.read():
            pass

    with contextlib.suppress(Exception):
        if response.fully_received:  # nothing to wait for, so `wait_for` need not make a task
            await read()
        else:
            await asyncio.wait_for(read(), DRAIN_TIMEOUT_S)


async def error_from_response(response: HTTPResponse) -> ProviderError:
    """Read a response with an error status and classify it."""
    body = b""

    async def read() -> None:
        nonlocal body
        while len(body) < MAX_ERROR_BODY_BYTES and (chunk := await response.read()):
            body += chunk

    with contextlib.suppress(Exception):  # the status alone is enough
        await asyncio.wait_for(read(), ERROR_BODY_TIMEOUT_S)
    body_text = body[:MAX_ERROR_BODY_BYTES].decode("utf-8", "replace")
    status, headers = response.status, response.headers
    if status == 407 and response.proxy:
        return proxy_refused_error(response.proxy, f"407 {_error_message(body_text)}")
    return classify_response(status, headers, body_text)


def classify_response(status: int, headers: Mapping[str, str], body_text: str) -> ProviderError:
    """Return the error of a response with an error status."""
    if status < 400:
        location = redacted_url(headers.get("location", "nowhere"))
        text = (
            f"The provider redirects (HTTP {status}) to {location}, which is not followed, "
            "to protect your key. If you trust that address, set api_base to it."
        )
        return ProviderError(error_info(ErrorKind.BAD_REQUEST, text, status_code=status))
    headers = upstream_headers(headers, body_text)
    aws_error = headers.get("x-amzn-errortype", "").partition(":")[0]
    if aws_error:
        body_text = json.dumps({"__type": aws_error, "message": body_text})
    kind = classify_status(status, body_text, requested_delay(headers, body_text))
    message = unwrap_error_message(_error_message(body_text)) or _default_message(
        status, body_text, kind
    )
    if aws_error:
        from .clouds.aws_errors import error_advice

        if advice := error_advice(aws_error, message, headers):
            message = f"{message.rstrip('.')}. {advice}"
    should_retry = headers.get("x-should-retry")
    retryable = None
    if should_retry == "false" or (should_retry == "true" and kind is ErrorKind.BAD_REQUEST):
        retryable = should_retry == "true"
    if status != 429:  # some hosts send the start of the next window with every response
        headers = {n: v for n, v in headers.items() if "ratelimit" not in n}
    error = error_info(
        kind,
        NO_DATABASE_MESSAGE if PROXY_WRONG_KEY_TEXT in body_text else message,
        status_code=status,
        retryable=retryable,
        retry_after=retry_after_seconds(headers, body_text),
        request_id=request_id_from_headers(headers),
    )
    return ProviderError(error)


def error_from_document(error: object) -> ProviderError:
    """Return the error that a provider reports within a document, such as a result of a batch."""
    return error_from_payload(error)


def _default_message(status: int, body_text: str, kind: ErrorKind) -> str:
    """Return a message for a response that has none."""
    from ..error_body import page_title

    title = page_title(body_text)
    page_note = f" and a web page, {title!r}" if title else ""
    hint = {ErrorKind.AUTH: " Check the API key.", ErrorKind.NOT_FOUND: " Check api_base."}
    retry_hint = " Try again." if kind in RETRYABLE_KINDS else ""
    return f"The provider answered with HTTP {status}{page_note}.{hint.get(kind, retry_hint)}"


def _error_message(body_text: str) -> str:
    """Return the human-readable message of an error body; empty for a web page."""
    from ..error_body import error_message_from_body, wrapped_document

    if body_text.lstrip().startswith("<"):
        return ""
    return error_message_from_body(wrapped_document(body_text)) or body_text.strip().strip('"')
