"""Test fetching the catalogue and writing it to disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import get_model, get_registry, sync_models
from pipy_ai.cli.main import main
from pipy_ai.registry import ModelRegistry, load_models_cache
from pipy_ai.registry import auto_sync as auto
from pipy_ai.registry.auto_sync import sync_if_stale
from pipy_ai.registry.index import INDEX_FILE, MODELS_FILE, FileCatalogue
from pipy_ai.registry.sync import SyncError
from pipy_ai.registry.sync_state import read_sync_state

from ..support.catalogues import DAYS, JULY, feed, install, raw
from ..support.command import unmeasured_environment
from ..support.feed_server import Mirror
from ..support.scripted_server import Lab, Status


def test_first_sync(mirror: Mirror, data: Path) -> None:
    result = sync_models()
    assert (result.updated, result.models, result.providers) == (True, 5276, 147)
    assert (result.added, result.removed, result.repriced) == ([], [], [])
    assert (result.skipped, result.path) == (0, str(data / MODELS_FILE))
    assert get_registry().metadata["source"] == mirror.url
    assert get_model("openai/gpt-5.4") is not None
    assert "gzip" in mirror.seen[0]["accept-encoding"]
    assert "pipy-ai/" in mirror.seen[0]["user-agent"]
    assert get_registry().date == time.strftime("%Y-%m-%d", time.gmtime())


def test_each_sync_logs_one_line(mirror: Mirror, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="pipy_ai")
    sync_models()
    sync_models()
    mirror.body = b"[]"
    with pytest.raises(SyncError):
        sync_models(force=True, url=mirror.url.replace("//", "//me:secret@"))
    synced, unchanged, failed = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        r"catalogue synced in [\d.]+ s: 5276 models of 147 providers, 0 added, 0 removed,"
        r" 0 repriced; not trusted: routing-run: .*",
        synced,
    )
    assert re.fullmatch(r"catalogue is unchanged, checked in [\d.]+ s", unchanged)
    assert re.match(r"catalogue sync failed after [\d.]+ s: ", failed)
    assert mirror.url in failed


def test_unchanged_feed_is_not_sent_again(mirror: Mirror, data: Path) -> None:
    sync_models()
    before = (data / INDEX_FILE).stat().st_mtime_ns
    result = sync_models()
    assert (result.updated, result.models) == (False, 5276)
    assert mirror.seen[1]["if-none-match"] == '"july"'
    assert (data / INDEX_FILE).stat().st_mtime_ns == before
    assert sync_models(force=True).updated
    assert "if-none-match" not in mirror.seen[2]


def test_changes_are_reported_and_removed_models_kept(mirror: Mirror, data: Path) -> None:
    mirror.body = raw(DAYS[1])
    mirror.headers["etag"] = '"may"'
    sync_models()
    mirror.body = raw(JULY)
    mirror.headers["etag"] = '"july"'
    result = sync_models()
    may = {f"{p}/{m}" for p, host in feed(DAYS[1]).items() for m in host["models"]}
    july = {f"{p}/{m}" for p, host in feed(JULY).items() for m in host["models"]}
    assert result.added == sorted(july - may)
    assert result.removed == sorted(may - july)
    assert len(result.repriced) > 200
    assert result.models == 5276
    gone = result.removed[0]
    model = get_model(gone)
    assert model is not None
    assert model.status == "removed"
    registry = get_registry()
    assert gone not in registry.query()
    assert gone in registry.query(status="removed")
    assert sync_models(force=True).removed == []  # reported once
    assert get_model(gone) is not None
    mirror.body = raw(DAYS[1])
    back = sync_models(force=True)
    assert gone in back.added
    again = get_model(gone)
    assert again is not None
    assert again.status != "removed"


def test_read_only_directory(mirror: Mirror, tmp_path: Path) -> None:
    """Run as an ordinary user: permissions do not restrict root."""
    home = tmp_path / "home"
    home.mkdir()
    install(home / "data", DAYS[1])
    code = (
        "import os, sys, json, httpx, filelock, pipy_ai.cli.commands.sync, pipy_ai.registry.sync;"
        "from pipy_ai.cli.main import main; from pipy_ai import get_model;"
        "os.getuid() or os.setuid(65534);"  # root may write anywhere
        "code = main(['sync']); assert get_model('openai/gpt-4o').cost.output == 10; sys.exit(code)"
    )
    for path in (home, *home.parents):
        if os.stat(path).st_uid == os.getuid() and path.is_relative_to("/tmp"):
            os.chmod(path, os.stat(path).st_mode | 0o055)
    for path in (home / "data").iterdir():
        os.chmod(path, 0o644)
    os.chmod(home / "data", 0o555)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=unmeasured_environment(PIPY_DATA_DIR=str(home / "data")),  # it cannot save coverage
        capture_output=True, text=True,
    )  # fmt: skip
    os.chmod(home / "data", 0o755)
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_full_disk(mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync_models()
    before = (data / INDEX_FILE).read_bytes()
    calls = 0
    real = os.fsync

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:  # the note of the attempt is small enough
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SyncError, match="No space left"):
        sync_models(force=True)
    monkeypatch.undo()
    assert (data / INDEX_FILE).read_bytes() == before
    FileCatalogue(str(data))


WRITER = """
import sys
from tests.support.catalogues import DAYS, install
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    install(sys.argv[1], DAYS[1 + number % 2])
    number += 1
"""


READER = """
import sys, time
from pipy_ai.registry import ModelRegistry, load_models_cache
import warnings
warnings.simplefilter("error")
good = 0
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    registry = ModelRegistry(sys.argv[1])
    assert registry.metadata["source"] == "test", registry.metadata
    count = {"2026-05-22": 4838, "2026-07-01": 5276}[registry.metadata["date"]]
    assert registry.model("openai/gpt-4o").cost.output == 10
    if good % 10 == 0:
        assert len(registry.rows()) == count
    good += 1
print(good)
"""


def test_concurrent_readers_and_writers_see_whole_catalogues(tmp_path: Path) -> None:
    """No reader ever sees half a catalogue, even if writers are killed."""
    directory = str(tmp_path)
    install(directory, DAYS[1])
    root = Path(__file__).parents[2]
    seconds = os.environ.get("SYNC_TEST_SECONDS", "3")

    def writer(number: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, directory, str(number)],
            cwd=root, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    writers = [writer(0), writer(1)]
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, directory, seconds],
            cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    killed = 0
    try:
        while any(reader.poll() is None for reader in readers):
            victim = writers.pop(0)
            with pytest.raises(subprocess.TimeoutExpired):
                victim.wait(0.25)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            assert victim.stdout is not None
            victim.stdout.close()
            killed += 1
            writers.append(writer(killed))
    finally:
        for process in writers:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    for reader in readers:
        out, err = reader.communicate()
        assert reader.returncode == 0, err
        assert int(out) > 2  # reads that came through; a busy machine makes few
    assert killed > 2
    assert ModelRegistry(directory).metadata["source"] == "test"


def test_concurrent_syncs_take_turns(mirror: Mirror, data: Path) -> None:
    results: list[Any] = []
    mirror.stall.clear()
    threads = [
        threading.Thread(target=lambda: results.append(sync_models().updated)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    while not mirror.seen:
        time.sleep(0.001)
    with pytest.raises(SyncError, match="another process"):
        sync_models(wait=False)
    mirror.stall.set()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == [False, False, True]  # the others found nothing new


def wait_for_sync() -> None:
    for thread in threading.enumerate():
        if thread.name in ("pipy-ai-sync", "pipy-ai-fetch"):
            thread.join(20)
            assert not thread.is_alive()


DEEP = '{"x":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        '{"attempted": "yesterday", "checked": [1]}', '{"attempted": true, "checked": null}',
        '{"attempted": 1e400, "checked": 1e400}', '{"attempted": NaN, "checked": NaN}',
        '{"attempted": -1e400, "checked": -5}', f'{{"checked": 1{"0" * 400}}}',
        f'{{"checked": 1{"0" * 5000}}}', '{"checked": 1e300, "error": {}}', "[]", "7", "null", "",
        "\x00" * 99, DEEP,
    ],
    ids=range(14),
)  # fmt: skip
def test_invalid_state_file_is_ignored(
    july: Path, small_mirror: Mirror, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (july / "sync.json").write_text(text)
    assert get_model("openai/gpt-5") is not None
    assert get_registry().date == JULY
    assert main(["info", "openai/gpt-5"]) == 0
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "SYNC_TIMEOUT_S", 60.0)
    monkeypatch.setattr(auto, "next_check_at", 0.0)
    sync_if_stale(str(july))
    wait_for_sync()
    assert len(small_mirror.seen) == 1
    sync_models(force=True)
    assert time.time() - read_sync_state(str(july))["checked"] < 60


def test_first_sync_creates_the_given_directory(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "not" / "there" / "yet"
    monkeypatch.setenv("PIPY_DATA_DIR", str(deep))
    lab.play(Status(200, raw().decode()))
    url = f"{lab.url}/api.json"
    result = sync_models(url=url)
    assert result.updated
    assert Path(result.path).parent == deep
    assert get_registry().metadata["source"] == url


def specified_sync(directory: Path) -> str:
    """Run the code of `pipy sync` as the specification has it, and return what it prints."""
    directory.mkdir(exist_ok=True)
    data = sync_models(output_path=directory / "models.json")
    total = sum(len(p.get("models", {})) for p in data.values())
    return f"Synced {total} models from {len(data)} providers"


def test_sync_as_in_the_specification(mirror: Mirror, data: Path, tmp_path: Path) -> None:
    expected = "Synced 5276 models from 147 providers"
    assert specified_sync(data) == expected
    assert FileCatalogue(str(data)).rows()["openai/gpt-5"]  # its own file stays a catalogue
    assert specified_sync(tmp_path / "other") == expected  # nothing is new
    exported = json.loads((tmp_path / "other" / "models.json").read_text(encoding="utf-8"))
    assert exported["openai"]["models"]["gpt-5"]["name"] == "GPT-5"
    assert sum(len(host["models"]) for host in exported.values()) == 5276
    assert load_models_cache().keys() == exported.keys()


def test_result_of_a_sync_is_a_mapping(small_mirror: Mirror) -> None:
    result = sync_models()
    assert sorted(result) == ["anthropic", "google", "openai"]
    assert "openai" in result
    assert result.get("nonsense") is None
    assert result["openai"]["models"].keys() == feed()["openai"]["models"].keys()
    with pytest.raises(KeyError):
        result["nonsense"]


def test_removed_models_are_not_exported(small_mirror: Mirror, tmp_path: Path) -> None:
    sync_models()
    small_mirror.body = json.dumps({"openai": feed()["openai"]}).encode()
    result = sync_models(force=True, output_path=tmp_path / "feed.json")
    assert [*json.loads((tmp_path / "feed.json").read_text())] == [*result] == ["openai"]
    assert len(result["openai"]["models"]) == result.models


def test_output_path_that_cannot_be_written(small_mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "feed.json").write_text("")
    with pytest.raises(OSError, match=r"feed\.json"):
        sync_models(output_path=tmp_path / "feed.json" / "models.json")
    assert get_model("openai/gpt-5") is not None
