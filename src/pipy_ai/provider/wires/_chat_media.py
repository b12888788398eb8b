"""Images, audio and citations of Chat Completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..deltas import (
    AudioData,
    CitationReport,
    Delta,
    ImageData,
    Omitted,
)
from ._fields import optional_text
from ._images import image_delta

# The first bytes of audio files, base64-encoded. OpenAI streams bare samples, at 24 kHz.
_AUDIO_TYPES = {
    "UklGR": "audio/wav", "SUQz": "audio/mpeg", "T2dnU": "audio/ogg", "ZkxhQ": "audio/flac",
}  # fmt: skip
_PCM_TYPE = "audio/pcm;rate=24000"


def decode_images(images: Any, deltas: list[Delta]) -> None:
    """Decode the images that OpenRouter sends as data URLs."""
    for image in images if isinstance(images, list) else [images]:
        address = image.get("image_url") if isinstance(image, dict) else None
        url = address.get("url") if isinstance(address, dict) else address
        if not isinstance(url, str) or not url:
            deltas.append(Omitted("images"))
            continue
        raw = {"type": "image_url"}
        head, comma, data = url.partition(",")
        if url.startswith("data:") and comma:
            mime_type = head.removeprefix("data:").partition(";")[0]
            deltas.append(image_delta(data, mime_type, raw=raw))
        else:
            deltas.append(ImageData(url=url, raw=raw))


def decode_audio(audio: Any, deltas: list[Delta]) -> None:
    """Decode a piece of audio, of its transcript, or its id."""
    if not isinstance(audio, dict):
        deltas.append(Omitted("audio"))
        return
    data, transcript = optional_text(audio.get("data")), optional_text(audio.get("transcript"))
    mime_type = ""
    if data:
        types = (kind for start, kind in _AUDIO_TYPES.items() if data.startswith(start))
        mime_type = next(types, _PCM_TYPE)
    raw = {name: audio[name] for name in ("id", "expires_at") if audio.get(name) is not None}
    deltas.append(AudioData(data or "", transcript or "", mime_type, raw=raw))


def decode_annotations(annotations: Any) -> Iterator[CitationReport]:
    """Yield the citations of OpenAI's search models and OpenRouter, counted in characters."""
    for annotation in annotations if isinstance(annotations, list) else ():
        citation = annotation.get("url_citation") if isinstance(annotation, dict) else None
        if not isinstance(citation, dict):
            continue
        start, end = citation.get("start_index"), citation.get("end_index")
        yield CitationReport(
            start=start if type(start) is int else None,
            end=end if type(end) is int else None,
            source=optional_text(citation.get("url")) or "",
            title=optional_text(citation.get("title")),
            quote=optional_text(citation.get("content")),
            data=annotation,
        )
