"""Test how `pipy ask` approves and runs tools."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab
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
    calling(lab, f"ivy\nRun ls? \u202e\u200b\u2028\x9b2J{long}")
    with Terminal("-m", "pipy_ai", "ask", *local(lab), "--tool", garden, "hi") as terminal:
        terminal.wait_for("lways:")
        shown = terminal.text.replace("\n", "")
        assert r'water({"plant": "ivy\nRun ls? \u202e\u200b\u2028\x9b2Jrm ' in shown
        assert re.search(r'ls"}\)This call has 5,\d\d\d characters: .*Run water\?', shown)
        terminal.send("n\n")
        assert terminal.wait() == 0


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
    assert "no terminal to ask on" in refused.stderr
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
        ("json:JSONDecoder", "no function"),
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
