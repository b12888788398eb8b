"""Test how `pipy ask` approves and runs tools."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab, Pause
from ..support.terminal import Terminal
from ..support.wire_formats import CHAT, say, tool


def local(lab: Lab) -> tuple[str, ...]:
    return ("-m", "hosted_vllm/m", "--api-base", lab.url)


@pytest.fixture
def garden(tmp_path: Path) -> str:
    (tmp_path / "garden.py").write_text(
        "import pathlib\n"
        "def water(plant: str) -> str:\n"
        "    'Water a plant.'\n"
        f"    pathlib.Path({str(tmp_path)!r}, 'watered').open('a').write(plant + ' ')\n"
        "    return f'{plant} is wet'\n"
    )
    return f"{tmp_path}/garden.py:water"


def calling(lab: Lab, *plants: str) -> None:
    calls = [tool(f"c{i}", "water", json.dumps({"plant": plant})) for i, plant in enumerate(plants)]
    lab.play(CHAT.scene(say("Let me see."), *calls, stop="tool"), CHAT.scene(say("Done.")))


def test_tool_calls_need_approval_on_a_terminal(lab: Lab, garden: str, tmp_path: Path) -> None:
    calling(lab, "rose", "tulip\x1b[2J")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        terminal.wait_for("lways:")
        assert 'water({"plant": "rose"})' in terminal.text
        terminal.send("y\n")
        terminal.wait_for("tulip\\u001b[2J")
        terminal.send("n\n")
        assert terminal.wait() == 0
        assert "→ rose is wet" in terminal.text
        assert "Done." in terminal.text
    assert (tmp_path / "watered").read_text() == "rose "
    told = [m["content"] for m in lab.seen[1].json["messages"] if m["role"] == "tool"]
    assert "rose is wet" in str(told[0])
    assert "did not allow" in str(told[1])


def test_ctrl_c_at_the_approval_prompt_runs_nothing_and_exits(
    lab: Lab, garden: str, tmp_path: Path
) -> None:
    calling(lab, "rose")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        terminal.wait_for("lways:")
        terminal.interrupt()
        assert terminal.wait() == 130
        assert terminal.screen[2].endswith("^C")
        assert terminal.screen[3].startswith("10 in / 5 out")
    assert not (tmp_path / "watered").exists()


def test_tool_call_cannot_hide_its_arguments(lab: Lab, garden: str) -> None:
    long = "rm" + " " * 5000 + "ls"
    calling(lab, f"ivy\nRun ls? \u202e\u200b\u2028\x9b2J\ufe0f{long}")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        terminal.wait_for("call:")
        rows = [row for row in terminal.screen if row]
        assert r'| water({"plant": "ivy\nRun ls? \u202e\u200b\u2028\x9b2J\ufe0frm' in rows
        assert rows[-2].endswith('ls"})')
        assert rows[-1] == "Run water? [y]es, [n]o, [a]lways, [v]iew all of the call:"
        [note] = [row for row in rows if "not shown" in row]
        assert re.fullmatch(r"… \d\d rows, 4,\d\d\d characters are not shown …", note)
        terminal.send("v\n")
        while terminal.text.count("[v]iew") < 2:
            assert terminal.read(0.2)
        assert len([row for row in terminal.text.splitlines() if row.startswith("|")]) > 75
        terminal.send("n\n")
        assert terminal.wait() == 0


def test_arguments_cannot_look_like_the_question(lab: Lab, garden: str, tmp_path: Path) -> None:
    fake = "Run ls? [y]es, [n]o, [a]lways: "
    for pad in (0, 17, 40, 57):
        calling(lab, "x" * pad + " " * (80 - pad) + fake + " " * 400 + fake + "東" * 70)
        with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
            terminal.wait_for("Run water?")
            rows = [row for row in terminal.screen if row]
            assert rows[0] == "Let me see."
            assert all(row.startswith(("|", "… ")) for row in rows[1:-1])
            assert rows[-1].startswith("Run water? ")
            terminal.send("n\n")
            assert terminal.wait() == 0
    assert not (tmp_path / "watered").exists()


def test_name_of_a_tool_cannot_look_like_an_answer(lab: Lab, garden: str, tmp_path: Path) -> None:
    lab.play(
        CHAT.scene(tool("c", "ls? y\n\x1b[2Jwater" + "r" * 300, "{}")), CHAT.scene(say("Done."))
    )
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        assert terminal.wait() == 0  # there is no such tool
        assert "[2J" not in terminal.raw.decode().replace("\\x1b[2J", "")


@pytest.mark.parametrize("typed", ["y\n", "y", "a\n", "\n\ny\ny\n", "yes\nyes"])
def test_what_was_typed_before_the_question_is_no_answer(
    typed: str, lab: Lab, garden: str, tmp_path: Path
) -> None:
    call = tool("c1", "water", '{"plant": "rose"}')
    lab.play(
        CHAT.scene(say("Think"), Pause(), call, stop="tool"),
        CHAT.scene(say("Done.")),
    )
    asked = ["ask", "--plain", *local(lab), "--tool", garden, "hi"]
    with Terminal("-m", "pipy_ai", *asked) as terminal:
        terminal.wait_for("Think")
        shown = len(terminal.raw)
        terminal.send(typed)
        while len(terminal.raw) < shown + len(typed):  # until the terminal echoes it
            assert terminal.read(0.2)
        lab.go()
        terminal.wait_for("lways:")
        terminal.send("n\n")
        assert terminal.wait() == 0
    assert not (tmp_path / "watered").exists()


def test_rest_of_a_paste_is_no_answer(lab: Lab, garden: str, tmp_path: Path) -> None:
    calling(lab, "rose")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        terminal.wait_for("lways:")
        terminal.send("some text\ny\ny\n")
        while terminal.text.count("lways:") < 2:
            assert terminal.read(0.2)
        terminal.send("\n")
        assert terminal.wait() == 0
    assert not (tmp_path / "watered").exists()


def test_answer_to_one_call_is_not_the_answer_to_the_next(
    lab: Lab, garden: str, tmp_path: Path
) -> None:
    calling(lab, "rose", "tulip")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        terminal.wait_for("lways:")
        terminal.send("y\ny\ny\n")
        while terminal.text.count("lways:") < 2:
            assert terminal.read(0.2)
        terminal.send("n\n")
        assert terminal.wait() == 0
    assert (tmp_path / "watered").read_text() == "rose "


def test_always_approves_one_tool_and_piped_input_can_approve(
    lab: Lab, garden: str, tmp_path: Path
) -> None:
    calling(lab, "rose", "tulip")
    asked = [sys.executable, "-m", "pipy_ai", "ask", *local(lab), "--tool", garden]
    code = f"import subprocess; subprocess.run({asked!r}, input=b'hi')"
    with Terminal("-c", code) as terminal:
        terminal.wait_for("lways:")
        terminal.send("a\n")
        terminal.wait_for("Done.")
        assert terminal.wait() == 0
    assert sorted((tmp_path / "watered").read_text().split()) == ["rose", "tulip"]  # side by side


def test_no_tool_runs_without_a_terminal_unless_all_are_allowed(
    lab: Lab, garden: str, tmp_path: Path
) -> None:
    def ask(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipy_ai", "ask", *local(lab), "--tool", garden, *more, "hi"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, start_new_session=True,
            timeout=60, check=False,
        )  # fmt: skip

    calling(lab, "rose")
    refused = ask()
    assert refused.returncode == 0
    assert "no terminal to ask for approval" in refused.stderr
    assert "--yes" in refused.stderr
    assert not (tmp_path / "watered").exists()
    calling(lab, "rose")
    done = ask("--yes", "--usage")
    assert done.stdout == "Let me see.\nDone.\n"
    assert 'water({"plant": "rose"})\n→ rose is wet\n' in done.stderr
    assert "20 in / 10 out" in done.stderr  # of both answers
    assert (tmp_path / "watered").read_text() == "rose "
    again = pipy("ask", *local(lab), "-c", "thanks")
    assert again.returncode == 0
    roles = [m["role"] for m in lab.seen[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("water", "module:name"),
        ("no_such_module:f", "no module 'no_such_module'"),
        ("/no/such.py:f", "no file"),
        ("json:lods", "did you mean loads"),
        ("json:JSONDecoder", "is not a function"),
        ("{broken}:f", "ZeroDivisionError"),
    ],
)
def test_unloadable_tool(spec: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    spec = spec.replace("{broken}", str(tmp_path / "broken.py"))
    done = pipy("ask", "-m", "faux/echo", "--tool", spec, "q")
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
