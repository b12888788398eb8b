"""Test that the command reference matches the parser."""

from __future__ import annotations

import shlex
import subprocess
import sys

from pipy_ai.cli.parser import COMMANDS, EXAMPLES_HEADING, build_parser
from pipy_ai.cli.parser_tree import help_line, walk_commands

from ..support.doc_pages import ROOT

PAGE = ROOT / "docs" / "commands.md"


def test_command_reference_matches_the_generator() -> None:
    command = [sys.executable, str(ROOT / "docs" / "commands.py")]
    written = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert PAGE.read_text(encoding="utf-8") == written, "python docs/commands.py > docs/commands.md"
    assert all(f"\n## pipy {name}\n" in written for name in COMMANDS)


def test_every_argument_has_help() -> None:
    silent = [
        f"pipy {path} {action.dest}"
        for path, command in walk_commands(build_parser())
        for action in (*command.options, *command.positionals)
        if not help_line(action)
    ]
    assert silent == []


def test_examples_of_the_help_are_valid_and_stay_on_their_lines() -> None:
    for name in ("batch", "compare", "history", "replay", "spend"):
        parser = build_parser(name)
        command = dict(walk_commands(parser))[name].parser
        examples = (command.epilog or "").removeprefix(EXAMPLES_HEADING).splitlines()
        assert 3 <= len(examples) <= 5
        for example in examples:
            assert f"\n  {example}\n" in f"{command.format_help()}\n"
            assert len(example) <= 78
            words = shlex.split(example.rpartition("| ")[2].partition(" >")[0])
            assert words[0] == "pipy"
            if words[1] == name and words[2:]:
                parser.parse_args(words[1:])
