"""Test syncs from servers that fail."""

from __future__ import annotations

import contextlib
import copy
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import get_model, get_registry, sync_models
from pipy_ai.cli.main import main
from pipy_ai.registry import sync as sync_module
from pipy_ai.registry.index import (
    INDEX_FILE,
    MODELS_FILE,
    models_in_feed,
    providers_in_feed,
)
from pipy_ai.registry.index_writer import encode_catalogue, write_catalogue
from pipy_ai.registry.sync import SyncError
from pipy_ai.registry.sync_state import read_sync_state

from ..support.catalogues import JULY, feed, raw
from ..support.feed_server import Mirror

SMALL = {name: host for name, host in feed().items() if name in ("anthropic", "google", "openai")}


def settle(directory: Path, records: Any, about: dict[str, Any] | None = None) -> None:
    """Write a feed as the catalogue of a data directory."""
    metadata = {"date": JULY, "source": "test", **(about or {})}
    write_catalogue(
        str(directory),
        *encode_catalogue(models_in_feed(records)[0], providers_in_feed(records), metadata),
    )


def wait_for_sync() -> None:
    for thread in threading.enumerate():
        if thread.name in ("pipy-ai-sync", "pipy-ai-fetch"):
            thread.join(20)
            assert not thread.is_alive()


def test_other_mirror_with_one_model_is_rejected(
    small_mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync_models()
    before = (data / INDEX_FILE).read_bytes()
    other = Mirror()
    try:
        other.body = json.dumps({"acme": {"id": "acme", "models": {"m": {"id": "m"}}}}).encode()
        monkeypatch.setenv("PIPY_MODELS_URL", other.url)
        with pytest.raises(SyncError, match="--force"):
            sync_models()
        assert (data / INDEX_FILE).read_bytes() == before
        assert get_model("openai/gpt-5") is not None
        assert sync_models(force=True).models == 1
    finally:
        other.close()


class Drip:
    """A server that sends endless headers one byte at a time."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(20)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/api.json"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._server.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nx-long: ")
                while not self._over.wait(0.05):
                    client.sendall(b"a")

    def close(self) -> None:
        self._over.set()
        self._thread.join(20)
        self._server.close()


def test_slow_server_times_out(data: Path) -> None:
    server = Drip()
    try:
        began = time.monotonic()
        with pytest.raises(SyncError, match="too long"):
            sync_models(url=server.url, timeout=1)
        assert time.monotonic() - began < 5
    finally:
        server.close()
    wait_for_sync()
    assert not (data / INDEX_FILE).exists()
    assert "too long" in read_sync_state(str(data))["error"]


def test_etag_with_invalid_characters_is_not_sent_back(small_mirror: Mirror) -> None:
    small_mirror.headers["etag"] = '"jülï"'
    assert sync_models().updated
    assert sync_models().models > 0
    assert "if-none-match" not in small_mirror.seen[1]


def test_invalid_stored_etag_does_not_stop_the_sync(small_mirror: Mirror, data: Path) -> None:
    settle(data, SMALL, {"source": small_mirror.url, "etag": '"jülï"'})
    assert sync_models().models > 0


PASSWORD_FAULTS: dict[str, Callable[[Mirror], object]] = {
    "none": lambda small_mirror: None,
    "503": lambda small_mirror: setattr(small_mirror, "status", 503),
    "html": lambda small_mirror: small_mirror.headers.update({"content-type": "text/html"}),
    "no json": lambda small_mirror: setattr(small_mirror, "body", b"?"),
    "empty": lambda small_mirror: setattr(small_mirror, "body", b"{}"),
    "cut": lambda small_mirror: setattr(small_mirror, "cut", 5),
}


@pytest.mark.parametrize("fault", PASSWORD_FAULTS)
def test_password_in_the_url_is_never_shown(
    small_mirror: Mirror, data: Path, fault: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    url = small_mirror.url.replace("http://", "http://anna:geheim@")
    monkeypatch.setenv("PIPY_MODELS_URL", url)
    PASSWORD_FAULTS[fault](small_mirror)
    said = ""
    try:
        sync_models()
    except SyncError as error:
        said = f"{error} {error!r}"
    assert bool(said) == (fault != "none")
    assert small_mirror.seen[0]["authorization"].startswith("Basic ")
    main(["sync"])
    shown = capsys.readouterr()
    files = "".join(p.read_text() for p in data.iterdir() if p.is_file() and p.suffix != ".lock")
    everything = f"{said}{shown}{files}{get_registry().metadata}{read_sync_state(str(data))}"
    assert "geheim" not in everything
    assert "anna" not in everything


@pytest.mark.parametrize(
    "url",
    [
        "http://anna:geheim@127.0.0.1:1/api.json",
        "http://anna:ge@heim@127.0.0.1:1/",
        "http://anna:geheim@[",
        "http://anna:geheim@127.0.0.1:x/",
        pytest.param("anna:geheim@127.0.0.1:1/x"),
        pytest.param("//anna:geheim@127.0.0.1:1/x"),
        pytest.param("http://anna:geheim/@127.0.0.1:1/x"),
        pytest.param("http://anna:geheim?@127.0.0.1:1/x"),
        pytest.param("http://anna:geheim#@127.0.0.1:1/x"),
    ],
)
def test_password_in_an_invalid_url_is_never_shown(data: Path, url: str) -> None:
    with pytest.raises(SyncError) as caught:
        sync_models(url=url)
    assert "heim" not in f"{caught.value}{(data / 'sync.json').read_text()}"


def _no_constant(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        pytest.param("1e400"),
    ],
)
def test_feed_with_nan_becomes_valid_json(small_mirror: Mirror, data: Path, number: str) -> None:
    odd = copy.deepcopy(SMALL)
    odd["openai"]["models"]["gpt-5"] |= {"x": "?", "limit": {"context": "?"}}
    odd["openai"]["x"] = "?"
    small_mirror.body = json.dumps(odd).replace('"?"', number).encode()
    assert sync_models().updated
    for name in (MODELS_FILE, INDEX_FILE):
        assert json.loads((data / name).read_text(), parse_constant=_no_constant)
    assert get_model("openai/gpt-5") is not None


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
def test_fault_keeps_the_old_catalogue(
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
        assert "was not changed" in capsys.readouterr().err
    assert get_model("openai/gpt-5.4") is not None


def test_force_accepts_a_smaller_feed(mirror: Mirror) -> None:
    sync_models()
    mirror.headers["etag"] = '"other"'
    _fault(mirror, "shrunk")
    assert sync_models(force=True).providers == 30


def test_endless_feed_is_rejected(
    mirror: Mirror, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_module, "MAX_FEED_BYTES", 1 << 20)
    with pytest.raises(SyncError, match="more than 1 MB"):
        sync_models()
    assert not (data / MODELS_FILE).exists()


def test_feed_compressed_with_brotli_is_rejected(mirror: Mirror) -> None:
    mirror.compress = False
    mirror.headers["content-encoding"] = "br"
    with pytest.raises(SyncError, match="'br', which was not requested"):
        sync_models()
    assert mirror.seen[-1]["accept-encoding"] == "gzip"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api.json", "nonsense", "http://[", ""])
def test_unreachable_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
