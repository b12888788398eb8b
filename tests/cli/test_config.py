"""Test `pipy config`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

from pipy_ai.registry import generate_router_config


def test_existing_router_file_is_backed_up(july: Path, tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("mine")
    link.symlink_to(real)
    assert generate_router_config(link, ["groq"]) == link
    assert link.is_symlink()
    assert "groq/" in real.read_text()
    assert (tmp_path / "real.yaml.bak").read_text() == "mine"
    written = real.read_text()
    generate_router_config(real, ["groq"])  # the same once more: what was mine is still there
    generate_router_config(real, ["groq"])
    assert real.read_text().splitlines()[8:] == written.splitlines()[8:]
    assert not list(tmp_path.glob("*.tmp"))


def test_output_to_a_pipe(july: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    try:
        generate_router_config(pipe, ["groq"])
        assert stat.S_ISFIFO(pipe.stat().st_mode)
        reader.join(20)
        assert "groq/" in read[0]
    finally:
        if reader.is_alive():  # nothing was written: release the reader
            os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
    assert not list(tmp_path.glob("*.bak"))


def test_router_file_goes_to_stdout(july: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pipy_ai",
        "config",
        "--providers",
        "groq",
        "-o",
        "/dev/stdout",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "groq/" in done.stdout
