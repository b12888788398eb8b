"""Test Tab completion in bash, zsh and fish."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipy_ai.cli.main import main
from pipy_ai.cli.parser import COMMANDS

from ..support.command import pipy

CONVERSATION = "20260101-120000-abc"
# What is typed, and what is offered for it.
OFFERED = [
    ("pipy ", list(COMMANDS)),
    ("pipy mod", ["models"]),
    ("pipy ask --mod", ["--model"]),
    ("pipy cost --input 5 groq/allam", ["groq/allam-2-7b"]),
    ("pipy compare openai/gpt-5 openai/gpt-5-m", ["openai/gpt-5-mini"]),
    ("pipy models --provider mist", ["mistral"]),
    ("pipy ask --thinking m", ["minimal", "medium", "max"]),
    ("pipy local pu", ["pull"]),
    ("pipy ask -t rev", ["review"]),
    ("pipy templates show ", ["review"]),
    ("pipy history show 2026", [CONVERSATION]),
    ("pipy history rm 2026", [CONVERSATION]),
    ("pipy keys r", ["remove", "rm"]),
    ("pipy ask --cid ", [CONVERSATION]),
    ("pipy completion ", ["bash", "zsh", "fish"]),
    ("pipy ask Wh", []),
    ("pipy cost openai/gpt-5 --input ", []),
    ("pipy -m x --mod", ["--model"]),
    ("pipy info claude-opus-4-1-2", ["claude-opus-4-1-20250805"]),
    ("pipy ask -m sonnet-4-5-", ["anthropic/claude-sonnet-4-5-20250929"]),
    ("pipy -m SONNET-4-5-", ["anthropic/claude-sonnet-4-5-20250929"]),
    ("pipy compare --model=openrouter/opus-4.1", ["openrouter/anthropic/claude-opus-4.1"]),
    ("pipy ask -m haiku-4", ["anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5-20251001"]),
]
# Only in bash: optional values.
ONLY_BASH = [
    ("pipy chat -c 2026", [CONVERSATION]),
    ("pipy chat -c --pla", ["--plain"]),
]
COLON = "pipy ask -m openrouter/meta-llama/llama-3.3-70b-instruct:fr"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with scripts for every shell, and `pipy` on the path."""
    command = tmp_path / "bin" / "pipy"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m pipy_ai "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    for name in ("bash", "zsh", "fish"):
        (tmp_path / name).write_text(pipy("completion", name).stdout)
    (tmp_path / "photo of me.png").touch()
    data_dir = Path(os.environ["PIPY_DATA_DIR"])
    for name in ("templates/review.md", f"history/{CONVERSATION}.jsonl"):
        (data_dir / name).parent.mkdir(exist_ok=True)
        (data_dir / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def need(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bash(shell: Path) -> None:
    need("bash")
    known = [*OFFERED, *ONLY_BASH]
    script = """
        source ./bash
        for line; do
            COMP_LINE=$line COMP_POINT=${#line} COMPREPLY=()
            _pipy pipy; echo "${COMPREPLY[@]}"
        done
    """
    typed = [*(line for line, _ in known), COLON, "pipy ask -a photo"]
    lines = run("bash", "--norc", "-c", script, "bash", *typed)
    offered = lines.splitlines()
    assert [line.split() for line in offered[:-2]] == [words for _, words in known]
    # Readline has split the word at its colon, and replaces what comes after it.
    assert offered[-2:] == ["free", "photo of me.png"]


def test_bash_does_not_execute_catalogue_text(shell: Path) -> None:
    need("bash")
    data = Path(os.environ["PIPY_DATA_DIR"])
    evil = {"acme/$(touch hit)": {}, "acme/`touch hit`": {}, "acme/*": {}, "acme/good": {}}
    (data / "overrides.json").write_text(str(evil).replace("'", '"'))
    line = "pipy info acme/"
    script = 'source ./bash; COMP_LINE=$1 COMP_POINT=${#1}; _pipy pipy; echo "${COMPREPLY[@]}"'
    assert run("bash", "--norc", "-c", script, "bash", line) == "acme/good\n"
    assert not (shell / "hit").exists()


def test_bash_keeps_what_was_typed_if_several_names_contain_it(shell: Path) -> None:
    need("bash")
    script = 'source ./bash; COMP_LINE=$1 COMP_POINT=${#1}; _pipy pipy; printf "%s,"'
    names = "anthropic/claude-haiku-4-5,anthropic/claude-haiku-4-5-20251001, ,"
    line = run("bash", "--norc", "-c", f'{script} "${{COMPREPLY[@]}}"', "bash", "pipy -m haiku-4")
    assert line == names  # the blank has no start in common with them


def test_fish(shell: Path) -> None:
    need("fish")
    script = "source ./fish; for line in $argv; complete -C $line; echo ==; end"
    typed = [*(line for line, _ in OFFERED), COLON, "pipy ask -a photo"]
    said = run("fish", "--no-config", "-c", script, *typed)
    offered = [part.split("\n") for part in said.split("==\n")]
    names = [{line.split("\t")[0] for line in part if line} for part in offered]
    assert names[:-3] == [set(words) for _, words in OFFERED]
    assert names[-3:-1] == [
        {"openrouter/meta-llama/llama-3.3-70b-instruct:free"},
        {"photo of me.png"},
    ]


def test_zsh(shell: Path) -> None:
    need("zsh")
    terminal = Zsh()
    try:
        for typed, completed in (
            ("pipy compl", "pipy completion "),
            ("pipy ask --thin", "pipy ask --thinking "),
            ("pipy ask Hi --eve", "pipy ask Hi --events "),
            ("pipy local p", "pipy local pull "),
            ("pipy compare openai/gpt-5 groq/allam", "pipy compare openai/gpt-5 groq/allam-2-7b "),
            ("pipy models --provider mistr", "pipy models --provider mistral "),
            (COLON, "pipy ask -m openrouter/meta-llama/llama-3.3-70b-instruct:free "),
            ("pipy ask -m sonnet-4-5-", "anthropic/claude-sonnet-4-5-20250929 "),
            ("pipy -m SONNET-4-5-", "pipy -m anthropic/claude-sonnet-4-5-20250929 "),
            ("pipy -m haiku-4", "pipy -m haiku-4"),  # several: listed below
            ("pipy ask -a pho", r"pipy ask -a photo\ of\ me.png "),
        ):
            assert terminal.tab(typed).endswith(completed)
    finally:
        terminal.close()


class Zsh:
    """An interactive zsh on a terminal of its own."""

    def __init__(self) -> None:
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            with contextlib.suppress(BaseException):
                environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
                os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
            os._exit(1)
        self.said = ""
        # ^T tells that what came before it is through.
        self.send(
            "PS1=; unset zle_bracketed_paste; unsetopt prompt_sp; autoload -Uz compinit; "
            "compinit -u -D; source ./zsh; told() { zle -M 'through' }; zle -N told; "
            "bindkey '^T' told; echo rea''dy\n"
        )
        self.until("ready")

    def send(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def until(self, mark: str) -> str:
        deadline = time.monotonic() + 30
        while mark not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.terminal], [], [], 0.2)[0]:
                self.said += os.read(self.terminal, 65536).decode()
        before, _, self.said = self.said.partition(mark)
        return before

    def tab(self, typed: str) -> str:
        self.send(f"{typed}\t\x14")
        said = self.until("through")
        self.send("\x15")  # clear the line
        return said.rstrip("\r\n").rpartition("\n")[2].rpartition("\r")[2]

    def close(self) -> None:
        os.kill(self.process, 9)
        os.waitpid(self.process, 0)
        os.close(self.terminal)


def test_model_names_come_from_the_catalogue(july: Path) -> None:
    names = pipy("completion", "--names", "MODEL").stdout.split()
    assert {"openai/gpt-5", "local/smollm2"} < set(names)
    assert len(names) > 4000
    (july / "models").mkdir(exist_ok=True)
    (july / "models" / "mine.gguf").touch()
    found = pipy("completion", "--names", "MODEL", "--prefix", "local/").stdout.split()
    assert found[0] == "local/smollm2"
    assert f"local/{july}/models/mine.gguf" in found
    assert "anthropic" in pipy("completion", "--names", "PROVIDER").stdout.split()


def test_shell_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 2
    assert "bash, zsh or fish" in capsys.readouterr().err
