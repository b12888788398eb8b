"""Test templates."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.scripted_server import Lab
from ..support.wire_formats import CHAT, say, tool


@pytest.fixture
def kept() -> Path:
    directory = Path(os.environ["PIPY_DATA_DIR"], "templates")
    directory.mkdir(parents=True)
    return directory


def test_text_file_is_a_prompt(kept: Path) -> None:
    (kept / "summary.md").write_text("Summarise in $count words, for $$5:\n\n$input\n")
    asked = ("ask", "-m", "faux/echo", "-t", "summary")
    done = pipy(*asked, "-p", "count=3", "of it", stdin="a $long text")
    assert done.stdout == "Summarise in 3 words, for $5:\n\na $long text\n\nof it\n"
    missing = pipy(*asked, "text")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "the template summary needs -p count=…" in missing.stderr
    other = pipy(*asked, "-p", "count=3", "-p", "cuont=3", "text")
    assert "has no $cuont; it has $count, $input" in other.stderr


def test_yaml_template(kept: Path, lab: Lab) -> None:
    (kept / "dogs.yaml").write_text(
        "model: hosted_vllm/m\n"
        "system: You know $kind.\n"
        "prompt: Name one.\n"
        "defaults: {kind: dogs}\n"
        "schema: name, age int\n"
        "options:\n  seed: 7\n  extra: {top_k: 5}\n"
        f"attachments: [{kept / 'notes.txt'}]\n"
    )
    (kept / "notes.txt").write_text("They bark.")
    lab.always = CHAT.scene(say('{"name": "Bo", "age": 3}'))
    place = ("--api-base", lab.url, "-a", str(kept / "notes.txt"))
    done = pipy("ask", "-t", "dogs", *place, "A small one.")
    assert (done.returncode, done.stdout) == (0, '{"name": "Bo", "age": 3}\n'), done.stderr
    sent = lab.seen[0].json
    assert (sent["seed"], sent["top_k"]) == (7, 5)
    assert sent["messages"][0]["content"] == "You know dogs."
    said = json.dumps(sent["messages"][1]["content"])
    assert said.index("A small one.") < said.index("Name one.") < said.index("They bark.")
    assert said.count("They bark.") == 2
    pipy("ask", "-t", "dogs", *place, "-p", "kind=cats", "-o", "seed=8", "-s", "Own.", "x")
    sent = lab.seen[1].json
    assert (sent["seed"], sent["messages"][0]["content"]) == (8, "Own.")


def test_template_runs_only_tools_that_the_user_allows(
    kept: Path, lab: Lab, tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text(f"def boom() -> str:\n    open('{tmp_path}/boom', 'w')\n")
    (kept / "tools.yaml").write_text(f"prompt: Go.\ntools: ['{tmp_path / 't.py'}:boom']\n")
    lab.play(CHAT.scene(tool("c", "boom", "{}"), stop="tool"), CHAT.scene(say("Fine.")))
    asked = ("ask", "-m", "hosted_vllm/m", "--api-base", lab.url, "-t", "tools")
    done = subprocess.run(
        [sys.executable, "-m", "pipy_ai", *asked],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "Fine.\n"), done.stderr
    assert "no terminal to ask for approval" in done.stderr
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prompt: [1", "line 1"),
        ("- a\n- b", "a template is text, or YAML with keys from prompt"),
        ("promt: x", "'promt' is not one of"),
        ("prompt: 3", "'prompt' must be a text"),
        ("tools: [3]", "a list of strings"),
        ("prompt: !!python/object/apply:os.system ['touch pwned']", "could not determine"),
        ("prompt: x\noptions: {temprature: 1}", "did you mean temperature?"),
    ],
)
def test_invalid_template(kept: Path, text: str, expected: str) -> None:
    (kept / "bad.yaml").write_text(text)
    done = pipy("ask", "-m", "faux/echo", "-t", "bad", "q")
    assert (done.returncode, done.stdout) == (2, "")
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("pwned").exists()


def test_templates_command(kept: Path, tmp_path: Path) -> None:
    (kept / "one.md").write_text("Say $input\nagain.")
    (kept / "two.yaml").write_text("system: Be brief.\n")
    assert pipy("templates", "list").stdout == "one  Say $input again.\ntwo  Be brief.\n"
    assert pipy("templates", "show", "two").stdout == "system: Be brief.\n"
    assert pipy("templates", "path").stdout == f"{kept}\n"
    slip = pipy("ask", "-m", "faux/echo", "-t", "oen", "q")
    assert (slip.returncode, "did you mean one?" in slip.stderr) == (2, True)
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho "prompt: Hm, \\$input" > "$1"\n')
    editor.chmod(0o700)
    assert pipy("templates", "edit", "three", EDITOR=str(editor)).returncode == 0
    assert pipy("ask", "-m", "faux/echo", "-t", "three", "so").stdout == "Hm, so\n"
    by_path = pipy("ask", "-m", "faux/echo", "-t", str(kept / "one.md"), "x")
    assert by_path.stdout == "Say x\nagain.\n"


def test_params_require_a_template() -> None:
    done = pipy("ask", "-m", "faux/echo", "-p", "a=b", "q")
    assert (done.returncode, "-t NAME" in done.stderr) == (2, True)


def test_editor_of_a_template(kept: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\necho "prompt: Sum it up." > "$1"\n')
    editor.chmod(0o755)
    assert pipy("templates", "edit", "sum", EDITOR=str(editor)).returncode == 0
    assert (kept / "sum.yaml").read_text() == "prompt: Sum it up.\n"
    missing = pipy("templates", "edit", "sum", EDITOR="no-such-editor")
    assert (missing.returncode, "set EDITOR to another one" in missing.stderr) == (2, True)
    failed = pipy("templates", "edit", "sum", EDITOR="false")
    assert (failed.returncode, "false ended with 1" in failed.stderr) == (2, True)


def test_template_that_is_not_utf_8(kept: Path) -> None:
    (kept / "old.txt").write_bytes(b"\xe9t\xe9")
    done = pipy("ask", "-m", "faux/echo", "-t", "old", "q")
    assert (done.returncode, "is not UTF-8 text" in done.stderr) == (2, True)
    listed = pipy("templates", "list")
    assert "is not UTF-8 text" in listed.stdout


def test_template_path_that_does_not_exist() -> None:
    done = pipy("ask", "-m", "faux/echo", "-t", "./none.yaml", "q")
    assert (done.returncode, "template file not found: ./none.yaml" in done.stderr) == (2, True)


def test_yaml_text_is_a_prompt(kept: Path) -> None:
    (kept / "short.yaml").write_text("Say hello.\n")
    done = pipy("ask", "-m", "faux/echo", "-t", "short")
    assert (done.returncode, done.stdout) == (0, "Say hello.\n"), done.stderr


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prompt: !!bool x", "a value does not match its tag"),
        ("defaults: {day: 2001-99-99}", "month must be in 1..12"),
        ("schema: &s {properties: {next: *s}}", ", line 1: an alias contains itself"),
    ],
)
def test_template_that_yaml_cannot_read(text: str, problem: str, kept: Path) -> None:
    (kept / "odd.yaml").write_text(text)
    done = pipy("ask", "-m", "faux/echo", "-t", "odd", "x")
    assert done.returncode == 2
    assert problem in done.stderr
    assert str(kept / "odd.yaml") in done.stderr
