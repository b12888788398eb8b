"""Attach files: images, audio, video, PDFs, text.

The type is detected from the content, not from the name.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from .types import (
    AudioContent,
    DocumentContent,
    ImageContent,
    TextContent,
    UserContent,
    VideoContent,
)
from .utils.encoding import MARK_BYTES, decode_text, detect_encoding
from .utils.surrogates import clean_surrogates

if TYPE_CHECKING:
    from mmap import mmap

FileSource: TypeAlias = str | os.PathLike[str] | bytes
"""A file: a path, its bytes, or an `https://` or `http://` URL."""

IMAGE_FORMATS = "PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC, AVIF"
MAX_FILE_BYTES = 100_000_000  # more than any provider accepts in one request
_REMOTE_SCHEMES = ("http://", "https://", "gs://")
_BUCKET_SCHEME = "s3://"  # Bedrock fetches audio and video from there
_YOUTUBE = re.compile(
    r"https?://((www|m)\.)?(youtube\.com/(watch|shorts/|live/)|youtu\.be/)", re.IGNORECASE
)
_ENCRYPTION = re.compile(rb"/Encrypt\s*(<<|\d+\s+\d+\s+R)")
_SNIFF_BYTES = 4096  # enough to detect the type without reading an unsupported file completely
_IMAGE_EXTENSION = re.compile(r"\.(avif|bmp|gif|hei[cf]|jpe?g|png|tiff?|webp)$", re.IGNORECASE)


def attachment(source: FileSource, name: str | None = None) -> UserContent:
    """Attach an image, audio, video, a PDF or a text file: UTF-8, or UTF-16 with a byte order mark.

    `source` is a path, the content as bytes, or a URL (`https:`, `http:` or `data:`). The type is
    detected from the content. Text becomes a `TextContent` inside `<file name="…">`, which every
    model supports. `name` is the name that the model sees; default: the name of the file.

    A web address must end in `.pdf` or the extension of an image, audio or video, or be a video of
    YouTube; the provider fetches it.

    Raises:
        ValueError: The file is empty, truncated, encrypted, larger than 100 MB or of another type,
            or the type of a web address is unknown.
        OSError: The file cannot be read.

    Example:
        >>> from pipy_ai import attachment
        >>> attachment(b"%PDF-1.7 ...", name="report.pdf").type
        'document'
        >>> print(attachment(b"Buy milk.", name="notes.txt").text)
        <file name="notes.txt">
        Buy milk.
        </file>
    """
    if is_web_url(source):
        match url_kind(source):
            case "image":
                return ImageContent(url=source)
            case "document":
                return document(source, name)
            case "audio":
                return AudioContent(url=source)
            case "video":
                return VideoContent(url=source)
        raise ValueError(
            f"the file type of {source} is unknown: use image(url), document(url), audio(url) or"
            " video(url), or download it and pass the bytes"
        )
    data, file_name, label = _read_source(source)
    mime_type = sniff_image_type(data)
    if mime_type is not None:
        _check_complete(data, mime_type, label)
        return ImageContent(data=_encode_base64(data), mime_type=mime_type)
    from .media import AUDIO_FORMATS, VIDEO_FORMATS, check_media, sniff_media_type

    mime_type = sniff_media_type(data)
    if mime_type is not None:
        check_media(data, mime_type, label)
        media_type = AudioContent if mime_type.startswith("audio/") else VideoContent
        return media_type(data=_encode_base64(data), mime_type=mime_type)
    content = _document_content(data, name or file_name, label)
    if content is None:
        raise ValueError(
            f"{label} cannot be attached: use an image ({IMAGE_FORMATS}), audio ({AUDIO_FORMATS}),"
            f" video ({VIDEO_FORMATS}), a PDF or UTF-8 text"
        )
    return content


def document(source: FileSource, name: str | None = None) -> DocumentContent | TextContent:
    """Attach a PDF or a text file from a path, bytes or a URL.

    A web address is assumed to be a PDF, which the provider fetches. See also `attachment`.

    Args:
        source: A path, the bytes of a file, or an `http://`, `https://` or `gs://` URL.
        name: The file name that the model sees. By default, that of the path or URL.

    Raises:
        ValueError: The file is empty, encrypted, larger than 100 MB, or neither a PDF nor UTF-8
            text.
        OSError: The file cannot be read.

    Example:
        >>> from pipy_ai import document
        >>> document("https://example.com/papers/7.pdf").name
        '7.pdf'
    """
    if is_web_url(source):
        last_segment = unquote(urlsplit(source).path.rpartition("/")[2])
        file_name = last_segment if last_segment.lower().endswith(".pdf") else None
        return DocumentContent(url=source, name=_clean_name(name or file_name))
    data, file_name, label = _read_source(source)
    content = _document_content(data, name or file_name, label)
    if content is None:
        raise ValueError(f"{label} is neither a PDF nor UTF-8 text")
    return content


def image(source: FileSource) -> ImageContent:
    """Attach an image from a path, bytes or a URL (`https:`, `http:`, `data:` or `gs:`).

    The MIME type is detected from the content, not from the name of the file. The provider fetches
    web addresses; Vertex AI also reads Google Cloud Storage (`gs:`).

    Args:
        source: A path, the bytes of an image, or an `http://`, `https://`, `data:` or `gs://`
            URL.

    Raises:
        ValueError: The data is truncated, or not an image of a supported format (PNG, JPEG, GIF,
            WebP, BMP, TIFF, HEIC, AVIF).
        OSError: The file cannot be read.

    Example:
        >>> from pipy_ai import image
        >>> image(b"GIF89a" + bytes(20)).mime_type
        'image/gif'
    """
    if is_web_url(source):
        return ImageContent(url=source)
    data, _, label = _read_source(source)
    mime_type = sniff_image_type(data)
    if mime_type is None:
        raise ValueError(f"{label} is not in a supported image format ({IMAGE_FORMATS})")
    _check_complete(data, mime_type, label)
    return ImageContent(data=_encode_base64(data), mime_type=mime_type)


def audio(source: FileSource) -> AudioContent:
    """Attach audio from a path, bytes or a URL (`https:`, `http:`, `data:`, `gs:` or `s3:`).

    The format is detected from the content, not from the name of the file. Vertex AI fetches web
    addresses and Google Cloud Storage (`gs:`), Amazon Bedrock its own storage (`s3:`); other
    providers need the bytes.

    Args:
        source: A path, the bytes of a file, or a URL.

    Raises:
        ValueError: The file is truncated, larger than 100 MB, or not audio of a supported format
            (WAV, MP3, OGG, FLAC, M4A, AAC, AIFF, WebM).
        OSError: The file cannot be read.

    Example:
        >>> from pipy_ai import audio
        >>> audio("gs://bucket/speech.mp3").url
        'gs://bucket/speech.mp3'
    """
    if _is_media_url(source):
        return AudioContent(url=source)
    from .media import AUDIO_FORMATS, check_media, sniff_media_type

    data, _, label = _read_source(source)
    mime_type = sniff_media_type(data) or ""
    if mime_type in ("video/mp4", "video/webm"):  # a container that may hold only audio
        mime_type = mime_type.replace("video", "audio")
    if not mime_type.startswith("audio/"):
        raise ValueError(f"{label} is not in a supported audio format ({AUDIO_FORMATS})")
    check_media(data, mime_type, label)
    return AudioContent(data=_encode_base64(data), mime_type=mime_type)


def video(source: FileSource) -> VideoContent:
    """Attach a video from a path, bytes or a URL (`https:`, `http:`, `data:`, `gs:` or `s3:`).

    The format is detected from the content, not from the name of the file. Vertex AI and OpenRouter
    fetch web addresses, Gemini those of YouTube, Amazon Bedrock its own storage (`s3:`).

    Args:
        source: A path, the bytes of a file, or a URL.

    Raises:
        ValueError: The file is truncated, larger than 100 MB, or not a video of a supported format
            (MP4, MOV, WebM, MKV, MPEG, AVI, FLV, WMV, 3GP).
        OSError: The file cannot be read.

    Example:
        >>> from pipy_ai import video
        >>> video("https://youtu.be/dQw4w9WgXcQ").type
        'video'
    """
    if _is_media_url(source):
        return VideoContent(url=source)
    from .media import VIDEO_FORMATS, check_media, sniff_media_type

    data, _, label = _read_source(source)
    mime_type = sniff_media_type(data) or ""
    if not mime_type.startswith("video/"):
        raise ValueError(f"{label} is not in a supported video format ({VIDEO_FORMATS})")
    check_media(data, mime_type, label)
    return VideoContent(data=_encode_base64(data), mime_type=mime_type)


def _is_media_url(source: object) -> TypeGuard[str]:
    is_bucket = isinstance(source, str) and source.lower().startswith(_BUCKET_SCHEME)
    return is_bucket or is_web_url(source)


def is_web_url(source: object) -> TypeGuard[str]:
    """Whether `source` is an `http:`, `https:` or `gs:` URL (Google Cloud Storage)."""
    return isinstance(source, str) and source.lower().startswith(_REMOTE_SCHEMES)


def url_kind(url: str) -> str | None:
    """Return the kind of file behind a URL: `image`, `document` (a PDF), `audio`, `video` or None.

    It goes by the extension, and by the address for videos of YouTube.

    Example:
        >>> url_kind("https://example.com/a.PDF?page=2"), url_kind("https://example.com/a")
        ('document', None)
    """
    path = unquote(urlsplit(url).path)
    if path.lower().endswith(".pdf"):
        return "document"
    if _IMAGE_EXTENSION.search(path):
        return "image"
    if _YOUTUBE.match(url):
        return "video"
    from .media import EXTENSIONS

    return EXTENSIONS.get(path.lower().rpartition(".")[2], "").partition("/")[0] or None


def sniff_image_type(data: bytes) -> str | None:
    """Return the MIME type of an image by its first bytes, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data.startswith(b"BM") and data[6:10] == bytes(4):  # text may also begin with BM
        return "image/bmp"
    if data.startswith((b"II*\0", b"MM\0*")):
        return "image/tiff"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis") or (brand == b"mif1" and b"avif" in data[16:64]):
            return "image/avif"
        if brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"):
            return "image/heic"
    return None


def _check_complete(data: bytes, mime_type: str, label: str) -> None:
    """Raise ValueError if an image is truncated, e.g. by an interrupted download."""
    match mime_type:
        case "image/png":
            truncated = data[12:16] == b"IHDR" and b"IEND" not in data
        case "image/jpeg":
            start = _jpeg_scan_start(data)
            truncated = start > 0 and b"\xff\xd9" not in data[start:]
        case "image/webp":
            truncated = int.from_bytes(data[4:8], "little") + 8 > len(data)
        case _:
            truncated = False
    if truncated:
        raise ValueError(f"{label} is a truncated image")


def _jpeg_scan_start(data: bytes) -> int:
    """Return where the pixel data begins, after the metadata; 0 if there is none."""
    position = 2
    while data[position : position + 1] == b"\xff":
        if data[position + 1 : position + 2] == b"\xda":
            return position
        position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    return 0


def _document_content(
    data: bytes, name: str | None, label: str
) -> DocumentContent | TextContent | None:
    name = _clean_name(name)
    if is_pdf(data):
        check_pdf(data, label)
        return DocumentContent(data=_encode_base64(data), mime_type="application/pdf", name=name)
    try:
        text = decode_text(data)
    except UnicodeDecodeError:
        return None
    if "\0" in text:  # like diff and git
        return None
    escaped_name = (name or "").replace("&", "&amp;").replace('"', "&quot;")
    opening_tag = f'<file name="{escaped_name}">' if escaped_name else "<file>"
    closing_tag = "</file>" if text.endswith("\n") else "\n</file>"
    return TextContent(text=f"{opening_tag}\n{text}{closing_tag}")


def check_pdf(data: bytes | mmap, label: str) -> None:
    """Raise ValueError if a PDF is encrypted."""
    if _ENCRYPTION.search(data):
        raise ValueError(
            f"{label} is an encrypted PDF, which providers cannot read: save it without a password"
        )


def is_pdf(data: bytes) -> bool:
    """Return whether data is a PDF, by its beginning."""
    return data[:1024].lstrip(b"\xef\xbb\xbf\0\t\r\n ").startswith(b"%PDF-")


def _is_known_type(data: bytes) -> bool:
    """Return whether data with zero bytes may be a PDF, an image, audio, video, or UTF-16 text."""
    from .media import sniff_media_type

    is_utf16 = detect_encoding(data[:MARK_BYTES]) != "utf-8"
    media_type = sniff_image_type(data) or sniff_media_type(data)
    return is_utf16 or is_pdf(data) or media_type is not None


def _read_source(source: FileSource) -> tuple[bytes, str | None, str]:
    """Return the content, the file name, and a label for errors.

    Only the beginning of a file is read if its type is not supported or it is too large.
    """
    size = 0
    if isinstance(source, str) and source[:5].lower() == "data:":
        data, name, label = _decode_data_url(source), None, "this data: URL"
    elif isinstance(source, bytes | bytearray | memoryview):
        data, name, label = bytes(source), None, f"a file of {len(source):,} bytes"
    else:
        path = Path(source)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory, not a file")
        name, label = path.name, str(path)
        with path.open("rb") as file:
            data = file.read(_SNIFF_BYTES)
            if b"\0" not in data or _is_known_type(data):
                size = os.fstat(file.fileno()).st_size
                if size <= MAX_FILE_BYTES:
                    data += file.read(MAX_FILE_BYTES + 1 - len(data))
    size = max(size, len(data))
    if size > MAX_FILE_BYTES:
        raise ValueError(
            f"{label} is too large: {size:,} bytes, and a message can hold files of up to"
            f" {MAX_FILE_BYTES:,} bytes: shorten it, or pass its URL"
        )
    if not data:
        raise ValueError(f"{label} is empty")
    return data, name, label


def _decode_data_url(url: str) -> bytes:
    header, comma, payload = url.partition(",")
    try:
        if not comma:
            raise ValueError("no comma")
        if header.lower().endswith(";base64"):
            return base64.b64decode(payload, validate=True)
        return unquote_to_bytes(payload)
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"this data: URL is malformed ({error})") from None


def _encode_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _clean_name(name: str | None) -> str | None:
    return clean_surrogates(name) if name else None  # file names may be invalid UTF-8
