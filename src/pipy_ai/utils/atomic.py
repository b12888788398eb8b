"""Replace files atomically: readers see the old content or the new, never a part of it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import BinaryIO


def write_atomically(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace the content of a file; missing directories are created.

    Raises:
        OSError: the file cannot be written. It keeps its old content.
    """
    directory, file_name = os.path.split(path)
    os.makedirs(directory or ".", exist_ok=True)
    temp_path = write_temp_file(directory or ".", file_name, content, mode)
    try:
        os.replace(temp_path, path)
    finally:
        remove_if_exists(temp_path)


def write_temp_file(directory: str, file_name: str, content: bytes, mode: int = 0o644) -> str:
    """Write a new file next to `file_name`, flush it to the disk and return its path."""
    import tempfile

    fd, path = tempfile.mkstemp(prefix=f".{file_name}.", suffix=".tmp", dir=directory)
    try:
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(path, mode)
    except BaseException:
        remove_if_exists(path)
        raise
    return path


def remove_if_exists(path: str) -> None:
    """Delete a file if there is one."""
    if os.path.exists(path):
        os.unlink(path)


class AtomicWriter:
    """A context manager that streams into a new file, which replaces `path` at the end.

    If the block raises, `path` keeps its old content. The file keeps its permissions; a new one
    gets the default ones.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        directory, file_name = os.path.split(self._path)
        self._temp_path = os.path.join(directory, f".{file_name}.{os.urandom(4).hex()}.tmp")

    def __enter__(self) -> BinaryIO:
        self._file: BinaryIO = open(self._temp_path, "xb")
        return self._file

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                if exc_type is not None:
                    return
                self._file.flush()
                os.fsync(self._file.fileno())
            if os.path.exists(self._path):
                import shutil

                shutil.copymode(self._path, self._temp_path)
            os.replace(self._temp_path, self._path)
        finally:
            remove_if_exists(self._temp_path)


def write_special_file(path: str | os.PathLike[str], content: bytes) -> bool:
    """Write to `path` if it is a device or pipe, and return whether it is one.

    Replacing such a file would turn it into a regular file.
    """
    if not os.path.exists(path) or os.path.isfile(path):
        return False
    with open(path, "wb") as file:
        file.write(content)
    return True


def update_json_file(path: str, update: Callable[[], object]) -> None:
    """Replace a JSON file by the result of `update()`, readable only by the user.

    A lock prevents two processes from updating the file at the same time, so `update` should read
    the old content.

    Raises:
        OSError: the file cannot be written. It keeps its old content.
    """
    import json

    import filelock

    path = os.path.realpath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with filelock.FileLock(f"{path}.lock", timeout=10):
        write_atomically(path, json.dumps(update(), indent=1).encode() + b"\n", mode=0o600)
