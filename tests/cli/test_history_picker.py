"""Test the picker of `pipy history` on a terminal."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from pipy_ai import assistant, user
from pipy_ai.cli.conversations.conversation import Conversation
from pipy_ai.cli.conversations.files import list_conversation_ids

from ..support.command import pipy
from ..support.terminal import Terminal

DOWN, UP, ESCAPE, TAB, ENTER, BACKSPACE = "\x1b[B", "\x1b[A", "\x1b", "\t", "\r", "\x7f"


def keep(identity: str, used: float, question: str, reply: str) -> None:
    with Conversation(identity) as conversation:
        conversation.set(model="faux/echo")
        conversation.add(user(question))
        conversation.add(assistant(reply))
    os.utime(conversation.path, (used, used))


@pytest.fixture
def two(_alone: None) -> None:
    keep("20260101-120000-0aa", 2e9, "How far is the moon?", "384,400 km")
    keep(
        "20260201-120000-0bb",
        1e9,
        "Quiz \x1b[2J 東京 \u202e",
        "A <b>hostile</b> \x1b]0;x\x07 reply",
    )


def history(*arguments: str, **how: Any) -> Terminal:
    return Terminal("-m", "pipy_ai", "history", *arguments, **how)


def test_move_preview_and_quit(two: None) -> None:
    with history(columns=100) as terminal:
        terminal.wait_for("q: quit")
        assert terminal.screen[0] == "History  2 of 2"
        assert terminal.screen[1].startswith("> ")
        assert re.search(r"\d\d-\d\d  How far is the", terminal.screen[1].split("│")[0])
        assert "384,400 km" in terminal.text
        terminal.send(DOWN)
        terminal.wait_for(r"A <b>hostile</b> \x1b]0;x\x07 reply")
        assert "384,400 km" not in "\n".join(terminal.screen)
        terminal.send(DOWN + UP)
        terminal.wait_for("384,400 km")
        terminal.send("q")
        assert terminal.wait() == 0


def test_preview_keeps_the_indentation_of_code() -> None:
    keep("20260301-120000-0cc", 3e9, "Code?", "```py\ndef f():\n    return  1\n" + "x" * 90)
    with history(columns=100) as terminal:
        terminal.wait_for("q: quit")
        assert any(row.endswith("│     return  1") for row in terminal.screen)
        assert "x" * 90 in "".join(row.rpartition("│ ")[2] for row in terminal.screen)
        assert not any("```" in row for row in terminal.screen)
        terminal.send("q")
        assert terminal.wait() == 0


def test_preview_renders_markdown() -> None:
    reply = "The **moon** is `far`:\n\n| body | km |\n| --- | ---: |\n| Moon | 384,400 |"
    keep("20260301-120000-0dd", 3e9, "How *far*?", reply)
    for env, is_rendered in (({}, True), ({"NO_COLOR": "1"}, False)):
        with history(columns=100, env=env) as terminal:
            terminal.wait_for("q: quit")
            preview = [row.partition("│ ")[2] for row in terminal.screen]
            assert preview[1] == "faux/echo  0 tokens  $0.00"
            assert preview[3:5] == ["You", "How *far*?"]
            assert ("The moon is far:" in preview) is is_rendered
            assert ("Moon  384,400" in preview) is is_rendered
            assert ("| Moon | 384,400 |" in preview) is not is_rendered
            terminal.send("q")
            assert terminal.wait() == 0


def test_type_to_filter_and_print(two: None) -> None:
    with history(columns=100) as terminal:
        terminal.wait_for("q: quit")
        terminal.send("reply a")  # also looks in the answers
        terminal.wait_for("Filter: reply a_  1 of 2")
        terminal.send("zzz")
        terminal.wait_for("nothing matches")
        assert terminal.screen[-1].endswith("Esc: clear the filter")
        terminal.send(ENTER + BACKSPACE * 3)
        terminal.wait_for("Filter: reply a_  1 of 2")
        terminal.send(TAB)
        assert terminal.wait() == 0
        assert "\nYou\n" in terminal.text
        assert r"Quiz \x1b[2J 東京 <U+202E>" in terminal.text
    with history(columns=100) as terminal:
        terminal.wait_for("q: quit")
        terminal.send("/q")  # a filter that begins with q
        terminal.wait_for("Filter: q_  1 of 2")
        terminal.send(ESCAPE)
        terminal.wait_for("History  2 of 2")
        terminal.interrupt()
        assert terminal.wait() == 130


def test_enter_continues_in_chat(two: None) -> None:
    with history(columns=100) as terminal:
        terminal.wait_for("q: quit")
        terminal.send(ENTER)
        terminal.wait_for("20260101-120000-0aa: 2 messages")
        until = time.monotonic() + 30
        while [row for row in terminal.screen if row][-1] != ">":
            assert time.monotonic() < until, terminal.text
            assert terminal.read(0.2), terminal.text
        terminal.send("\x04")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("columns", "keys"), [(20, "Enter Tab q"), (60, "Enter: continue  Tab: print  q: quit")]
)
def test_narrow_terminal(two: None, columns: int, keys: str) -> None:
    with history(columns=columns, rows=14) as terminal:
        terminal.wait_for("384,400 km")
        assert keys in terminal.screen
        assert terminal.screen[0].startswith("History")
        assert "─" * (columns - 1) in terminal.screen
        terminal.resize(100, 24)
        terminal.send(DOWN)
        terminal.wait_for("hostile")
        terminal.send("q")
        assert terminal.wait() == 0


def test_console_without_unicode(two: None) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "NO_COLOR": "1"}
    with history(columns=100, env=ascii_only) as terminal:
        terminal.wait_for("q: quit")
        assert " | " in terminal.screen[1]
        terminal.send("q")
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text


def test_damaged_files_are_reported_at_the_end(two: None) -> None:
    folder = Path(Conversation("x").path).parent
    (folder / "20250101-000000-0.jsonl").write_bytes(
        b'{"kind":"message","n":1,"message":{"role":["user"],"content":7}}\n\xff\n'
    )
    with history(columns=100) as terminal:
        terminal.wait_for("History  3 of 3")
        terminal.send("q")
        assert terminal.wait() == 0
        assert terminal.text.count("line 2 is damaged") == 1


def test_many_conversations_load_in_the_background() -> None:
    for number in range(60):
        keep(f"20260101-12{number:02}00-0aa", 1e9 + number, f"Question {number}", "Yes.")
    with history(columns=100) as terminal:
        terminal.wait_for("History  60 of 60")
        terminal.send("\x1b[F")  # End
        terminal.wait_for("> 20")
        terminal.wait_for("Question 0")
        terminal.send("q")
        assert terminal.wait() == 0


def test_list_instead_of_the_picker(two: None) -> None:
    listed = pipy("history", "list").stdout
    assert pipy("history").stdout == listed
    assert len(listed.splitlines()) == 3
    assert pipy("history", "--json").stdout == pipy("history", "list", "--json").stdout
    for arguments in (["--no-picker"], ["list"], ["--by", "model"]):
        with history(*arguments, columns=100) as terminal:
            assert terminal.wait() == 0
            assert "q: quit" not in terminal.text
    with history(columns=100, env={"TERM": "dumb"}) as terminal:
        assert terminal.wait() == 0
        assert len(terminal.text.splitlines()) == 3
    for conversation_id in list_conversation_ids():
        assert pipy("history", "rm", "--yes", conversation_id).returncode == 0
    with history(columns=100) as terminal:
        assert terminal.wait() == 0
        assert "no saved conversations yet" in terminal.text
