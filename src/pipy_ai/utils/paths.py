"""The data directory of pipy-ai."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def data_path() -> str:
    """Return the data directory: `PIPY_DATA_DIR` or `~/.pipy`. It may not exist.

    Without a home directory, as in some containers, it is in the directory for temporary files.

    Raises:
        OSError: The directory belongs to another user, or `PIPY_DATA_DIR` names an unknown user.
    """
    setting = os.environ.get("PIPY_DATA_DIR")
    path = os.path.expanduser(setting or "~/.pipy")
    if path.startswith("~"):
        if setting:
            raise OSError(f"PIPY_DATA_DIR is {setting!r}, but there is no such user")
        import tempfile

        path = os.path.join(tempfile.gettempdir(), f"pipy-{os.getuid()}")
        os.makedirs(path, mode=0o700, exist_ok=True)
        if os.lstat(path).st_uid != os.getuid():  # its content is not trustworthy
            raise OSError(
                f"{path} belongs to another user; set PIPY_DATA_DIR to a directory of your own"
            )
    return path


def data_dir() -> Path:
    """Return `data_path()` as a `Path`."""
    from pathlib import Path

    return Path(data_path())
