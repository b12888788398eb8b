"""`pipy local`: the embedded model."""

from __future__ import annotations

import argparse


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("pull", help="download the weights of local/smollm2 (94 MB)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    from .weights import pull

    return pull()
