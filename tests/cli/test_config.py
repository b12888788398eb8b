"""Test `pipy config`."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

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


def test_addresses_name_their_variables(july: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "CLOUDFLARE_ACCOUNT_ID",
        "CLOUDFLARE_API_KEY",
        "AZURE_RESOURCE_NAME",
        "AZURE_API_KEY",
    ):
        monkeypatch.setenv(name, f"value-of-{name}")
    written = generate_router_config(None, ["cloudflare-workers-ai", "azure"]).read_text()
    assert "value-of-" not in written.lower()
    models = yaml.safe_load(written)["model_list"]
    bases = {entry["litellm_params"].get("api_base") for entry in models}
    assert "os.environ/CLOUDFLARE_WORKERS_AI_URL" in bases
    exports = re.findall(r'^#   export (\w+)="(.*)"$', written, re.MULTILINE)
    assert {f"os.environ/{name}" for name, _ in exports} == bases - {None}
    address = "https://api.cloudflare.com/client/v4/accounts/${CLOUDFLARE_ACCOUNT_ID}/ai/v1"
    assert dict(exports)["CLOUDFLARE_WORKERS_AI_URL"] == address
