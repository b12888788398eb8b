"""Show the setup and three things to try: what `pipy` alone does on a terminal."""

from __future__ import annotations

import os
import sys

from .._version import __version__
from ..utils.terminal_size import get_terminal_size
from .display.terminal import bold, dimmed, escape_controls, format_error, wrap, write_raw

MAX_LISTED_PROVIDERS = 6
DEMO_MODEL = "local/smollm2"


def show_welcome() -> int:
    """Print the welcome and return the exit code."""
    has_keys, keys = _describe_keys()
    model, reason = _default_model()
    is_ready = bool(model) and (model != DEMO_MODEL or _has_weights())
    if model and not is_ready:
        reason = "not downloaded yet; pipy local pull downloads it"
    lines = [
        f"pipy {__version__}: every language model, from the terminal",
        "",
        f"Model    {model or 'none yet'}{f' ({reason})' if reason else ''}",
        f"Keys     {keys}",
        f"History  {_describe_history()}",
        "",
        "Try",
        *_suggestions(is_ready, has_keys, get_terminal_size()[0]),
        "",
        "pipy --help lists all commands; pipy doctor checks the setup.",
    ]
    titles, columns = {0, 6}, {2, 3, 4}
    for number, line in enumerate(lines):
        text = wrap(escape_controls(line), sys.stdout, 9 if number in columns else 0)
        write_raw((bold(text, sys.stdout) if number in titles else _styled(text)) + "\n")
    return 0


def _styled(line: str) -> str:
    """Return a line with its comment dim."""
    command, separator, comment = line.partition("  # ")
    return command + (dimmed(f"  # {comment}", sys.stdout) if separator else "")


def _suggestions(is_ready: bool, has_keys: bool, screen_width: int) -> list[str]:
    """Return three commands to try, first what is missing; with comments if there is room."""
    commands = [
        ('pipy "What is the capital of France?"', "ask one question"),
        ("pipy chat", "start a conversation"),
        ("git diff | pipy Summarize this change", "use another command's output"),
    ]
    if not has_keys:
        commands[2:] = [("pipy keys set anthropic", "store an API key (any provider)")]
    elif not is_ready:
        commands[2:] = [("pipy default MODEL", "choose the model that answers")]
    if not is_ready:
        commands[:2] = [
            ("pipy -m faux/echo Hello", "check that it works: this model repeats the prompt"),
            ("pipy local pull", "download a small model that runs on this machine"),
        ]
    width = max(len(command) for command, _ in commands)
    lines = [f"  {command:<{width}}  # {comment}" for command, comment in commands]
    if max(map(len, lines)) < screen_width:
        return lines
    return [f"  {command}" for command, _ in commands]


def _describe_keys() -> tuple[bool, str]:
    """Return whether an API key is set, and the providers with one."""
    from .checks.keys import list_keys

    try:
        rows = list_keys()
    except (ValueError, OSError) as error:  # the file of keys is damaged
        return False, format_error(error)
    providers = list(dict.fromkeys(row["providers"][0] for row in rows if row["providers"]))
    if not providers:
        return False, "none yet"
    more = len(providers) - MAX_LISTED_PROVIDERS
    listed = ", ".join(providers[:MAX_LISTED_PROVIDERS])
    return True, f"{listed} and {more} more" if more > 0 else listed


def _default_model() -> tuple[str, str]:
    """Return the model that answers if none is named, and why; without one, empty strings."""
    from ..registry.default import model_with_key
    from ..registry.settings import DEFAULT_MODEL_KEY, get_setting
    from ..utils.extras import has_extra

    if model := os.environ.get("PIPY_MODEL", "").strip():
        return model, "from PIPY_MODEL"
    try:
        if model := get_setting(DEFAULT_MODEL_KEY):
            return model, "chosen with pipy default"
        model, variable = model_with_key()
    except (ValueError, OSError):  # a damaged file, which pipy doctor reports
        return "", ""
    if model:
        return model, f"{variable} is set"
    if has_extra("local"):
        return DEMO_MODEL, "a small demo model on this machine, often wrong"
    return "", ""


def _has_weights() -> bool:
    from ..utils.weights import find_weights

    return find_weights() is not None


def _describe_history() -> str:
    from .conversations.files import list_conversation_ids

    count = len(list_conversation_ids())
    if not count:
        return "no conversation yet"
    plural = "" if count == 1 else "s"
    return f"{count:,} conversation{plural}; pipy chat -c continues the last one"
