"""Test `pipy default`."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pipy_ai import default_model
from pipy_ai.registry import settings

from ..support.command import pipy


def test_default_is_set_shown_and_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    done = pipy("default", "claude-haiku-4.5")
    assert (done.returncode, done.stdout) == (0, "anthropic/claude-haiku-4-5\n")
    assert pipy("default").stdout == "anthropic/claude-haiku-4-5\n"
    assert default_model() == "anthropic/claude-haiku-4-5"
    assert stat.S_IMODE(os.stat(settings.settings_path()).st_mode) == 0o600
    over = pipy("default", "openai/gpt-5", PIPY_MODEL="faux/echo")
    assert over.stdout == "faux/echo\n"
    assert "PIPY_MODEL" in over.stderr
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert default_model() == "openai/gpt-5"
    assert pipy("default", "--unset").stdout == "anthropic/claude-sonnet-4-5\n"


def test_ask_uses_the_default() -> None:
    assert pipy("default", "faux/echo").returncode == 0
    assert pipy("ask", "What is this?").stdout == "What is this?\n"
    slip = pipy("ask", "What is this?", PIPY_MODEL="nonsense")
    assert (slip.returncode, "PIPY_MODEL: no model 'nonsense'" in slip.stderr) == (2, True)


@pytest.mark.parametrize("name", ["local/smollm2", "hosted_vllm/mine", "ollama_chat/gemma3"])
def test_custom_names_are_accepted(name: str) -> None:
    assert pipy("default", name).stdout == f"{name}\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-sonnet-9-9", "did you mean anthropic/claude-sonnet"),
        ("openai/gpt-55", "did you mean openai/gpt-5"),
        ("", "no model"),
        ("gpt-oss-120b", "may mean cerebras/gpt-oss-120b"),
    ],
)
def test_unknown_name_is_rejected(name: str, expected: str) -> None:
    done = pipy("default", name or " ")
    assert done.returncode == 2
    assert expected in done.stderr
    assert not os.path.exists(settings.settings_path())


def test_force_accepts_unknown_names() -> None:
    assert pipy("default", "openai/gpt-55", "--force").stdout == "openai/gpt-55\n"


@pytest.mark.parametrize("content", ["{", "[]", '"x"', "\x00"])
def test_damaged_settings_file_is_reported_and_ignored(
    content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(settings.settings_path()).write_text(content)
    monkeypatch.setattr("pipy_ai.utils.warn.shown_warnings", set())
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    with pytest.warns(UserWarning, match=r"settings\.json"):
        assert default_model() == "anthropic/claude-sonnet-4-5"
    done = pipy("default", "faux/echo")
    assert done.returncode == 2
    assert "repair or delete it" in done.stderr
    assert Path(settings.settings_path()).read_text() == content
