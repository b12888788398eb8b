"""Atomic replacement of files."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from pipy_ai.utils.atomic import (
    AtomicWriter,
    update_json_file,
    write_atomically,
    write_special_file,
)


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


def test_update_json_file_follows_links_and_is_private(tmp_path: Path) -> None:
    path, link = tmp_path / "real.json", tmp_path / "link.json"
    path.write_text('{"a": 1}')
    link.symlink_to(path)
    update_json_file(str(link), lambda: {**json.loads(path.read_text()), "b": 2})
    assert link.is_symlink()
    assert path.read_text() == '{\n "a": 1,\n "b": 2\n}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
