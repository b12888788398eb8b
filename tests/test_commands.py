"""The reference of the commands is what the commands are."""

from __future__ import annotations

import subprocess
import sys

from pipy_ai.cli.main import COMMANDS, parser
from pipy_ai.cli.tree import commands, line_of

from .pages import ROOT

PAGE = ROOT / "docs" / "commands.md"


def test_the_page_is_what_the_generator_writes() -> None:
    command = [sys.executable, str(ROOT / "docs" / "commands.py")]
    written = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert PAGE.read_text(encoding="utf-8") == written, "python docs/commands.py > docs/commands.md"
    assert all(f"\n## pipy {name}\n" in written for name in COMMANDS)


def test_every_argument_says_what_it_is_for() -> None:
    silent = [
        f"pipy {path} {action.dest}"
        for path, command in commands(parser())
        for action in (*command.options, *command.positionals)
        if not line_of(action)
    ]
    assert silent == []
