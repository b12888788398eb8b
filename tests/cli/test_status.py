"""Test the status line: when it is shown, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab, Pause, Status, chat, finish, text
from ..support.terminal import Terminal

SLOW = [Pause(), *chat(text("Hello"), finish("stop"))]

BRAILLE = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def ask(lab: Lab, *arguments: str) -> list[str]:
    return ["-m", "pipy_ai", "ask", "-m", "hosted_vllm/m", "--api-base", lab.url, *arguments]


def test_waiting_is_shown_and_the_first_token_erases_it(lab: Lab) -> None:
    lab.play(SLOW)
    with Terminal(*ask(lab, "hi")) as terminal:
        terminal.wait_for("waiting for hosted_vllm/m")
        assert terminal.screen[0][0] in BRAILLE
        terminal.wait_for("  1 s")
        lab.go()
        assert terminal.wait() == 0
        assert terminal.screen[0] == "Hello"
        assert "waiting" not in terminal.text


def test_a_retry_is_shown_with_the_seconds_that_are_left(lab: Lab) -> None:
    refused = Status(429, {"error": {"message": "slow down"}}, {"retry-after": "3"})
    lab.play(refused, SLOW)
    with Terminal(*ask(lab, "hi")) as terminal:
        terminal.wait_for("429, retrying in 3 s")
        terminal.wait_for("429, retrying in 1 s")
        terminal.wait_for("retrying after 429, 1 s")
        lab.go()
        assert terminal.wait() == 0
        assert terminal.screen[0] == "Hello"
        assert not re.search(r"retrying in \d s +\d", terminal.raw.decode())  # one time only


def test_a_fallback_is_shown(lab: Lab) -> None:
    lab.play(Status(404, {"error": {"message": "no such model"}}), SLOW)
    with Terminal(*ask(lab, "--fallback", "hosted_vllm/n", "hi")) as terminal:
        terminal.wait_for("retrying after 404")
        lab.go()
        assert terminal.wait() == 0
        assert terminal.screen[0] == "Hello"


def test_hidden_thinking_is_shown_as_such() -> None:
    code = (
        "import sys\nfrom pipy_ai import faux\nfrom pipy_ai.cli.main import main\n"
        "with faux.script(faux.reply(faux.redacted(), faux.stall())):\n"
        "    sys.exit(main(['ask', '-m', 'faux/m', 'q']))\n"
    )
    with Terminal("-c", code) as terminal:
        terminal.wait_for("thinking")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "thinking" not in terminal.text


@pytest.mark.parametrize(
    ("arguments", "env"),
    [(["--quiet"], {}), ([], {"TERM": "dumb"})],
)
def test_no_status_line(lab: Lab, arguments: list[str], env: dict[str, str]) -> None:
    lab.play(SLOW)
    with Terminal(*ask(lab, *arguments, "hi"), env=env) as terminal:
        lab.go()
        assert terminal.wait() == 0
        assert "waiting" not in terminal.raw.decode()
        assert terminal.screen[0] == "Hello"


def test_no_status_line_in_a_pipe(lab: Lab) -> None:
    lab.always = chat(text("Hello"), finish("stop"))
    done = pipy(*ask(lab, "hi")[2:])
    assert (done.stdout, done.stderr) == ("Hello\n", "")
    shell = " ".join([sys.executable, *ask(lab, "hi"), "| cat"])
    with Terminal("-c", f"import os; os.execvp('sh', ['sh', '-c', {shell!r}])") as terminal:
        assert terminal.wait() == 0
        assert terminal.raw == b"Hello\r\n"


@pytest.mark.parametrize(
    ("columns", "env", "frames", "shown"),
    [
        (20, {}, BRAILLE, "…"),
        (20, {"PYTHONIOENCODING": "cp1252"}, "|/-\\", "~"),
        (40, {"PYTHONIOENCODING": "ascii"}, "|/-\\", "waiting for hosted_vllm/m"),
        (40, {"TERM": "linux"}, "|/-\\", "waiting for hosted_vllm/m"),
        (7, {}, "", ""),
    ],
)
def test_narrow_terminals_and_encodings(
    lab: Lab, columns: int, env: dict[str, str], frames: str, shown: str
) -> None:
    lab.play(SLOW)
    with Terminal(*ask(lab, "hi"), columns=columns, env=env) as terminal:
        if frames:
            terminal.wait_for("waiting ")
            assert shown in terminal.text
            assert terminal.screen[0][0] in frames
            assert terminal.screen[1] == ""  # it fits in a row
        lab.go()
        assert terminal.wait() == 0
        assert terminal.screen[0] == "Hello"


def test_typing_while_waiting_leaves_nothing_on_the_screen(lab: Lab) -> None:
    lab.play(SLOW)
    code = (
        "import subprocess, sys\n"
        f"subprocess.run({[sys.executable, *ask(lab, 'hi')]!r}, check=True)\n"
        "print(f'then {input()} and {input()}.')\n"
    )
    with Terminal("-c", code) as terminal:
        terminal.wait_for("waiting for hosted_vllm/m")
        terminal.send("ls\npwd\n")
        terminal.wait_for("  1 s")
        lab.go()
        assert terminal.wait() == 0
        assert terminal.screen[0] == "Hello"
        assert "waiting" not in terminal.text
        assert "then ls and pwd." in terminal.text  # the shell gets it


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_terminal_shows_what_is_typed_after_a_signal(lab: Lab, number: int) -> None:
    lab.play(SLOW)
    code = (
        "import subprocess, sys\n"
        f"process = subprocess.Popen({[sys.executable, *ask(lab, 'hi')]!r})\n"
        "print(f'pid {process.pid}.', flush=True)\n"
        "process.wait()\n"
        "print('ready')\n"
        "input()\n"
    )
    with Terminal("-c", code) as terminal:
        terminal.wait_for("waiting for hosted_vllm/m")
        os.kill(int(terminal.raw.partition(b"pid ")[2].partition(b".")[0]), number)
        terminal.wait_for("ready")
        terminal.send("typed\n")
        assert terminal.wait() == 0
        assert "typed" in terminal.text


def test_ctrl_c_erases_it(lab: Lab) -> None:
    lab.play(SLOW)
    with Terminal(*ask(lab, "hi")) as terminal:
        terminal.wait_for("waiting for hosted_vllm/m")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert "waiting" not in terminal.text


def test_ctrl_z_erases_it_and_it_comes_back(lab: Lab) -> None:
    lab.play(SLOW)
    # A shell: a process group without a parent in its session would not be stopped.
    code = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTTOU, signal.SIG_IGN)\n"
        f"process = subprocess.Popen({[sys.executable, *ask(lab, 'hi')]!r}, process_group=0)\n"
        "os.tcsetpgrp(0, process.pid)\n"
        "print(f'pid {process.pid}.', flush=True)\n"
        "sys.exit(process.wait())\n"
    )
    with Terminal("-c", code) as terminal:
        terminal.wait_for("waiting for hosted_vllm/m")
        pid = int(terminal.raw.partition(b"pid ")[2].partition(b".")[0])
        os.kill(pid, signal.SIGTSTP)
        status = Path(f"/proc/{pid}/status")
        until = time.monotonic() + 30
        while "(stopped)" not in status.read_text():
            assert time.monotonic() < until
            terminal.read(0.05)
        while "waiting" in terminal.text:
            assert time.monotonic() < until, terminal.text
            terminal.read(0.05)
        os.kill(pid, signal.SIGCONT)
        terminal.wait_for("waiting for hosted_vllm/m")
        lab.go()
        assert terminal.wait() == 0
        assert "Hello" in terminal.screen
        assert "waiting" not in terminal.text


def test_other_output_replaces_it(lab: Lab, tmp_path: Path) -> None:
    """A tool's file may print while it is loaded, also a line that is not ended."""
    lab.play(SLOW)
    (tmp_path / "t.py").write_text(
        "import sys, time\n"
        "print('loaded', file=sys.stderr)\n"
        "time.sleep(0.5)\n"
        "print('half a line', end='')\n"
        "time.sleep(0.5)\n"
        "def add(a: int, b: int) -> int:\n    return a + b\n"
    )
    with Terminal(*ask(lab, "--plain", "--tool", f"{tmp_path / 't.py'}:add", "hi")) as terminal:
        terminal.wait_for("half a line")
        lab.go()
        assert terminal.wait() == 0
        assert terminal.screen[:2] == ["loaded", "half a lineHello"]


def test_a_background_process_does_not_draw(lab: Lab) -> None:
    lab.always = chat(text("Hello"), finish("stop"))
    command = [sys.executable, *ask(lab, "hi")]
    code = (
        "import os, subprocess\n"
        f"process = subprocess.Popen({command!r}, process_group=0)\n"
        "process.wait()\n"
    )
    with Terminal("-c", code) as terminal:
        assert terminal.wait() == 0
        assert terminal.screen[0] == "Hello"
        assert "waiting" not in terminal.raw.decode()


COMMANDS = [
    ["ask", "-m", "faux/echo", "hi"],
    ["ask", "-m", "faux/echo", "--json", "hi"],
    ["ask", "-m", "faux/echo", "-x", "hi"],
    ["chat", "-m", "faux/echo", "--no-save"],
    ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "faux/echo"],
    ["doctor"],
    ["sync"],
    ["local", "list"],
    ["preview", "-m", "faux/echo", "hi"],
    ["compare", "-p", "hi", "-m", "faux/echo", "-m", "faux/other"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_command_that_waits_shows_it_before_anything_else(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPY_MODELS_URL", "http://127.0.0.1:9/")
    Path("in.jsonl").write_text(json.dumps({"id": 1, "prompt": "hi"}) + "\n")
    with Terminal("-m", "pipy_ai", *arguments) as terminal:
        if arguments[0] == "chat":
            terminal.wait_for("\n>")
            terminal.send("\x04")
        terminal.wait()
        assert terminal.raw.decode().startswith("\r⠋ ")
        assert not set(terminal.text) & set(BRAILLE)


def test_commands_that_do_not_wait_load_no_status_line() -> None:
    code = (
        "import sys\nfrom pipy_ai.cli.main import main\nmain(sys.argv[1:])\n"
        "assert 'pipy_ai.cli.display.status_line' not in sys.modules\n"
    )
    for arguments in (["models"], ["keys"], ["templates"], ["ask", "-m", "faux/echo", "hi"]):
        subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def test_an_answer_is_complete_on_a_terminal_of_20_columns_without_unicode(lab: Lab) -> None:
    words = [f"w{number}ü" for number in range(2_000)]
    lab.play(chat(text(" ".join(words)), finish("stop")))
    env = {"PYTHONIOENCODING": "cp1252", "NO_COLOR": "1"}
    with Terminal(*ask(lab, "hi"), columns=20, env=env) as terminal:
        assert terminal.wait() == 0
        written = terminal.raw.decode("cp1252")
    assert [word for word in words if word not in written] == []


def test_batch_shows_what_it_waits_for(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({"id": 1, "prompt": "hi"}) + "\n")
    refused = Status(429, {"error": {"message": "slow down"}}, {"retry-after": "2"})
    lab.play(refused, SLOW)
    files = [str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    command = ["-m", "pipy_ai", "batch", *files, "-m", "hosted_vllm/m", "--api-base", lab.url]
    with Terminal(*command) as terminal:
        terminal.wait_for("429, retrying in 2 s")
        terminal.wait_for("429, retrying in 1 s")
        lab.go()
        assert terminal.wait() == 0
        assert "429" not in terminal.text


@pytest.mark.parametrize("command", [["info", "sonnet"], ["models", "sonnet"]])
def test_reading_the_catalogue_is_shown(command: list[str]) -> None:
    with Terminal("-m", "pipy_ai", *command, rows=10, env={"PAGER": "cat -u"}) as terminal:
        assert terminal.wait() == 0
        assert "reading the catalogue" in terminal.raw.decode()
        assert "reading the catalogue" not in terminal.text
        assert "claude-sonnet" in terminal.text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["history", "show"], "reading the conversation"),
        (["history"], "reading the conversations"),
        (["replay", "--at-once", "events.jsonl"], "reading the file"),
        (["replay", "--timeline", "events.jsonl"], "reading the file"),
    ],
)
def test_reading_files_is_shown(
    command: list[str], shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("events.jsonl").write_text(pipy("ask", "-m", "faux/echo", "--events", "Hello").stdout)
    with Terminal("-m", "pipy_ai", *command, columns=100) as terminal:
        terminal.wait_for("Hello")
        if command == ["history"]:
            terminal.send("q")
        assert terminal.wait() == 0
        assert shown in terminal.raw.decode()
        assert shown not in terminal.text
