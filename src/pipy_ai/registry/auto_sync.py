"""Sync the catalogue in the background: at most one short attempt a day, without blocking.

Nothing heavy is imported until a sync is due.
"""

from __future__ import annotations

import os
import sys
import time

from .sync_state import read_sync_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYNC_INTERVAL_S = 86_400.0
RETRY_AFTER_KILL_S = 600.0  # after an attempt whose process was killed
SYNC_TIMEOUT_S = 3.0

# Set by the command line, which ends before a background thread would.
use_subprocess: bool = False
next_check_at = 0.0  # Unix time before which the files are not checked again


def is_offline() -> bool:
    """Whether `PIPY_OFFLINE` forbids background access to the network."""
    return os.environ.get("PIPY_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def sync_if_stale(directory: str) -> None:
    """Start a sync in the background if the files are missing or older than a day."""
    global next_check_at
    now = time.time()
    if now < next_check_at or is_offline():
        return
    next_check_at = now + SYNC_INTERVAL_S / 24
    if not _is_due(read_sync_state(directory), now):
        return
    existing_dir = os.path.abspath(directory)
    while not os.path.isdir(existing_dir):
        existing_dir = os.path.dirname(existing_dir)
    if not os.access(existing_dir, os.W_OK):  # the result could not be saved
        return
    if use_subprocess:
        _start_subprocess()
    else:
        _start_thread()


def _is_due(state: dict[str, Any], now: float) -> bool:
    if now - state.get("checked", 0.0) < SYNC_INTERVAL_S:
        return False
    # An attempt without a result was killed with its process; retry it sooner.
    finished = state.get("error") is not None or state.get("checked", 0.0) >= state.get(
        "attempted", 0
    )
    return bool(
        now - state.get("attempted", 0.0) >= (SYNC_INTERVAL_S if finished else RETRY_AFTER_KILL_S)
    )


def attempt_sync() -> None:
    """Sync once. A failure is recorded in the state file and not reported."""
    import contextlib

    from .sync import SyncError, sync_models

    with contextlib.suppress(SyncError):
        sync_models(timeout=SYNC_TIMEOUT_S, wait=False)


def _start_thread() -> None:
    import threading

    threading.Thread(target=attempt_sync, name="pipy-ai-sync", daemon=True).start()


def _start_subprocess() -> None:
    import contextlib
    import subprocess

    if not sys.executable or getattr(sys, "frozen", False):
        return
    command = [
        sys.executable,
        "-P",
        "-c",
        "from pipy_ai.registry.auto_sync import attempt_sync; attempt_sync()",
    ]
    devnull = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.Popen(
            command, stdin=devnull, stdout=devnull, stderr=devnull, start_new_session=True
        )
