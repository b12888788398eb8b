"""Test that images are shown in terminals that can show them, and nothing is written to others."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from pathlib import Path

import pytest

from pipy_ai.cli.display.inline_images import image_protocol

from ..support.scripted_command import scripted_command
from ..support.terminal import Terminal


def png(width: int, height: int) -> bytes:
    """Return a PNG of noise, which does not compress."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = b"".join(
        b"\0" + bytes((x * y * 7919 >> 3) & 255 for x in range(width)) for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


PICTURE = png(160, 120)
JPEG = b"\xff\xd8\xff\xe0" + bytes(100)
NO_TERMINAL = {"TERM_PROGRAM": "", "LC_TERMINAL": ""}


@pytest.fixture(autouse=True)
def _empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("TMUX", "KITTY_WINDOW_ID"):
        monkeypatch.delenv(name, raising=False)


def output(reply: str, env: dict[str, str], columns: int = 80) -> bytes:
    """Return what `pipy ask` writes to a terminal."""
    code = scripted_command(reply)
    with Terminal(
        "-c", code, "ask", "-m", "faux/any", "draw", columns=columns, env=NO_TERMINAL | env
    ) as terminal:
        assert terminal.wait() == 0
        assert Path("image.png").exists() or Path("image.jpg").exists()  # saved as well
        return terminal.raw


def kitty_image(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Return the keys of the first of kitty's escape sequences, and the data of all of them."""
    sequences = [
        (dict(item.split("=") for item in keys.decode().split(",")), data)
        for keys, data in re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", raw)
    ]
    assert [keys["m"] for keys, _ in sequences] == ["1"] * (len(sequences) - 1) + ["0"]
    assert all(len(data) <= 4096 for _, data in sequences)
    return sequences[0][0], base64.b64decode(b"".join(data for _, data in sequences))


@pytest.mark.parametrize(
    ("picture", "columns", "rows"),
    [(PICTURE, 80, "8"), (PICTURE, 10, "3"), (png(30, 900), 80, "20"), (png(8, 8), 80, "1")],
    ids=["whole", "narrow terminal", "high image", "small image"],
)
def test_kitty_gets_the_whole_image_in_pieces(picture: bytes, columns: int, rows: str) -> None:
    keys, data = kitty_image(output(f"reply(image({picture!r}))", {"TERM": "xterm-kitty"}, columns))
    assert data == picture
    assert (keys["a"], keys["f"], keys["q"], keys["r"]) == ("T", "100", "2", rows)


@pytest.mark.parametrize("picture", [PICTURE, JPEG], ids=["png", "jpeg"])
def test_iterm_gets_the_file(picture: bytes) -> None:
    mime_type = "image/png" if picture is PICTURE else "image/jpeg"
    raw = output(f"reply(image({picture!r}, {mime_type!r}))", {"TERM_PROGRAM": "iTerm.app"})
    match = re.search(rb"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", raw)
    assert match is not None
    keys = dict(item.split("=") for item in match[1].decode().split(";"))
    assert (keys["inline"], keys["size"]) == ("1", str(len(picture)))
    assert base64.b64decode(match[2]) == picture


@pytest.mark.parametrize(
    ("reply", "env"),
    [
        (f"reply(image({PICTURE!r}))", {"TERM": "xterm-256color"}),
        (f"reply(image({PICTURE!r}))", {"TERM": "xterm-kitty", "TMUX": "/tmp/x,1,0"}),
        (f"reply(image({JPEG!r}, 'image/jpeg'))", {"TERM": "xterm-kitty"}),
        ("reply(image(b'<html>an error page'))", {"TERM": "xterm-kitty"}),
    ],
    ids=["unknown terminal", "in tmux", "no PNG for kitty", "no image"],
)
def test_image_is_only_saved(reply: str, env: dict[str, str]) -> None:
    raw = output(reply, env)
    assert b"\x1b_G" not in raw
    assert b"1337" not in raw


def test_protocol_of_a_terminal() -> None:
    assert image_protocol({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}) == "kitty"
    assert image_protocol({"TERM": "xterm-ghostty"}) == "kitty"
    assert image_protocol({"TERM": "xterm", "TERM_PROGRAM": "WezTerm"}) == "iterm"
    assert image_protocol({"TERM": "xterm", "LC_TERMINAL": "iTerm2"}) == "iterm"  # over SSH
    assert image_protocol({"TERM": "screen-256color", "LC_TERMINAL": "iTerm2"}) is None
    assert image_protocol({"TERM": "dumb", "TERM_PROGRAM": "iTerm.app"}) is None
    assert image_protocol({}) is None
