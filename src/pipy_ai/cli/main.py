"""Entry point of `pipy`: reads the arguments, runs one command, turns failure into exit codes.

0: done. 1: the request failed. 2: wrong use. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pipy_ai import __version__

THINKING = ("off", "minimal", "low", "medium", "high", "xhigh", "max")


def parser() -> argparse.ArgumentParser:
    """The command line, without importing anything that a command needs."""
    top = argparse.ArgumentParser(
        prog="pipy", description="Talk to any language model.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"pipy {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    ask = commands.add_parser(
        "ask",
        help="ask one question",
        description="Ask one question and print the answer as it comes. Text piped in goes before"
        " the prompt.",
        allow_abbrev=False,
    )
    ask.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask")
    ask.add_argument(
        "-m", "--model", help="provider/model (default: PIPY_MODEL, else what is set up)"
    )
    ask.add_argument("-s", "--system", help="system prompt")
    ask.add_argument(
        "--thinking", metavar="LEVEL", choices=THINKING, help=f"one of {', '.join(THINKING)}"
    )
    ask.add_argument(
        "-a",
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="an image to show, by path or URL (may be repeated)",
    )
    ask.add_argument("--temperature", type=float, metavar="T")
    ask.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")
    form = ask.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the whole message as JSON")
    form.add_argument("--events", action="store_true", help="print each event as a line of JSON")
    ask.add_argument("--usage", action="store_true", help="end with tokens and cost, on stderr")

    local = commands.add_parser("local", help="the embedded model", allow_abbrev=False)
    actions = local.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("pull", help="download the weights of local/smollm2 (94 MB)")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pipy` and return its exit code."""
    for name in ("stdout", "stderr"):  # closed by the caller, as in `pipy … >&-`
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "local":
            from .local import pull

            return pull()
        from .ask import ask

        return ask(arguments)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `pipy … | head`: the reader has what it wanted
        _forget_stdout()
        return 0
    except OSError as error:  # a full disk behind `>`, say
        _forget_stdout()
        if sys.stderr is not None:
            sys.stderr.write(f"pipy: {error.strerror or error}\n")
        return 1


def _forget_stdout() -> None:
    """Python would flush what is left at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
