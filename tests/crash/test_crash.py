"""A short part of the crash tests, and a file system that is really full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.command import pipy
from . import batch_api, kills
from .disk import compiler

ROOT = Path(__file__).parents[2]
SHORT = ("ask -c", "batch", "keys set", "config", "ledger")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


@pytest.mark.skipif(compiler() is None, reason="needs a C compiler")
@pytest.mark.timeout(300)
def test_commands_report_a_full_disk_and_survive_kills(tmp_path: Path) -> None:
    """The whole: `python -m tests.crash.disk`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.disk", "--every", "11", *SHORT],
        capture_output=True, text=True, check=False, timeout=300, cwd=ROOT,
        env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(", 0 wrong") == len(SHORT) + 1


def test_kills_at_random_moments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole: `python -m tests.crash.kills 200`."""
    crashes = kills.run(6, 4, tmp_path)
    assert crashes.killed.total() == 6


def test_kills_of_batches_at_half_price(tmp_path: Path) -> None:
    """The whole: `python -m tests.crash.batch_api 50 100000`."""
    runs = batch_api.run(3, 300, 4, tmp_path, "openai")
    assert runs.killed >= 3


FULL = """
set -e
mount -t tmpfs -o size=128k none full
mkdir full/data
cp in.jsonl full
cd full
(cat /dev/zero > rest) 2>/dev/null || true
export PIPY_DATA_DIR=$PWD/data
set +e
"$@"
echo "exit code $?"
ls data | grep -v '[.]lock$' || true
"""


def in_namespace(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a mount namespace of its own, where a user may mount."""
    return subprocess.run(
        ["unshare", "-r", "-m", *command],
        capture_output=True, text=True, check=False, timeout=60, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        (["ask", "-m", "faux/echo", "hi"], "data/history/"),
        (["default", "faux/echo"], "data/settings.json"),
        (["keys", "set", "--file", "anthropic"], "data/keys.json"),
        (["config", "--providers", "anthropic", "-o", "router.yaml"], "router.yaml"),
        (["batch", "in.jsonl", "-o", "out.jsonl", "-m", "faux/echo"], "out.jsonl"),
    ],
)
def test_full_file_system(arguments: list[str], file: str, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n')
    (tmp_path / "key").write_text("sk-0123456789")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    if in_namespace("mount", "-t", "tmpfs", "none", "full", cwd=tmp_path).returncode:
        pytest.skip("this system lets no user mount")
    command = f"{sys.executable} -m pipy_ai {' '.join(arguments)} < {tmp_path}/key"
    done = in_namespace("sh", "-c", FULL, "sh", "sh", "-c", command, cwd=tmp_path)
    assert "exit code 1" in done.stdout, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert f"{tmp_path}/full/{file}" in done.stderr
    assert "free some disk space" in done.stderr or "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write anywhere")
def test_read_only_data_directory(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o500)
    data = str(tmp_path / "data")
    for arguments in (["ask", "-m", "faux/echo", "hi"], ["default", "faux/echo"]):
        done = pipy(*arguments, PIPY_DATA_DIR=data)
        assert done.returncode == 1
        assert "Permission denied; make it writable, or set PIPY_DATA_DIR" in done.stderr
