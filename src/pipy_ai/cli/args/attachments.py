"""Read attachments (`-a`): images, audio, video, PDFs and text from paths, URLs or stdin."""

from __future__ import annotations

import codecs
import contextlib
from typing import TYPE_CHECKING, Any, assert_never

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...types import ServerTool, UserContent

STDIN = "-"
MAX_REDIRECTS = 5
_SLOW_CHARSETS = frozenset({"idna", "punycode"})  # of names of hosts; quadratic for a long text
MAX_TEXT_BYTES = 20_000_000
READ_TIMEOUT_S = 20.0  # longest time without a byte


def read_attachments(sources: list[str]) -> list[UserContent]:
    """Return the content of attachments, in order.

    Raises:
        ValueError: A file is of a type that no model reads, or a URL cannot be fetched.
        OSError: A file cannot be read.
    """
    if sources.count(STDIN) > 1:
        raise ValueError("-a - (piped input) can be given only once")
    return [_read_attachment(source) for source in sources]


def _read_attachment(source: str) -> UserContent:
    from ...files import attachment, is_web_url, url_kind

    if source == STDIN:
        from .stdin import read_stdin

        data = read_stdin(has_prompt=False)
        if not data:
            raise ValueError("-a -: stdin is empty")
        return attachment(data)
    is_bucket = source.lower().startswith("gs://")  # only the provider can read it
    if is_web_url(source) and url_kind(source) is None and not is_bucket:
        from ...utils.download import run_in_daemon_thread

        return run_in_daemon_thread(lambda: _fetch(source)).result()
    return attachment(source)


def _fetch(url: str) -> UserContent:
    """Load a URL whose type its name does not show. Only text is fetched here: the provider
    fetches other files. Redirects from a public address to a private one are refused.
    """
    from urllib.parse import unquote, urlsplit

    import httpx

    from ...files import attachment, audio, document, image, video
    from ...utils.download import (
        ACCEPT_ENCODING,
        fetch_error_text,
        is_public_host,
        mask_logged_urls,
        read_body,
    )
    from ...utils.secrets import mask_url, strip_userinfo

    shown_url = mask_url(url)
    mask_logged_urls()
    try:
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(
                httpx.Client(headers=ACCEPT_ENCODING, timeout=READ_TIMEOUT_S)
            )
            response = stack.enter_context(client.stream("GET", url))
            is_public = is_public_host(response.url.host)
            for _ in range(MAX_REDIRECTS):
                if response.next_request is None:
                    break
                target = response.next_request.url
                if is_public and not is_public_host(target.host):
                    raise ValueError(f"{shown_url} redirects to {target.host}, a private address")
                response = stack.enter_context(client.stream("GET", target))
            if response.status_code != 200:
                raise ValueError(f"{shown_url}: the server returned HTTP {response.status_code}")
            content_type = (
                response.headers.get("content-type", "").partition(";")[0].strip().lower()
            )
            if content_type.startswith("image/"):
                return image(url)
            if content_type.startswith("audio/"):
                return audio(url)
            if content_type.startswith("video/"):
                return video(url)
            if content_type == "application/pdf":
                return document(url)
            try:
                data = read_body(response, MAX_TEXT_BYTES)
            except ValueError as error:
                raise ValueError(f"{shown_url} cannot be read: {error}") from None
            text = _to_utf8(data, response.charset_encoding)
    except httpx.InvalidURL as error:
        raise ValueError(f"{shown_url}: {error}") from None
    except httpx.HTTPError as error:
        raise ValueError(f"{shown_url} cannot be fetched: {fetch_error_text(error)}") from None
    parts = urlsplit(strip_userinfo(url))
    name = unquote(parts.path.rpartition("/")[2]) or parts.netloc
    return attachment(text, name=name)


def _to_utf8(data: bytes, charset: str | None) -> bytes:
    try:
        if not charset or codecs.lookup(charset).name in _SLOW_CHARSETS:
            return data
        return data.decode(charset).encode()
    except (LookupError, ValueError):
        return data


def check_supported(
    attachments: Sequence[UserContent],
    models: list[str],
    options: dict[str, Any],
    tools: list[ServerTool] | None = None,
) -> None:
    """Check that every model accepts the attachments, according to the catalogue.

    Raises:
        ValueError: A model does not accept one; the message says how to find models that do.
    """
    if all(part.type == "text" for part in attachments):
        return
    from ..._requests import build_request
    from ...context import ctx, user
    from ...provider.prepare import unreadable_file_problem
    from ...provider.transport import wire_for

    for model in models:
        request = build_request(model, ctx(user(*attachments), tools=tools), None, options)  # type: ignore[arg-type]  # ty: ignore[invalid-argument-type]
        for part in attachments:
            match part.type:
                case "text" | "file":
                    continue
                case "image":
                    supported, label, modality = request.accepts_images, "images", "image"
                case "document":
                    supported, label, modality = request.accepts_documents, "PDFs", "pdf"
                case "audio":
                    supported, label, modality = request.accepts_audio, "audio", "audio"
                case "video":
                    supported, label, modality = request.accepts_video, "video", "video"
                case _:
                    assert_never(part)
            if supported is False:
                raise ValueError(
                    f"{request.provider}/{request.model_id} does not accept {label};"
                    f" to list models that do: pipy models --modality {modality}"
                )
        if problem := unreadable_file_problem(request, wire_for(request)):
            raise ValueError(problem)
