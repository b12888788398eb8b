"""Where pipy-ai keeps its files."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def data_path() -> str:
    """`PIPY_DATA_DIR`, or `~/.pipy`. It need not exist.

    A user without a home, as in some containers, has a place among the temporary files.
    """
    path = os.path.expanduser(os.environ.get("PIPY_DATA_DIR") or "~/.pipy")
    if path.startswith("~"):
        import tempfile

        return os.path.join(tempfile.gettempdir(), f"pipy-{os.getuid()}")
    return path


def data_dir() -> Path:
    """`data_path()` as a `Path`."""
    from pathlib import Path

    return Path(data_path())
