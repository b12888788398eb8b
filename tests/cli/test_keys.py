"""Test `pipy keys`."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipy_ai.cli.main import main
from pipy_ai.registry import keystore

from ..support.command import pipy

KEY = "sk-kept-0123456789abcdef"


@pytest.fixture
def kept() -> Path:
    """The key file, with one key for Groq."""
    assert pipy("keys", "set", "groq", "--file", stdin=KEY).returncode == 0
    return Path(keystore.path())


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipy_ai.utils.warn.shown_warnings", set())


def test_key_file_is_readable_by_its_owner_only() -> None:
    done = pipy("keys", "set", "groq", "--file", stdin=f"{KEY}\n")
    path = Path(keystore.path())
    assert (done.returncode, done.stdout) == (0, f"GROQ_API_KEY is stored in {path}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert json.loads(path.read_text()) == {"GROQ_API_KEY": KEY}
    assert pipy("keys", "path").stdout == f"{path}\n"
    assert KEY not in done.stdout + done.stderr


def test_list_shows_sources_but_never_keys(kept: Path) -> None:
    listed = pipy("keys", "list", ANTHROPIC_API_KEY=KEY)
    assert [line.split() for line in listed.stdout.splitlines()[1:]] == [
        ["anthropic", "ANTHROPIC_API_KEY", "the", "environment"],
        ["groq", "GROQ_API_KEY", str(kept)],
    ]
    both = json.loads(pipy("keys", "list", "--json", GROQ_API_KEY="x").stdout)
    assert both == [
        {
            "providers": ["groq"], "variable": "GROQ_API_KEY", "place": "environment",
            "kept": str(kept),
        }
    ]  # fmt: skip
    assert KEY not in listed.stdout + listed.stderr


def test_remove(kept: Path) -> None:
    assert pipy("keys", "remove", "groq").stdout == "removed GROQ_API_KEY\n"
    assert json.loads(kept.read_text()) == {}
    again = pipy("keys", "rm", "groq", GROQ_API_KEY="x")
    assert again.returncode == 1
    assert "set in the environment" in again.stderr
    assert "no API key is set" in pipy("keys", "list").stderr


@pytest.mark.parametrize(
    ("words", "stdin", "expected"),
    [
        (["set", "groq", KEY], None, "history"),
        (["set", "groq"], "", "no key was given"),
        (["set", "groq"], "two words", "not a valid key"),
        (["set", "groq"], "ключ", "not a valid key"),
        (["set", "groqq"], KEY, "did you mean groq"),
        (["set", "ANTHROPIC_API_KY"], KEY, "did you mean ANTHROPIC_API_KEY"),
        (["set", "AWS_ACCESS_KEY_ID"], KEY, "needs more than a key"),
        (["set", "sap-ai-core"], KEY, "service key"),
        (["set", "llamafile"], KEY, "needs no key"),
    ],
)
def test_invalid_key_changes_nothing(words: list[str], stdin: str | None, expected: str) -> None:
    done = pipy("keys", *words, stdin=stdin)
    assert done.returncode == 2
    assert expected in done.stderr
    assert KEY not in done.stderr
    assert not os.path.exists(keystore.path())


@pytest.mark.parametrize("name", ["amazon-bedrock", "bedrock", "AWS_BEARER_TOKEN_BEDROCK"])
def test_api_key_of_bedrock(name: str) -> None:
    done = pipy("keys", "set", name, stdin=KEY)
    assert done.returncode == 0, done.stderr
    assert "AWS_BEARER_TOKEN_BEDROCK is stored" in done.stdout
    assert keystore.get_key("AWS_BEARER_TOKEN_BEDROCK") == KEY


def test_names_are_normalized() -> None:
    for name, variable in (
        ("gemini", "GOOGLE_API_KEY"),
        ("OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("hosted_vllm", "HOSTED_VLLM_API_KEY"),
    ):
        assert variable in pipy("keys", "set", name, "--file", stdin=KEY).stdout
    assert "MY_KEY" in pipy("keys", "set", "MY_KEY", "--file", "--force", stdin=KEY).stdout
    assert ["-", "MY_KEY"] in [
        line.split()[:2] for line in pipy("keys", "list").stdout.splitlines()
    ]


def test_typed_key_is_not_echoed() -> None:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "pipy_ai", "keys", "set", "groq", "--file"]
    process = subprocess.Popen(
        command, stdin=child, stdout=child, stderr=child, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )  # fmt: skip
    os.close(child)
    shown = ""
    deadline = time.monotonic() + 30
    while "hidden: " not in shown and time.monotonic() < deadline:
        shown += os.read(parent, 1000).decode()
    os.write(parent, f"{KEY}\n".encode())
    assert process.wait(30) == 0
    while "stored in" not in shown:
        shown += os.read(parent, 1000).decode()
    os.close(parent)
    assert KEY not in shown
    assert json.loads(Path(keystore.path()).read_text()) == {"GROQ_API_KEY": KEY}


def test_damaged_key_file_is_reported(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept.write_text("nonsense")
    assert main(["keys", "list"]) == 2
    assert "delete it and set your keys again" in capsys.readouterr().err


def test_subscription_token_is_not_stored(kept: Path) -> None:
    token = "sk-ant-oat01-0123456789abcdef"
    done = pipy("keys", "set", "anthropic", "--file", stdin=token)
    assert done.returncode == 2
    assert "token of a Claude subscription" in done.stderr
    assert "nothing was changed" in done.stderr
    assert token not in done.stdout + done.stderr + kept.read_text()


def test_doctor_names_a_subscription_token() -> None:
    token = "sk-ant-oat01-0123456789abcdef"
    shown = pipy("doctor", "--json", ANTHROPIC_API_KEY=token).stdout
    assert "token of a Claude subscription" in shown
    assert token not in shown


def test_retired_service_is_named() -> None:
    for words in (
        ("models", "github-models"), ("providers",), ("info", "github-models/openai/gpt-4o"),
        ("keys", "set", "github-models"),
    ):  # fmt: skip
        done = pipy(*words, GITHUB_TOKEN="x", stdin="k")
        assert "GitHub Models was retired on 30 July 2026" in done.stdout + done.stderr, words
    assert "github-models" not in pipy("providers", "--available", GITHUB_TOKEN="x").stdout
