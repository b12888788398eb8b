"""The results file of a batch: one JSON line per row, appended as answers arrive, then sorted.

A line is written with a single call, so that a killed process loses at most the line it was
writing. The next run removes such an incomplete line, and skips zero bytes left by a power failure.
Only one job at a time may use a results file.
"""

from __future__ import annotations

import errno
import glob
import json
import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from filelock import Timeout

from ..utils.atomic import AtomicWriter, private_lock, remove_if_exists, sync_directory
from ..utils.file_errors import name_file
from .input import InputError, id_digest

if TYPE_CHECKING:
    from typing import Self

OPEN, DONE, FAILED = 0, 1, 2  # the states of a row
_CHUNK_BYTES = 1 << 16
_RERUN_HINT = "fix this, then run the same command again to resume"
_LINE_PREFIX = b'{"id": '  # every line of a results file starts with it


class ResultLine(NamedTuple):
    """The part of a line that is needed to compare it with the input."""

    offset: int
    fingerprint: str
    error_kind: str | None

    @property
    def failed(self) -> bool:
        """Whether the row has an error instead of an answer."""
        return self.error_kind is not None


class ResultLines:
    """The newest line of each id, by the digest of the id.

    Kept in arrays: about 150 bytes of memory for each, however long the lines are.
    """

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}  # of the lines in the arrays
        self._offsets = array("q")
        self._settings, self._prompts = array("Q"), array("Q")  # the halves of a fingerprint
        self._kinds = bytearray()
        self._kind_names: list[str | None] = [None]

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, key: int, line: ResultLine) -> None:
        """Add a line, or replace that of the same id."""
        number = self._numbers.setdefault(key, len(self._offsets))
        if number == len(self._offsets):
            for values in (self._offsets, self._settings, self._prompts, self._kinds):
                values.append(0)
        if line.error_kind not in self._kind_names:
            self._kind_names.append(line.error_kind)
        settings, _, prompt = line.fingerprint.partition("-")
        self._offsets[number] = line.offset
        self._settings[number], self._prompts[number] = _from_hex(settings), _from_hex(prompt)
        self._kinds[number] = self._kind_names.index(line.error_kind)

    def get(self, key: int) -> ResultLine | None:
        """Return the line of an id; None if there is none."""
        number = self._numbers.get(key)
        return None if number is None else self._line(number)

    def pop(self, key: int) -> ResultLine | None:
        """Remove the line of an id and return it; None if there is none."""
        number = self._numbers.pop(key, None)
        return None if number is None else self._line(number)

    def __iter__(self) -> Iterator[ResultLine]:
        return map(self._line, self._numbers.values())

    def _line(self, number: int) -> ResultLine:
        fingerprint = f"{self._settings[number]:016x}-{self._prompts[number]:016x}"
        kind = self._kind_names[self._kinds[number]]
        return ResultLine(self._offsets[number], fingerprint, kind)


def _from_hex(digest: str) -> int:
    """Return a digest as a number; 0, which fits no row, for another text."""
    try:
        return int(digest, 16) % (1 << 64)
    except ValueError:
        return 0


class ResultsFile:
    """The results file of a job, locked while it is open.

    `row_states` has one byte per row of the input: `OPEN`, `DONE` or `FAILED`.

    Raises:
        InputError: Another run uses the file, or it contains anything other than results.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = Path(os.path.realpath(path))
        self.row_states: bytearray = bytearray()
        self._offsets = array("q")  # of each row's newest line; -1: none
        self._unmatched_offsets: list[int] = []  # lines whose row is not in the input
        self._line_count = 0
        lock_path = self.path.with_name(f".{self.path.name}.lock")
        self._lock = private_lock(lock_path, timeout_s=0)
        self._fd = -1
        self._created_by_this_run = False

    def __enter__(self) -> Self:
        try:
            with name_file(self._lock.lock_file):
                self._lock.acquire()
        except Timeout:
            raise InputError(f"{self.path}: another run is writing to it") from None
        try:
            self._created_by_this_run = not self.path.exists()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._fd = os.open(self.path, flags, 0o666)
            with name_file(self.path):
                self._repair_last_line()
            for leftover in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.tmp"):
                remove_if_exists(str(leftover))  # a run was killed while it sorted the lines
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
        sync_error: OSError | None = None
        if self._fd >= 0:
            try:
                os.fsync(self._fd)
                if self._created_by_this_run:
                    sync_directory(str(self.path.parent))
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe or a device
                    sync_error = OSError(error.errno, error.strerror, str(self.path))
            if exc is not None and self._created_by_this_run and not os.fstat(self._fd).st_size:
                # Invalid arguments or input must not leave empty files behind.
                for leftover in (self.path, Path(self._lock.lock_file)):
                    leftover.unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1
        self._lock.release()
        if sync_error is not None and exc is None:
            raise sync_error

    def _repair_last_line(self) -> None:
        """Remove an incomplete last line, or complete a last line that lacks its line break."""
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
            raise self._foreign_file_error(1)  # another program's file is not touched
        else:
            os.ftruncate(self._fd, end - len(last_line))

    def read_lines(self) -> ResultLines:
        """Return the newest line of each id."""
        lines = ResultLines()
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                self._line_count = number
                # A blank line, or zero bytes left by a power failure: JSON has none.
                if not line.strip(b"\0 \t\r\n") or (lines and b"\0" in line):
                    offset += len(line)
                    continue
                try:
                    record = json.loads(line)
                    key, fingerprint = id_digest(record["id"]), str(record["fingerprint"])
                    lines.add(key, ResultLine(offset, fingerprint, _error_kind(record)))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    raise self._foreign_file_error(number) from None
                offset += len(line)
        return lines

    def _foreign_file_error(self, line_number: int) -> InputError:
        return InputError(
            f"{self.path}, line {line_number}: not written by pipy batch, so nothing was added "
            "to this file; choose another output file"
        )

    def add_row(self, line: ResultLine | None, retry: bool = False) -> None:
        """Add the next row of the input with its existing line; `retry` marks it as open."""
        self._offsets.append(-1 if line is None else line.offset)
        done = line is not None and not retry
        self.row_states.append(
            (FAILED if line is not None and line.failed else DONE) if done else OPEN
        )

    def add_unmatched(self, lines: Iterator[ResultLine]) -> None:
        """Add lines whose rows are not in the input. They are kept at the end of the file."""
        self._unmatched_offsets = sorted(line.offset for line in lines)

    def ids_of_batch(self, batch: str) -> set[str]:
        """Return the ids of the lines that one job of a batch API has answered."""
        ids: set[str] = set()
        quoted = json.dumps(batch).encode()
        with self.path.open("rb") as file:
            for line in file:
                if quoted in line and (record := json.loads(line)).get("batch") == batch:
                    ids.add(str(record["id"]))
        return ids

    def offset_of(self, index: int) -> int:
        """Return where the newest line of a row is; -1 if it has none."""
        return self._offsets[index]

    def append(self, index: int, record: dict[str, Any]) -> None:
        """Write the line of a row.

        Raises:
            OSError: The line cannot be written, e.g. because the disk is full.
        """
        self._offsets[index] = self.append_line(record)
        self.row_states[index] = FAILED if record["error"] is not None else DONE
        self._line_count += 1

    def append_line(self, record: dict[str, Any]) -> int:
        """Write a line before the input is compared with the results, and return its offset.

        Raises:
            OSError: The line cannot be written, e.g. because the disk is full.
        """
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        offset = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, line)
            while written < len(line):  # if the disk is full, the next call raises
                written += os.write(self._fd, line[written:])
        except OSError as error:
            with suppress(OSError):  # else the next run removes the incomplete line
                os.ftruncate(self._fd, offset)
            text = f"{error.strerror}; {_RERUN_HINT}"
            raise OSError(error.errno, text, str(self.path)) from None
        return offset

    def sync(self) -> None:
        """Flush the file to disk.

        Raises:
            OSError: The disk reports an error.
        """
        with name_file(self.path):
            os.fsync(self._fd)

    @property
    def is_complete(self) -> bool:
        """Whether every row has a line."""
        return OPEN not in self.row_states

    def sort_lines(self) -> None:
        """Sort the lines in the order of the input, with one line per id.

        The file is replaced atomically.

        Raises:
            OSError: The file cannot be written, e.g. because the disk is full.
        """
        is_sorted = (
            all(a < b for a, b in _adjacent_pairs(self._offsets)) and not self._unmatched_offsets
        )
        if is_sorted and self._line_count == len(self._offsets):
            return
        try:
            with self.path.open("rb") as source, AtomicWriter(self.path) as output:
                for offset in chain(self._offsets, self._unmatched_offsets):
                    source.seek(offset)
                    output.write(source.readline())
        except OSError as error:
            text = f"{error.strerror}; all results are saved, but not in order: {_RERUN_HINT}"
            raise OSError(error.errno, text, str(self.path)) from None


def _error_kind(record: dict[str, Any]) -> str | None:
    error = record.get("error")
    return None if error is None else str(error.get("kind", "unknown"))


def _adjacent_pairs(offsets: array[int]) -> Iterator[tuple[int, int]]:
    return ((offsets[n], offsets[n + 1]) for n in range(len(offsets) - 1))
