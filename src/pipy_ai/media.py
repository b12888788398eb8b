"""Read and save the images and audio of messages."""

from __future__ import annotations

import base64
import mimetypes
import os
import re
import struct
from pathlib import Path
from typing import Protocol


class _Media(Protocol):
    """An image or audio of a message."""

    data: str
    mime_type: str
    url: str | None


# Bare samples without a header, such as `audio/L16;codec=pcm;rate=24000` from Gemini.
_PCM = re.compile(r"audio/(l16|pcm|pcm16)\b", re.IGNORECASE)
_RATE = re.compile(r"rate=(\d{4,6})")
_DEFAULT_PCM_RATE_HZ = 24_000
_SUFFIXES = {"image/jpeg": ".jpg", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/mpeg": ".mp3"}


def content_bytes(content: _Media) -> bytes:
    """Return the bytes of an image or of audio.

    Raises:
        ValueError: There is only a URL, or the data is not valid base64.
    """
    data = content.data
    kind = type(content).__name__.removesuffix("Content").lower()
    if not data and content.url:
        if not content.url.startswith("data:"):
            raise ValueError(f"the {kind} is not in the message, but at {content.url}")
        data = content.url.partition(",")[2]
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise ValueError(f"the data of the {kind} is not valid base64: {error}") from None


def save_content(content: _Media, path: str | os.PathLike[str]) -> Path:
    """Write an image or audio to a file, and return its path.

    Raises:
        ValueError: There is only a URL, or the data is not valid base64.
        OSError: The file cannot be written.
    """
    from .utils.atomic import AtomicWriter

    data, target = content_bytes(content), Path(path)
    if not target.suffix:
        target = target.with_name(target.name + media_suffix(content.mime_type))
    if _PCM.match(content.mime_type):
        rate = _RATE.search(content.mime_type)
        data = wav_header(len(data), int(rate[1]) if rate else _DEFAULT_PCM_RATE_HZ) + data
    with AtomicWriter(target) as file:
        file.write(data)
    return target


def media_suffix(mime_type: str) -> str:
    """Return the usual suffix of files of a media type.

    Example:
        >>> media_suffix("image/png"), media_suffix("audio/L16;rate=24000"), media_suffix("x/y")
        ('.png', '.wav', '.bin')
    """
    if _PCM.match(mime_type):
        return ".wav"
    plain_type = mime_type.partition(";")[0].strip().lower()
    return _SUFFIXES.get(plain_type) or mimetypes.guess_extension(plain_type) or ".bin"


def wav_header(size: int, rate_hz: int) -> bytes:
    """Return the header of a WAV file with 16-bit mono samples; `size` is in bytes."""
    audio_format = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
    chunk = struct.pack("<4sI", b"data", size)
    return b"RIFF" + struct.pack("<I4s", 36 + size, b"WAVE") + audio_format + chunk
