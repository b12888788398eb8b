"""Read image and document parts: MIME type, base64 data, URL and name."""

from __future__ import annotations

import base64
import contextlib

from ...files import sniff_image_type
from ...types import DocumentContent, ImageContent, TextContent, ToolResultMessage


def is_remote_file(file: ImageContent | DocumentContent) -> bool:
    """Whether somebody has to fetch it."""
    return bool(file.url) and not str(file.url).startswith("data:")


def file_url(file: ImageContent | DocumentContent) -> str:
    """The file as a URL: its own, or a `data:` URL."""
    return file.url or f"data:{media_type(file)};base64,{file.data}"


def file_name(document: DocumentContent) -> str:
    """What it is called: OpenAI takes no file without a name."""
    return document.name or "document.pdf"


def inline_data(file: ImageContent | DocumentContent) -> tuple[str, str]:
    """The MIME type and the base64 data of a file that is not remote."""
    if not file.url:
        return media_type(file), file.data
    header, _, data = file.url.partition(",")  # data:image/png;base64,…
    return header.partition(":")[2].partition(";")[0] or media_type(file), data


def media_type(file: ImageContent | DocumentContent) -> str:
    """What kind of file it is: as it says, else as an image's first bytes do."""
    if file.mime_type:
        return "image/jpeg" if file.mime_type == "image/jpg" else file.mime_type
    if isinstance(file, DocumentContent):
        return "application/pdf"
    with contextlib.suppress(ValueError):
        return sniff_image_type(base64.b64decode(file.data[:64])) or "image/png"
    return "image/png"


def result_text(message: ToolResultMessage) -> str:
    """What a tool said, where files cannot stand among it."""
    texts = [part.text for part in message.content if isinstance(part, TextContent)]
    return "\n".join(texts) or f"(see attached {message.content[0].type})"
