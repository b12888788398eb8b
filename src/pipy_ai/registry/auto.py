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
PATIENCE = 3.0  # seconds that an attempt may take
STATE = "sync.json"

detached = False  # the command line ends before an attempt would: it starts a process of its own
_next_look = 0.0


def state_of(directory: str) -> dict[str, Any]:
    """What is known of earlier attempts: `attempted` and `checked` (Unix time), `error`."""
    try:
        with open(os.path.join(directory, STATE), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


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
    state = state_of(directory)
    newest = max(float(state.get(key) or 0) for key in ("attempted", "checked"))
    if now - newest < DAY:
        return
    writable = os.access(
        directory if os.path.isdir(directory) else os.path.dirname(directory), os.W_OK
    )
    if not writable:  # nothing could be kept
        return
    if detached:
        _in_process()
    else:
        _in_thread()


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
    command = [sys.executable, "-c", "from pipy_ai.registry.auto import attempt; attempt()"]
    null = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.Popen(command, stdin=null, stdout=null, stderr=null, start_new_session=True)
