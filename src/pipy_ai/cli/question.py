"""What the commands that ask have in common: whom to ask, what, and how."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

from .terminal import complain

if TYPE_CHECKING:
    from pydantic import ValidationError

    from .. import Context

THINKING = ("off", "minimal", "low", "medium", "high", "xhigh", "max")


def arguments(command: argparse.ArgumentParser) -> None:
    """What is asked, of whom and how."""
    command.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to ask")
    command.add_argument(
        "-a",
        "--attach",
        action="append",
        default=[],
        metavar="FILE",
        help="an image to show, by path or URL (may be repeated)",
    )
    how(command)


def how(command: argparse.ArgumentParser) -> None:
    """Of whom, and how."""
    command.add_argument(
        "-m", "--model", help="provider/model (default: PIPY_MODEL, else what is set up)"
    )
    command.add_argument("-s", "--system", help="system prompt")
    command.add_argument(
        "--thinking", metavar="LEVEL", choices=THINKING, help=f"one of {', '.join(THINKING)}"
    )
    command.add_argument(
        "--api-base", metavar="URL", help="where the model is, e.g. a server of yours"
    )
    command.add_argument("--temperature", type=float, metavar="T")
    command.add_argument("--max-tokens", type=int, metavar="N", help="longest answer, in tokens")


def question(arguments: argparse.Namespace) -> tuple[str, Context]:
    """Of whom, and what."""
    from .. import ctx, default_model, image, user
    from ..types import TextContent, UserContent, UserMessage

    prompt = _prompt(arguments.prompt)
    images = [image(source) for source in arguments.attach]
    message = user(prompt)
    if images:
        content: list[UserContent] = [TextContent(text=prompt), *images]
        message = UserMessage(content=content)
    return arguments.model or default_model(), ctx(message, system=arguments.system)


def options(arguments: argparse.Namespace) -> dict[str, Any]:
    """How."""
    return {
        "temperature": arguments.temperature,
        "max_tokens": arguments.max_tokens,
        "reasoning": arguments.thinking,
        "api_base": arguments.api_base,
    }


def wrong(error: ValidationError) -> int:
    """Say which option has a wrong value."""
    first = error.errors()[0]
    complain(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}")
    return 2


def _prompt(words: list[str]) -> str:
    """What was piped in, then what was typed."""
    parts = []
    if _has_input():
        try:
            parts.append(sys.stdin.buffer.read().decode("utf-8").rstrip("\n"))
        except UnicodeDecodeError:
            raise ValueError("what was piped in is not UTF-8 text; attach images with -a") from None
    parts.append(" ".join(words))
    prompt = "\n\n".join(part for part in parts if part.strip())
    if not prompt:
        raise ValueError('nothing to ask: pipy ask "What is 2+2?", or pipe text in')
    return prompt


def _has_input() -> bool:
    """Whether stdin is a pipe or a file, rather than a terminal or nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or not a real file
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
