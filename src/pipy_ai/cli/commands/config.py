"""`pipy config`: generate a configuration for LiteLLM's Router and proxy."""

from __future__ import annotations

import argparse
import os
import sys

from ..args.common import parse_count
from ..display.terminal import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


EXAMPLES = """\
pipy config
pipy config --providers anthropic,openai -o router.yaml
pipy config --gateway --rpm 500 --tpm 200k
"""
GUIDE = "gateway.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--providers", metavar="A,B", help="only these providers (default: those with a key)"
    )
    parser.add_argument("--all", action="store_true", help="include every provider")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="output file, or - for stdout (default: ~/.pipy/router.yaml or gateway.yaml)",
    )
    gateway_group = parser.add_argument_group("gateway")
    gateway_group.add_argument(
        "--gateway",
        action="store_true",
        help="share limits, cooldowns and a cache between several proxies, through Redis",
    )
    gateway_group.add_argument(
        "--rpm", type=parse_count, metavar="N", help="requests per minute for each model"
    )
    gateway_group.add_argument(
        "--tpm", type=parse_count, metavar="N", help="tokens per minute for each model"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.output == "-":
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as temp_dir:
            write(
                _generate_config(arguments, f"{temp_dir}/config.yaml").read_text(encoding="utf-8")
            )
        return 0
    path = _generate_config(arguments, arguments.output)
    is_special_file = path.exists() and not path.is_file()  # a pipe, or stdout itself
    print(f"Generated {path}", file=sys.stderr if is_special_file else sys.stdout)
    if os.path.isfile(f"{path}.bak"):
        print(f"The previous file is {path}.bak")
    return 0


def _generate_config(arguments: argparse.Namespace, output: str | None) -> Path:
    from ...registry.config import generate_router_config

    providers = [name.strip() for name in (arguments.providers or "").split(",") if name.strip()]
    return generate_router_config(
        output,
        providers or None,
        arguments.all,
        gateway=arguments.gateway,
        rpm=arguments.rpm,
        tpm=arguments.tpm,
    )
