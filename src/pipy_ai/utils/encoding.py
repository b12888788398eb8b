"""Decode text from files and pipes: UTF-8, or the encoding of a byte order mark."""

from __future__ import annotations

import codecs

_BYTE_ORDER_MARKS = (  # the mark of UTF-32 begins like that of UTF-16, so it is tried first
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
MARK_BYTES = 4


def detect_encoding(head: bytes) -> str:
    """Return the encoding of a text that begins with `head`, of which four bytes are needed.

    `>` in Windows PowerShell 5 writes UTF-16, its `Out-File -Encoding utf8` a mark before UTF-8.

    Example:
        >>> detect_encoding(b"Hi"), detect_encoding("Hi".encode("utf-16"))
        ('utf-8', 'utf-16')
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    return "utf-8"


def decode_text(data: bytes) -> str:
    """Decode a text and remove its byte order mark. Line breaks are unchanged.

    Raises:
        UnicodeDecodeError: The data is not UTF-8 text and has no byte order mark.

    Example:
        >>> decode_text("Grüße".encode("utf-8-sig")), decode_text("Grüße".encode("utf-16"))
        ('Grüße', 'Grüße')
    """
    return data.decode(detect_encoding(data[:MARK_BYTES]))


def read_text(path: str, errors: str = "strict") -> str:
    """Read a text file. Its line breaks become `\\n`.

    Raises:
        UnicodeDecodeError: The file is not UTF-8 text and has no byte order mark.
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        encoding = detect_encoding(file.read(MARK_BYTES))
    with open(path, encoding=encoding, errors=errors) as text_file:
        return text_file.read()
