"""Make every write of every command fail, and kill the command at every write.

python -m tests.crash.disk [--every N] [COMMAND …]

For each N, the Nth operation that changes a file fails as on a full disk, and so do all later ones:
as a whole, or after half of a write. The command must name the file, the reason and what to do, and
exit with a code; nothing may be half written; the same command must succeed once there is space.
Then the process is killed before, after and in the middle of each operation.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .workloads import Home, Workload, check_files, check_leftovers, new_home, workloads

SOURCE = Path(__file__).with_name("failing_disk.c")
# A conversation is also saved and removed if the file system has no locks.
WITHOUT_LOCKS = ("ask", "ask -c", "chat", "ledger", "history rm")
MEMORY = "/dev/shm"  # a disk is much slower
ADVICE = ("free some", "local disk", "check", "set PIPY_DATA_DIR", "run the same command again")


def compiler() -> str | None:
    """Return a C compiler, or None."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def preload(directory: str) -> None:
    """Start this program again with the library that makes writes fail."""
    library = os.path.join(directory, "failing_disk.so")
    command = [compiler() or "cc", "-shared", "-fPIC", "-o", library, str(SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    os.environ |= {"LD_PRELOAD": library, "DISK_DIRECTORY": directory}
    os.execv(sys.executable, [sys.executable, "-m", "tests.crash.disk", *sys.argv[1:]])


class Disk:
    """A disk that fails below a directory."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "operations"

    def env(self, root: Path, at: int, **settings: str | int) -> dict[str, str]:
        """Return the environment of a process whose operation `at` fails."""
        given = {"DISK_ERRNO": errno.ENOSPC, **settings}
        return {
            "DISK_ROOT": str(root), "DISK_AT": str(at),
            **{name: str(value) for name, value in given.items()},
        }  # fmt: skip

    def operations(self, workload: Workload, home: Home, **settings: str) -> list[str]:
        """Run a command and return its operations."""
        self._log.unlink(missing_ok=True)
        done = workload.run(home, **self.env(home.path, 0, DISK_LOG=str(self._log), **settings))
        assert done.returncode == 0, (workload.name, done.returncode, done.stderr)
        return self._log.read_text().splitlines() if self._log.exists() else []


def fail(disk: Disk, workload: Workload, home: Home, at: int, **settings: str | int) -> None:
    """Let one operation and all later ones fail, and check what is left and how it is reported."""
    number = int(settings.get("DISK_ERRNO", errno.ENOSPC))
    done = workload.run(home, **disk.env(home.path, at, **settings))
    reason = os.strerror(number)
    assert done.returncode not in (0, -9), f"exit code {done.returncode}: {done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    line = next((line for line in done.stderr.splitlines() if reason in line), "")
    names = (str(home.path), *(f"{name}: {reason}" for name in workload.arguments))
    assert any(name in line for name in names), f"no path and reason: {done.stderr!r}"
    assert any(words in line for words in ADVICE), f"no advice: {line!r}"
    check_files(home, killed=False)
    recover(workload, home)


def kill(disk: Disk, workload: Workload, home: Home, at: int, when: int, **settings: int) -> None:
    """Kill the command before (1) or after (2) an operation, and check what is left."""
    done = workload.run(home, **disk.env(home.path, at, DISK_KILL=when, **settings))
    assert done.returncode == -9, (done.returncode, done.stderr)
    check_files(home, killed=True)
    check_leftovers(home)
    recover(workload, home)


def recover(workload: Workload, home: Home) -> None:
    """Check what is left, run the command again, and check that it is complete."""
    workload.check(home, False)
    done = workload.run(home)
    is_gone = {"keys remove": 1, "history rm": 2}.get(workload.name, 0)
    assert done.returncode in (0, is_gone), (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    workload.check(home, True)


def cases(operations: list[str]) -> Iterator[tuple[str, int, dict[str, int]]]:
    """Yield every fault: its kind, the number of the operation, and the settings of the disk."""
    for at, operation in enumerate(operations, 1):
        is_write = operation.split()[1] == "write"
        if operation.split()[1] not in ("unlink", "ftruncate"):
            yield "fail", at, {}
            if is_write:
                yield "fail", at, {"DISK_HALF": 1}
        yield "kill", at, {"when": 1}
        yield "kill", at, {"when": 2}
        if is_write:
            yield "kill", at, {"when": 2, "DISK_HALF": 1}


def try_all(
    disk: Disk, workload: Workload, directory: Path, every: int = 1
) -> tuple[int, list[str]]:
    """Try the faults of a command, or every Nth; return their number and what was wrong."""
    if not (directory / "new").exists():
        new_home(directory / "new")
    template = Home(directory / "new").copy(directory / "template")
    workload.prepare(template)
    counted = disk.operations(workload, template.copy(directory / "home"), DISK_KILL="1")
    writes = disk.operations(workload, template.copy(directory / "home"))
    tried, wrong = 0, []
    kills = [case for case in cases(counted) if case[0] == "kill"]
    fails = [case for case in cases(writes) if case[0] == "fail"]
    for kind, at, settings in (*fails, *kills)[::every]:
        home = template.copy(directory / "home")
        tried += 1
        try:
            if kind == "fail":
                fail(disk, workload, home, at, **settings)
            else:
                kill(disk, workload, home, at, **settings)
        except Exception as error:
            operation = (writes if kind == "fail" else counted)[at - 1]
            wrong.append(f"{workload.name}: {kind} {settings} at {operation}: {error}")
    if every > 1:
        shutil.rmtree(directory / "template")
        return tried, wrong
    for name, number in (("flock", errno.ENOLCK), ("fsync", errno.EIO), ("open", errno.EROFS)):
        home = template.copy(directory / "home")
        if name == "flock" and workload.name in WITHOUT_LOCKS:
            continue
        if not disk.operations(workload, home, DISK_ONLY=name):
            continue
        home = template.copy(directory / "home")
        tried += 1
        try:
            fail(disk, workload, home, 1, DISK_ONLY=name, DISK_ERRNO=number)
        except Exception as error:
            wrong.append(f"{workload.name}: {name}: {error}")
    shutil.rmtree(directory / "template")
    return tried, wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("commands", nargs="*", metavar="COMMAND")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth fault")
    given = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        in_memory = MEMORY if os.path.isdir(MEMORY) else None
        preload(tempfile.mkdtemp(prefix="pipy-crash-", dir=in_memory))
    directory = Path(os.environ["DISK_DIRECTORY"])
    del os.environ["LD_PRELOAD"]  # not for the compiler, editors and the server of the catalogue
    total, complaints = 0, []
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.mirror"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        disk = Disk(directory)
        for workload in workloads(server.stdout.readline().strip()):
            if given.commands and workload.name not in given.commands:
                continue
            tried, wrong = try_all(disk, workload, directory, given.every)
            total += tried
            complaints += wrong
            print(f"{workload.name}: {tried} faults, {len(wrong)} wrong", flush=True)  # noqa: T201
            for complaint in wrong:
                print(f"WRONG: {complaint}", flush=True)  # noqa: T201
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory)
    print(f"{total} faults, {len(complaints)} wrong")  # noqa: T201
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
