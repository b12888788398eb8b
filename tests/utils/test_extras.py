"""Test the optional packages: which are installed, and the command that installs one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipy_ai.utils.extras import has_extra, install_command, is_installed


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("json", True),
        ("importlib.util", True),
        ("no_such_package", False),
        ("no_such_package.module", False),
        ("importlib.no_such_module", False),
        ("json.decoder.no_package", False),
    ],
)
def test_is_installed(module: str, expected: bool) -> None:
    assert is_installed(module) is expected


def test_extra_needs_all_its_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    assert not has_extra("gateway")


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ((), "pipy-ai"),
        (("pipy_ai",), "pipy-ai"),
        (("pipy_ai_slim",), "pipy-ai-slim"),
        (("pipy_ai", "pipy_ai_slim"), "pipy-ai"),
    ],
)
def test_install_command_names_the_installed_distribution(
    installed: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in installed:
        folder = tmp_path / f"{name}-0.1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 0.1.0\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert install_command("aws") == f"pip install '{expected}[aws]'"
