"""`pipy providers`: hosts, the variables of their keys, and whether one is set."""

from __future__ import annotations

import argparse

from ..registry import get_registry
from ..registry.routing import Route, route
from .catalogue import add_json, json_route
from .terminal import complain, table, write_json


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("--available", action="store_true", help="only those whose key is set")
    command.add_argument("--all", action="store_true", help="with those that have no route")
    add_json(command)


def run(arguments: argparse.Namespace) -> int:
    """List providers, the variables of their keys, and whether one is set."""
    registry = get_registry()
    counts: dict[str, int] = {}
    for full in registry.query():
        provider = full.partition("/")[0]
        counts[provider] = counts.get(provider, 0) + 1
    entries = []
    for name, host in sorted(registry.hosts().items()):
        way = route(host, "")
        if (way.problem and not arguments.all) or name not in counts:
            continue
        is_set = bool(way.found()[0]) and not way.missing()
        if arguments.available and not is_set:
            continue
        entries.append((name, host, way, is_set, counts[name]))
    if arguments.json:
        write_json(
            [
                {"provider": name, "name": host.get("name"), "models": count, "key_set": is_set}
                | json_route(way)
                for name, host, way, is_set, count in entries
            ]
        )
        return 0
    body = [
        [name, str(count), "yes" if is_set else "no", _variables(way)]
        for name, _, way, is_set, count in entries
    ]
    table(["provider", "models", "set", "variables"], body, {"models"})
    if not entries:
        complain("no provider's key is set; pipy providers lists the variables")
    return 0


def _variables(way: Route) -> str:
    if way.problem:
        return way.problem
    keys = " or ".join(way.keys)
    said = " and ".join([keys, *way.needs] if keys else way.needs)
    return f"{said} (optional)" if way.key_optional else said
