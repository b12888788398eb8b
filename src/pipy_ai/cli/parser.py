"""Build the argument parser and import commands by name."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from importlib import import_module

from .._version import __version__
from ..utils.terminal_size import get_terminal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


# Each command is a module in `commands/` (`chat`: in `chat/`). It has `add_arguments(parser)` and
# `run(arguments)`, which returns the exit code. `pipy COMMAND --help` shows its `DESCRIPTION` (or
# the summary below), the lines of `EXAMPLES`, and `GUIDE`, its page in docs/. If it has `WAITS`, a
# status line with that text is shown from the start, until the command changes or hides it. Only
# the module of the given command is imported, and it imports nothing heavy before `run`.
COMMAND_GROUPS = {
    "send prompts": {
        "ask": "send one prompt (the default)",
        "chat": "start an interactive conversation",
        "batch": "send a prompt for each row of a file",
        "compare": "rank models by cost, or show their answers side by side",
        "preview": "show the request that `ask` would send",
    },
    "saved work": {
        "history": "browse, search and export conversations",
        "templates": "manage reusable prompts",
        "spend": "show what you have spent",
        "cache": "show or clear the cache of responses",
        "replay": "replay the output of pipy ask --events",
    },
    "models": {
        "models": "list models",
        "info": "show the details of a model",
        "cost": "estimate what a request costs",
        "providers": "list providers and their key variables",
        "local": "list, find and download models on this machine",
        "sync": "update the model catalogue from models.dev",
    },
    "setup": {
        "keys": "store API keys",
        "default": "show or set the default model",
        "doctor": "check the setup",
        "config": "write a configuration for LiteLLM's Router and proxy",
        "completion": "print a completion script for bash, zsh or fish",
    },
}
COMMANDS = {name: text for group in COMMAND_GROUPS.values() for name, text in group.items()}

# What a command does if it is given no action.
DEFAULT_ACTIONS = {
    "keys": "list",
    "history": "browse",
    "templates": "list",
    "local": "list",
    "cache": "stats",
}
# Commands with `--no-pager`, which may also be written before the command.
PAGED_COMMANDS = ("models", "providers", "compare", "history", "keys", "templates", "local")


EXAMPLES_HEADING = "examples:\n"
GUIDE_HEADING = "\nguide: docs/"
ROOT_EXAMPLES = """\
pipy "What is the capital of France?"
git diff | pipy -m sonnet "Write a commit message"
pipy chat
pipy keys set anthropic
"""
ROOT_HINT = """
pipy "PROMPT" is short for pipy ask "PROMPT".
pipy COMMAND --help shows the options and examples of a command."""


def build_parser(*command_names: str) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        command_names: Commands whose arguments are added; all of them without a name.
    """
    root_parser = _Parser(
        prog="pipy",
        description="Talk to any language model from the command line.",
        epilog=EXAMPLES_HEADING + ROOT_EXAMPLES + ROOT_HINT,
        allow_abbrev=False,
        formatter_class=_RootHelpFormatter,
    )
    root_parser.add_argument("--version", action="version", version=f"pipy {__version__}")
    subparsers = root_parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    given = [name for name in command_names if name in COMMANDS]
    for name in given or COMMANDS:  # each parser takes time
        summary = COMMANDS[name]
        subparser = subparsers.add_parser(name, help=summary, allow_abbrev=False)
        if given or not command_names:
            module = load_command(name)
            subparser.description = getattr(module, "DESCRIPTION", _sentence(summary))
            subparser.epilog = f"{EXAMPLES_HEADING}{module.EXAMPLES}{GUIDE_HEADING}{module.GUIDE}"
            module.add_arguments(subparser)
            _describe_actions(subparser)
    for name in command_names:
        if name in COMMANDS or name[:1] in ("", "-"):
            continue
        if (command := plugin_command(name)) is not None:
            _add_plugin_command(subparsers.add_parser(name, allow_abbrev=False), name, command)
    return root_parser


def _add_plugin_command(parser: argparse.ArgumentParser, name: str, command: Any) -> None:
    parser.description = getattr(command, "DESCRIPTION", None)
    if examples := getattr(command, "EXAMPLES", ""):
        parser.epilog = f"{EXAMPLES_HEADING}{examples}"
    try:
        command.add_arguments(parser)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"the plugin's command {name!r} cannot be used: {reason}") from None


def _describe_actions(parser: argparse.ArgumentParser) -> None:
    """Give each action of a command, such as `keys set`, its summary as the description."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                action.choices[choice.dest].description = _sentence(choice.help or "")


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."


class _HelpFormatter(argparse.HelpFormatter):
    """Keep the lines of examples, which argparse would fill."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("width", get_terminal_size()[0] - 2)
        super().__init__(*args, **options)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(EXAMPLES_HEADING):
            examples, *rest = text.split("\n\n")
            return "\n\n".join([examples.rstrip("\n").replace("\n", "\n  "), *rest])
        return super()._fill_text(text, width, indent)


class _RootHelpFormatter(_HelpFormatter):
    """Show the commands in groups, each with its summary on one line."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # argparse ignores the indentation of commands and would break the longest lines.
        self._action_max_length = max(map(len, COMMANDS)) + 4

    def _format_action(self, action: argparse.Action) -> str:
        text = super()._format_action(action)
        if isinstance(action, argparse._SubParsersAction):
            return text.partition("\n")[2].removeprefix("\n")  # without the line `COMMAND`
        headings = {next(iter(group)): name for name, group in COMMAND_GROUPS.items()}
        if heading := headings.get(action.dest):
            return f"\n  {heading}:\n{text}"
        return text


class _Parser(argparse.ArgumentParser):
    """A parser that writes help as the commands write: argparse would hide a full disk."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(*args, **options)

    def format_usage(self) -> str:
        """Return the usage on one line: argparse would list every option."""
        self._shorten_usage()
        return super().format_usage()

    def format_help(self) -> str:
        """Return the help, below the usage on one line."""
        self._shorten_usage()
        return super().format_help()

    def _shorten_usage(self) -> None:
        if self.usage is None and " " in self.prog:
            from .parser_tree import Command, usage_words

            self.usage = f"{self.prog} {usage_words(Command(self))}".rstrip().replace("%", "%%")

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            file.write(message)
            file.flush()
        else:
            from .display.terminal import write_stderr

            write_stderr(message)

    def error(self, message: str) -> NoReturn:
        """Print the usage and the error as the commands print errors, and exit with code 2."""
        from .display.terminal import warn

        self.print_usage(sys.stderr)
        warn(message.removeprefix("argument "))
        self.exit(2)


@cache
def plugin_command(name: str) -> Any:
    """Return the command that an installed plugin adds: an object as a command's module; or None.

    Only for a name that is not built in.
    """
    from ..utils.plugins import find_plugin
    from .display.terminal import warn

    def use(value: Any) -> Any:
        for function in ("add_arguments", "run"):
            if not callable(getattr(value, function, None)):
                raise TypeError(f"a command needs a function {function}")
        return value

    return find_plugin("commands", name, use, warn)


def load_command(name: str) -> Any:
    """Import the module of a command, or return the command of a plugin."""
    if name not in COMMANDS:
        return plugin_command(name)
    package = "chat.command" if name == "chat" else f"commands.{name}"
    return import_module(f"pipy_ai.cli.{package}")
