"""The source of a Python program that runs `pipy` with the scripted answers of `faux/any`."""

from __future__ import annotations


def scripted_command(*replies: str) -> str:
    """Return code for `python -c` that runs the command line with these replies, as source."""
    return f"""
import sys
from pipy_ai.cli.main import main
from pipy_ai.provider import faux
from pipy_ai.provider.faux import audio, citation, image, reply, server_tool, stall
with faux.script({", ".join(replies)}):
    sys.exit(main(sys.argv[1:]))
"""
