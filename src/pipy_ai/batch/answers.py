"""The file of answers: one line a row, appended as they land, put in order at the end.

A line is written with one call, so that a process that is killed loses at most the line that it was
writing; such a torn line is cut off by the next run, and what a power cut left as zeros is passed
over. While a job runs, no other may use its file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import FileLock, Timeout

from .rows import InputError, digest

if TYPE_CHECKING:
    from typing import Self

OPEN, DONE, FAILED = 0, 1, 2  # what a row is
_CHUNK = 1 << 16  # bytes
_AGAIN = "once that is solved, run the same command again to go on"
_START = b'{"id": '  # of each of our lines


class Line(NamedTuple):
    """What is kept of a line while the input is compared with it."""

    offset: int
    mark: str
    failed: bool


class Answers:
    """The file of answers of one job, locked. `state` has a byte for each row of the input.

    Raises:
        InputError: another run uses the file, or it holds something else than answers.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = Path(os.path.realpath(path))
        self.state: bytearray = bytearray()
        self._offsets = array("q")  # where each row's newest line begins, or -1
        self._strangers: list[int] = []  # lines of rows that the input has not
        self._lines = 0
        lock = self.path.with_name(f".{self.path.name}.lock")
        self._lock = FileLock(lock, timeout=0)
        self._fd = -1
        self._new = False  # whether this run began the file

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"{self.path}: another run is writing to it") from None
        try:
            self._new = not self.path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._fd = os.open(self.path, flags, 0o666)
            self._mend()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)
            if exc is not None and self._new and not os.fstat(self._fd).st_size:
                for left in (self.path, Path(self._lock.lock_file)):  # by wrong use
                    left.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
        self._lock.release()

    # --- What is there ----------------------------------------------------------------------

    def _mend(self) -> None:
        """Cut off what a killed process left half written; end a last line that is whole."""
        end = os.fstat(self._fd).st_size
        tail, start = b"", end
        while start > 0 and b"\n" not in tail:
            until, start = start, max(0, start - _CHUNK)
            os.lseek(self._fd, start, os.SEEK_SET)
            tail = os.read(self._fd, until - start) + tail
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not torn:
            return
        try:
            whole = isinstance(json.loads(torn), dict)
        except (ValueError, RecursionError):
            whole = False
        if whole:
            os.write(self._fd, b"\n")
        elif end == len(torn) and not _START.startswith(torn.rstrip(b"\0")[: len(_START)]):
            raise self._foreign(1)  # not of ours: nothing of it is to be lost
        else:
            os.ftruncate(self._fd, end - len(torn))

    def lines(self) -> dict[int, Line]:
        """The newest line of each id, by the id's digest."""
        found: dict[int, Line] = {}
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                self._lines = number
                # An editor's, or never written: JSON has no zero bytes.
                if not line.strip(b"\0 \t\r\n") or (found and b"\0" in line):
                    offset += len(line)
                    continue
                try:
                    record = json.loads(line)
                    key, mark = digest(record["id"]), str(record["fingerprint"])
                    found[key] = Line(offset, mark, record.get("error") is not None)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    raise self._foreign(number) from None
                offset += len(line)
        return found

    def _foreign(self, line: int) -> InputError:
        return InputError(
            f"{self.path}, line {line}: it is no answer of pipy batch, so nothing is added to"
            " this file; choose another for the answers"
        )

    def add_row(self, line: Line | None, again: bool = False) -> None:
        """Take note of the input's next row and its line so far; `again`: it is to be asked."""
        self._offsets.append(-1 if line is None else line.offset)
        done = line is not None and not again
        self.state.append((FAILED if line is not None and line.failed else DONE) if done else OPEN)

    def add_strangers(self, lines: Iterator[Line]) -> None:
        """Take note of lines whose rows the input has not: they stay, behind the others."""
        self._strangers = sorted(line.offset for line in lines)

    # --- What lands -------------------------------------------------------------------------

    def append(self, place: int, record: dict[str, Any]) -> None:
        """Write the answer of a row.

        Raises:
            OSError: the disk is full, for example.
        """
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        offset = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # a full disk raises with the next call
                written += os.write(self._fd, line[written:])
        except OSError as error:
            text = f"{error.strerror}; {_AGAIN}"
            raise OSError(error.errno, text, str(self.path)) from None
        self._offsets[place] = offset
        self.state[place] = FAILED if record["error"] is not None else DONE
        self._lines += 1

    def sync(self) -> None:
        """Have the disk keep what was written, whatever happens to the machine.

        Raises:
            OSError: it cannot.
        """
        os.fsync(self._fd)

    @property
    def complete(self) -> bool:
        """Whether each row has its line."""
        return OPEN not in self.state

    def put_in_order(self) -> None:
        """Bring the lines into the input's order, each id once. At once or not at all.

        Raises:
            OSError: the disk is full, for example.
        """
        in_order = all(a < b for a, b in _pairs(self._offsets)) and not self._strangers
        if in_order and self._lines == len(self._offsets):
            return
        new = self.path.with_name(f".{self.path.name}.new")
        try:
            self._copy_in_order(new)
            shutil.copymode(self.path, new)
            os.replace(new, self.path)
        except BaseException as error:
            new.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            text = f"{error.strerror}; all answers are there, but not in order: {_AGAIN}"
            raise OSError(error.errno, text, str(self.path)) from None

    def _copy_in_order(self, new: Path) -> None:
        with self.path.open("rb") as old, new.open("wb") as ordered:
            for places in (self._offsets, self._strangers):
                for offset in places:
                    old.seek(offset)
                    ordered.write(old.readline())
            ordered.flush()
            os.fsync(ordered.fileno())


def _pairs(offsets: array[int]) -> Iterator[tuple[int, int]]:
    return ((offsets[n], offsets[n + 1]) for n in range(len(offsets) - 1))
