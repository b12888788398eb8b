"""Test the messages of file errors."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipy_ai.utils.file_errors import describe_os_error, name_file


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some disk space"),
        (errno.EDQUOT, "your disk quota is used up: free some space"),
        (errno.EIO, "the disk reports an I/O error: check it"),
        (errno.ENOLCK, "this file system cannot lock files: put them on a local disk"),
        (errno.EROFS, "check its permissions"),
        (errno.ENOENT, ""),
    ],
)
def test_advice(number: int, advice: str) -> None:
    error = OSError(number, os.strerror(number), "/elsewhere/file")
    expected = f"/elsewhere/file: {os.strerror(number)}{'; ' if advice else ''}{advice}"
    assert describe_os_error(error) == expected


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOLCK])
def test_advice_for_the_data_directory_names_its_variable(number: int) -> None:
    path = f"{os.environ['PIPY_DATA_DIR']}/keys.json"
    error = OSError(number, os.strerror(number), path)
    assert "set PIPY_DATA_DIR to" in describe_os_error(error)


def test_errors_without_a_file() -> None:
    assert describe_os_error(OSError(errno.ENOSPC, "full")) == "full"
    assert describe_os_error(OSError("no number")) == "no number"


def test_errors_of_open_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file descriptor: '/a'"), name_file("/a"):  # noqa: PT012
        fd = os.open(tmp_path / "b", os.O_WRONLY | os.O_CREAT)
        os.close(fd)
        os.write(fd, b"")
    with pytest.raises(ValueError, match=r"^no file$"), name_file("/a"):
        raise ValueError("no file")
