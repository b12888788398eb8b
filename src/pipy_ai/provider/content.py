"""Read image and document parts: MIME type, base64 data, URL and name."""

from __future__ import annotations

import base64
import contextlib

from ..files import sniff_image_type
from ..types import DocumentContent, ImageContent, TextContent, ToolResultMessage


def is_remote_file(file: ImageContent | DocumentContent) -> bool:
    """Return whether a file has to be downloaded."""
    return bool(file.url) and not str(file.url).startswith("data:")


def file_url(file: ImageContent | DocumentContent) -> str:
    """Return the URL of a file, or its data as a `data:` URL."""
    return file.url or f"data:{media_type(file)};base64,{file.data}"


def file_name(document: DocumentContent) -> str:
    """Return the name of a document; OpenAI requires one."""
    return document.name or "document.pdf"


def inline_data(file: ImageContent | DocumentContent) -> tuple[str, str]:
    """Return MIME type and base64 data of a file that is not remote."""
    if not file.url:
        return media_type(file), file.data
    header, _, data = file.url.partition(",")  # data:image/png;base64,…
    return header.partition(":")[2].partition(";")[0] or media_type(file), data


def media_type(file: ImageContent | DocumentContent) -> str:
    """Return the MIME type: as given, else as the first bytes of an image show."""
    if file.mime_type:
        return "image/jpeg" if file.mime_type == "image/jpg" else file.mime_type
    if isinstance(file, DocumentContent):
        return "application/pdf"
    with contextlib.suppress(ValueError):
        return sniff_image_type(base64.b64decode(file.data[:64])) or "image/png"
    return "image/png"


def result_text(message: ToolResultMessage) -> str:
    """Return the text of a tool result, for APIs whose results hold no files."""
    texts = [part.text for part in message.content if isinstance(part, TextContent)]
    return "\n".join(texts) or f"(see attached {message.content[0].type})"
