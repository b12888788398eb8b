"""`pipy sync`: the newest catalogue of models."""

from __future__ import annotations

import argparse
import sys

from .catalogue import add_json
from .terminal import complain, safe, write_json

SHOWN = 10  # names of each kind that are printed


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument(
        "--force", action="store_true", help="even if nothing changed, or half of it is gone"
    )
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """Bring the catalogue up to date."""
    from dataclasses import asdict

    from ..registry.sync import SyncError, sync_models

    if sys.stderr.isatty():
        sys.stderr.write("Fetching the catalogue …\r")
    try:
        result = sync_models(force=arguments.force)
    except SyncError as error:
        complain(f"{error}. The catalogue is as it was.")
        return 1
    if arguments.json:
        write_json(asdict(result))
        return 0
    if not result.updated:
        print(f"Nothing new: {result.models} models across {result.providers} providers")
        return 0
    print(f"Fetched {result.models} models across {result.providers} providers")
    for label, names in (
        ("added", result.added),
        ("removed", result.removed),
        ("new prices", result.repriced),
    ):
        if names:
            more = len(names) - SHOWN
            shown = ", ".join(safe(name) for name in names[:SHOWN])
            print(f"{len(names)} {label}: {shown}{f', and {more} more' if more > 0 else ''}")
    if result.skipped:
        print(f"{result.skipped} entries were no models and are left out")
    print(f"Saved to {result.path}")
    return 0
