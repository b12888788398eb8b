"""Test signals at every prompt: the terminal is restored, and nothing is answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest

from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids
from pipy_ai.registry import keystore

from ..support.command import pipy
from ..support.scripted_server import Lab, Pause, call, chat, finish, sse, text
from ..support.terminal import Terminal

HOST = "hosted_vllm/m"
Begin = Callable[[Lab, Path], Terminal]


def run(*arguments: str, **env: str) -> Terminal:
    return Terminal("-m", "pipy_ai", *arguments, env=env)


def approval(lab: Lab, tmp_path: Path) -> Terminal:
    (tmp_path / "shed.py").write_text(
        f"def burn() -> str:\n    open({str(tmp_path / 'ran')!r}, 'w')\n    return 'x'\n"
    )
    lab.always = chat(call(0, "c1", "burn", "{}"), finish("tool_calls"))
    tool = f"{tmp_path}/shed.py:burn"
    terminal = run("ask", "-m", HOST, "--api-base", lab.url, "--tool", tool, "hi")
    terminal.wait_for("lways:")
    return terminal


def hidden_key(lab: Lab, tmp_path: Path) -> Terminal:
    terminal = run("keys", "set", "--file", "anthropic")
    terminal.wait_for("hidden:")
    return terminal


def chat_prompt(lab: Lab, tmp_path: Path) -> Terminal:
    terminal = run("chat", "-m", HOST, "--api-base", lab.url)
    terminal.wait_for("\n>")
    return terminal


def dumb_chat_prompt(lab: Lab, tmp_path: Path) -> Terminal:
    terminal = run("chat", "-m", HOST, "--api-base", lab.url, TERM="dumb")
    terminal.wait_for("\n>")
    return terminal


def chat_answer(lab: Lab, tmp_path: Path) -> Terminal:
    lab.always = [*sse(*text("half an **answer")), Pause()]
    terminal = chat_prompt(lab, tmp_path)
    terminal.send("question\r")
    terminal.wait_for("half an")
    return terminal


def ask_answer(lab: Lab, tmp_path: Path) -> Terminal:
    lab.always = [*sse(*text("half an **answer")), Pause()]
    terminal = run("ask", "-m", HOST, "--api-base", lab.url, "question")
    terminal.wait_for("half an")
    return terminal


def waiting_request(lab: Lab, tmp_path: Path) -> Terminal:
    lab.always = [Pause()]
    terminal = run("ask", "-m", HOST, "--api-base", lab.url, "question")
    terminal.wait_for("waiting for")
    return terminal


def removal(lab: Lab, tmp_path: Path) -> Terminal:
    pipy("ask", "-m", "faux/echo", "keep me")
    terminal = run("history", "rm", *list_conversation_ids())
    terminal.wait_for("[y/N]")
    return terminal


def picker(lab: Lab, tmp_path: Path) -> Terminal:
    pipy("ask", "-m", "faux/echo", "keep me")
    terminal = run("history")
    terminal.wait_for("q: quit")
    return terminal


def template_trust(lab: Lab, tmp_path: Path) -> Terminal:
    (tmp_path / "t.yaml").write_text(f"prompt: hi\nattachments: [{tmp_path / 't.yaml'}]\n")
    terminal = run("ask", "-m", "faux/echo", "-t", str(tmp_path / "t.yaml"))
    terminal.wait_for("[n]o:")
    return terminal


def editor(lab: Lab, tmp_path: Path) -> Terminal:
    terminal = run("templates", "edit", "new", EDITOR="sh -c 'echo editing; sleep 60'")
    terminal.wait_for("editing")
    return terminal


def batch_progress(lab: Lab, tmp_path: Path) -> Terminal:
    (tmp_path / "in.jsonl").write_text('{"prompt": "a"}\n')
    lab.always = [*sse(*text("half ")), Pause(), *chat(*text("whole"), finish("stop"))]
    paths = [str(tmp_path / name) for name in ("in.jsonl", "out.jsonl")]
    terminal = run("batch", paths[0], "-o", paths[1], "-m", HOST, "--api-base", lab.url)
    lab.wait_for_requests(1)
    while b"\x1b[?25l" not in terminal.raw:
        terminal.read(0.2)
    return terminal


PROMPTS: list[Begin] = [
    approval, hidden_key, chat_prompt, dumb_chat_prompt, chat_answer, ask_answer, waiting_request,
    removal, picker, template_trust, editor,
]  # fmt: skip


def assert_restored(terminal: Terminal) -> None:
    """Check echo, canonical mode, the cursor, bracketed paste and the alternate screen."""
    local_modes = termios.tcgetattr(terminal._fd)[3]
    assert local_modes & termios.ECHO
    assert local_modes & termios.ICANON
    for mode in (b"2004", b"1049"):
        assert terminal.raw.rfind(b"\x1b[?%sh" % mode) <= terminal.raw.rfind(b"\x1b[?%sl" % mode)
    assert terminal.raw.rfind(b"\x1b[?25l") <= terminal.raw.rfind(b"\x1b[?25h")


def assert_nothing_happened(tmp_path: Path) -> None:
    assert not (tmp_path / "ran").exists()
    assert not keystore.entries()
    assert not (tmp_path / "pipy-data" / "templates" / "new.yaml").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("begin", PROMPTS)
def test_signal_at_a_prompt_restores_the_terminal(
    begin: Begin, number: signal.Signals, lab: Lab, tmp_path: Path
) -> None:
    with begin(lab, tmp_path) as terminal:
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert "Traceback" not in terminal.text
        assert_restored(terminal)
    assert_nothing_happened(tmp_path)
    if begin in (chat_answer, ask_answer):
        with Conversation.open() as saved:
            assert "half an **answer" in str(saved.messages[-1].content)
    if begin in (removal, picker):
        assert list_conversation_ids()


@pytest.mark.parametrize(
    ("begin", "number"),
    [
        (hidden_key, signal.SIGQUIT),
        (hidden_key, signal.SIGINT),
        (chat_prompt, signal.SIGQUIT),
        (approval, signal.SIGQUIT),
        (removal, signal.SIGINT),
        (picker, signal.SIGINT),
        (picker, signal.SIGQUIT),
    ],
)
def test_other_signals(begin: Begin, number: signal.Signals, lab: Lab, tmp_path: Path) -> None:
    with begin(lab, tmp_path) as terminal:
        terminal.process.send_signal(number)
        assert terminal.wait() == 128 + number
        assert "Traceback" not in terminal.text
        assert_restored(terminal)
    assert_nothing_happened(tmp_path)
    if begin in (removal, picker):
        assert list_conversation_ids()


@pytest.mark.parametrize("begin", [approval, hidden_key, removal, template_trust, dumb_chat_prompt])
@pytest.mark.parametrize("typed", ["\x04", "y\x04\x04"])
def test_end_of_file_is_no_answer(begin: Begin, typed: str, lab: Lab, tmp_path: Path) -> None:
    if begin in (hidden_key, dumb_chat_prompt) and typed != "\x04":
        return
    with begin(lab, tmp_path) as terminal:
        lab.always = chat(*text("Done."), finish("stop"))
        terminal.send(typed)
        terminal.wait()
        assert "Traceback" not in terminal.text
        assert_restored(terminal)
    assert_nothing_happened(tmp_path)
    if begin in (removal, picker):
        assert list_conversation_ids()


@pytest.mark.parametrize("begin", [approval, hidden_key, removal, template_trust, chat_prompt])
def test_closed_terminal_is_no_answer(begin: Begin, lab: Lab, tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and what was typed without Enter is gone."""
    with begin(lab, tmp_path) as terminal:
        lab.always = chat(*text("Done."), finish("stop"))
        terminal.send("y")
        os.close(terminal._fd)
        assert terminal.process.wait(30) == 128 + signal.SIGHUP
        terminal._fd = os.open(os.devnull, os.O_RDONLY)
    assert_nothing_happened(tmp_path)
    if begin in (removal, picker):
        assert list_conversation_ids()


SHELL = """
import os, signal, sys, termios
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpgrp())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-m", "pipy_ai", *sys.argv[1:]])
status = os.waitpid(child, os.WUNTRACED)[1]
assert os.WIFSTOPPED(status), status
os.tcsetpgrp(0, os.getpgrp())
modes = termios.tcgetattr(0)
print("stopped, echo is", "on" if modes[3] & termios.ECHO else "off", flush=True)
modes[3] |= termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, modes)
os.tcsetpgrp(0, child)
os.kill(child, signal.SIGCONT)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_suspended_key_entry_stays_hidden() -> None:
    """A shell turns echo on while the process is stopped, and leaves it on."""
    with Terminal("-c", SHELL, "keys", "set", "--file", "anthropic") as terminal:
        terminal.wait_for("hidden:")
        terminal.send("\x1a")
        terminal.wait_for("stopped, echo is on")
        while terminal.text.count("hidden:") < 2:
            assert terminal.read(0.2)
        terminal.send("sk-0123456789\n")
        assert terminal.wait() == 0
        assert "sk-0123" not in terminal.text
        assert_restored(terminal)
    assert keystore.get_key("ANTHROPIC_API_KEY") == "sk-0123456789"


def test_suspended_question_goes_on() -> None:
    pipy("ask", "-m", "faux/echo", "remove me")
    with Terminal("-c", SHELL, "history", "rm", *list_conversation_ids()) as terminal:
        terminal.wait_for("[y/N]")
        terminal.send("\x1a")
        terminal.wait_for("stopped, echo is on")
        terminal.send("y\n")
        assert terminal.wait() == 0
        assert_restored(terminal)
    assert list_conversation_ids() == []


def test_signal_while_an_object_is_freed_is_not_lost() -> None:
    code = """
import os, signal, sys, time
from pipy_ai.cli.signals import ExitOnSignals
class Freed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass
with ExitOnSignals():
    try:
        Freed()
        time.sleep(30)
    finally:
        print("cleaned up", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "")


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
from pipy_ai.cli.signals import ExitOnSignals
with ExitOnSignals():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGHUP)
        print("SIGHUP is ignored", flush=True)
        os.kill(os.getpid(), signal.SIGQUIT)
        print("not reached", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGQUIT, "SIGHUP is ignored\n")
    assert done.stderr == ""


def test_ignored_signals_stay_ignored(lab: Lab) -> None:
    """As `nohup` wants it."""
    code = """
import os, signal, sys
from pipy_ai.cli.main import main
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.exit(main(sys.argv[1:]))
"""
    lab.play([*sse(*text("half ")), Pause(), *chat(*text("whole"), finish("stop"))])
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ask", "-m", HOST, "--api-base", lab.url, "hi"],
        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.read(5) == b"half "
    process.send_signal(signal.SIGHUP)
    lab.go()
    assert process.communicate(timeout=30)[0] == b"whole\n"
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_batch_finishes_rows_in_flight(number: signal.Signals, lab: Lab, tmp_path: Path) -> None:
    rows = [{"id": n, "prompt": f"q{n}"} for n in range(20)]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lab.always = [*sse(*text("half ")), Pause(), *chat(*text("whole"), finish("stop"))]
    command = ["batch", str(source), "-o", str(target), "-m", HOST, "--api-base", lab.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipy_ai", *command], stderr=subprocess.PIPE, text=True
    )
    lab.wait_for_requests(4)
    process.send_signal(number)
    if number == signal.SIGHUP:
        process.send_signal(number)  # which comes twice when a terminal is closed
    assert process.stderr is not None
    assert process.stderr.readline().startswith("pipy: finishing 4 in flight")
    lab.go()
    _, output = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert "16 rows are not sent yet; next: pipy batch " in output
    assert target.read_bytes().count(b"half whole") == 4


def test_batch_in_a_closed_terminal_finishes_rows_in_flight(lab: Lab, tmp_path: Path) -> None:
    with batch_progress(lab, tmp_path) as terminal:
        os.close(terminal._fd)
        lab.go()
        assert terminal.process.wait(30) in (0, 129)
        terminal._fd = os.open(os.devnull, os.O_RDONLY)
    assert b'"half whole"' in (tmp_path / "out.jsonl").read_bytes()


def test_batch_shows_the_cursor_after_a_second_signal(lab: Lab, tmp_path: Path) -> None:
    with batch_progress(lab, tmp_path) as terminal:
        terminal.process.send_signal(signal.SIGTERM)
        terminal.wait_for("finishing 1 in flight")
        terminal.process.send_signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert_restored(terminal)
