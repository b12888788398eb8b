"""`pipy keys`: save API keys in the system's keyring, or in a file that only the user can read.

A key is typed unseen or piped in. It is never an argument, which the shell's history and `ps` would
show, and it is never printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from ...registry import keystore
from ...registry.routing import CLOUD_LOGIN_BACKENDS, ENVIRONMENT, STORABLE_CLOUD_KEYS, Route
from ...utils.secrets import subscription_problem
from ...utils.text import suggest
from ..args.common import add_json_option, add_pager_option
from ..checks.keys import describe_location, list_keys, provider_routes
from ..display.table import print_table
from ..display.terminal import warn, write, write_json, write_stderr

if TYPE_CHECKING:
    from collections.abc import Generator

DESCRIPTION = (
    "Store API keys. An environment variable takes precedence over a stored key. pipy keys set"
    " prompts for the key, or reads it from a pipe."
)
EXAMPLES = """\
pipy keys set anthropic
pipy keys set openai < key.txt
pipy keys list
pipy keys remove openai
"""
GUIDE = "configuration.md"
MAX_KEY_CHARS = 65_536  # some keys are whole documents


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    set_parser = actions.add_parser("set", help="store a key")
    set_parser.add_argument(
        "name", metavar="PROVIDER", help="provider, or the environment variable of its key"
    )
    set_parser.add_argument("value", nargs="*", help=argparse.SUPPRESS)  # `_set` rejects it
    set_parser.add_argument(
        "--file", action="store_true", help="store it in a file even if there is a keyring"
    )
    set_parser.add_argument("--force", action="store_true", help="accept an unknown variable name")
    list_parser = actions.add_parser("list", help="list the keys that are set, and where")
    add_json_option(list_parser)
    add_pager_option(list_parser)
    remove_parser = actions.add_parser("remove", help="remove a stored key (also: rm)")
    actions.choices["rm"] = remove_parser
    remove_parser.add_argument(
        "name", metavar="PROVIDER", help="provider, or the environment variable of its key"
    )
    actions.add_parser("path", help="print the path of the key file")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.action == "path":
        print(keystore.path())
        return 0
    keystore.entries()  # raises if the file is damaged, before the user types a key
    if arguments.action == "set":
        return _set(arguments)
    if arguments.action in ("remove", "rm"):
        return _remove(arguments.name)
    return _list(arguments.json)


def _set(arguments: argparse.Namespace) -> int:
    if arguments.value:
        raise ValueError(
            "a key on the command line stays in the shell's history, so it was not stored, and you"
            f" may want to replace it; run pipy keys set {arguments.name} and paste the key"
        )
    provider, variable = _resolve_name(arguments.name, arguments.force)
    key = _read_key(f"Key for {provider or 'any provider'} ({variable}), hidden: ")
    in_keyring = not arguments.file and keystore.system_keyring() is not None
    location = keystore.set_key(variable, key, in_keyring)
    print(f"{variable} is stored in {describe_location(location)}")
    if os.environ.get(variable, "").strip():
        warn(f"{variable} is also set in the environment, which takes precedence")
    return 0


def _resolve_name(name: str, force: bool) -> tuple[str, str]:
    """Return the provider and the environment variable for a name of either.

    Raises:
        ValueError: The name is unknown, or the provider does not use one key.
    """
    routes = provider_routes()
    from ...registry.names import LITELLM_PROVIDER_ALIASES

    provider = name if name in routes else LITELLM_PROVIDER_ALIASES.get(name, "")
    if provider in routes:
        return provider, _key_variable(provider, routes[provider])
    for provider, provider_route in routes.items():
        if name in provider_route.key_env:
            if name not in STORABLE_CLOUD_KEYS:
                _key_variable(provider, provider_route, name)
            return provider, name
    if force and name.isidentifier():
        return "", name
    variables = [key for provider_route in routes.values() for key in provider_route.key_env]
    advice = suggest(name, [*routes, *variables], 2) or "pipy providers lists them"
    raise ValueError(f"no provider or variable {name!r}; {advice} (use --force to store it anyway)")


def _key_variable(provider: str, provider_route: Route, name: str = "") -> str:
    """Return the variable of a provider's key; `name` is the one that the user has named.

    Raises:
        ValueError: The provider does not use one key.
    """
    if provider_route.problem:
        raise ValueError(provider_route.problem)
    storable = [key for key in provider_route.key_env if key in STORABLE_CLOUD_KEYS]
    if storable and not name:
        return storable[0]
    if provider_route.backend in CLOUD_LOGIN_BACKENDS:
        raise ValueError(
            f"{provider} needs more than a key, and only environment variables can hold it: set "
            f"{' or '.join(provider_route.key_env)}"
        )
    if not provider_route.key_env:
        raise ValueError(f"{provider} needs no key")
    return provider_route.key_env[0]


def _read_key(prompt: str) -> str:
    if sys.stdin is not None and sys.stdin.isatty():
        import getpass

        try:
            with _hidden_after_suspension(prompt):
                key = getpass.getpass(prompt)
        except EOFError:
            key = ""
    else:
        from ...utils.encoding import decode_text
        from ..args.stdin import read_stdin

        try:
            key = decode_text(read_stdin(has_prompt=False))
        except UnicodeDecodeError:
            raise ValueError("the key is not text; nothing was changed") from None
    key = key.strip()
    if not key:
        raise ValueError("no key was given; nothing was changed")
    if len(key) > MAX_KEY_CHARS or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(
            "not a valid key: it must be one word of ASCII characters; nothing was changed"
        )
    if problem := subscription_problem(key):
        raise ValueError(f"{problem}; nothing was changed")
    return key


@contextlib.contextmanager
def _hidden_after_suspension(prompt: str) -> Generator[None, None, None]:
    """Turn the terminal's echo on before Ctrl-Z stops the process, and off when it continues."""
    if os.name != "posix":
        yield
        return
    import signal
    import termios

    fd = sys.stdin.fileno()
    shown = termios.tcgetattr(fd)

    def suspend(*_: object) -> None:
        hidden = termios.tcgetattr(fd)
        termios.tcsetattr(fd, termios.TCSANOW, shown)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # and here the process stops
        signal.signal(signal.SIGTSTP, suspend)
        termios.tcsetattr(fd, termios.TCSAFLUSH, hidden)
        write_stderr(f"\n{prompt}")

    previous = signal.signal(signal.SIGTSTP, suspend)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, previous)


def _list(as_json: bool) -> int:
    rows = list_keys()
    if as_json:
        write_json(rows)
        return 0
    if not rows:
        warn("no API key is set; pipy keys set PROVIDER stores one")
        return 0
    body = [
        [", ".join(row["providers"]) or "-", row["variable"], _describe_source(row)] for row in rows
    ]
    print_table(["provider", "variable", "from"], body)
    return 0


def _describe_source(row: dict[str, Any]) -> str:
    if row["place"] == ENVIRONMENT and row["kept"]:
        return f"the environment, instead of {describe_location(row['kept'])}"
    return describe_location(str(row["place"]))


def _remove(name: str) -> int:
    from ...registry.names import LITELLM_PROVIDER_ALIASES

    stored = keystore.entries()
    routes = provider_routes()
    provider_route = (
        routes.get(name) or routes.get(LITELLM_PROVIDER_ALIASES.get(name, "")) or Route()
    )
    variables = (
        [name] if name in stored else [key for key in provider_route.key_env if key in stored]
    )
    if not variables:
        in_environment = [
            key for key in (name, *provider_route.key_env) if os.environ.get(key, "").strip()
        ]
        suggestion = f"; {in_environment[0]} is set in the environment" if in_environment else ""
        warn(f"no stored key for {name}{suggestion}")
        return 1
    for variable in variables:
        keystore.delete_key(variable)
        write(f"removed {variable}\n")
    return 0
