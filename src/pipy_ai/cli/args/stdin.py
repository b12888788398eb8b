"""Read standard input, if it is meant for this command.

A terminal, `/dev/null` and a closed stdin are not read; a file, a pipe and a socket are. An
inherited stdin may be meant for this command (a script that calls it) or not (a `while read` loop),
so a notice reports that it was read. Another reports that the command is waiting. If there is a
prompt, and nothing arrives from a pipe that the calling program holds open, such as a CI runner's,
the command gives up: a prompt is not sent without text that may still arrive.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from time import monotonic

from ...utils.text import format_count
from ..display.terminal import warn

NOTICE_AFTER_S = 2.0
FIRST_BYTE_TIMEOUT_S = 30.0  # a slow program may compute before it writes
MAX_BYTES = 100_000_000
_CHUNK_BYTES = 1 << 16


def read_stdin(has_prompt: bool) -> bytes:
    """Return what is piped in; empty if stdin is a terminal, `/dev/null` or closed.

    `has_prompt` means that the command can continue without it.

    Raises:
        ValueError: It is longer than `MAX_BYTES`, or nothing arrived in `FIRST_BYTE_TIMEOUT_S`.
        OSError: It cannot be read.
    """
    try:
        fd = sys.stdin.fileno()
        mode = os.fstat(fd).st_mode
    except (AttributeError, OSError, ValueError):  # closed, or not a real file
        return b""
    if not (stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)):
        return b""
    if _is_write_only(fd):
        return b""
    try:
        data = _read_to_end(fd, has_prompt)
    except OSError as error:
        if error.errno != errno.EBADF:  # open for writing only, on Windows
            raise
        return b""
    if data.strip() and has_prompt and _is_inherited(fd):
        warn(
            f"also read {format_count(len(data), 'byte')} from stdin, which is shared with"
            " the calling program; --no-stdin or < /dev/null prevents this"
        )
    return data


def _read_to_end(fd: int, has_prompt: bool) -> bytes:
    data = bytearray()
    started, noticed = monotonic(), False
    while True:
        if not noticed and not _wait_readable(fd, started + NOTICE_AFTER_S - monotonic()):
            noticed = True
            skip = "; --no-stdin or < /dev/null skips it" if has_prompt else ""
            warn(f"waiting for stdin to end{skip}")
            if (
                has_prompt
                and not data
                and _may_never_end(fd)
                and not _wait_readable(fd, FIRST_BYTE_TIMEOUT_S - NOTICE_AFTER_S)
            ):
                raise ValueError(
                    f"no input from stdin within {FIRST_BYTE_TIMEOUT_S:.0f} s, so nothing was "
                    "sent; use --no-stdin or < /dev/null to send the prompt without it"
                )
        _wait_readable(fd, None)  # for one that the calling program made non-blocking
        chunk = os.read(fd, _CHUNK_BYTES)
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > MAX_BYTES:
            raise ValueError(f"stdin is longer than {MAX_BYTES // 1_000_000} MB")


def _is_write_only(fd: int) -> bool:
    """Return whether nothing can be read, e.g. from the writing end of a pipe."""
    try:
        import fcntl
    except ModuleNotFoundError:  # on Windows
        return False
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY


def _wait_readable(fd: int, seconds: float | None) -> bool:
    """Wait until there is something to read or the end; return False after `seconds`."""
    import select

    if seconds is not None and seconds <= 0:
        return False
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    except (OSError, ValueError):  # on Windows, which only waits for sockets
        return True


def _is_inherited(fd: int) -> bool:
    """Return whether the calling program has the same stdin, like the shell of a `while` loop."""
    parent = os.getppid()
    try:
        return os.path.samestat(os.stat(f"/proc/{parent}/fd/0"), os.fstat(fd))
    except OSError:  # no /proc, or another user's process
        pass
    try:  # an interactive shell starts each pipeline in a process group of its own
        return os.getpgid(parent) == os.getpgrp()
    except (AttributeError, OSError):
        return False


def _may_never_end(fd: int) -> bool:
    """Return whether the program that started this command holds the other end.

    A shell never does that: of `a | b`, it closes both ends. Node.js and OpenSSH use sockets.
    """
    own = os.fstat(fd)
    if stat.S_ISSOCK(own.st_mode):
        return True
    pid = os.getppid()
    try:  # where there is no /proc, or not the right to read it, nothing is known
        while pid > 1:
            for name in os.listdir(f"/proc/{pid}/fd"):
                path = f"/proc/{pid}/fd/{name}"
                try:
                    is_same = os.path.samestat(os.stat(path), own)
                    if is_same and os.lstat(path).st_mode & stat.S_IWUSR:  # open for writing
                        return True
                except OSError:  # closed meanwhile
                    continue
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        pass
    return False
