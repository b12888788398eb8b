"""`pipy config`: a configuration for LiteLLM's Router and proxy."""

from __future__ import annotations

import argparse
import os
import sys

from .catalogue import count
from .terminal import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("--providers", metavar="A,B", help="these (default: whose key is set)")
    command.add_argument("--all", action="store_true", help="every provider")
    command.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="default: ~/.pipy/router.yaml, or gateway.yaml there; - is stdout",
    )
    gateway = command.add_argument_group("gateway")
    gateway.add_argument(
        "--gateway",
        action="store_true",
        help="for several proxies that share limits, cooldowns and a cache in Redis",
    )
    gateway.add_argument("--rpm", type=count, metavar="N", help="requests a minute to each model")
    gateway.add_argument("--tpm", type=count, metavar="N", help="tokens a minute to each model")


def run(arguments: argparse.Namespace) -> int:
    """Write a configuration for LiteLLM's Router and proxy."""
    if arguments.output == "-":
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            write(_generate(arguments, f"{folder}/config.yaml").read_text(encoding="utf-8"))
        return 0
    path = _generate(arguments, arguments.output)
    special = path.exists() and not path.is_file()  # a pipe, perhaps stdout itself
    print(f"Generated {path}", file=sys.stderr if special else sys.stdout)
    if os.path.isfile(f"{path}.bak"):
        print(f"What was there before is in {path}.bak")
    return 0


def _generate(arguments: argparse.Namespace, output: str | None) -> Path:
    from ..registry.config import generate_router_config

    providers = [name.strip() for name in (arguments.providers or "").split(",") if name.strip()]
    return generate_router_config(
        output,
        providers or None,
        arguments.all,
        gateway=arguments.gateway,
        rpm=arguments.rpm,
        tpm=arguments.tpm,
    )
