"""Test the encoding of files and pipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipy_ai.utils.encoding import decode_text, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", ["", "a", "Grüße\n東京", "\ud7ff\U0001f600"])
def test_byte_order_marks(encoding: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(text.encode(encoding))
    assert decode_text(text.encode(encoding)) == read_text(str(path)) == text


def test_big_endian_text() -> None:
    assert decode_text(b"\xfe\xff" + "Grüße".encode("utf-16-be")) == "Grüße"
    assert decode_text(b"\0\0\xfe\xff" + "Grüße".encode("utf-32-be")) == "Grüße"


def test_only_the_first_mark_is_removed() -> None:
    assert decode_text(b"\xef\xbb\xbf\xef\xbb\xbfa") == "\ufeffa"


@pytest.mark.parametrize("data", [b"\xe9t\xe9", b"\xff\xfe\x00", b"\xff\xfea\xd8"])
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        decode_text(data)
