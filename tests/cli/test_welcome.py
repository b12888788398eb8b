"""Test `pipy` alone, and commands without an action."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from ..support.command import pipy
from ..support.terminal import Terminal


@pytest.mark.parametrize("columns", [20, 80, 100])
def test_welcome_shows_what_is_set_up(columns: int) -> None:
    pipy("ask", "-m", "faux/echo", "hi")
    env = {"OPENAI_API_KEY": "secret-key"}
    with Terminal("-m", "pipy_ai", columns=columns, rows=60, env=env) as terminal:
        assert terminal.wait() == 0
        text = "".join(terminal.text.split())  # it may be wrapped anywhere
        for part in ("OPENAI_API_KEYisset", "Keysopenai", "History1conversation", "pipychat"):
            assert part in text
        assert "secret-key" not in text


def test_narrow_welcome_indents_only_its_columns() -> None:
    with Terminal("-m", "pipy_ai", columns=40, rows=60) as terminal:
        assert terminal.wait() == 0
        assert "\nthe terminal\n" in terminal.text
        assert re.search(r"\n {9}\S", terminal.text)


def test_welcome_without_anything_names_what_to_do() -> None:
    with Terminal("-m", "pipy_ai", env={"PIPY_MODEL": ""}) as terminal:
        assert terminal.wait() == 0
        assert re.search(r"Keys +none yet", terminal.text)
        assert "pipy keys set anthropic" in terminal.text


def test_welcome_without_weights_suggests_commands_that_work() -> None:
    shutil.rmtree(Path(os.environ["PIPY_DATA_DIR"]) / "models", ignore_errors=True)
    with Terminal("-m", "pipy_ai") as terminal:
        assert terminal.wait() == 0
        # The model that `pipy doctor` names, and what is missing.
        assert re.search(r"Model +local/smollm2 \(not downloaded yet", terminal.text)
        assert "  pipy local pull" in terminal.text
        assert "pipy chat" not in terminal.text
    assert re.search(r"default +local/smollm2 ", pipy("doctor").stdout)
    for command in (["ask", "Hi"], ["-m", "local/smollm2", "Hi"]):
        done = pipy(*command)
        assert done.returncode == 1
        assert "Run `pipy local pull` to download them" in done.stderr


def test_welcome_with_a_key_but_no_model_suggests_to_choose_one() -> None:
    shutil.rmtree(Path(os.environ["PIPY_DATA_DIR"]) / "models", ignore_errors=True)
    with Terminal("-m", "pipy_ai", env={"HOSTED_VLLM_API_KEY": "secret-key"}) as terminal:
        assert terminal.wait() == 0
        assert "pipy default MODEL" in terminal.text
        assert "git diff" not in terminal.text


def test_welcome_with_a_damaged_file_of_keys() -> None:
    (Path(os.environ["PIPY_DATA_DIR"]) / "keys.json").write_text("{")
    with Terminal("-m", "pipy_ai") as terminal:
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.text


def test_no_welcome_in_a_pipe() -> None:
    done = pipy()
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["keys", "history", "templates", "local"])
def test_a_command_without_an_action_lists(command: str) -> None:
    listed, alone = pipy(command, "list"), pipy(command)
    assert (alone.returncode, alone.stdout, alone.stderr) == (
        listed.returncode,
        listed.stdout,
        listed.stderr,
    )
    if command != "templates":
        assert pipy(command, "--json").stdout == pipy(command, "list", "--json").stdout
    assert "ACTION" in pipy(command, "--help").stdout
