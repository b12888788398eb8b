"""Test what is written to a terminal: escapes of characters, colors, questions."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from pipy_ai.cli.display.characters import StreamEscaper, escape_controls

from ..support.command import pipy
from ..support.terminal import Terminal

SCOTLAND = "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in "gbsct") + "\U000e007f"


@pytest.mark.parametrize(
    "text",
    [
        "plain ünïcode\n\ttab",
        f"🇩🇪 {SCOTLAND} 🏳️‍🌈 🏴‍☠️ 👩‍👧 ❤️‍🔥 1️⃣ #️⃣ 👍🏽 ☀️",
        "می‌خواهم श्री क्‍ष",
        "\u200fשלום (abc)\u200f!\n(שלום)\u200e abc \u200e(1)",
        "e\u0301 ✈\ufe0e ᠠ\u180b",
    ],
)
def test_characters_that_writing_needs_are_shown_as_they_are(text: str) -> None:
    assert escape_controls(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2J\x9b\x7f\x00\r", r"a\x1b[2J\x9b\x7f\x00" + r"\x0d"),
        ("a\r\nb", "a\nb"),
        ("a\u202eb\u2066c\u2028", "a<U+202E>b<U+2066>c<U+2028>"),
        ("yes\u200f no\u200e", "yes<U+200F> no<U+200E>"),
        ("ש\u200f\u200e\u200f", "ש\u200f<U+200E><U+200F>"),  # direction marks spell no bits
        ("a\u200db\u200c", "a<U+200D>b<U+200C>"),
        ("👩\u200d\u200d\u200c", "👩<U+200D><U+200D><U+200C>"),
        ("👩\u200dx ❤\ufe0f\u200d", "👩<U+200D>x ❤\ufe0f<U+200D>"),
        ("é\u200dл\u200c漢\u200d", "é<U+200D>л<U+200C>漢<U+200D>"),  # scripts without joiners
        ("é\ufe0f漢\ufe00😀\ufe03", "é<U+FE0F>漢<U+FE00>😀<U+FE03>"),  # selectors spell no bits
        ("ש a\u200eb\u200f1", "ש a<U+200E>b<U+200F>1"),
        ("क\u200d\u200c\u034f", "क\u200d<U+200C><U+034F>"),
        ("b\U0001d159\U00013437\U00016fe4", "b<U+1D159><U+13437><U+16FE4>"),
        ("a\ufe0f ❤\ufe0f\ufe01\ufe02", "a<U+FE0F> ❤\ufe0f<U+FE01><U+FE02>"),
        ("葛\U000e0101", "葛<U+E0101>"),
        ("\U0001f3f4\U000e0068\U000e0069\U000e007f", "\U0001f3f4<U+E0068><U+E0069><U+E007F>"),
        (
            "\ufeffa\u200b\u2060\xad\u3164\uffa0",
            "<U+FEFF>a<U+200B><U+2060><U+00AD><U+3164><U+FFA0>",
        ),
    ],
)
def test_characters_that_hide_or_command_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_escaping_a_stream_equals_escaping_the_whole() -> None:
    chance = random.Random(3)
    pieces = [
        *SCOTLAND,
        SCOTLAND,
        "a",
        "\r",
        "\n",
        "👩",
        "क",
        "\u200d",
        "\ufe0f",
        "1",
        "\u20e3",
        "ש",
        "\u200f",
        "\u200b",
        "\x1b",
    ]
    for _ in range(2_000):
        text = "".join(chance.choices(pieces, k=chance.randrange(1, 20)))
        escaper, shown, rest = StreamEscaper(), "", text
        while rest:
            count = chance.randrange(1, 4)
            shown += escaper.feed(rest[:count])
            rest = rest[count:]
        assert shown + escaper.feed("", final=True) == escape_controls(text), repr(text)


def test_long_run_of_marks_takes_linear_time() -> None:
    text, escaper = "\u200d" * 200_000, StreamEscaper()
    assert escaper.feed(text) + escaper.feed("a") == "<U+200D>" * 200_000 + "a"


COMMANDS = [
    ["ask", "-m", "faux/echo", "**hi** `x`"],
    ["ask", "-m", "faux/echo", "--usage", "--plain", "hi"],
    ["models", "--provider", "anthropic", "--limit", "2"],
    ["compare", "--provider", "anthropic", "--limit", "1"],
    ["replay", "--at-once", "events.jsonl"],
    ["batch", "in.jsonl", "-o", "out.jsonl", "-m", "faux/echo"],
    ["history", "list"],
    ["--help"],
    ["nosuchcommand", "--x"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_no_escape_sequences_on_a_dumb_terminal_and_no_styles_without_color(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.jsonl").write_text('{"id": 1, "prompt": "hi"}\n')
    events = pipy("ask", "-m", "faux/echo", "--events", "**hi**").stdout
    Path("events.jsonl").write_text(events)
    for env in ({"TERM": "dumb"}, {"NO_COLOR": "1"}, {"TERM": "dumb", "FORCE_COLOR": "1"}):
        Path("out.jsonl").unlink(missing_ok=True)
        with Terminal("-m", "pipy_ai", *arguments, env=env) as terminal:
            terminal.wait()
            styles = terminal.raw.count(b"\x1b") if "TERM" in env else terminal.raw.count(b"m\x1b")
            assert (styles, b"\x1b[0m" in terminal.raw, b"\x1b[2m" in terminal.raw) == (
                0,
                False,
                False,
            )


@pytest.mark.parametrize(
    ("env", "dim", "bold"),
    [
        ({}, True, True),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "0"}, False, False),  # any value
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({"CLICOLOR": "1"}, True, True),
        ({"CLICOLOR": "0", "CLICOLOR_FORCE": "1"}, True, True),
        ({"FORCE_COLOR": "0"}, False, False),
    ],
)
def test_color_variables(env: dict[str, str], dim: bool, bold: bool) -> None:
    with Terminal("-m", "pipy_ai", "ask", "-m", "faux/echo", "**hi**", env=env) as terminal:
        assert terminal.wait() == 0
        assert (b"\x1b[2m" in terminal.raw) is dim
        assert (terminal.text.splitlines()[0] == "hi") is bold
        assert (b"\x1b" in terminal.raw) is (dim or bold)


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"CLICOLOR": "0"}, {"TERM": "dumb"}])
def test_chat_without_styles(env: dict[str, str]) -> None:
    with Terminal("-m", "pipy_ai", "chat", "-m", "faux/echo", "--no-save", env=env) as terminal:
        terminal.wait_for("quit.\n>")
        terminal.send("**hi**\r")
        terminal.wait_for("in / ")
        while not terminal.text.endswith("\n>"):
            assert terminal.read(0.2)
        terminal.send("/exit\r")
        assert terminal.wait() == 0
        assert "> **hi**\n**hi**\n" in terminal.text
        assert not re.search(rb"\x1b\[[\d;]*[1-9][\d;]*m", terminal.raw)
        assert "TERM" not in env or b"\x1b" not in terminal.raw


def test_forced_color_in_a_pipe_changes_no_answer() -> None:
    done = pipy("ask", "-m", "faux/echo", "--usage", "**hi**", FORCE_COLOR="1", TERM="xterm")
    assert done.stdout == "**hi**\n"
    assert done.stderr.startswith("\x1b[2m")
    assert "\x1b" not in pipy("ask", "-m", "faux/echo", "--usage", "hi", CLICOLOR="1").stderr


def test_answer_in_a_pipe_is_exact() -> None:
    answer = "\x1b[1mbold\x1b[0m \u202e\u200b\x07 | a \\_ &amp; **b**\r\n\ttab \x9b\n"
    assert pipy("ask", "-m", "faux/echo", "--", answer).stdout == answer


def test_typed_ahead_does_not_remove_a_conversation() -> None:
    assert pipy("ask", "-m", "faux/echo", "hi").returncode == 0
    [conversation] = (Path(os.environ["PIPY_DATA_DIR"]) / "history").glob("*.jsonl")
    gate = (
        "import sys; print('typing', flush=True); import termios, time; start = time.time()\n"
        "import fcntl, array\n"
        "def waiting():\n"
        "    size = array.array('i', [0]); fcntl.ioctl(0, termios.FIONREAD, size); return size[0]\n"
        "while not waiting() and time.time() < start + 30: time.sleep(0.01)\n"
        "from pipy_ai.cli.main import main\n"
        f"sys.exit(main(['history', 'rm', {conversation.stem!r}]))\n"
    )
    with Terminal("-c", gate) as terminal:
        terminal.wait_for("typing")
        terminal.send("y\n")
        terminal.wait_for("[y/N]")
        terminal.send("\n")
        assert terminal.wait() == 1
    assert conversation.exists()
