"""Build the argument parser and import commands by name."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from types import ModuleType

from .._version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Each command is a module in `commands/` (`chat`: in `chat/`). It has `add_arguments(parser)` and
# `run(arguments)`, which returns the exit code. If it has a `DESCRIPTION`, `pipy COMMAND --help`
# shows that instead of the summary below; the lines of `EXAMPLES` are shown at its end. If it has
# `WAITS`, a status line with that text is shown from the start, until the command changes or hides
# it. Only the module of the given command is imported, and it imports nothing heavy before `run`.
COMMANDS = {
    "ask": "ask one question",
    "chat": "chat with a model",
    "history": "list, show, search, remove and export conversations",
    "preview": "show the request that `ask` would send",
    "batch": "send a prompt for each row of a file",
    "replay": "replay the output of pipy ask --events",
    "models": "list models",
    "info": "show the details of a model",
    "cost": "estimate what a request costs",
    "compare": "rank models by cost, or show their answers side by side",
    "providers": "list providers and their key variables",
    "spend": "show spending, from the ledger or the history",
    "default": "show or set the default model",
    "keys": "store API keys",
    "sync": "update the model catalogue from models.dev",
    "config": "write a configuration for LiteLLM's Router and proxy",
    "local": "models on this machine: embedded, in files, behind servers",
    "templates": "manage reusable prompts",
    "doctor": "check the setup",
    "completion": "print a completion script for bash, zsh or fish",
}

# What a command does if it is given no action.
DEFAULT_ACTIONS = {"keys": "list", "history": "browse", "templates": "list", "local": "list"}
# Commands with `--no-pager`, which may also be written before the command.
PAGED_COMMANDS = ("models", "providers", "compare", "history", "keys", "templates", "local")


EXAMPLES_HEADING = "examples:\n"


def build_parser(*command_names: str) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        command_names: Commands whose arguments are added; all of them without a name.
    """
    root_parser = _Parser(
        prog="pipy",
        description="Talk to any language model from the command line.",
        epilog='pipy "PROMPT" is short for pipy ask "PROMPT".',
        allow_abbrev=False,
        formatter_class=_help_formatter,
    )
    root_parser.add_argument("--version", action="version", version=f"pipy {__version__}")
    subparsers = root_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, allow_abbrev=False)
        if name in (command_names or COMMANDS):
            module = load_command(name)
            default_description = f"{summary[0].upper()}{summary[1:]}."
            subparser.description = getattr(module, "DESCRIPTION", default_description)
            if examples := getattr(module, "EXAMPLES", ""):
                subparser.epilog = EXAMPLES_HEADING + examples
                subparser.formatter_class = _CommandHelpFormatter
            module.add_arguments(subparser)
    return root_parser


class _CommandHelpFormatter(argparse.HelpFormatter):
    """Keep the lines of examples, which argparse would fill."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(EXAMPLES_HEADING):
            return text.rstrip("\n").replace("\n", "\n  ")
        return super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """A parser that writes help as the commands write: argparse would hide a full disk."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            file.write(message)
            file.flush()
        else:
            from .display.terminal import write_stderr

            write_stderr(message)


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter that keeps each command and its summary on one line.

    argparse ignores the indentation of commands and would break the longest lines.
    """
    formatter = argparse.HelpFormatter(prog)
    formatter._action_max_length = max(map(len, COMMANDS)) + 4
    return formatter


def load_command(name: str) -> ModuleType:
    """Import the module of a command."""
    package = "chat.command" if name == "chat" else f"commands.{name}"
    return import_module(f"pipy_ai.cli.{package}")
