"""Test tables on a terminal: their width, their header, the pager."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipy_ai.cli.display.table import fit_columns

from ..support.command import pipy
from ..support.terminal import Terminal


@pytest.mark.parametrize("columns", [20, 40, 80, 100])
@pytest.mark.parametrize(
    "arguments",
    [["models", "gpt"], ["providers"], ["keys"], ["history", "list"], ["templates"]],
    ids=" ".join,
)
def test_no_row_is_wider_than_the_terminal(
    columns: int, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = Path(os.environ["PIPY_DATA_DIR"])
    (data_dir / "templates").mkdir()
    (data_dir / "templates" / "a-long-name-of-a-template.md").write_text("word " * 50)
    for number in range(3):
        pipy("ask", "-m", "faux/echo", f"question {number} " + "word " * 30)
    env = {"OPENAI_API_KEY": "k", "GEMINI_API_KEY": "k", "PAGER": "cat"}
    with Terminal("-m", "pipy_ai", *arguments, columns=columns, env=env) as terminal:
        assert terminal.wait() == 0
        rows = terminal.raw.decode().replace("\x1b[1m", "").replace("\x1b[0m", "").split("\r\n")
        rows = [row.rpartition("\r")[2] for row in rows]  # without the status line
        table = [row for row in rows if "\x1b[2m" not in row and not row.startswith("pipy:")]
        assert [row for row in table[:4] if len(row) > columns and " " in row] == []
        assert b"\x1b[1m" in terminal.raw


def test_the_columns_that_matter_least_are_dropped_first_and_named() -> None:
    arguments = ["models", "sonnet", "--provider", "anthropic", "--limit", "2"]
    with Terminal("-m", "pipy_ai", *arguments, columns=60) as terminal:
        assert terminal.wait() == 0
        assert terminal.screen[0].split() == ["model", "context", "in", "out"]
        assert "columns hidden to fit the terminal: output, released" in terminal.text


@pytest.mark.parametrize(
    ("widths", "screen", "shown"),
    [
        ([10, 40, 6], 60, {0: 10, 1: 40, 2: 6}),
        ([10, 40, 6], 40, {0: 10, 1: 20, 2: 6}),
        ([10, 40, 6], 26, {0: 10, 1: 14}),
        ([10, 10**7, 6], 40, {0: 10, 1: 20, 2: 6}),
        ([90, 40, 6], 40, {0: 40}),
        ([90, 40, 6], 50, {0: 32, 1: 16}),
        ([90, 40, 6], 10, {0: 10}),
    ],
)
def test_widths_of_columns(widths: list[int], screen: int, shown: dict[int, int]) -> None:
    assert fit_columns(["id", "title", "cost"], widths, screen, {"cost"}) == shown


def test_without_room_for_two_columns_each_value_has_a_line(july: Path) -> None:
    arguments = ["models", "sonnet", "--provider", "anthropic", "--limit", "2"]
    with Terminal("-m", "pipy_ai", *arguments, columns=20, rows=60) as terminal:
        assert terminal.wait() == 0
        shown = terminal.text
    assert shown.count("  context:") == shown.count("  in: ") == 2
    assert "no room" not in shown


@pytest.fixture
def pager(tmp_path: Path) -> str:
    """A pager that marks what it is given."""
    path = tmp_path / "mark"
    path.write_text('#!/bin/sh\necho PAGED\nhead -3\necho "LESS=$LESS"\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "env", "paged"),
    [
        (["models"], {}, True),
        (["models", "--limit", "5"], {}, False),
        (["models", "--no-pager", "--limit", "30"], {}, False),
        (["--no-pager", "models", "--limit", "30"], {}, False),
        (["models", "--limit", "30"], {"PIPY_PAGER": "cat"}, False),
        (["models", "--limit", "30"], {"PIPY_PAGER": ""}, False),
        (["models", "--limit", "30"], {"PIPY_PAGER": "/no/such/pager"}, False),
        (["models", "--limit", "30"], {"TERM": "dumb"}, False),
    ],
)
def test_a_pager_shows_what_is_longer_than_the_screen(
    pager: str, arguments: list[str], env: dict[str, str], paged: bool
) -> None:
    with Terminal("-m", "pipy_ai", *arguments, env={"PAGER": pager, **env}) as terminal:
        assert terminal.wait() == 0
        assert ("PAGED" in terminal.text) is paged
        assert ("LESS=FRX" in terminal.text) is paged
        assert terminal.text.count("\n") > (3 if paged else 5)


def test_no_pager_and_no_truncation_in_a_pipe(pager: str) -> None:
    done = pipy("models", "--columns", "model,name,released", PAGER=pager, COLUMNS="20")
    assert "PAGED" not in done.stdout
    assert "…" not in done.stdout
    assert "\x1b" not in done.stdout
