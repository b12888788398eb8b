"""Run `pipy` as a process."""

from __future__ import annotations

import os
import subprocess
import sys


def pipy(
    *arguments: str, stdin: str | bytes | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        [sys.executable, "-m", "pipy_ai", *arguments],
        capture_output=True,
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        env={**os.environ, **env},
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def unmeasured_environment(**env: str) -> dict[str, str]:
    """Return the environment for a process that must not load the modules of coverage."""
    inherited = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    return inherited | env
