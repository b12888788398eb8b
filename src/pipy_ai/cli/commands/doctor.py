"""`pipy doctor`: check the setup and print what to do. No key is ever shown."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import TYPE_CHECKING

from ...utils.terminal_size import get_terminal_size
from ..args.common import add_json_option, add_quiet_option
from ..checks.finding import FAIL, OK, WARN
from ..display.status import hide_status, show_status
from ..display.terminal import colored, escape_controls, wrap, write, write_json, write_raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..checks.finding import Finding

DESCRIPTION = (
    "Check the setup and print how to fix problems. Without --online, nothing is sent beyond this"
    " machine."
)
EXAMPLES = """\
pipy doctor
pipy doctor --online
pipy doctor --json
"""
GUIDE = "troubleshooting.md"
WAITS = "checking the setup"
MIN_TABLE_WIDTH = 60  # on a narrower terminal, the findings are not in columns
COLORS = {OK: "green", WARN: "yellow", FAIL: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--online",
        action="store_true",
        help="also check the connection to models.dev and to each provider that has a key",
    )
    add_json_option(parser)
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    findings = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the checks report the same problems
        for subject, check in _checks(arguments.online):
            show_status(f"checking {subject}")
            for finding in check():
                findings.append(finding)
                if not arguments.json:
                    _print_finding(finding)
    hide_status()
    if arguments.json:
        write_json([finding.to_dict() for finding in findings])
    return 1 if any(finding.state == FAIL for finding in findings) else 0


def _checks(online: bool) -> Iterator[tuple[str, Callable[[], Iterator[Finding]]]]:
    """Yield the checks and their subjects, in the order of their output; imported only now."""
    from ..checks.clouds import check_clouds
    from ..checks.data import check_catalogue, check_data_dir
    from ..checks.environment import check_network, check_terminal
    from ..checks.installation import check_extras, check_litellm, check_python
    from ..checks.keys import check_keys
    from ..checks.models import check_default_model, check_servers
    from ..checks.plugins import check_plugins

    yield "Python", check_python
    yield "LiteLLM", check_litellm
    yield "optional packages", check_extras
    yield "plugins", check_plugins
    yield "the data directory", check_data_dir
    yield "the catalogue", check_catalogue
    yield "API keys", check_keys
    yield "clouds", check_clouds
    yield "the default model", check_default_model
    yield "model servers on this machine", check_servers
    yield "the network settings", check_network
    yield "the terminal", check_terminal
    if online:
        from ..checks.connectivity import check_connectivity

        yield "the connection to providers", check_connectivity


def _print_finding(finding: Finding) -> None:
    is_narrow = sys.stdout.isatty() and 0 < get_terminal_size((0, 0))[0] < MIN_TABLE_WIDTH
    if is_narrow:
        line, indent = f"{finding.state} {finding.about}: {finding.detail}\n", 2
    else:
        line, indent = f"{finding.state:<4}  {finding.about:<12}  {finding.detail}\n", 20
    line = wrap(escape_controls(line), sys.stdout, indent)
    state = line[: len(finding.state)]
    write_raw(colored(state, COLORS[finding.state], sys.stdout) + line[len(state) :])
    if finding.todo:
        todo = escape_controls(f"{'':<{indent}}→ {finding.todo}\n")
        write(wrap(todo, sys.stdout, indent + 2) if is_narrow else todo)
