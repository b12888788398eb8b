"""Show images in the terminal, with the graphics protocols of kitty and iTerm2.

The environment names the terminal. Asking the terminal itself would read what the user has typed.
"""

from __future__ import annotations

import base64
import os
import re
import struct
import sys
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from ...media import content_bytes
from .terminal import is_interactive, write_raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...types import ImageContent

MAX_BYTES = 20 << 20
MAX_ROWS = 20
KITTY_CHUNK = 4096  # base64 characters in one escape sequence
PIXELS_PER_ROW = 16  # assumed: a small image is not enlarged
_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP", re.DOTALL)
_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_ITERM_PROGRAMS = ("iTerm.app", "WezTerm", "mintty", "rio")


def show_image(image: ImageContent) -> bool:
    """Show an image if the terminal can; return whether it was shown.

    Example:
        >>> from pipy_ai.types import ImageContent
        >>> show_image(ImageContent(url="https://example.com/cat.png"))  # not downloaded
        False
    """
    protocol = image_protocol(os.environ) if is_interactive() else None
    if protocol is None:
        return False
    try:
        data = content_bytes(image)
    except ValueError:  # only a URL, or not base64
        return False
    if len(data) > MAX_BYTES or not _SIGNATURES.match(data):
        return False
    columns, lines = get_terminal_size()
    rows, width = _size(data, columns, lines)
    if protocol == "iterm":
        write_raw(_iterm_sequence(data, rows, width), sys.stdout)
    elif data.startswith(_PNG):
        write_raw(_kitty_sequence(data, rows), sys.stdout)
    else:  # kitty reads no other files
        return False
    return True


def image_protocol(environment: Mapping[str, str]) -> str | None:
    """Return `"kitty"` or `"iterm"`: the protocol of the terminal that the environment names.

    Example:
        >>> image_protocol({"TERM": "xterm-kitty"})
        'kitty'
    """
    term = environment.get("TERM", "")
    if "TMUX" in environment or term.startswith(("tmux", "screen", "dumb")):
        return None  # a multiplexer does not pass images on
    program = environment.get("TERM_PROGRAM") or environment.get("LC_TERMINAL", "")
    if term in _KITTY_TERMS or "KITTY_WINDOW_ID" in environment or program == "ghostty":
        return "kitty"
    return "iterm" if program in _ITERM_PROGRAMS or program == "iTerm2" else None


def _size(data: bytes, columns: int, lines: int) -> tuple[int, int]:
    """Return the rows and columns to show an image in. A cell is twice as high as it is wide."""
    rows = max(1, min(MAX_ROWS, lines - 4))
    if not data.startswith(_PNG) or len(data) < 24:
        return rows, min(columns, 2 * rows)
    width, height = struct.unpack(">II", data[16:24])
    if not width or not height:
        return rows, min(columns, 2 * rows)
    rows = min(rows, -(-height // PIXELS_PER_ROW), max(1, columns * height // (2 * width)))
    return rows, min(columns, max(1, 2 * rows * width // height))


def _kitty_sequence(data: bytes, rows: int) -> str:
    """Return a PNG as kitty's escape sequences, which get no reply (q=2)."""
    encoded = base64.b64encode(data).decode()
    chunks = []
    for start in range(0, len(encoded), KITTY_CHUNK):
        keys = f"a=T,f=100,q=2,r={rows}," if start == 0 else ""
        more = int(start + KITTY_CHUNK < len(encoded))
        chunks.append(f"\x1b_G{keys}m={more};{encoded[start : start + KITTY_CHUNK]}\x1b\\")
    return "".join(chunks) + "\n"


def _iterm_sequence(data: bytes, rows: int, width: int) -> str:
    keys = f"inline=1;size={len(data)};width={width};height={rows};preserveAspectRatio=1"
    return f"\x1b]1337;File={keys}:{base64.b64encode(data).decode()}\x07\n"
