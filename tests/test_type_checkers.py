"""Run mypy, pyright and ty over the documentation and over the types that callers see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .support.doc_pages import PAGES, ROOT, python_module

TYPING = ROOT / "tests" / "typing"
# The modules are run as modules, so that the environment's own are found wherever the tests run.
MYPY = [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml"]
PYRIGHT = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
TY = [sys.executable, "-m", "ty", "check", "--python", sys.prefix, "--output-format", "concise"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Write the Python of each page to a module; return the paths of all modules."""
    directory = tmp_path_factory.mktemp("pages")
    modules = []
    for page in PAGES:
        if source := python_module(page):
            module = directory / f"page_{page.stem.lower().replace('-', '_')}.py"
            module.write_text(source, encoding="utf-8")
            modules.append(str(module))
    return modules


def check(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a type checker in the repository, without access to the network."""
    environment = {
        **os.environ,
        "MYPYPATH": str(ROOT / "src"),
        "PYTHONPATH": str(ROOT / "src"),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",  # otherwise it checks PyPI for a newer version
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("command", [MYPY, PYRIGHT, TY], ids=["mypy", "pyright", "ty"])
def test_documentation_and_inferred_types(command: list[str], pages: list[str]) -> None:
    done = check([*command, *pages, str(TYPING)])
    if done.returncode:
        pytest.fail(f"{done.stdout}\n{done.stderr}", pytrace=False)


@pytest.mark.timeout(300)
def test_public_types_are_complete() -> None:
    done = check([*PYRIGHT, "--verifytypes", "pipy_ai", "--ignoreexternal", "--outputjson"])
    report = json.loads(done.stdout)["typeCompleteness"]
    assert Path(report["moduleRootDirectory"]) == ROOT / "src" / "pipy_ai"
    incomplete = {
        symbol["name"]: [found["message"] for found in symbol["diagnostics"]]
        for symbol in report["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    }
    assert report["completenessScore"] >= 0.98, incomplete


def test_module_of_a_page_keeps_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n- In a list:\n\n  ```python\n  a = 1\n  ```\n\n"
        "<!-- not typed: a mistake -->\n```python\nb = 1 + ''\n```\n\n"
        "<!-- not run: needs a key -->\n```python\nc = 3\n```\n"
    )
    lines = python_module(page).splitlines()
    assert {number: line for number, line in enumerate(lines, 1) if line[:1].isalpha()} == {
        6: "a = 1",
        16: "c = 3",
    }
