"""Images of answers."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from ..deltas import ImageData, Omitted

_HEAD_CHARS = 128  # of base64; the type of an image is in its first bytes
_RECOGNIZED = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})


def image_delta(
    data: str, mime_type: str, block: int | None = None, raw: dict[str, Any] | None = None
) -> ImageData | Omitted:
    """Return an image with the type of its bytes. Anything else, such as an error page, is named.

    It would be saved under a wrong name, and the provider would reject it in the next turn.
    """
    from ...files import sniff_image_type

    try:
        head = b64decode(data[:_HEAD_CHARS], validate=True)
    except ValueError:
        head = b""  # the assembler reports it
    found = sniff_image_type(head)
    if found is None and head and mime_type in _RECOGNIZED:
        return Omitted(f"{mime_type} that is not an image")
    return ImageData(data, found or mime_type, block=block, raw=raw or {})
