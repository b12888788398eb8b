"""Fetching the catalogue from a server that does whatever servers do."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import get_model, get_registry, sync_models
from pipy_ai.cli.main import main
from pipy_ai.registry import ModelRegistry
from pipy_ai.registry import auto_sync as auto
from pipy_ai.registry import sync as sync_module
from pipy_ai.registry.auto_sync import sync_if_stale
from pipy_ai.registry.index import INDEX_FILE, MODELS_FILE, FileCatalogue
from pipy_ai.registry.sync import SyncError
from pipy_ai.registry.sync_state import read_sync_state

from .feeds import DAYS, JULY, feed, install, raw


class Mirror:
    """models.dev on loopback: `body`, `status`, `headers` are what it answers."""

    def __init__(self) -> None:
        self.body = raw(JULY)
        self.status = 200
        self.headers: dict[str, str] = {"content-type": "application/json", "etag": '"july"'}
        self.compress = True
        self.cut: int | None = None  # close after so many bytes
        self.length: int | None = None  # claim another length
        self.chunked = False
        self.stall = threading.Event()
        self.stall.set()
        self.seen: list[dict[str, str]] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/api.json"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler: Any) -> None:
        seen = {name.lower(): value for name, value in handler.headers.items()}
        self.seen.append(seen)
        self.stall.wait(30)
        handler.close_connection = True
        if self.headers.get("etag") and seen.get("if-none-match") == self.headers["etag"]:
            handler.send_response(304)
            handler.send_header("content-length", "0")
            handler.end_headers()
            return
        body = self.body
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.compress and "gzip" in seen.get("accept-encoding", ""):
            body = gzip.compress(body, 1)
            handler.send_header("content-encoding", "gzip")
        if self.chunked:
            handler.send_header("transfer-encoding", "chunked")
            sent = b"%x\r\n%s\r\n" % (len(body), body) + b"0\r\n\r\n"
        else:
            handler.send_header("content-length", str(self.length or len(body)))
            sent = body
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(sent if self.cut is None else sent[: self.cut])

    def close(self) -> None:
        self.stall.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    server = Mirror()
    monkeypatch.setenv("PIPY_MODELS_URL", server.url)
    yield server
    server.close()


@pytest.fixture
def data() -> Path:
    return Path(os.environ["PIPY_DATA_DIR"])


def test_the_first_sync(mirror: Mirror, data: Path) -> None:
    result = sync_models()
    assert (result.updated, result.models, result.providers) == (True, 5276, 147)
    assert (result.added, result.removed, result.repriced) == ([], [], [])
    assert (result.skipped, result.path) == (0, str(data / MODELS_FILE))
    assert get_registry().metadata["source"] == mirror.url
    assert get_model("openai/gpt-5.4") is not None
    assert "gzip" in mirror.seen[0]["accept-encoding"]
    assert "pipy-ai/" in mirror.seen[0]["user-agent"]
    assert get_registry().date == time.strftime("%Y-%m-%d", time.gmtime())


def test_nothing_new_is_not_sent_again(mirror: Mirror, data: Path) -> None:
    sync_models()
    before = (data / INDEX_FILE).stat().st_mtime_ns
    result = sync_models()
    assert (result.updated, result.models) == (False, 5276)
    assert mirror.seen[1]["if-none-match"] == '"july"'
    assert (data / INDEX_FILE).stat().st_mtime_ns == before
    assert sync_models(force=True).updated
    assert "if-none-match" not in mirror.seen[2]


def test_what_changed_is_told_and_what_vanished_stays(mirror: Mirror, data: Path) -> None:
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
    assert sync_models(force=True).removed == []  # told once
    assert get_model(gone) is not None
    mirror.body = raw(DAYS[1])
    back = sync_models(force=True)
    assert gone in back.added
    again = get_model(gone)
    assert again is not None
    assert again.status != "removed"


HTML = b"<!doctype html><html><body>models</body></html>"


def _fault(mirror: Mirror, name: str) -> None:
    if name == "503":
        mirror.status, mirror.body = 503, b'{"error": "later"}'
    elif name == "html":
        mirror.body = HTML
        mirror.headers["content-type"] = "text/html; charset=utf-8"
    elif name == "html that claims to be json":
        mirror.body = HTML
    elif name == "redirect":
        mirror.status = 302
        mirror.headers["location"] = "/"
    elif name == "empty object":
        mirror.body = b"{}"
    elif name == "a list":
        mirror.body = b"[]"
    elif name == "nothing":
        mirror.body = b""
    elif name == "shrunk":
        small = dict(list(feed(JULY).items())[:30])
        mirror.body = json.dumps(small).encode()
    elif name == "short content-length":
        mirror.compress, mirror.cut = False, 100_000
    elif name == "cut chunked":
        mirror.compress, mirror.chunked, mirror.cut = False, True, 100_000
    elif name == "cut gzip":
        mirror.cut = 5_000
        mirror.length = 5_000
    elif name == "cut json":
        mirror.body = raw(JULY)[:-1000]
    elif name == "not gzip":
        mirror.compress = False
        mirror.headers["content-encoding"] = "gzip"
    elif name == "deep":
        mirror.body = b'{"a":' * 100_000
    elif name == "stall":
        mirror.stall.clear()
    else:
        raise AssertionError(name)


FAULTS = [
    "503", "html", "html that claims to be json", "redirect", "empty object", "a list", "nothing",
    "shrunk", "short content-length", "cut chunked", "cut gzip", "cut json", "not gzip", "deep",
    "stall",
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_the_old_catalogue(
    mirror: Mirror, data: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sync_models()
    before = {name: (data / name).read_bytes() for name in (MODELS_FILE, INDEX_FILE)}
    mirror.headers["etag"] = '"other"'
    _fault(mirror, fault)
    with pytest.raises(SyncError) as caught:
        sync_models(timeout=0.5 if fault == "stall" else 60)
    assert "127.0.0.1" in str(caught.value) or "too long" in str(caught.value)
    assert {name: (data / name).read_bytes() for name in before} == before
    assert not [path for path in data.iterdir() if path.name.endswith(".tmp")]
    assert read_sync_state(str(data))["error"] == str(caught.value)
    if fault != "stall":
        assert main(["sync"]) == 1
        assert "as it was" in capsys.readouterr().err
    assert get_model("openai/gpt-5.4") is not None


def test_force_takes_a_feed_that_shrank(mirror: Mirror) -> None:
    sync_models()
    mirror.headers["etag"] = '"other"'
    _fault(mirror, "shrunk")
    assert sync_models(force=True).providers == 30


def test_a_feed_without_end_is_refused(
    mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "MAX_FEED_BYTES", 1 << 20)
    with pytest.raises(SyncError, match="more than 1 MB"):
        sync_models()
    assert not (data / MODELS_FILE).exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api.json", "nonsense", "http://[", ""])
def test_nobody_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not url:
        monkeypatch.setattr(sync_module, "MODELS_DEV_URL", "http://127.0.0.1:1/api.json")
    with pytest.raises(SyncError):
        sync_models(url=url or None)


def test_bad_records_are_counted(mirror: Mirror) -> None:
    damaged = feed(JULY)
    damaged["openai"]["models"]["gpt-5"]["cost"] = "cheap"
    damaged["openai"]["models"]["gpt-4o"] = None
    damaged["broken"] = {"models": []}
    mirror.body = json.dumps(damaged).encode()
    result = sync_models()
    assert (result.models, result.skipped, result.problems) == (5275, 2, 1)
    model = get_model("openai/gpt-5")
    assert model is not None
    assert model.cost.input is None


# --- Files ----------------------------------------------------------------------------------


def test_a_read_only_directory(mirror: Mirror, tmp_path: Path) -> None:
    """As an ordinary user, whom permissions bind."""
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
    os.chmod(home / "data", 0o555)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PIPY_DATA_DIR": str(home / "data")}, capture_output=True, text=True,
    )  # fmt: skip
    os.chmod(home / "data", 0o755)
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk(mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
from tests.feeds import DAYS, install
print("ready", flush=True)
number = int(sys.argv[2])
while True:
    install(sys.argv[1], DAYS[1 + number % 2])
    number += 1
"""

READER = """
import sys, time
from pipy_ai.registry import ModelRegistry
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


def test_two_writers_and_two_readers(tmp_path: Path) -> None:
    """No reader ever sees half a catalogue, even when a writer is killed now and then."""
    directory = str(tmp_path)
    install(directory, DAYS[1])
    root = Path(__file__).parents[1]
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


def test_two_syncs_at_once_take_turns(mirror: Mirror, data: Path) -> None:
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


# --- By itself ------------------------------------------------------------------------------


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, mirror: Mirror) -> None:
    monkeypatch.delenv("PIPY_OFFLINE")
    monkeypatch.setattr(auto, "_next_check_at", 0.0)


def _wait_for_thread() -> None:
    for thread in threading.enumerate():
        if thread.name == "pipy-ai-sync":
            thread.join(10)


def test_a_missing_catalogue_is_fetched_in_the_background(
    mirror: Mirror, online: None, data: Path
) -> None:
    mirror.stall.clear()
    assert get_registry().metadata["source"] == "models-dev package"  # answers meanwhile
    mirror.stall.set()
    _wait_for_thread()
    assert get_registry().metadata["source"] == mirror.url
    assert len(mirror.seen) == 1


@pytest.mark.parametrize("hours", [1, 30])
def test_a_day_is_the_limit(
    mirror: Mirror, online: None, data: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_models()
    state = {"attempted": time.time() - hours * 3600, "checked": time.time() - hours * 3600}
    (data / "sync.json").write_text(json.dumps(state))
    sync_if_stale(str(data))
    _wait_for_thread()
    assert len(mirror.seen) == (1 if hours < 24 else 2)
    sync_if_stale(str(data))  # asked again at once: nothing
    monkeypatch.setattr(auto, "_next_check_at", 0.0)
    sync_if_stale(str(data))  # another process: neither
    _wait_for_thread()
    assert len(mirror.seen) == (1 if hours < 24 else 2)


def test_a_failed_attempt_is_not_repeated_that_day(
    mirror: Mirror, online: None, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.status = 503
    get_registry()
    _wait_for_thread()
    monkeypatch.setattr(auto, "_next_check_at", 0.0)
    get_registry()
    _wait_for_thread()
    assert len(mirror.seen) == 1
    assert "503" in read_sync_state(str(data))["error"]


def test_offline_means_offline(mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "_next_check_at", 0.0)
    get_registry()
    _wait_for_thread()
    assert mirror.seen == []
    assert not data.joinpath("sync.json").exists()


def test_the_command_line_does_not_wait_for_it(mirror: Mirror, data: Path) -> None:
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
