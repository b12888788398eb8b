"""Write files atomically: readers see the old content or the new, never a part."""

from __future__ import annotations

import os


def write_atomically(path: str, content: bytes, mode: int = 0o644) -> None:
    """Put `content` into a file, or leave the file as it was."""
    directory, file_name = os.path.split(path)
    os.makedirs(directory or ".", exist_ok=True)
    temp_path = write_temp_file(directory or ".", file_name, content, mode)
    try:
        os.replace(temp_path, path)
    finally:
        remove_if_exists(temp_path)


def write_temp_file(directory: str, file_name: str, content: bytes, mode: int = 0o644) -> str:
    """`content` in a new file of the directory, on the disk."""
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
    if os.path.exists(path):
        os.unlink(path)
