"""Write files safely.

Replacements are atomic: readers see the old or the new content, never a part of it. Files in
the data directory are private regardless of the umask, and symbolic links are not followed.
"""

from __future__ import annotations

import contextlib
import errno
import os

from .file_errors import name_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType
    from typing import BinaryIO

    import filelock


def make_private_dir(path: str) -> None:
    """Create a directory and its missing parents, accessible only by the user.

    Raises:
        OSError: It cannot be created, or it belongs to another user, who could replace its files.
    """
    if not os.path.isdir(path):
        parent = os.path.dirname(os.path.abspath(path))
        if parent != path:
            make_private_dir_above(parent)
        try:
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)  # the umask may have taken away more
        except FileExistsError:
            if not os.path.isdir(path):  # else another process created it
                raise NotADirectoryError(errno.ENOTDIR, "it is not a directory", path) from None
    if os.path.islink(path) and _is_below_data_dir(path):
        raise OSError(errno.ELOOP, "it is a link; set PIPY_DATA_DIR to use another disk", path)
    status = os.stat(path)
    _check_owner(status, path)
    if os.name == "posix" and status.st_uid == os.getuid() and status.st_mode & 0o022:
        from .paths import data_path

        if os.path.realpath(path) == os.path.realpath(data_path()):
            os.chmod(path, status.st_mode & 0o755)  # others could replace keys and templates


def _is_below_data_dir(path: str) -> bool:
    from .paths import data_path

    return os.path.abspath(path).startswith(os.path.join(os.path.abspath(data_path()), ""))


def make_private_dir_above(path: str) -> None:
    """Create the missing directories of a path, accessible only by the user."""
    if not os.path.isdir(path):
        make_private_dir(path)


def _check_owner(status: os.stat_result, path: str) -> None:
    if os.name == "posix" and os.getuid() != 0 and status.st_uid not in (os.getuid(), 0):
        raise PermissionError(errno.EPERM, "it belongs to another user", path)


def open_private(path: str, flags: int) -> int:
    """Open a file for writing, or create it accessible only by the user; return its descriptor.

    Raises:
        OSError: The file cannot be opened, is a link, or belongs to another user.
    """
    safe_flags = (flags & ~os.O_TRUNC) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    fd = os.open(path, safe_flags, 0o600)
    try:
        status = os.fstat(fd)
        _check_owner(status, path)
        if status.st_nlink > 1:
            raise OSError(errno.EMLINK, "it is a hard link", path)
        if os.name == "posix" and status.st_mode & 0o600 != 0o600:  # because of the umask
            os.fchmod(fd, 0o600)
        if flags & os.O_TRUNC:  # not before the checks
            os.ftruncate(fd, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def private_lock(path: str | os.PathLike[str], timeout_s: float = -1) -> filelock.BaseFileLock:
    """Return a lock whose file only the user can open. A negative timeout waits forever."""
    import filelock

    return filelock.FileLock(path, timeout=timeout_s, mode=0o600)


@contextlib.contextmanager
def hold_lock(path: str, timeout_s: float = -1) -> Generator[None, None, None]:
    """Hold a private lock in the `with` block.

    Raises:
        filelock.Timeout: Another process holds it.
        OSError: It cannot be created, or the file system has no locks.
    """
    lock = private_lock(path, timeout_s)
    with name_file(path):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_atomically(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace the content of a file; create missing directories, accessible only by the user.

    Raises:
        OSError: The file cannot be written. It keeps its old content, unless only the last step
            failed: flushing the directory to disk.
    """
    directory, file_name = os.path.split(path)
    make_private_dir_above(directory or ".")
    with name_file(path):
        temp_path = write_temp_file(directory or ".", file_name, content, mode)
        try:
            os.replace(temp_path, path)
            sync_directory(directory or ".")
        finally:
            remove_if_exists(temp_path)


def sync_directory(path: str) -> None:
    """Flush a directory to disk, so that a new or replaced file survives a power failure."""
    if os.name == "posix":
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def write_temp_file(directory: str, file_name: str, content: bytes, mode: int = 0o600) -> str:
    """Write a new file next to `file_name`, flush it to the disk and return its path.

    Raises:
        OSError: It cannot be written; no file is left behind.
    """
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
    """Delete a file if possible."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def append_line(path: str, line: bytes, opener: Callable[[str, int], int]) -> None:
    """Append a line with a single write, so that several processes may share the file.

    Raises:
        OSError: The line, or a part of it, could not be written. A part is not removed, as another
            process may have added its line; the next line begins after it.
    """
    with name_file(path), open(path, "ab+", buffering=0, opener=opener) as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
            line = b"\n" + line  # the last line is incomplete, e.g. because the disk was full
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class AtomicWriter:
    """A context manager that streams into a new file, which replaces `path` at the end.

    If the block raises, `path` keeps its old content. The file keeps its permissions; a new one
    gets those of `mode`, less the umask.

    Raises:
        OSError: The file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], mode: int = 0o666) -> None:
        self._path = os.fspath(path)
        self._mode = mode
        directory, file_name = os.path.split(self._path)
        self._temp_path = os.path.join(directory, f".{file_name}.{os.urandom(4).hex()}.tmp")

    def __enter__(self) -> BinaryIO:
        with name_file(self._path):
            self._file: BinaryIO = open(
                self._temp_path, "xb", opener=lambda path, flags: os.open(path, flags, self._mode)
            )
        return self._file

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with name_file(self._path):
                if exc_type is None:
                    self._replace()
        finally:
            with contextlib.suppress(OSError):  # closing tries to flush the unwritten data again
                self._file.close()
            remove_if_exists(self._temp_path)

    def _replace(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if os.path.exists(self._path):
            import shutil

            shutil.copymode(self._path, self._temp_path)
        os.replace(self._temp_path, self._path)
        sync_directory(os.path.dirname(self._path) or ".")


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
    """Replace a JSON file with the result of `update()`, readable only by the user.

    A lock prevents two processes from updating the file at the same time, so `update` should read
    the old content.

    Raises:
        OSError: The file cannot be written. It keeps its old content.
    """
    import json

    make_private_dir(os.path.dirname(path))
    with hold_lock(f"{path}.lock", timeout_s=10):
        write_atomically(path, json.dumps(update(), indent=1).encode() + b"\n")
