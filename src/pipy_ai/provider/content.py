"""Read the files of messages: MIME type, base64 data, URL and name."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from ..files import sniff_image_type
from ..types import (
    AudioContent,
    DocumentContent,
    ImageContent,
    TextContent,
    ToolResultMessage,
    VideoContent,
)

_SNIFF_CHARS = 5464  # of base64: 4,098 bytes
COMMON_IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
UPLOAD_PROVIDERS = ("anthropic", "google", "openai")  # those that `upload` supports
# Formats that few hosts read; the extension of a URL shows them.
_RARE_EXTENSION = re.compile(r"\.(avif|bmp|hei[cf]|svg|tiff?)$", re.IGNORECASE)
_RARE_TYPES = {"tif": "image/tiff", "svg": "image/svg+xml"}
_TYPES = {
    "gif": "image/gif", "heic": "image/heic", "heif": "image/heif", "jpeg": "image/jpeg",
    "jpg": "image/jpeg", "pdf": "application/pdf", "png": "image/png", "webp": "image/webp",
}  # fmt: skip


def is_remote_file(file: ImageContent | DocumentContent | AudioContent | VideoContent) -> bool:
    """Return whether a file has to be downloaded."""
    return bool(file.url) and not str(file.url).startswith("data:")


def remote_file_type(file: ImageContent | DocumentContent) -> str:
    """Return the MIME type of a file behind a URL, by its extension; empty: unknown."""
    extension = urlsplit(str(file.url)).path.lower().rpartition(".")[2]
    return file.mime_type or _TYPES.get(extension, "")


def file_url(file: ImageContent | DocumentContent) -> str:
    """Return the URL of a file, or its data as a `data:` URL."""
    if file.url and (isinstance(file, DocumentContent) or ";base64," not in file.url[:100]):
        return file.url
    mime_type, data = inline_data(file)
    return f"data:{mime_type};base64,{data}"


def file_name(document: DocumentContent) -> str:
    """Return the name of a document; OpenAI requires one."""
    return document.name or "document.pdf"


def inline_data(file: ImageContent | DocumentContent) -> tuple[str, str]:
    """Return MIME type and base64 data of a file that is not remote."""
    mime_type, data = file.mime_type, file.data
    if file.url:
        header, _, data = file.url.partition(",")  # data:image/png;base64,…
        mime_type = header.partition(":")[2].partition(";")[0] or mime_type
    if isinstance(file, DocumentContent):
        return mime_type or "application/pdf", data
    # Anthropic rejects an image whose bytes are of another type (anthropics/claude-code#11975).
    with contextlib.suppress(ValueError):
        mime_type = sniff_image_type(base64.b64decode(data[:64])) or mime_type
    return "image/jpeg" if mime_type == "image/jpg" else mime_type or "image/png", data


def remote_media_type(media: AudioContent | VideoContent) -> str:
    """Return the MIME type of audio or video behind a URL; empty: unknown."""
    from ..media import EXTENSIONS, plain_media_type

    if media.mime_type:
        return plain_media_type(media.mime_type)
    extension = urlsplit(str(media.url)).path.lower().rpartition(".")[2]
    default = "video/mp4" if media.type == "video" else ""
    return _of_kind(media.type, EXTENSIONS.get(extension, "")) or default


def inline_media(media: AudioContent | VideoContent) -> tuple[str, str]:
    """Return MIME type and base64 data of audio or video that is not remote.

    The bytes decide the type. Bare PCM becomes a WAV file.
    """
    from ..media import add_wav_header, is_bare_pcm, plain_media_type, sniff_media_type

    mime_type, data = media.mime_type, media.data
    if media.url:
        header, _, data = media.url.partition(",")
        mime_type = header.partition(":")[2].removesuffix(";base64") or mime_type
    if is_bare_pcm(mime_type):
        with contextlib.suppress(ValueError):
            samples = base64.b64decode(data, validate=True)
            data = base64.b64encode(add_wav_header(samples, mime_type)).decode()
            return "audio/wav", data
    given_type = plain_media_type(mime_type)
    with contextlib.suppress(ValueError):
        head = base64.b64decode(data[:_SNIFF_CHARS])
        return _of_kind(media.type, sniff_media_type(head) or "") or given_type, data
    return given_type, data


def _of_kind(kind: str, mime_type: str) -> str:
    """Return a media type as that of audio or video, if its format can hold it; otherwise ""."""
    if mime_type in ("video/mp4", "video/webm", "video/x-matroska"):
        return f"{kind}/{mime_type.removeprefix('video/')}"
    return mime_type if mime_type.startswith(f"{kind}/") else ""


def unreadable_image_type(image: ImageContent, readable: Collection[str]) -> str:
    """Return the type of an image that is not `readable`, like `TIFF`; otherwise ""."""
    if not is_remote_file(image):
        mime_type = inline_data(image)[0].lower()
    elif match := _RARE_EXTENSION.search(urlsplit(str(image.url)).path):
        extension = match[1].lower()
        mime_type = _RARE_TYPES.get(extension, f"image/{extension}")
    else:
        return ""
    return "" if mime_type in readable else image_type_name(mime_type)


def image_type_name(mime_type: str) -> str:
    """Return the name of an image type: `image/png` is `PNG`."""
    return mime_type.removeprefix("image/").partition("+")[0].upper()


def result_text(message: ToolResultMessage) -> str:
    """Return the text of a tool result, for APIs whose results hold no files."""
    texts = [part.text for part in message.content if isinstance(part, TextContent)]
    return "\n".join(texts) or f"(see attached {message.content[0].type})"
