"""The command line as data, for shell completion and the reference in the docs.

`format_help` wraps and words its output differently in each version of Python; the actions of the
parsers stay the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

COMPLETABLE_KINDS = ("MODEL", "PROVIDER", "TEMPLATE", "ID", "FILE")


def walk_commands(
    parser: argparse.ArgumentParser, path: str = "", *, aliases: bool = False
) -> Iterator[tuple[str, Command]]:
    """Yield every command with its path, e.g. `local pull`; the path of `pipy` itself is empty.

    With `aliases`, a command with several names is yielded under each of them.
    """
    command = Command(parser, aliases)
    yield path, command
    for name, (_, child) in command.children.items():
        yield from walk_commands(child, f"{path} {name}".strip(), aliases=aliases)


class Command:
    """The arguments of one parser, without hidden ones."""

    def __init__(self, parser: argparse.ArgumentParser, aliases: bool = False) -> None:
        self.parser = parser
        self.options: list[argparse.Action] = []
        self.positionals: list[argparse.Action] = []
        self.children: dict[str, tuple[str, argparse.ArgumentParser]] = {}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                summaries = {
                    id(action.choices[choice.dest]): choice.help or ""
                    for choice in action._choices_actions
                }
                names: dict[int, str] = {}  # the first name of each parser; the others are aliases
                self.children = {
                    name: (summaries.get(id(child), ""), child)
                    for name, child in action.choices.items()
                    if names.setdefault(id(child), name) == name or aliases
                }
            elif action.help != argparse.SUPPRESS:
                (self.options if action.option_strings else self.positionals).append(action)

    @property
    def visible_options(self) -> list[argparse.Action]:
        """The command's options except `--help`, which all commands have."""
        return [action for action in self.options if "--help" not in action.option_strings]


def usage_words(command: Command) -> str:
    """Return what follows the name of a command: `[OPTIONS] INPUT`."""
    needed = [action for action in command.options if action.required]
    words = [f"{action.option_strings[-1]} {value_name(action)}" for action in needed]
    if len(command.visible_options) > len(needed):
        words.append("[OPTIONS]")
    words += [value_usage(action) for action in command.positionals]
    if command.children:
        words.append("[ACTION]")  # each has a default: `DEFAULT_ACTIONS`
    return " ".join(words)


def takes_value(action: argparse.Action) -> bool:
    """Return whether a value must follow the option."""
    return action.nargs not in (0, "?", "*")


def may_take_value(action: argparse.Action) -> bool:
    """Return whether a value that can be completed may follow the option, as in `-c [ID]`."""
    return action.nargs == "?" and bool(completion_kind(action))


def value_usage(action: argparse.Action) -> str:
    """Return how the value is written: `FILE`, or `[PROMPT …]` if it is optional."""
    name = value_name(action)
    usage_by_nargs = {"0": "", "*": f"[{name} …]", "+": f"{name} …", "?": f"[{name}]"}
    return usage_by_nargs.get(str(action.nargs), name)


def value_name(action: argparse.Action) -> str:
    """Return the name of the value in the help: `MODEL`, `FILE`, `N`."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    return metavar.upper().replace("_", "-")


def help_line(action: argparse.Action) -> str:
    """Return the help of an argument on one line."""
    return " ".join((action.help or "").replace("%%", "%").split())


def choices_of(action: argparse.Action) -> list[str]:
    """Return the possible values if the parser lists them."""
    return [str(choice) for choice in action.choices or ()]


def completion_kind(action: argparse.Action) -> str:
    """Return the kind in `COMPLETABLE_KINDS` that completes the value, or an empty string.

    The name of the value decides: `-m MODEL` offers models, `-a FILE` offers files.
    """
    name = value_name(action)
    return next((kind for kind in COMPLETABLE_KINDS if name in (kind, f"{kind}S")), "")
