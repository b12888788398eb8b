"""`pipy providers`: list providers, the variables of their keys, and whether they are set."""

from __future__ import annotations

import argparse

from ...registry import get_registry
from ...registry.routing import RETIRED_PROVIDERS, Route, build_route
from ..args.common import add_json_option, add_pager_option
from ..display.catalogue import route_to_dict
from ..display.table import print_table
from ..display.terminal import warn, write_json

EXAMPLES = """\
pipy providers
pipy providers --available
pipy providers --json
"""
GUIDE = "models.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--available", action="store_true", help="only providers whose key is set")
    parser.add_argument(
        "--all", action="store_true", help="include providers that pipy-ai cannot call"
    )
    add_json_option(parser)
    add_pager_option(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    registry = get_registry()
    counts: dict[str, int] = {}
    for full in registry.query():
        provider = full.partition("/")[0]
        counts[provider] = counts.get(provider, 0) + 1
    entries = []
    for name, host in sorted(registry.providers().items()):
        provider_route = build_route(host, "")
        is_hidden = provider_route.problem and name not in RETIRED_PROVIDERS
        if (is_hidden and not arguments.all) or name not in counts:
            continue
        is_set = bool(provider_route.credential()[0]) and not provider_route.missing_variables()
        if arguments.available and not is_set:
            continue
        entries.append((name, host, provider_route, is_set, counts[name]))
    if arguments.json:
        write_json(
            [
                {"provider": name, "name": host.get("name"), "models": count, "key_set": is_set}
                | route_to_dict(provider_route)
                for name, host, provider_route, is_set, count in entries
            ]
        )
        return 0
    rows = [
        [name, str(count), "yes" if is_set else "no", _key_variables(provider_route)]
        for name, _, provider_route, is_set, count in entries
    ]
    print_table(
        ["provider", "models", "set", "variables"], rows, {"models"}, drop=["models", "set"]
    )
    if not entries:
        warn("no API key is set; pipy providers lists the variables")
    return 0


def _key_variables(provider_route: Route) -> str:
    if provider_route.problem:
        return provider_route.problem
    keys = " or ".join(provider_route.key_env)
    if keys and provider_route.key_optional:
        keys = f"{keys} (optional)"
    addresses = " or ".join(provider_route.address_env)
    return " and ".join(filter(None, [keys, addresses, *provider_route.required_env]))
