"""`pipy default`: show or set the default model."""

from __future__ import annotations

import argparse
import os

from ...registry.settings import DEFAULT_MODEL_KEY, update_setting
from ..checks.models import explain_default_model
from ..display.terminal import hint, warn, write

DESCRIPTION = "Show or set the default model. The environment variable PIPY_MODEL takes precedence."
EXAMPLES = """\
pipy default
pipy default openai/gpt-5
pipy default --unset
"""
GUIDE = "ask.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="the new default model (default: show the current one)",
    )
    parser.add_argument("--unset", action="store_true", help="remove the default model")
    parser.add_argument(
        "--force", action="store_true", help="accept a model that is not in the catalogue"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if arguments.unset and arguments.model:
        raise ValueError("use either MODEL or --unset")
    if arguments.unset:
        update_setting(DEFAULT_MODEL_KEY, None)
    elif arguments.model:
        update_setting(DEFAULT_MODEL_KEY, _validate_model(arguments.model, arguments.force))
    model, reason = explain_default_model()
    if not model:
        warn(reason)
        return 1
    write(f"{model}\n")
    hint(reason)
    if arguments.model and os.environ.get("PIPY_MODEL", "").strip():
        warn("PIPY_MODEL is set in the environment and takes precedence")
    return 0


def _validate_model(name: str, force: bool) -> str:
    """Return the full name of a model that can be used.

    Raises:
        ValueError: The model is unknown, and `force` is false.
    """
    name = name.strip()
    provider, _, model_id = name.partition("/")
    from ...provider.registered import registered_provider
    from ...registry import get_registry
    from ...registry.routing import SELF_HOSTED_BACKENDS

    if force and name:
        return name
    if model_id and (
        provider in ("local", "faux")
        or provider in SELF_HOSTED_BACKENDS
        or registered_provider(provider)
    ):
        return name
    registry = get_registry()
    full, _ = registry.resolve_name(name)
    if full is None and name and not model_id:
        from ..args.model import resolve_model

        full = resolve_model(name, "choosing")
    if full is None:
        raise ValueError(f"{registry.unknown_model_message(name)} (use --force to set it anyway)")
    return full
