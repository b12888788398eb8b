"""Read and save the images, audio and video of messages; recognize their formats."""

from __future__ import annotations

import base64
import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mmap import mmap


class _Media(Protocol):
    """An image, audio or video of a message."""

    data: str
    mime_type: str
    url: str | None


# Bare samples without a header, such as `audio/L16;codec=pcm;rate=24000` from Gemini.
_PCM = re.compile(r"audio/(l16|pcm|pcm16)\b", re.IGNORECASE)
_RATE = re.compile(r"rate=(\d{4,6})")
_DEFAULT_PCM_RATE_HZ = 24_000
_SUFFIXES = {"image/jpeg": ".jpg", "audio/wav": ".wav", "audio/x-wav": ".wav", "audio/mpeg": ".mp3"}


def content_bytes(content: _Media) -> bytes:
    """Return the bytes of an image, audio or video.

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
    """Write an image, audio or video to a file, and return its path.

    Raises:
        ValueError: There is only a URL, or the data is not valid base64.
        OSError: The file cannot be written.
    """
    from .utils.atomic import AtomicWriter, write_special_file

    data, target = content_bytes(content), Path(path)
    if not target.suffix and not (target.is_fifo() or target.is_char_device()):
        target = target.with_name(target.name + media_suffix(content.mime_type))
    data = add_wav_header(data, content.mime_type)
    if not write_special_file(target, data):
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
    import mimetypes

    plain_type = mime_type.partition(";")[0].strip().lower()
    return _SUFFIXES.get(plain_type) or mimetypes.guess_extension(plain_type) or ".bin"


def is_bare_pcm(mime_type: str) -> bool:
    """Return whether audio of a media type consists of samples without a header."""
    return _PCM.match(mime_type) is not None


def pcm_rate_hz(mime_type: str) -> int:
    """Return how many samples a second bare PCM audio has."""
    rate = _RATE.search(mime_type)
    return int(rate[1]) if rate else _DEFAULT_PCM_RATE_HZ


def add_wav_header(data: bytes, mime_type: str) -> bytes:
    """Return bare PCM audio as a WAV file, and anything else unchanged."""
    if not is_bare_pcm(mime_type):
        return data
    return wav_header(len(data), pcm_rate_hz(mime_type)) + data


def wav_header(size: int, rate_hz: int) -> bytes:
    """Return the header of a WAV file with 16-bit mono samples; `size` is in bytes."""
    audio_format = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, rate_hz * 2, 2, 16)
    chunk = struct.pack("<4sI", b"data", size)
    return b"RIFF" + struct.pack("<I4s", 36 + size, b"WAVE") + audio_format + chunk


# === Formats ================================================================================

AUDIO_FORMATS = "WAV, MP3, OGG, FLAC, M4A, AAC, AIFF, WebM"
VIDEO_FORMATS = "MP4, MOV, WebM, MKV, MPEG, AVI, FLV, WMV, 3GP"
# The media types by the extension of a file. Formats that hold audio or video are listed as video.
EXTENSIONS = {
    "aac": "audio/aac", "aif": "audio/aiff", "aiff": "audio/aiff", "flac": "audio/flac",
    "m4a": "audio/mp4", "mp3": "audio/mpeg", "oga": "audio/ogg", "ogg": "audio/ogg",
    "opus": "audio/ogg", "wav": "audio/wav",
    "3gp": "video/3gpp", "avi": "video/x-msvideo", "flv": "video/x-flv", "m4v": "video/mp4",
    "mkv": "video/x-matroska", "mov": "video/quicktime", "mp4": "video/mp4", "mpeg": "video/mpeg",
    "mpg": "video/mpeg", "webm": "video/webm", "wmv": "video/x-ms-wmv",
}  # fmt: skip
_SYNONYMS = {
    "audio/m4a": "audio/mp4", "audio/mp3": "audio/mpeg", "audio/opus": "audio/ogg",
    "audio/vnd.wave": "audio/wav", "audio/wave": "audio/wav", "audio/x-aac": "audio/aac",
    "audio/x-aiff": "audio/aiff", "audio/x-flac": "audio/flac", "audio/x-m4a": "audio/mp4",
    "audio/x-wav": "audio/wav", "video/avi": "video/x-msvideo", "video/mov": "video/quicktime",
    "video/x-m4v": "video/mp4",
}  # fmt: skip
_NAMES = {
    "audio/mp4": "m4a", "audio/mpeg": "mp3", "video/3gpp": "3gp", "video/quicktime": "mov",
    "video/x-matroska": "mkv", "video/x-ms-wmv": "wmv", "video/x-msvideo": "avi",
}  # fmt: skip
_STARTS = {
    b"ID3": "audio/mpeg", b"fLaC": "audio/flac", b"FLV\x01": "video/x-flv",
    b"\x00\x00\x01\xba": "video/mpeg", b"\x00\x00\x01\xb3": "video/mpeg",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "video/x-ms-wmv",
}  # fmt: skip
_RIFF = {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_VIDEO_BRAND = re.compile(rb"iso|mp4|mp7|avc|hvc|dash|M4V|MSNV|f4v|mmp4|cmf|NDS|XAVC")
_TRACK = re.compile(rb"hdlr.{8}(vide|soun)", re.DOTALL)
_CODEC = re.compile(rb"\x86.([AV])_", re.DOTALL)  # the id of a codec in Matroska
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_MATROSKA_HEAD_BYTES = 4096


def sniff_media_type(data: bytes) -> str | None:
    """Return the media type of audio or video by its content, or None.

    Example:
        >>> sniff_media_type(b"fLaC" + bytes(40)), sniff_media_type(b"Hello")
        ('audio/flac', None)
    """
    for start, mime_type in _STARTS.items():
        if data.startswith(start):
            return mime_type
    kind = data[8:12]
    if data[:4] in (b"RIFF", b"RF64", b"BW64"):
        return _RIFF.get(kind)
    if data[:4] == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if data[:4] == b"OggS":
        return "video/ogg" if b"\x80theora" in data[:128] else "audio/ogg"
    if data[4:8] == b"ftyp":
        return _mp4_type(data, kind)
    if data[:1] == b"\0" and data[4:8] in (b"moov", b"mdat", b"wide"):
        return "video/quicktime"  # before there were brands
    if data.startswith(_EBML):
        return _matroska_type(data[:_MATROSKA_HEAD_BYTES])
    return _mpeg_audio_type(data[:3])


def _mp4_type(data: bytes, brand: bytes) -> str | None:
    if brand.startswith(b"M4A") or brand in (b"M4B ", b"M4P "):
        return "audio/mp4"
    if brand == b"qt  ":
        return "video/quicktime"
    if brand.startswith((b"3gp", b"3g2")):
        return "video/3gpp"
    if not _VIDEO_BRAND.match(brand):
        return None  # an image, perhaps
    tracks = set(_TRACK.findall(data))
    return "audio/mp4" if tracks == {b"soun"} else "video/mp4"


def _matroska_type(head: bytes) -> str:
    kind = "audio" if set(_CODEC.findall(head)) == {b"A"} else "video"
    return f"{kind}/webm" if b"webm" in head[:64] else f"{kind}/x-matroska"


def _mpeg_audio_type(head: bytes) -> str | None:
    """Return the type of audio that begins with a frame of MPEG layer III or of AAC."""
    if len(head) < 3 or head[0] != 0xFF:
        return None
    if head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 0xF < 13:  # a known sampling rate
        return "audio/aac"
    is_layer_3 = head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
    is_valid = 0x10 <= head[2] < 0xF0 and head[2] & 0x0C != 0x0C  # bit rate and sampling rate
    return "audio/mpeg" if is_layer_3 and is_valid else None


def media_format(mime_type: str) -> str:
    """Return the short name of a format: `audio/mpeg` is `mp3`, `video/x-flv` is `flv`."""
    return _NAMES.get(mime_type) or mime_type.partition("/")[2].removeprefix("x-")


def plain_media_type(mime_type: str) -> str:
    """Return the usual name of a media type, without parameters.

    Example:
        >>> plain_media_type("audio/X-WAV; codecs=1")
        'audio/wav'
    """
    plain_type = mime_type.partition(";")[0].strip().lower()
    return _SYNONYMS.get(plain_type, plain_type)


def check_media(data: bytes | mmap, mime_type: str, label: str) -> None:
    """Raise ValueError if audio or video is truncated or holds nothing.

    Formats without a length or an index, such as MP3, are not checked.
    """
    match mime_type:
        case "audio/wav":
            problem = _wav_problem(data)
        case "audio/aiff":
            is_complete = len(data) >= int.from_bytes(data[4:8], "big") + 8
            problem = "" if is_complete else "is truncated"
        case "video/x-msvideo":
            is_complete = len(data) >= int.from_bytes(data[4:8], "little") + 8
            problem = "" if is_complete else "is truncated"
        case "audio/mpeg" if data[:3] == b"ID3":
            problem = "" if len(data) > _id3_size(data) else "is truncated"
        case "audio/flac":
            problem = _flac_problem(data)
        case "audio/ogg" | "video/ogg":
            segments = data[27 : 27 + (data[26] if len(data) > 26 else 0)]
            is_complete = bool(segments) and len(data) >= 27 + len(segments) + sum(segments)
            problem = "" if is_complete else "is truncated"
        case "audio/mp4" | "video/mp4" | "video/quicktime" | "video/3gpp":
            problem = _mp4_problem(data)
        case "audio/webm" | "video/webm" | "audio/x-matroska" | "video/x-matroska":
            problem = _matroska_problem(data)
        case _:
            problem = ""
    if problem:
        raise ValueError(f"{label} {problem} ({media_format(mime_type).upper()})")


def _wav_problem(data: bytes | mmap) -> str:
    position, has_format = 12, False
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        position += 8
        if name == b"data":
            if not has_format or position == len(data):
                break
            is_open = size in (0, 0xFFFFFFFF)  # written to a pipe, or longer than 4 GB
            return "" if is_open or position + size <= len(data) else "is truncated"
        has_format = has_format or name == b"fmt "
        position += size + size % 2
    return "has no audio data"


def _id3_size(data: bytes | mmap) -> int:
    """Return the size of the tag before the frames; seven bits of each byte count."""
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


def _flac_problem(data: bytes | mmap) -> str:
    position, is_last = 4, False
    while not is_last:
        if position + 4 >= len(data):
            return "is truncated"
        is_last = data[position] >= 0x80
        position += 4 + int.from_bytes(data[position + 1 : position + 4], "big")
    return "" if position < len(data) else "is truncated"


def _mp4_problem(data: bytes | mmap) -> str:
    position, has_index = 0, False
    while position + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        if size == 1:
            size = int.from_bytes(data[position + 8 : position + 16], "big")
        if size == 0:
            size = len(data) - position
        if size < 8:
            break
        if position + size > len(data):
            return "is truncated"
        has_index = has_index or name in (b"moov", b"moof")
        position += size
    return "" if has_index else "is truncated: it has no index"


def _matroska_problem(data: bytes | mmap) -> str:
    start = data.find(_SEGMENT, 0, _MATROSKA_HEAD_BYTES) + len(_SEGMENT)
    if start < len(_SEGMENT) or start >= len(data) or not data[start]:
        return "is truncated"
    width = 9 - data[start].bit_length()
    unknown = (1 << 7 * width) - 1
    size = int.from_bytes(data[start : start + width], "big") & unknown
    return "" if size == unknown or start + width + size <= len(data) else "is truncated"
