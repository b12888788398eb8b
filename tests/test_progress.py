"""Test the progress of `complete_many`: on a terminal, and nowhere else unless asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipy_ai import complete_many, faux

from .support.terminal import Terminal

SCRIPT = """
import sys, threading
from pipy_ai import complete_many, faux
def run(**options):
    with faux.script(*["x"] * 60, delay=0.05):
        print(len(complete_many("faux/any", ["?"] * 60, concurrency=4, **options)), "answers")
"""


def run_in_pipe(code: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + code], capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_terminal_shows_it_and_erases_it() -> None:
    with Terminal("-c", SCRIPT + "run()") as terminal:
        terminal.wait_for("/60")
        assert terminal.wait() == 0
        assert b"tokens" in terminal.raw
        assert [line for line in terminal.screen if line.strip()] == ["60 answers"]


@pytest.mark.parametrize(
    "code",
    [
        "run(progress=False)",
        "thread = threading.Thread(target=run); thread.start(); thread.join()",
        "import os; os.environ['TERM'] = 'dumb'; run()",
        "import os; os.environ['CI'] = '1'; run()",
    ],
)
def test_terminal_shows_none(code: str) -> None:
    with Terminal("-c", SCRIPT + code) as terminal:
        assert terminal.wait() == 0
        assert terminal.raw == b"60 answers\r\n"


def test_pipe_shows_none_and_loads_no_rich() -> None:
    out, err = run_in_pipe("run(); print('rich' in sys.modules)")
    assert (out, err) == ("60 answers\nFalse\n", "")


def test_pipe_shows_it_when_asked_for() -> None:
    out, err = run_in_pipe("run(progress=True)")
    assert out == "60 answers\n"
    assert "\x1b" not in err


def test_process_without_stderr_runs() -> None:
    assert run_in_pipe("sys.stderr = None; run()")[0] == "60 answers\n"


BROKEN_STDERR = {
    "closed": "sys.stderr.close()",
    "closed descriptor": "import os; os.close(2)",
    "none": "sys.stderr = None",
    "failing": "sys.stderr = type('Full', (), {'write': lambda *_: 1 / 0, 'flush': id})()",
    "no Rich": "sys.modules['rich.progress'] = None",
}


@pytest.mark.parametrize("code", BROKEN_STDERR.values(), ids=BROKEN_STDERR)
def test_progress_that_cannot_be_shown_breaks_no_batch(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{SCRIPT}\n{code}; run(progress=True); run(progress=True)"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "60 answers\n60 answers\n"
    assert "Traceback" not in done.stderr


def test_output_to_a_file_stays_there(tmp_path: Path) -> None:
    """Rich would redirect it to the terminal."""
    path = tmp_path / "out.txt"
    code = f"sys.stdout = open({str(path)!r}, 'w'); run(on_result=lambda index, _: print(index))"
    with Terminal("-c", SCRIPT + code) as terminal:
        terminal.wait_for("/60")
        assert terminal.wait() == 0
    assert sorted(map(int, path.read_text().split()[:60])) == list(range(60))


def test_two_batches_at_once_show_one_line() -> None:
    code = """
import asyncio
from pipy_ai import acomplete_many
async def main():
    with faux.script(*["x"] * 120, delay=0.05):
        batch = lambda: acomplete_many("faux/any", ["?"] * 60, concurrency=4)
        print(sum(map(len, await asyncio.gather(batch(), batch()))), "answers")
asyncio.run(main())
"""
    with Terminal("-c", SCRIPT + code) as terminal:
        terminal.wait_for("/60")
        assert terminal.wait() == 0
        assert [line for line in terminal.screen if line.strip()] == ["120 answers"]


def test_wrong_value_raises_before_anything_is_sent() -> None:
    with faux.script("not asked for") as script, pytest.raises(TypeError, match="progress"):
        complete_many("faux/any", ["?"], progress="yes")  # type: ignore[call-overload]
    assert script.calls == 0
