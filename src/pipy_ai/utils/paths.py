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

        path = os.path.join(tempfile.gettempdir(), f"pipy-{os.getuid()}")
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.stat(path).st_uid != os.getuid():  # somebody else's, and what is in it
            raise OSError(f"{path} belongs to another user; set PIPY_DATA_DIR")
    return path


def data_dir() -> Path:
    """`data_path()` as a `Path`."""
    from pathlib import Path

    return Path(data_path())
