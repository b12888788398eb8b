"""Where pipy-ai keeps its files."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir() -> Path:
    """`PIPY_DATA_DIR`, or `~/.pipy`. It need not exist.

    Raises:
        RuntimeError: no variable is set and the user has no home directory.
    """
    configured = os.environ.get("PIPY_DATA_DIR")
    return Path(configured).expanduser() if configured else Path.home() / ".pipy"
