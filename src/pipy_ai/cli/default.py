"""`pipy default`: the model that answers when none is named."""

from __future__ import annotations

import argparse
import os

from ..utils.settings import DEFAULT_MODEL, change, path, setting
from .terminal import complain, note, write

DESCRIPTION = (
    "Show or choose the model that answers when none is named. PIPY_MODEL in the environment goes "
    "before it."
)


def arguments(command: argparse.ArgumentParser) -> None:
    """What the command takes."""
    command.add_argument("model", nargs="?", help="the model to choose (default: show it)")
    command.add_argument("--unset", action="store_true", help="choose none")
    command.add_argument("--force", action="store_true", help="even one that no catalogue knows")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    if arguments.unset and arguments.model:
        raise ValueError("either a model or --unset")
    if arguments.unset:
        change(DEFAULT_MODEL, None)
    elif arguments.model:
        change(DEFAULT_MODEL, _checked(arguments.model, arguments.force))
    model, why = chosen()
    if not model:
        complain(why)
        return 1
    write(f"{model}\n")
    note(why)
    if arguments.model and os.environ.get("PIPY_MODEL", "").strip():
        complain("PIPY_MODEL is set in the environment and goes before it")
    return 0


def chosen() -> tuple[str, str]:
    """The default model and why it is the one; no model, and what would help."""
    from ..api import default_model

    try:
        model = default_model()
    except LookupError as error:
        return "", str(error)
    if os.environ.get("PIPY_MODEL", "").strip():
        return model, "from PIPY_MODEL"
    if setting(DEFAULT_MODEL):
        return model, f"from {path()}"
    return model, "the embedded model" if model.startswith("local/") else "its key is set"


def _checked(name: str, force: bool) -> str:
    """The whole name of a model that can be asked."""
    name = name.strip()
    provider, _, identity = name.partition("/")
    from ..provider import registered
    from ..registry import get_registry
    from ..registry.routing import OWN_SERVERS

    if force and name:
        return name
    if identity and (
        provider in ("local", "faux") or provider in OWN_SERVERS or registered(provider)
    ):
        return name
    registry = get_registry()
    full, _ = registry.find(name)
    if full is None:
        raise ValueError(f"{registry.unknown(name)} (--force takes it all the same)")
    return full
