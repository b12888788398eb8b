"""`pipy cache`: what the cache of responses holds, and clearing it."""

from __future__ import annotations

import argparse

from ..args.common import add_json_option
from ..display.terminal import write, write_json

DESCRIPTION = (
    "Show or clear the cache of responses, which PIPY_CACHE=1 turns on: equal requests get the same"
    " response, at no cost."
)
EXAMPLES = """\
pipy cache
pipy cache stats --json
pipy cache clear
pipy cache clear redis://localhost
"""
GUIDE = "response-cache.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = actions.add_parser("stats", help="show entries, size, hits and savings (default)")
    clear = actions.add_parser("clear", help="delete all responses")
    for subparser in (stats, clear):
        subparser.add_argument(
            "location",
            nargs="?",
            metavar="LOCATION",
            help="a file or the address of a Redis server (default: $PIPY_CACHE, else the file in"
            " the data directory)",
        )
    add_json_option(stats)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from ...provider.cache_store import CacheError, open_store
    from ...response_cache import ResponseCache, chosen_cache

    config = chosen_cache(arguments.location) or ResponseCache()
    store = open_store(config)
    try:
        if arguments.action == "clear":
            count = store.clear()
            write(f"Deleted {count:,} response{'' if count == 1 else 's'} from {config.shown}\n")
            return 0
        stats = store.stats()
    except CacheError as error:
        raise ValueError(str(error)) from None
    if arguments.json:
        write_json(
            {
                "location": config.shown,
                "entries": stats.entries,
                "bytes": stats.bytes,
                "hits": stats.hits,
                "saved": stats.saved,
            }
        )
        return 0
    from ...utils.text import format_usd

    write(
        f"location   {config.shown}\n"
        f"responses  {stats.entries:,} ({stats.bytes / 1e6:,.1f} MB)\n"
        f"hits       {stats.hits:,}\n"
        f"saved      {format_usd(stats.saved)}\n"
    )
    return 0
