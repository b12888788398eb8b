"""`pipy doctor`: check the setup and print what to do. No key is ever shown."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from ..args.common import add_json_option
from ..checks.finding import FAIL
from ..display.terminal import escape_controls, wrap, write, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..checks.finding import Finding

DESCRIPTION = (
    "Look at what is set up and say what to do about what is not. Without --online nothing but "
    "this machine is asked."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--online", action="store_true", help="ask each provider that has a key, and models.dev"
    )
    add_json_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    findings = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks report the same problems
        for check in _checks(arguments.online):
            for finding in check():
                findings.append(finding)
                if not arguments.json:
                    _print_finding(finding)
    if arguments.json:
        write_json([finding.to_dict() for finding in findings])
    return 1 if any(finding.state == FAIL for finding in findings) else 0


def _checks(online: bool) -> Iterator[Callable[[], Iterator[Finding]]]:
    """Yield the checks in the order of their output; they are imported only now."""
    from ..checks.data import check_catalogue, check_data_dir
    from ..checks.environment import check_network, check_terminal
    from ..checks.installation import check_litellm, check_python
    from ..checks.keys import check_keys
    from ..checks.models import check_default_model, check_servers

    yield from (check_python, check_litellm, check_data_dir, check_catalogue, check_keys)
    yield from (check_default_model, check_servers, check_network, check_terminal)
    if online:
        from ..checks.connectivity import check_connectivity

        yield check_connectivity


def _print_finding(finding: Finding) -> None:
    line = f"{finding.state:<4}  {finding.about:<12}  {finding.detail}\n"
    write(wrap(escape_controls(line), sys.stdout, 20))
    if finding.todo:
        write(f"{'':<20}→ {finding.todo}\n")
