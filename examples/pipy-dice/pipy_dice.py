"""Dice for pipy-ai: a provider, a tool, a template and a command."""

import argparse
import random
from collections.abc import AsyncIterator

from pipy_ai.provider import Request


async def answer(request: Request) -> AsyncIterator[str]:
    """Answer as the model `dice/6`: the roll of a die with six sides."""
    yield "You rolled "
    yield f"{random.randint(1, int(request.model_id))}."


def roll(count: int = 1, sides: int = 6) -> list[int]:
    """Roll dice.

    Args:
        count: How many.
        sides: How many sides each has.
    """
    return [random.randint(1, sides) for _ in range(count)]


FORTUNE = "You are a fortune teller. What does the roll $input mean for $whom?"

DESCRIPTION = "Roll dice."
EXAMPLES = "pipy roll 3 --sides 20\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pipy roll`."""
    parser.add_argument("count", nargs="?", type=int, default=1, help="how many dice")
    parser.add_argument("--sides", type=int, default=6, help="how many sides each has")


def run(arguments: argparse.Namespace) -> int:
    """Run `pipy roll` and return its exit code."""
    print(*roll(arguments.count, arguments.sides))
    return 0
