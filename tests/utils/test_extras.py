"""Test the optional packages: which are installed, and the command that installs one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipy_ai.utils.extras import (
    EXTRAS,
    has_extra,
    install_command,
    is_installed,
    mismatched_distributions,
)


def write_metadata(directory: Path, name: str, more: str = "") -> None:
    """Let a distribution look installed in a directory."""
    folder = directory / f"{name}-0.1.0.dist-info"
    folder.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 0.1.0\n{more}"
    (folder / "METADATA").write_text(text, encoding="utf-8")


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


def test_every_extra_is_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "install.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    assert {row.split("`")[1] for row in rows} - {"pipy-ai"} == set(EXTRAS)


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
        write_metadata(tmp_path, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert install_command("aws") == f"pip install '{expected}[aws]'"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ({"pipy_ai": ""}, ""),
        ({"pipy_ai_slim": ""}, ""),
        ({"pipy_ai": "pipy-ai-slim[litellm]==0.1.0", "pipy_ai_slim": ""}, ""),
        (
            {"pipy_ai": "pipy-ai-slim[litellm]==0.0.9", "pipy_ai_slim": ""},
            "pipy-ai 0.1.0 and pipy-ai-slim 0.1.0 do not belong together",
        ),
        (  # from a clone
            {"pipy_ai": "httpx", "pipy_ai_slim": ""},
            "pipy-ai 0.1.0 and pipy-ai-slim 0.1.0 do not belong together",
        ),
    ],
)
def test_mismatched_distributions(
    installed: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, requirement in installed.items():
        write_metadata(tmp_path, name, f"Requires-Dist: {requirement}\n" if requirement else "")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert mismatched_distributions() == expected
