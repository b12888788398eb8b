"""`-a`: images, PDFs and text, by path or URL, or piped in; and whether the model reads them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..utils.plain import why

if TYPE_CHECKING:
    from ..types import UserContent

STDIN = "-"
MOST = 20_000_000  # bytes of a text that is fetched
PATIENCE = 20.0  # seconds without a byte


def parts(sources: list[str]) -> list[UserContent]:
    """What the model is shown, in this order.

    Raises:
        ValueError: a file is nothing that models read, or cannot be fetched.
        OSError: a file cannot be read.
    """
    if sources.count(STDIN) > 1:
        raise ValueError("-a - stands for what is piped in, once")
    return [_part(source) for source in sources]


def _part(source: str) -> UserContent:
    from ..files import attachment, is_web, url_kind

    if source == STDIN:
        piped = sys.stdin if sys.stdin is not None and not sys.stdin.isatty() else None
        data = piped.buffer.read() if piped is not None else b""
        if not data:
            raise ValueError("-a -: nothing is piped in")
        return attachment(data)
    if is_web(source) and url_kind(source) is None:
        return _fetched(source)
    return attachment(source)


def _fetched(url: str) -> UserContent:
    """What is at an address that does not tell. Text is fetched; the rest the provider fetches."""
    from urllib.parse import unquote, urlsplit

    import httpx

    from ..files import attachment, document, image

    try:
        with (
            httpx.Client(follow_redirects=True, max_redirects=5, timeout=PATIENCE) as client,
            client.stream("GET", url) as answer,
        ):
            if answer.status_code != 200:
                raise ValueError(f"{url}: the server says {answer.status_code}")
            kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind.startswith("image/"):
                return image(url)
            if kind == "application/pdf":
                return document(url)
            data = bytearray()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > MOST:
                    raise ValueError(f"{url} is longer than {MOST // 1_000_000} MB")
            text = _utf8(bytes(data), answer.charset_encoding)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url}: {error}") from None
    except httpx.HTTPError as error:
        raise ValueError(f"{url} cannot be fetched: {why(error)}") from None
    name = unquote(urlsplit(url).path.rpartition("/")[2]) or urlsplit(url).netloc
    return attachment(text, name=name)


def _utf8(data: bytes, charset: str | None) -> bytes:
    try:
        return data.decode(charset).encode() if charset else data
    except (LookupError, ValueError):
        return data


def check(given: list[UserContent], models: list[str], options: dict[str, Any]) -> None:
    """Whether one of the models is known not to read what is given.

    Raises:
        ValueError: so it is; with the way to find one that does.
    """
    kinds = {part.type for part in given} - {"text"}
    if not kinds:
        return
    from ..api import build_request
    from ..context import ctx

    for model in models:
        request = build_request(model, ctx("?"), None, options)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        for kind in kinds:
            reads = request.vision if kind == "image" else request.documents
            if reads is False:
                what, modality = ("images", "image") if kind == "image" else ("PDFs", "pdf")
                raise ValueError(
                    f"{request.provider}/{request.model_id} reads no {what};"
                    f" these do: pipy models --modality {modality}"
                )
