"""Test the size of the terminal: the same as `shutil` finds."""

from __future__ import annotations

import shutil

import pytest

from pipy_ai.utils.terminal_size import get_terminal_size


@pytest.mark.parametrize("columns", [None, "", "0", "-3", "wide", "20", "132"])
@pytest.mark.parametrize("lines", [None, "0", "50"])
@pytest.mark.parametrize("fallback", [(80, 24), (0, 0)])
def test_size_is_that_of_shutil(
    monkeypatch: pytest.MonkeyPatch,
    columns: str | None,
    lines: str | None,
    fallback: tuple[int, int],
) -> None:
    for name, value in (("COLUMNS", columns), ("LINES", lines)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert get_terminal_size(fallback) == shutil.get_terminal_size(fallback)


def test_closed_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)
    assert get_terminal_size() == (80, 24)
