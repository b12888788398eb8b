"""Entry point of `pipy`: finds the command, runs it, turns failure into exit codes.

0: done. 1: the request failed. 2: wrong use. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from types import ModuleType

from pipy_ai import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A command is a module here: `arguments(parser)` says what it takes, `run(arguments)` returns the
# exit code, `DESCRIPTION` (else the line below) is what `pipy COMMAND --help` begins with. Only
# the module of the command that was named loads, and it loads nothing heavy before `run`.
COMMANDS = {
    "ask": "ask one question",
    "chat": "talk with a model",
    "history": "list, show, search, remove and export what was said",
    "preview": "show the request that `ask` would send",
    "batch": "ask each row of a file",
    "replay": "play what pipy ask --events has written",
    "models": "list models",
    "info": "show what is known of a model",
    "cost": "estimate what a request costs",
    "compare": "rank models by what a request costs",
    "providers": "list providers and the variables of their keys",
    "spend": "show what was spent, from the ledger",
    "default": "show or choose the model that answers when none is named",
    "keys": "keep the keys of providers",
    "sync": "fetch the newest catalogue of models from models.dev",
    "config": "write a configuration for LiteLLM's Router and proxy",
    "local": "models on this machine: embedded, in files, behind servers",
    "templates": "questions to ask again and again",
    "doctor": "look at what is set up, and say what to do about what is not",
    "completion": "print what lets bash, zsh or fish complete pipy's words",
}


def parser(*named: str) -> argparse.ArgumentParser:
    """The command line. Only the commands `named` know their arguments; none means all."""
    top = _Parser(
        prog="pipy",
        description="Talk to any language model.",
        epilog='pipy "PROMPT" is short for pipy ask "PROMPT".',
        allow_abbrev=False,
        formatter_class=_formatter,
    )
    top.add_argument("--version", action="version", version=f"pipy {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, allow_abbrev=False)
        if name in (named or COMMANDS):
            module = _module(name)
            usual = f"{line[0].upper()}{line[1:]}."
            command.description = getattr(module, "DESCRIPTION", usual)
            module.arguments(command)
    return top


class _Parser(argparse.ArgumentParser):
    """Writes as the commands do: argparse would not tell of a full disk."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            file.write(message)
            file.flush()
        else:
            from .terminal import tell

            tell(message)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """argparse forgets how far commands are indented, and would break the lines of the longest."""
    formatter = argparse.HelpFormatter(prog)
    formatter._action_max_length = max(map(len, COMMANDS)) + 4
    return formatter


def _module(name: str) -> ModuleType:
    return import_module(f"pipy_ai.cli.{name}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pipy` and return its exit code."""
    _open_streams()
    try:
        words = _with_command(sys.argv[1:] if argv is None else list(argv))
        return _run(_read(words))
    except ValueError as error:  # wrong use, in words for the user
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `pipy … | head`: the reader has what it wanted
        _forget_stdout()
        return 0
    except OSError as error:  # a full disk behind `>`, say
        _forget_stdout()
        from .terminal import worded

        _complain(worded(error))
        return 1


def _open_streams() -> None:
    """Let stdout and stderr take all that is written to them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller, as in `pipy … >&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif stream.errors == "strict" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # what the encoding lacks becomes `?`


def _read(words: list[str]) -> argparse.Namespace:
    """The command line, taken apart.

    Raises:
        ValueError: there is something in it that the command does not take.
    """
    top = parser(words[0] if words else "")
    arguments, unknown = top.parse_known_args(words)
    if not unknown:
        return arguments
    from difflib import get_close_matches

    from .tree import commands

    path = " ".join(filter(None, (arguments.command, getattr(arguments, "action", None))))
    slip = unknown[0].partition("=")[0]  # what is behind it may be a key
    options = (action.option_strings for action in dict(commands(top))[path].options)
    near = get_close_matches(slip, [word for words in options for word in words], 1)
    help = f"did you mean {near[0]}?" if near else f"pipy {path} --help lists what it takes"
    raise ValueError(f"pipy {path} does not take {slip!r}; {help}")


def _with_command(words: list[str]) -> list[str]:
    """`pipy "What is 2+2?"` asks. What is almost a command, and no sentence, is a slip."""
    if not words or words[0] in COMMANDS or words[0] in ("-h", "--help", "--version"):
        return words
    first = words[0]
    if first == "help" and (len(words) == 1 or words[1] in COMMANDS):
        return [*words[1:], "--help"]
    if first.isidentifier() and (len(words) < 3 or words[1].startswith("-")):
        from difflib import get_close_matches

        if near := get_close_matches(first, COMMANDS, 1):
            help = f"did you mean {near[0]}? To ask it: pipy ask {first} …"
            raise ValueError(f"there is no command {first!r}; {help}")
    return ["ask", *words]


def _run(arguments: argparse.Namespace) -> int:
    """Carry out one command; what it needs loads only now."""
    import warnings

    from ..registry import auto

    auto.detached = True
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _complain(str(message))  # ty: ignore[invalid-assignment]
            return int(_module(arguments.command).run(arguments))
    finally:
        auto.detached = False


def _complain(text: str) -> None:
    from .terminal import complain

    complain(text)


def _forget_stdout() -> None:
    from .terminal import forget

    forget(sys.stdout)
