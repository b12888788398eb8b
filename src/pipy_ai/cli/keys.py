"""`pipy keys`: keys for providers, kept in the system's keyring or in a file of one's own.

A key is typed unseen or piped in, never given as an argument (which a shell's history and `ps`
would show), and never shown again.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ..registry import get_registry, keystore
from ..registry.routing import ENVIRONMENT, LOGINS, OWN_SERVERS, Route, route
from .catalogue import add_json
from .terminal import complain, table, write, write_json

DESCRIPTION = (
    "Keep the keys of providers. A variable that is set in the environment goes before what is "
    "kept here. pipy keys set asks for the key; or pipe it in."
)
LONGEST = 65_536  # characters; some keys are whole documents


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    actions = command.add_subparsers(dest="action", metavar="ACTION", required=True)
    put = actions.add_parser("set", help="keep a key")
    put.add_argument("name", metavar="PROVIDER", help="a provider, or the variable of its key")
    put.add_argument("value", nargs="*", help=argparse.SUPPRESS)  # to say why not
    put.add_argument("--file", action="store_true", help="in a file, even if there is a keyring")
    put.add_argument("--force", action="store_true", help="for a variable that nobody knows")
    add_json(actions.add_parser("list", help="list the keys that are set, and where"))
    remove = actions.add_parser("remove", help="forget a key")
    remove.add_argument("name", metavar="PROVIDER", help="a provider, or the variable of its key")
    actions.add_parser("path", help="print where the file is")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.action == "path":
        print(keystore.path())
        return 0
    keystore.entries()  # a damaged file is told before anything is asked
    if arguments.action == "set":
        return _set(arguments)
    if arguments.action == "remove":
        return _remove(arguments.name)
    return _list(arguments.json)


# --- Setting --------------------------------------------------------------------------------


def _set(arguments: argparse.Namespace) -> int:
    if arguments.value:
        raise ValueError(
            "a key on the command line stays in the shell's history, so it is not taken from there "
            f"(and that one may need replacing); run pipy keys set {arguments.name} and paste it"
        )
    provider, variable = _meant(arguments.name, arguments.force)
    key = _ask(f"Key for {provider or 'any provider'} ({variable}), not shown: ")
    in_keyring = not arguments.file and keystore.system_keyring() is not None
    where = keystore.put(variable, key, in_keyring)
    print(f"{variable} is kept in {worded(where)}")
    if os.environ.get(variable, "").strip():
        complain(f"{variable} is also set in the environment, which goes before it")
    return 0


def _meant(name: str, force: bool) -> tuple[str, str]:
    """The provider and the variable that a name means."""
    ways = _ways()
    from ..registry.names import LITELLM_NAMES

    provider = name if name in ways else LITELLM_NAMES.get(name, "")
    if provider in ways:
        return provider, _variable_of(provider, ways[provider])
    for provider, way in ways.items():
        if name in way.keys:
            _variable_of(provider, way)
            return provider, name
    if force and name.isidentifier():
        return "", name
    from difflib import get_close_matches

    near = get_close_matches(name, [*ways, *(key for way in ways.values() for key in way.keys)], 2)
    hint = f"did you mean {' or '.join(near)}?" if near else "pipy providers lists them"
    raise ValueError(f"no provider or variable {name!r}; {hint} (--force keeps it all the same)")


def _variable_of(provider: str, way: Route) -> str:
    if way.problem:
        raise ValueError(way.problem)
    if way.backend in LOGINS:
        raise ValueError(
            f"{provider} logs in with more than a key, which only the environment can hold: "
            f"set {' or '.join(way.keys)}"
        )
    if not way.keys:
        raise ValueError(f"{provider} needs no key")
    return way.keys[0]


def _ways() -> dict[str, Route]:
    hosts = get_registry().hosts().items()
    own = {
        name: Route(rule="litellm", backend=name, keys=keys) for name, keys in OWN_SERVERS.items()
    }
    return own | {name: route(host, "") for name, host in sorted(hosts)}


def _ask(prompt: str) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        import getpass

        try:
            key = getpass.getpass(prompt)
        except EOFError:
            key = ""
    else:
        key = "" if sys.stdin is None else sys.stdin.read(LONGEST + 1)
    key = key.strip()
    if not key:
        raise ValueError("no key was given; nothing is changed")
    if len(key) > LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("that is no key: one word of plain characters is; nothing is changed")
    return key


# --- Listing and removing -------------------------------------------------------------------


def found_keys() -> list[dict[str, Any]]:
    """The keys that are set or kept, without their values: `provider`, `variable`, `place`."""
    kept = dict.fromkeys(keystore.entries())
    rows: dict[str, dict[str, Any]] = {}
    for provider, way in _ways().items():
        for variable in way.keys:
            in_environment = bool(os.environ.get(variable, "").strip())
            if in_environment or (variable in kept and way.backend not in LOGINS):
                place = ENVIRONMENT if in_environment else keystore.place(variable)
                row = rows.setdefault(variable, {"providers": [], "variable": variable})
                row["providers"].append(provider)
                row |= {"place": place, "kept": keystore.place(variable) or None}
    for variable in kept:
        place = keystore.place(variable)
        rows.setdefault(
            variable, {"providers": [], "variable": variable, "place": place, "kept": place}
        )
    return sorted(rows.values(), key=lambda row: (row["providers"], row["variable"]))


def _list(as_json: bool) -> int:
    rows = found_keys()
    if as_json:
        write_json(rows)
        return 0
    if not rows:
        complain("no provider's key is set; pipy keys set PROVIDER keeps one")
        return 0
    body = [[", ".join(row["providers"]) or "-", row["variable"], _from(row)] for row in rows]
    table(["provider", "variable", "from"], body)
    return 0


def _from(row: dict[str, Any]) -> str:
    if row["place"] == ENVIRONMENT and row["kept"]:
        return f"the environment, before {worded(row['kept'])}"
    return worded(str(row["place"]))


def worded(place: str) -> str:
    """A place of a key in words."""
    words = {ENVIRONMENT: "the environment", keystore.KEYRING: "the system's keyring"}
    return words.get(place, place)


def _remove(name: str) -> int:
    from ..registry.names import LITELLM_NAMES

    kept = keystore.entries()
    ways = _ways()
    way = ways.get(name) or ways.get(LITELLM_NAMES.get(name, "")) or Route()
    variables = [name] if name in kept else [key for key in way.keys if key in kept]
    if not variables:
        in_environment = [key for key in (name, *way.keys) if os.environ.get(key, "").strip()]
        hint = f"; {in_environment[0]} is set in the environment" if in_environment else ""
        complain(f"no key is kept for {name}{hint}")
        return 1
    for variable in variables:
        keystore.remove(variable)
        write(f"{variable} is forgotten\n")
    return 0
