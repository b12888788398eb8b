"""The command line as data, for shell completion and for the reference in the docs.

`format_help` words and wraps things anew with each version of Python; the parsers' own actions
do not change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

COMPLETABLE_KINDS = ("MODEL", "PROVIDER", "FILE")  # what completion can look up


def walk_commands(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, Command]]:
    """Every command with its path, e.g. `local pull`; the one at the top has none."""
    command = Command(parser)
    yield path, command
    for name, (_, child) in command.children.items():
        yield from walk_commands(child, f"{path} {name}".strip())


class Command:
    """What one parser takes; hidden arguments are left out."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self.options: list[argparse.Action] = []
        self.positionals: list[argparse.Action] = []
        self.children: dict[str, tuple[str, argparse.ArgumentParser]] = {}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
                self.children = {
                    name: (summaries.get(name, ""), child) for name, child in action.choices.items()
                }
            elif action.help != argparse.SUPPRESS:
                (self.options if action.option_strings else self.positionals).append(action)


def takes_value(action: argparse.Action) -> bool:
    """Whether an option is always followed by a value."""
    return action.nargs not in (0, "?", "*")


def value_usage(action: argparse.Action) -> str:
    """The words that it takes, in brackets when they may be left out: `FILE`, `[PROMPT …]`."""
    name = value_name(action)
    usage_by_nargs = {"0": "", "*": f"[{name} …]", "+": f"{name} …", "?": f"[{name}]"}
    return usage_by_nargs.get(str(action.nargs), name)


def value_name(action: argparse.Action) -> str:
    """What the help calls the value: `MODEL`, `FILE`, `N`."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    return metavar.upper().replace("_", "-")


def help_line(action: argparse.Action) -> str:
    """The help of an argument, in one line."""
    return " ".join((action.help or "").replace("%%", "%").split())


def choices_of(action: argparse.Action) -> list[str]:
    """The values that are possible, if they are few and known."""
    return [str(choice) for choice in action.choices or ()]


def completion_kind(action: argparse.Action) -> str:
    """The one of `NAMED` that completes its value, by what the help calls it; or nothing.

    So `-m`, whose value is a MODEL, offers models, and `-a FILE` offers files.
    """
    name = value_name(action)
    return next((kind for kind in COMPLETABLE_KINDS if name in (kind, f"{kind}S")), "")
