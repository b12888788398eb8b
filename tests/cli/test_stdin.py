"""Test when `pipy ask` reads standard input, and how it is decoded."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..support.command import pipy
from ..support.terminal import Terminal

PIPY = [sys.executable, "-m", "pipy_ai"]
ASK = [*PIPY, "ask", "--no-save", "-m", "faux/echo"]
SHELL_ASK = shlex.join(ASK)
IMPATIENT_ASK = """
import sys
from pipy_ai.cli import main
from pipy_ai.cli.args import stdin
stdin.FIRST_BYTE_TIMEOUT_S = 2.2
sys.exit(main.main())
"""


def bash(script: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, **options
    )


def run_with_stdin(stdin: Any, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ASK, *arguments], stdin=stdin, capture_output=True, text=True, timeout=60, check=False,
        **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "loop",
    [
        "printf 'one\\ntwo\\n' | while read -r word; do {ask} \"$word\"; done",
        "while read -r word; do {ask} \"$word\"; done < words.txt",
        "while read -r word; do {ask} \"$word\"; done <<< $'one\\ntwo'",
        "read -r word; {ask} \"$word\"; exit",  # like a script whose caller has a list in a pipe
    ],
)  # fmt: skip
def test_loop_over_stdin(loop: str, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    lines = {"cwd": tmp_path, "input": "one\ntwo\n"}
    swallowed = bash(loop.format(ask=SHELL_ASK), **lines)
    assert swallowed.stdout == "two\n\none\n"
    assert (
        "also read 4 bytes from stdin, which is shared with the calling program" in swallowed.stderr
    )
    assert "--no-stdin" in swallowed.stderr
    apart = bash(loop.format(ask=f"{SHELL_ASK} --no-stdin"), **lines)
    assert (apart.stdout, apart.stderr) == ("one\ntwo\n" if "while" in loop else "one\n", "")
    apart = bash(loop.replace('"$word"', '"$word" < /dev/null').format(ask=SHELL_ASK), **lines)
    assert (apart.stdout, apart.stderr) == ("one\ntwo\n" if "while" in loop else "one\n", "")


def test_script_that_a_shell_reads_from_stdin(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-s"], input=f"{SHELL_ASK} --no-stdin one\necho two\n", capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("one\ntwo\n", "")


@pytest.mark.parametrize(
    "script",
    ["cat log.txt | {ask} what?", "{ask} what? < log.txt", "{ask} what? < <(cat log.txt)",
     "{ask} what? <<< 'a log'", "cat log.txt | {ask} a | sed s/a$/what?/"],
)  # fmt: skip
def test_piped_text_goes_before_the_prompt(script: str, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("a log\n")
    done = bash(script.format(ask=SHELL_ASK), cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert (done.stdout, done.stderr) == ("a log\n\nwhat?\n", "")


def test_script_that_asks_about_its_stdin(tmp_path: Path) -> None:
    script = tmp_path / "review"
    script.write_text(f"#!/bin/bash\n{SHELL_ASK} 'Review this.'\nexit\n")
    done = bash(f"echo a diff | bash {script}")
    assert done.stdout == "a diff\n\nReview this.\n"
    assert "also read 7 bytes from stdin" in done.stderr


def test_slow_command_in_a_pipeline_is_waited_for() -> None:
    done = bash(f"(sleep 4; echo a log) | {SHELL_ASK} what?")
    assert done.stdout == "a log\n\nwhat?\n"
    assert done.stderr == ("pipy: waiting for stdin to end; --no-stdin or < /dev/null skips it\n")


@pytest.mark.parametrize("kind", ["pipe", "socket", "pipe of the caller's caller"])
def test_pipe_that_the_caller_never_closes(kind: str) -> None:
    mine: Any
    theirs: Any
    ask = [sys.executable, "-c", IMPATIENT_ASK, "ask", "--no-save", "-m", "faux/echo", "hi"]
    if kind == "socket":  # as with Node.js, asyncio before Python 3.12, and ssh
        mine, theirs = socket.socketpair()
    else:
        theirs, mine = map(os.fdopen, os.pipe(), "rw")
    with mine, theirs:
        if kind.endswith("caller"):
            done = bash(f"true; {shlex.join(ask)}", stdin=theirs)
        else:
            done = subprocess.run(
                ask, stdin=theirs, capture_output=True, text=True, timeout=60, check=False
            )
    assert (done.returncode, done.stdout) == (2, "")
    assert "waiting for stdin to end; --no-stdin or < /dev/null skips it" in done.stderr
    assert "no input from stdin within 2 s, so nothing was sent; use --no-stdin or" in done.stderr


def test_slow_program_that_writes_to_a_pipe_of_its_own() -> None:
    mine, theirs = socket.socketpair()
    with (
        mine,
        theirs,
        subprocess.Popen([*ASK, "what?"], stdin=theirs, stdout=-1, stderr=-1) as process,
    ):
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"pipy: waiting for stdin to end")
        with pytest.raises(subprocess.TimeoutExpired):  # it does not go on without
            process.wait(2)
        mine.sendall(b"a log")
        mine.shutdown(socket.SHUT_WR)
        assert process.communicate(timeout=60) == (b"a log\n\nwhat?\n", b"")


def test_text_in_a_pipe_that_its_caller_writes() -> None:
    theirs, mine = socket.socketpair()
    with mine, theirs:
        mine.sendall(b"a log")
        mine.shutdown(socket.SHUT_WR)
        done = run_with_stdin(theirs, "what?")
    assert (done.stdout, done.stderr) == ("a log\n\nwhat?\n", "")


def test_prompt_from_stdin_is_waited_for() -> None:
    with subprocess.Popen(ASK, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "pipy: waiting for stdin to end\n"
        process.stdin.write("hi\n")
        assert process.communicate(timeout=60) == ("hi\n", "")


def test_non_blocking_pipe() -> None:
    with subprocess.Popen([*ASK, "what?"], stdin=-1, stdout=-1, stderr=-1) as process:
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)  # of this end; of a socket or tty, of both
        process.stdin.write(b"a log")
        process.stdin.flush()
        assert process.communicate(timeout=60) == (b"a log\n\nwhat?\n", b"")


def test_services_without_a_terminal(tmp_path: Path) -> None:
    def close_stdin() -> None:
        os.close(0)

    for stdin, options in (
        (subprocess.DEVNULL, {}),
        (None, {"preexec_fn": close_stdin}),
        (subprocess.DEVNULL, {"start_new_session": True, "env": {**os.environ, "TERM": ""}}),
        (os.open(os.devnull, os.O_WRONLY), {}),  # as nohup makes it
        (os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT), {}),
    ):
        done = run_with_stdin(stdin, "hi", **options)
        assert (done.returncode, done.stdout, done.stderr) == (0, "hi\n", "")
        if isinstance(stdin, int) and stdin >= 0:
            os.close(stdin)
        nothing = subprocess.run([*ASK], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert b"no prompt" in nothing.stderr


def test_writing_end_of_a_pipe() -> None:
    done = bash(f"{SHELL_ASK} hi 3>&1 0>&1 | cat", stdin=subprocess.DEVNULL)
    assert (done.stdout, done.stderr) == ("hi\n", "")


def test_empty_pipe() -> None:  # cron runs commands with one
    assert pipy("ask", "-m", "faux/echo", "hi", stdin="").stdout == "hi\n"
    assert "no prompt" in pipy("ask", "-m", "faux/echo", stdin="\n").stderr


def test_terminal_is_not_read() -> None:
    with Terminal("-m", "pipy_ai", "ask", "-m", "faux/echo", "hi") as terminal:
        assert terminal.wait() == 0
        assert terminal.screen[0] == "hi"


def test_no_stdin_with_an_attachment_from_stdin() -> None:
    done = pipy("ask", "-m", "faux/echo", "--no-stdin", "-a", "-", "q", stdin="a")
    assert (done.returncode, "--no-stdin" in done.stderr) == (2, True)


def test_stdin_has_a_limit() -> None:
    done = bash(f"yes | {SHELL_ASK} hi")
    assert (done.returncode, done.stdout) == (2, "")
    assert "stdin is longer than 100 MB" in done.stderr


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
)  # PowerShell writes all but the last
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_marks_and_carriage_returns(encoding: str, newline: str, tmp_path: Path) -> None:
    data = f"Grüße{newline}to all{newline}".encode(encoding)
    assert pipy("ask", "-m", "faux/echo", stdin=data).stdout == "Grüße\nto all\n"
    attached = pipy("ask", "-m", "faux/echo", "-a", "-", "q", stdin=data).stdout
    assert "<file>\nGrüße" in attached
    assert "to all" in attached
    (tmp_path / "t.yaml").write_bytes(f"prompt: |{newline} Grüße{newline} $input".encode(encoding))
    (tmp_path / "t.txt").write_bytes(data)
    for name, expected in (("t.yaml", "Grüße\nq\n"), ("t.txt", "q\n\nGrüße\nto all\n")):
        done = pipy("ask", "-m", "faux/echo", "-t", str(tmp_path / name), "q")
        assert done.stdout == expected
    (tmp_path / "s.json").write_bytes(f'{{"type":{newline} "string"}}'.encode(encoding))
    done = pipy("preview", "-m", "openai/gpt-5-mini", "--schema", str(tmp_path / "s.json"), "q")
    assert '"string"' in done.stdout


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_of_chats_and_keys(encoding: str) -> None:
    done = pipy("chat", "-m", "faux/echo", "--no-save", stdin="hi\r\n/model\r\n".encode(encoding))
    assert done.stdout == "hi\nfaux/echo\n"
    key = "sk-ant-0123456789"
    kept = pipy("keys", "set", "anthropic", "--file", stdin=f"{key}\r\n".encode(encoding))
    assert (kept.returncode, kept.stderr) == (0, "")
    keys = Path(os.environ["PIPY_DATA_DIR"], "keys.json")
    assert key in keys.read_text()
    keys.write_bytes(keys.read_text().encode(encoding))
    assert "ANTHROPIC_API_KEY" in pipy("keys", "list").stdout
    settings = keys.with_name("settings.json")
    settings.write_bytes('{"default_model": "faux/echo"}\r\n'.encode(encoding))
    assert pipy("ask", "--no-save", "hi").stdout == "hi\n"
