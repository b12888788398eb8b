"""Test that the command reference matches the parser."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from pipy_ai.cli.parser import (
    COMMAND_GROUPS,
    COMMANDS,
    EXAMPLES_HEADING,
    GUIDE_HEADING,
    build_parser,
)
from pipy_ai.cli.parser_tree import help_line, walk_commands

from ..support.command import pipy
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


def test_parser_of_a_command_has_no_other_command() -> None:
    assert {path for path, _ in walk_commands(build_parser("models", "openai"))} == {"", "models"}


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_valid_examples_on_lines_of_their_own_and_a_guide(name: str) -> None:
    parser = build_parser(name)
    command = dict(walk_commands(parser))[name].parser
    epilog = (command.epilog or "").removeprefix(EXAMPLES_HEADING)
    text, _, page = epilog.partition(f"\n{GUIDE_HEADING}")
    examples = text.splitlines()
    assert 3 <= len(examples) <= 5
    assert (ROOT / "docs" / page).is_file()
    for example in examples:
        assert f"\n  {example}\n" in command.format_help()
        assert len(example) <= 78
        example = example.removeprefix('eval "$(').replace(')"', "")
        words = shlex.split(example.rpartition("| ")[2], comments=True)
        words = words[: min(words.index(sign) if sign in words else 99 for sign in "<>")]
        assert words[0] == "pipy"
        if words[1] == name and words[2:]:
            parser.parse_args(words[1:])


def test_root_help_shows_every_command_in_its_group() -> None:
    text = build_parser("").format_help()
    for title, commands in COMMAND_GROUPS.items():
        section = text.partition(f"\n  {title}:\n")[2].partition("\n\n")[0]
        listed = [line.split()[0] for line in section.splitlines()]
        assert listed == list(commands)
        assert all(
            f"{line}\n".endswith(f" {commands[line.split()[0]]}\n") for line in section.splitlines()
        )


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("batch", "pipy batch [OPTIONS] INPUT"),
        ("keys", "pipy keys [ACTION]"),
        ("history rm", "pipy history remove [OPTIONS] ID …"),
        ("keys path", "pipy keys path"),
    ],
)
def test_usage_is_one_line(command: str, usage: str) -> None:
    text = pipy(*command.split(), "--help").stdout
    assert text.splitlines()[:2] == [f"usage: {usage}", ""]


def test_errors_follow_the_usage_and_are_printed_as_other_errors() -> None:
    done = pipy("spend", "--since", "7d")
    assert done.returncode == 2
    usage, _, error = done.stderr.partition("pipy: ")
    assert usage == "usage: pipy spend [OPTIONS]\n"
    assert error == "--since: invalid date '7d': use YYYY, YYYY-MM or YYYY-MM-DD\n"
