"""Test `pipy chat` with piped input."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import AssistantMessage
from pipy_ai.cli.chat import commands as slash
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.main import main

from ..support.scripted_server import STALL, Lab, Status, chat, finish, sse, text, usage

ROOT = Path(__file__).parents[2]


def answer(*pieces: str) -> list[Any]:
    return chat(*text(*pieces), finish("stop"), usage(1203, 345, 200))


def asked(lab: Lab, which: int = -1) -> list[tuple[str, Any]]:
    """Return the messages of a request."""
    messages = lab.seen[which].json["messages"]
    return [(message["role"], message["content"]) for message in messages]


def pipy(lines: str | bytes, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pipy_ai", "chat", *arguments],
        input=lines.encode() if isinstance(lines, str) else lines,
        capture_output=True,
        env={**os.environ, **env},
        timeout=60,
        check=False,
    )


def test_each_line_is_a_message(lab: Lab) -> None:
    lab.play(answer("one"), answer("**two**\n"), answer("three"))
    done = pipy("hi\nbye \\\nnow\n\n/model\nlast", "-m", "hosted_vllm/m", "--api-base", lab.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == "one\n**two**\nhosted_vllm/m\nthree\n"
    assert asked(lab)[2::2] == [("user", "bye \nnow"), ("user", "last")]


def test_failed_request_sets_the_exit_code(lab: Lab) -> None:
    lab.play(Status(401, {"error": {"message": "no such key"}}), answer("fine"))
    done = pipy("hi\nagain\n", "-m", "hosted_vllm/m", "--api-base", lab.url)
    assert (done.returncode, done.stdout) == (1, b"fine\n")
    assert b"no such key" in done.stderr


def test_ctrl_c_exits_and_keeps_partial_output(lab: Lab) -> None:
    lab.play(sse(*text("one ", "two "), STALL))
    # A test runner in the background of a shell hands down an ignored SIGINT.
    code = (
        "import signal, sys\nfrom pipy_ai.cli.main import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"sys.exit(main(['chat', '-m', 'hosted_vllm/m', '--api-base', {lab.url!r}]))\n"
    )
    asked = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert asked.stdin is not None
    assert asked.stdout is not None
    asked.stdin.write(b"hi\nagain\n")
    asked.stdin.flush()
    assert asked.stdout.read(7) == b"one two"
    asked.send_signal(signal.SIGINT)
    _, errors = asked.communicate(timeout=30)
    assert (asked.returncode, errors) == (130, b"")
    last = Conversation.read().messages[-1]
    assert isinstance(last, AssistantMessage)
    assert (last.text, last.stop_reason, len(lab.seen)) == ("one two ", "aborted", 1)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_output_device() -> None:
    shell = f"echo hi | {sys.executable} -m pipy_ai chat -m faux/echo >/dev/full"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "claude-sonet-4-5"], "did you mean"),
        (["-c"], "no saved conversations yet"),
        (["--thinking", "deep"], "invalid choice"),
        (["-m", "faux/echo", "--max-tokens", "0"], "--max-tokens"),
        (["-m", "faux/echo", "-o", "seed"], "-o seed: expected NAME=VALUE\n"),
        (
            ["-m", "faux/echo", "-o", "cat.png"],
            "-o cat.png: expected NAME=VALUE, such as seed=7; images and audio are saved in the"
            " current directory",
        ),
    ],
)
def test_wrong_use(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["chat", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    assert (code, expected in capsys.readouterr().err) == (2, True)


def test_unusual_pipes(lab: Lab) -> None:
    odd = pipy(b"\xff\x00 \xe2\x80\xae\n", "-m", "faux/echo", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert odd.returncode == 0
    assert odd.stdout == b"?\x00 ?\n"  # as they are, but for what ASCII does not have
    large = pipy(b"x" * 10_000_000, "-m", "hosted_vllm/m", "--api-base", lab.url)
    assert large.stdout == b"ok\n"
    assert len(asked(lab)[0][1]) == 10_000_000
    shell = f"yes hello | {sys.executable} -m pipy_ai chat -m faux/echo --no-save | head -n 2"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == (b"hello\nhello\n", b"")


def test_pipe_does_not_load_prompt_toolkit() -> None:
    code = """
import io, sys
sys.stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"hi\\n")))
from pipy_ai.cli.main import main
assert main(["chat", "-m", "faux/echo"]) == 0
assert not {"prompt_toolkit", "rich"} & {*sys.modules}
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_documentation_lists_every_slash_command() -> None:
    page = (ROOT / "docs" / "chat.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(/[a-z]+)", page, re.MULTILINE)
    assert listed == [*slash.COMMANDS]
