"""Decide whether a conversation is saved."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def saving_enabled(arguments: argparse.Namespace) -> bool:
    """Return whether the conversation is saved: neither `--no-save` nor `PIPY_NO_SAVE` is set."""
    false_values = ("", "0", "false", "no")
    return not arguments.no_save and os.environ.get("PIPY_NO_SAVE", "").lower() in false_values
