"""Entry point of `pipy`: reads the arguments, runs one command, turns failure into exit codes.

0: done. 1: the request failed. 2: wrong use. 130: stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

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
    _question(ask)
    form = ask.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the whole message as JSON")
    form.add_argument("--events", action="store_true", help="print each event as a line of JSON")
    ask.add_argument("--usage", action="store_true", help="end with tokens and cost, on stderr")

    preview = commands.add_parser(
        "preview",
        help="show the request that `ask` would send",
        description="Show the request that `pipy ask` would send for the same arguments, without"
        " sending it. Keys are masked.",
        allow_abbrev=False,
    )
    _question(preview)
    preview.add_argument("--json", action="store_true", help="print JSON")

    _catalogue(commands)

    local = commands.add_parser("local", help="the embedded model", allow_abbrev=False)
    actions = local.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("pull", help="download the weights of local/smollm2 (94 MB)")
    return top


def _question(command: argparse.ArgumentParser) -> None:
    """What is asked, of whom and how."""
    command.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask")
    command.add_argument(
        "-m", "--model", help="provider/model (default: PIPY_MODEL, else what is set up)"
    )
    command.add_argument("-s", "--system", help="system prompt")
    command.add_argument(
        "--thinking", metavar="LEVEL", choices=THINKING, help=f"one of {', '.join(THINKING)}"
    )
    command.add_argument(
        "-a",
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="an image to show, by path or URL (may be repeated)",
    )
    command.add_argument(
        "--api-base", metavar="URL", help="where the model is, e.g. a server of yours"
    )
    command.add_argument("--temperature", type=float, metavar="T")
    command.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")


def _catalogue(commands: Any) -> None:
    """The commands over the catalogue of models."""

    def add(name: str, help: str) -> argparse.ArgumentParser:
        text = help[0].upper() + help[1:] + "."
        made = commands.add_parser(name, help=help, description=text, allow_abbrev=False)
        assert isinstance(made, argparse.ArgumentParser)
        if name != "config":
            made.add_argument("--json", action="store_true", help="print JSON")
        return made

    sync = add("sync", "fetch the newest catalogue of models from models.dev")
    sync.add_argument(
        "--force", action="store_true", help="even if nothing changed, or half of it is gone"
    )

    config = add("config", "write a configuration for LiteLLM's Router and proxy")
    config.add_argument("--providers", metavar="A,B", help="these (default: whose key is set)")
    config.add_argument("--all", action="store_true", help="every provider")
    config.add_argument("-o", "--output", metavar="FILE", help="default: ~/.pipy/router.yaml")

    models = add("models", "list models")
    _filters(models)
    models.add_argument("--sort", metavar="COLUMN", help="model, context, in, out, released, …")
    models.add_argument("--reverse", action="store_true", help="the other way round")
    models.add_argument("--limit", type=_count, metavar="N", help="the first N only")
    models.add_argument("--columns", metavar="A,B", help="a table of these, e.g. model,in,out")

    info = add("info", "show what is known of a model")
    info.add_argument("model", help="provider/model, or the bare name of a model")

    cost = add("cost", "estimate what a request costs")
    cost.add_argument("model", help="provider/model, or the bare name of a model")
    _tokens(cost)

    compare = add("compare", "rank models by what a request costs")
    compare.add_argument("models", nargs="*", metavar="MODEL", help="these (default: all)")
    _tokens(compare)
    _filters(compare)
    compare.add_argument("--limit", type=_count, metavar="N", help="the first N only")
    compare.add_argument("--free", action="store_true", help="with those that list a price of 0")

    providers = add("providers", "list providers and the variables of their keys")
    providers.add_argument("--available", action="store_true", help="only those whose key is set")
    providers.add_argument("--all", action="store_true", help="with those that have no route")


def _tokens(command: argparse.ArgumentParser) -> None:
    command.add_argument("--input", type=_count, required=True, metavar="N", help="input tokens")
    command.add_argument("--output", type=_count, default=0, metavar="N", help="output tokens")
    command.add_argument(
        "--cached", type=_count, default=0, metavar="N", help="input tokens that are cached"
    )


def _filters(command: argparse.ArgumentParser) -> None:
    only = command.add_argument_group("filters")
    only.add_argument("--provider", help="models.dev's name, e.g. anthropic")
    only.add_argument("--capability", help="reasoning, tool_call, structured_output, …")
    only.add_argument("--modality", help="what it reads: text, image, audio, video, pdf")
    only.add_argument("--output-modality", metavar="MODALITY", help="what it writes")
    only.add_argument("--min-context", type=_count, metavar="N", help="tokens")
    only.add_argument("--min-output", type=_count, metavar="N", help="tokens")
    only.add_argument("--max-cost-input", type=float, metavar="X", help="$/1M tokens")
    only.add_argument("--max-cost-output", type=float, metavar="X", help="$/1M tokens")
    only.add_argument("--status", help="active, alpha, beta, deprecated, removed")
    only.add_argument("--available", action="store_true", help="whose key is set")
    only.add_argument("--open-weights", action="store_true", help="with public weights")
    only.add_argument("--released-after", metavar="DATE", help="like 2026-01")
    only.add_argument("--search", action="append", metavar="WORD", help="in its names")
    only.add_argument("--all", action="store_true", help="embedding, speech and image models, too")


def _count(text: str) -> int:
    """A number of tokens or lines: `12000`, `12_000`, `12k`, `1.5M`."""
    unit = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    number = float((text if unit == 1 else text[:-1]).replace(",", "")) * unit
    if not 0 <= number < 1e15:
        raise ValueError("out of range")
    return int(number)


_count.__name__ = "count"  # what argparse calls it in its complaint


def main(argv: Sequence[str] | None = None) -> int:
    """Run `pipy` and return its exit code."""
    for name in ("stdout", "stderr"):  # closed by the caller, as in `pipy … >&-`
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    arguments = parser().parse_args(argv)
    try:
        return _run(arguments)
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
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1


def _run(arguments: argparse.Namespace) -> int:
    """Carry out one command; its module loads only now."""
    import warnings

    from ..registry import auto

    auto.detached = True
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _complain(str(message))
            return _command(arguments)
    finally:
        auto.detached = False


def _command(arguments: argparse.Namespace) -> int:
    command = arguments.command
    if command in ("ask", "preview"):
        from . import ask

        return ask.ask(arguments) if command == "ask" else ask.preview(arguments)
    if command == "local":
        from .local import pull

        return pull()
    if command in ("sync", "config"):
        from . import sync

        run = sync.sync if command == "sync" else sync.config
        return run(arguments)
    from . import catalogue

    return int(getattr(catalogue, command)(arguments))


def _complain(text: str) -> None:
    from .terminal import complain

    if sys.stderr is not None:
        complain(text)


def _forget_stdout() -> None:
    """Python would flush what is left at exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
