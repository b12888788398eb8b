"""Describe file errors: the file, the reason and what to do."""

from __future__ import annotations

import contextlib
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

_READ_ONLY_ERRNOS = (errno.EACCES, errno.EPERM, errno.EROFS)
_ADVICE = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "your disk quota is used up: free some space",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EIO: "the disk reports an I/O error: check it",
    errno.ENOLCK: "this file system cannot lock files: put them on a local disk",
    **dict.fromkeys(_READ_ONLY_ERRNOS, "check its permissions"),
}
_DATA_DIR_ADVICE = {
    errno.ENOLCK: "this file system cannot lock files: set PIPY_DATA_DIR to a local disk",
    **dict.fromkeys(_READ_ONLY_ERRNOS, "make it writable, or set PIPY_DATA_DIR to another place"),
}


@contextlib.contextmanager
def name_file(path: str | os.PathLike[str]) -> Generator[None, None, None]:
    """Add this file name to errors in the `with` block.

    The system names no file in errors of open files, and possibly a temporary file in others.
    """
    try:
        yield
    except OSError as error:
        error.filename = os.fspath(path)
        raise


def describe_os_error(error: OSError) -> str:
    """Return the file, the reason and advice.

    Example:
        >>> describe_os_error(OSError(errno.ENOSPC, "No space left on device", "/tmp/a"))
        '/tmp/a: No space left on device; free some disk space'
    """
    if not error.strerror:
        return str(error)
    if not error.filename:
        return error.strerror
    path = os.fsdecode(error.filename) if not isinstance(error.filename, int) else ""
    text = f"{path}: {error.strerror}"
    advice = _advice(error.errno or 0, path)
    return f"{text}; {advice}" if advice and ";" not in error.strerror else text


def _advice(number: int, path: str) -> str:
    from .paths import data_path

    with contextlib.suppress(OSError):
        if os.path.abspath(path).startswith(os.path.abspath(data_path())):
            return _DATA_DIR_ADVICE.get(number) or _ADVICE.get(number, "")
    return _ADVICE.get(number, "")
