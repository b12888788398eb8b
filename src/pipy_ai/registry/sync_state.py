"""Read and write the state of the last catalogue sync."""

from __future__ import annotations

import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

STATE_FILE = "sync.json"
UNCONFIRMED = "unconfirmed"  # providers that a feed added, until `pipy sync --trust`


def read_sync_state(directory: str) -> dict[str, Any]:
    """Return the state of earlier attempts: `attempted` and `checked` (Unix time), `error`.

    Invalid times and times in the future are dropped.
    """
    try:
        with open(os.path.join(directory, STATE_FILE), encoding="utf-8") as file:
            state = json.load(file)
    except (OSError, ValueError, RecursionError):
        state = {}
    if not isinstance(state, dict):
        state = {}
    latest_valid = time.time() + 60
    for key in ("attempted", "checked"):
        if not (type(state.get(key)) in (int, float) and 0 <= state[key] <= latest_valid):
            state.pop(key, None)
    names = state.get(UNCONFIRMED)
    state[UNCONFIRMED] = [
        name for name in (names if isinstance(names, list) else ()) if isinstance(name, str)
    ]
    return state


def write_sync_state(directory: str, state: Mapping[str, Any]) -> None:
    """Replace the state of the last attempt."""
    from ..utils.atomic import write_atomically  # most commands only read

    write_atomically(os.path.join(directory, STATE_FILE), json.dumps(state, indent=1).encode())
