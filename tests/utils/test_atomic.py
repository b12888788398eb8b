"""Atomic replacement of files."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipy_ai.utils.atomic import (
    AtomicWriter,
    make_private_dir,
    open_private,
    private_lock,
    update_json_file,
    write_atomically,
    write_special_file,
)
from pipy_ai.utils.paths import data_path


def test_write_atomically_creates_directories(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_atomically(str(path), b"1", mode=0o600)
    write_atomically(str(path), b"2", mode=0o600)
    assert path.read_bytes() == b"2"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_writer_replaces_the_file_at_the_end_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    path.chmod(0o640)
    with AtomicWriter(path) as file:
        file.write(b"ne")
        file.write(b"w")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["out"]


@pytest.mark.parametrize("exists", [True, False])
def test_writer_leaves_the_file_alone_after_an_error(tmp_path: Path, exists: bool) -> None:
    path = tmp_path / "out"
    if exists:
        path.write_bytes(b"old")

    def fail_in_the_middle() -> None:
        with AtomicWriter(path) as file:
            file.write(b"new")
            raise KeyError

    with pytest.raises(KeyError):
        fail_in_the_middle()
    contents = [p.read_bytes() for p in tmp_path.iterdir() if p.is_file()]
    assert contents == ([b"old"] if exists else [])


def test_writer_does_not_create_directories(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), AtomicWriter(tmp_path / "a" / "out"):
        pass


def test_special_files_are_written_and_not_replaced(tmp_path: Path) -> None:
    assert write_special_file(os.devnull, b"x")
    assert not write_special_file(tmp_path / "new", b"x")
    assert not (tmp_path / "new").exists()


def test_update_json_file_replaces_links_and_is_private(tmp_path: Path) -> None:
    path, link = tmp_path / "real.json", tmp_path / "link.json"
    path.write_text('{"a": 1}')
    link.symlink_to(path)
    update_json_file(str(link), lambda: {**json.loads(path.read_text()), "b": 2})
    assert not link.is_symlink()
    assert path.read_text() == '{"a": 1}'
    assert link.read_text() == '{\n "a": 1,\n "b": 2\n}\n'
    assert stat.S_IMODE(link.stat().st_mode) == 0o600


posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")


@posix
@pytest.mark.parametrize("mask", [0, 0o177, 0o277, 0o777], ids=oct)
def test_files_and_directories_are_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    place = tmp_path / "place"
    umask = os.umask(mask)
    try:
        write_atomically(str(place / "a" / "file"), b"x")
        os.close(open_private(str(place / "log"), os.O_CREAT | os.O_WRONLY))
        with private_lock(place / "lock"):
            pass
    finally:
        os.umask(umask)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [place, *place.rglob("*")]}
    assert modes.pop("place") == modes.pop("a") == 0o700
    assert modes == {"file": 0o600, "log": 0o600, "lock": 0o600}


@posix
@pytest.mark.parametrize("make_link", [os.symlink, os.link])
@pytest.mark.parametrize("flags", [os.O_CREAT | os.O_APPEND, os.O_TRUNC])
def test_links_are_not_written_through(
    tmp_path: Path, make_link: Callable[[Path, Path], None], flags: int
) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    make_link(target, link)
    with pytest.raises(OSError, match=r"link|symbolic"):
        open_private(str(link), os.O_WRONLY | flags)
    assert target.read_text() == "precious"


@posix
def test_linked_directory_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, target = tmp_path / "data", tmp_path / "target"
    data.mkdir()
    target.mkdir()
    (data / "history").symlink_to(target)
    (tmp_path / "link").symlink_to(data)
    for path in (data, tmp_path / "link"):  # the data directory itself may be a link
        monkeypatch.setenv("PIPY_DATA_DIR", str(path))
        make_private_dir(str(path))
        with pytest.raises(OSError, match="it is a link"):
            make_private_dir(str(path / "history"))


@posix
def test_temporary_and_lock_files_are_not_written_through_links(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "settings.json.lock").symlink_to(target)
    with contextlib.suppress(OSError):
        update_json_file(str(tmp_path / "settings.json"), dict)
    assert target.read_text() == "precious"


@posix
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make files of another user")
def test_files_of_another_user_are_refused(tmp_path: Path) -> None:
    code = f"""
import os
from pipy_ai.utils.atomic import make_private_dir, open_private
os.setuid(65534)
for call in (
    lambda: make_private_dir({str(tmp_path)!r}),
    lambda: open_private({str(tmp_path / "file")!r}, os.O_WRONLY),
):
    try:
        call()
    except PermissionError as error:
        print(error.strerror)
"""
    (tmp_path / "file").write_text("")
    for path, mode in ((tmp_path, 0o777), (tmp_path / "file", 0o666)):
        os.chmod(path, mode)
        os.chown(path, 65533, 65533)
    for path in tmp_path.parents:
        if path.is_relative_to(tempfile.gettempdir()):
            os.chmod(path, os.stat(path).st_mode | 0o055)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "it belongs to another user\n" * 2, done.stderr


def test_data_directory_of_an_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPY_DATA_DIR", "~nobody-of-this-name/data")
    with pytest.raises(OSError, match="no such user"):
        data_path()


def test_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    for name in ("file", "nowhere"):
        with pytest.raises(NotADirectoryError, match="not a directory"):
            make_private_dir(str(tmp_path / name))


def test_data_directory_is_closed_to_writers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write there could replace keys and templates."""
    data, other = tmp_path / "data", tmp_path / "other"
    for path in (data, other):
        path.mkdir()
        path.chmod(0o777)
    monkeypatch.setenv("PIPY_DATA_DIR", str(data))
    make_private_dir(str(data))
    make_private_dir(str(other))  # not ours to change
    assert (data.stat().st_mode & 0o777, other.stat().st_mode & 0o777) == (0o755, 0o777)
