"""Entry point of `pipy`: run a command and turn errors into exit codes.

0: success. 1: the request failed, or a file could not be written. 2: wrong use. 130: interrupted by
Ctrl-C. 128 + the number of another signal that stopped it.
"""

from __future__ import annotations

import argparse
import codecs
import errno
import gc
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper

from .parser import (
    COMMANDS,
    DEFAULT_ACTIONS,
    PAGED_COMMANDS,
    build_parser,
    load_command,
    plugin_command,
)
from .signals import ExitOnSignals

HELP_FLAGS = ("-h", "--help")

_DEFAULT_ERRORS = ("strict", "backslashreplace")  # of Python's stdout and stderr
_FILE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pipy` and return its exit code."""
    _prepare_streams()
    with ExitOnSignals():
        return _run(argv)


def _run(argv: Sequence[str] | None) -> int:
    try:
        given = sys.argv[1:] if argv is None else list(argv)
        if not given and sys.stdout.isatty():
            from .welcome import show_welcome

            return show_welcome()
        command_line = with_default_command(given)
        return _run_command(_parse_command_line(command_line))
    except ValueError as error:  # wrong use
        _warn(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has enough, as in `pipy … | head`
        _detach_stdout()
        return 0
    except OSError as error:  # for example a full disk behind `>`
        _detach_stdout()
        from .display.terminal import format_error

        if error.filename is None and error.errno in _FILE_ERRNOS:  # errors of other files name it
            error.filename = "stdout"
        _warn(format_error(error))
        return 1


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    from .display import unencodable

    return unencodable.replace(error)


def _escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    from .display import unencodable

    return unencodable.escape(error)


def _prepare_streams() -> None:
    """Make stdout and stderr accept any text."""
    codecs.register_error("pipy-replace", _replace_unencodable)
    codecs.register_error("pipy-escape", _escape_unencodable)
    for name, errors in (("stdout", "pipy-replace"), ("stderr", "pipy-escape")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller, as in `pipy … >&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif stream.errors in _DEFAULT_ERRORS and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)


def _parse_command_line(argv: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ValueError: It has an argument that the command does not take.
    """
    root_parser = build_parser(argv[0] if argv else "")
    arguments, unknown = root_parser.parse_known_args(argv)
    if not unknown:
        return arguments
    from ..utils.text import suggest
    from .parser_tree import walk_commands

    command_path = " ".join(filter(None, (arguments.command, getattr(arguments, "action", None))))
    unknown_argument = unknown[0].partition("=")[0]  # the value may be a key: do not print it
    command = dict(walk_commands(root_parser))[command_path]
    flags = [flag for action in command.options for flag in action.option_strings]
    advice = suggest(unknown_argument, flags) or f"pipy {command_path} --help lists its arguments"
    raise ValueError(f"pipy {command_path} does not accept {unknown_argument!r}; {advice}")


def with_default_command(argv: list[str]) -> list[str]:
    """Insert `ask` before a prompt: `pipy "What is 2+2?"` means `pipy ask "What is 2+2?"`.

    Raises:
        ValueError: The first word is almost a command and no prompt follows it.
    """
    if argv[:1] == ["--no-pager"] and argv[1:2] and argv[1] in PAGED_COMMANDS:  # as with git
        return with_default_command([argv[1], *argv[2:], "--no-pager"])
    if not argv or argv[0] in COMMANDS or argv[0] in ("-h", "--help", "--version"):
        return _with_default_action(argv)
    first = argv[0]
    if first == "help" and (len(argv) == 1 or argv[1] in COMMANDS):
        return [*argv[1:], "--help"]
    if first.replace("-", "_").isidentifier() and first[0] != "-" and plugin_command(first):
        return argv
    if first.isidentifier() and (len(argv) < 3 or argv[1].startswith("-")):
        from ..utils.text import suggest

        if suggestion := suggest(first, COMMANDS):
            advice = f"{suggestion} To send it as a prompt: pipy ask {first} …"
            raise ValueError(f"unknown command {first!r}; {advice}")
    return ["ask", *argv]


def _with_default_action(argv: list[str]) -> list[str]:
    """Insert the default action where a command is given none: `pipy keys --json` lists."""
    action = DEFAULT_ACTIONS.get(argv[0]) if argv else None
    if action is None or (argv[1:] and (argv[1] in HELP_FLAGS or not argv[1].startswith("-"))):
        return argv
    return [argv[0], action, *argv[1:]]


def _run_command(arguments: argparse.Namespace) -> int:
    """Import and run a command, with a status line if it waits for anything."""
    import warnings

    from ..registry import auto_sync

    command = load_command(arguments.command)
    auto_sync.use_subprocess = True
    try:
        with (
            warnings.catch_warnings(),
            _terminal_settings(arguments, getattr(command, "WAITS", "")),
        ):
            warnings.showwarning = lambda message, *_, **__: _warn(str(message))  # ty: ignore[invalid-assignment]
            if not gc.isenabled():  # see __main__.py
                gc.freeze()
                gc.enable()
            return int(command.run(arguments))
    finally:
        auto_sync.use_subprocess = False


@contextmanager
def _terminal_settings(arguments: argparse.Namespace, status: str) -> Generator[None]:
    """Apply `--quiet` and `--no-pager`, and show the status line `status` if it is not empty."""
    quiet, no_pager = getattr(arguments, "quiet", False), getattr(arguments, "no_pager", False)
    if status or no_pager:
        from .display import terminal

        terminal.quiet, terminal.use_pager = quiet, not no_pager
    try:
        if status:
            from .display.status import show_status

            show_status(status)
        yield
    finally:
        for name in ("status", "terminal"):  # only what was imported
            if module := sys.modules.get(f"{__package__}.display.{name}"):
                module.reset()


def _warn(text: str) -> None:
    from .display.terminal import warn

    warn(text)


def _detach_stdout() -> None:
    from .display.terminal import detach

    detach(sys.stdout)
