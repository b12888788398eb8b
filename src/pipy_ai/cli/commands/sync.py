"""`pipy sync`: fetch the newest catalogue of models."""

from __future__ import annotations

import argparse

from ...utils.text import format_count
from ..args.common import add_json_option, add_quiet_option
from ..display.status import hide_status
from ..display.terminal import escape_controls, warn, write_json

EXAMPLES = """\
pipy sync
pipy sync --trust openrouter
pipy sync --json
"""
GUIDE = "models.md"
MAX_LISTED_NAMES = 10  # per list of added, removed and repriced models
WAITS = "downloading the catalogue of models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--force",
        action="store_true",
        help="update even if nothing changed or half of the models would be removed",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PROVIDER",
        help="accept this provider's new address and key variables (repeatable)",
    )
    add_json_option(parser)
    add_quiet_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from dataclasses import asdict

    from ...registry.sync import SyncError, sync_models

    try:
        result = sync_models(force=arguments.force, trust=arguments.trust)
    except SyncError as error:
        hide_status()
        whole = "" if isinstance(error.__cause__, OSError) else ". The catalogue was not changed."
        warn(f"{error}{whole}")
        return 1
    hide_status()
    if arguments.json:
        write_json(asdict(result))
        return 0
    models = format_count(result.models, "model")
    catalogue = f"{models} across {format_count(result.providers, 'provider')}"
    if not result.updated:
        print(f"Nothing new: {catalogue}")
        return 0
    print(f"Fetched {catalogue}")
    for label, names in (
        ("added", result.added),
        ("removed", result.removed),
        ("new prices", result.repriced),
    ):
        if names:
            hidden_count = len(names) - MAX_LISTED_NAMES
            listed = ", ".join(escape_controls(name) for name in names[:MAX_LISTED_NAMES])
            more = f", and {hidden_count} more" if hidden_count > 0 else ""
            print(f"{len(names)} {label}: {listed}{more}")
    for change in result.untrusted:
        warn(escape_controls(_describe(change)))
    if result.skipped:
        print(
            "Skipped "
            + format_count(
                result.skipped, "an entry that is not a model", "entries that are not models"
            )
        )
    print(f"Saved to {result.path}")
    return 0


def _describe(change: str) -> str:
    """Return a sentence for an entry of `SyncResult.untrusted`, and how to accept it."""
    name, _, parts_text = change.partition(": ")
    parts = [
        f"a {part}" if part.startswith("new") else f"the {part}" for part in parts_text.split(", ")
    ]
    verb, pronoun = ("is", "it") if len(parts) == 1 else ("are", "them")
    return (
        f"{name} has {' and '.join(parts)}, which {verb} not used;"
        f" pipy sync --trust {name} accepts {pronoun}"
    )
