"""Keeping the catalogue fresh without being asked: at most one short attempt a day, never in the
way. Nothing heavy is imported before there is something to do.
"""

from __future__ import annotations

import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DAY = 86_400.0  # seconds
KILLED = 600.0  # seconds until an attempt that was killed is tried again
PATIENCE = 3.0  # seconds that an attempt may take
STATE = "sync.json"

detached: bool = (
    False  # the command line ends before an attempt would: it starts a process of its own
)
_next_look = 0.0


def state_of(directory: str) -> dict[str, Any]:
    """What is known of earlier attempts: `attempted` and `checked` (Unix time), `error`.

    A time that is none, or lies ahead, is left out.
    """
    try:
        with open(os.path.join(directory, STATE), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(state, dict):
        return {}
    soon = time.time() + 60
    for key in ("attempted", "checked"):
        if not (type(state.get(key)) in (int, float) and 0 <= state[key] <= soon):
            state.pop(key, None)
    return state


def offline() -> bool:
    """Whether the user wants no network."""
    return os.environ.get("PIPY_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def keep_fresh(directory: str) -> None:
    """Begin a sync in the background if the files are missing or older than a day."""
    global _next_look
    now = time.time()
    if now < _next_look or offline():
        return
    _next_look = now + DAY / 24
    if not _is_due(state_of(directory), now):
        return
    place = os.path.abspath(directory)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    if not os.access(place, os.W_OK):  # nothing could be kept
        return
    if detached:
        _in_process()
    else:
        _in_thread()


def _is_due(state: dict[str, Any], now: float) -> bool:
    if now - state.get("checked", 0.0) < DAY:
        return False
    # One that neither failed nor ended was killed with its process; it is soon tried again.
    ended = state.get("error") is not None or state.get("checked", 0.0) >= state.get("attempted", 0)
    return bool(now - state.get("attempted", 0.0) >= (DAY if ended else KILLED))


def attempt() -> None:
    """One attempt; failure is noted in the state file and shown by `pipy sync` only."""
    import contextlib

    from .sync import SyncError, sync_models

    with contextlib.suppress(SyncError):
        sync_models(timeout=PATIENCE, wait=False)


def _in_thread() -> None:
    import threading

    threading.Thread(target=attempt, name="pipy-ai-sync", daemon=True).start()


def _in_process() -> None:
    import contextlib
    import subprocess

    if not sys.executable or getattr(sys, "frozen", False):
        return
    command = [sys.executable, "-P", "-c", "from pipy_ai.registry.auto import attempt; attempt()"]
    null = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
