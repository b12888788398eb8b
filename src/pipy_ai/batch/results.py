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

from .input import InputError, digest

if TYPE_CHECKING:
    from typing import Self

OPEN, DONE, FAILED = 0, 1, 2  # what a row is
_CHUNK_BYTES = 1 << 16  # bytes
_RERUN_HINT = "once that is solved, run the same command again to go on"
_LINE_PREFIX = b'{"id": '  # of each of our lines


class ResultLine(NamedTuple):
    """What is kept of a line while the input is compared with it."""

    offset: int
    fingerprint: str
    failed: bool


class ResultsFile:
    """The file of answers of one job, locked. `state` has a byte for each row of the input.

    Raises:
        InputError: another run uses the file, or it holds something else than answers.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = Path(os.path.realpath(path))
        self.row_states: bytearray = bytearray()
        self._offsets = array("q")  # where each row's newest line begins, or -1
        self._unmatched_offsets: list[int] = []  # lines of rows that the input has not
        self._line_count = 0
        lock_path = self.path.with_name(f".{self.path.name}.lock")
        self._lock = FileLock(lock_path, timeout=0)
        self._fd = -1
        self._created_by_this_run = False  # whether this run began the file

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(f"{self.path}: another run is writing to it") from None
        try:
            self._created_by_this_run = not self.path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._fd = os.open(self.path, flags, 0o666)
            self._repair_last_line()
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
            if exc is not None and self._created_by_this_run and not os.fstat(self._fd).st_size:
                for leftover in (self.path, Path(self._lock.lock_file)):  # by wrong use
                    leftover.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
        self._lock.release()

    # --- What is there ----------------------------------------------------------------------

    def _repair_last_line(self) -> None:
        """Cut off what a killed process left half written; end a last line that is whole."""
        end = os.fstat(self._fd).st_size
        tail, start = b"", end
        while start > 0 and b"\n" not in tail:
            chunk_end, start = start, max(0, start - _CHUNK_BYTES)
            os.lseek(self._fd, start, os.SEEK_SET)
            tail = os.read(self._fd, chunk_end - start) + tail
        last_line = tail[tail.rfind(b"\n") + 1 :]
        if not last_line:
            return
        try:
            is_complete = isinstance(json.loads(last_line), dict)
        except (ValueError, RecursionError):
            is_complete = False
        if is_complete:
            os.write(self._fd, b"\n")
        elif end == len(last_line) and not _LINE_PREFIX.startswith(
            last_line.rstrip(b"\0")[: len(_LINE_PREFIX)]
        ):
            raise self._foreign_file_error(1)  # not of ours: nothing of it is to be lost
        else:
            os.ftruncate(self._fd, end - len(last_line))

    def read_lines(self) -> dict[int, ResultLine]:
        """The newest line of each id, by the id's digest."""
        lines: dict[int, ResultLine] = {}
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                self._line_count = number
                # An editor's, or never written: JSON has no zero bytes.
                if not line.strip(b"\0 \t\r\n") or (lines and b"\0" in line):
                    offset += len(line)
                    continue
                try:
                    record = json.loads(line)
                    key, fingerprint = digest(record["id"]), str(record["fingerprint"])
                    lines[key] = ResultLine(offset, fingerprint, record.get("error") is not None)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    raise self._foreign_file_error(number) from None
                offset += len(line)
        return lines

    def _foreign_file_error(self, line_number: int) -> InputError:
        return InputError(
            f"{self.path}, line {line_number}: it is no answer of pipy batch, so nothing is added to"
            " this file; choose another for the answers"
        )

    def add_row(self, line: ResultLine | None, retry: bool = False) -> None:
        """Take note of the input's next row and its line so far; `again`: it is to be asked."""
        self._offsets.append(-1 if line is None else line.offset)
        done = line is not None and not retry
        self.row_states.append(
            (FAILED if line is not None and line.failed else DONE) if done else OPEN
        )

    def add_unmatched(self, lines: Iterator[ResultLine]) -> None:
        """Take note of lines whose rows the input has not: they stay, behind the others."""
        self._unmatched_offsets = sorted(line.offset for line in lines)

    # --- What lands -------------------------------------------------------------------------

    def append(self, index: int, record: dict[str, Any]) -> None:
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
            text = f"{error.strerror}; {_RERUN_HINT}"
            raise OSError(error.errno, text, str(self.path)) from None
        self._offsets[index] = offset
        self.row_states[index] = FAILED if record["error"] is not None else DONE
        self._line_count += 1

    def sync(self) -> None:
        """Have the disk keep what was written, whatever happens to the machine.

        Raises:
            OSError: it cannot.
        """
        os.fsync(self._fd)

    @property
    def is_complete(self) -> bool:
        """Whether each row has its line."""
        return OPEN not in self.row_states

    def sort_lines(self) -> None:
        """Bring the lines into the input's order, each id once. At once or not at all.

        Raises:
            OSError: the disk is full, for example.
        """
        is_sorted = (
            all(a < b for a, b in _adjacent_pairs(self._offsets)) and not self._unmatched_offsets
        )
        if is_sorted and self._line_count == len(self._offsets):
            return
        temporary = self.path.with_name(f".{self.path.name}.new")
        try:
            self._write_sorted(temporary)
            shutil.copymode(self.path, temporary)
            os.replace(temporary, self.path)
        except BaseException as error:
            temporary.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            text = f"{error.strerror}; all answers are there, but not in order: {_RERUN_HINT}"
            raise OSError(error.errno, text, str(self.path)) from None

    def _write_sorted(self, target: Path) -> None:
        with self.path.open("rb") as source, target.open("wb") as output:
            for offsets in (self._offsets, self._unmatched_offsets):
                for offset in offsets:
                    source.seek(offset)
                    output.write(source.readline())
            output.flush()
            os.fsync(output.fileno())


def _adjacent_pairs(offsets: array[int]) -> Iterator[tuple[int, int]]:
    return ((offsets[n], offsets[n + 1]) for n in range(len(offsets) - 1))
