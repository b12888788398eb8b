"""Copy text to the clipboard of the terminal, also over SSH: the escape sequence OSC 52."""

from __future__ import annotations

import base64
import os
import sys

from .terminal import is_dumb, write_raw

MAX_BYTES = 74_994  # what many terminals accept: 100,000 bytes of base64


def copy_to_clipboard(text: str) -> None:
    """Send text to the terminal's clipboard. The terminal does not report whether it accepted it.

    Raises:
        ValueError: The terminal cannot do that, or the text is too long.
    """
    data = text.encode("utf-8", "replace")
    if not sys.stdout.isatty() or is_dumb() or os.environ.get("TERM") == "linux":
        raise ValueError("this terminal has no clipboard; /save FILE writes the conversation")
    if len(data) > MAX_BYTES:
        raise ValueError(
            f"{len(data):,} bytes are too many for the clipboard of a terminal;"
            " /save FILE writes the conversation"
        )
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    if os.environ.get("TMUX"):  # tmux takes it, or hands it to the terminal outside
        sequence += "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    write_raw(sequence)
