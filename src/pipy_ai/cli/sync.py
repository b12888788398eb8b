"""`pipy sync` and `pipy config`."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict

from ..registry.config import generate_router_config
from ..registry.sync import SyncError, sync_models
from .terminal import complain, safe, write_json

SHOWN = 10  # names of each kind that are printed


def sync(arguments: argparse.Namespace) -> int:
    """Bring the catalogue up to date."""
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


def config(arguments: argparse.Namespace) -> int:
    """Write a configuration for LiteLLM's Router and proxy."""
    providers = [name.strip() for name in (arguments.providers or "").split(",") if name.strip()]
    path = generate_router_config(arguments.output, providers or None, arguments.all)
    special = path.exists() and not path.is_file()  # a pipe, perhaps stdout itself
    print(f"Generated {path}", file=sys.stderr if special else sys.stdout)
    if os.path.isfile(f"{path}.bak"):
        print(f"What was there before is in {path}.bak")
    return 0
