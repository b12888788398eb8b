"""What is shipped: metadata, files, and what must never be committed."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import metadata, requires
from importlib.resources import files
from pathlib import Path

import pipy_ai

ROOT = Path(__file__).parents[1]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == pipy_ai.__version__ == metadata("pipy-ai")["Version"]
    assert f"## {pipy_ai.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_bad_versions_of_litellm_are_excluded() -> None:
    [litellm] = [r for r in requires("pipy-ai") or [] if r.startswith("litellm")]
    for bad in ("!=1.106.*", "!=1.107.*", "!=1.82.7", "!=1.82.8", ">=1.105"):
        assert bad in litellm


def test_types_and_template_are_shipped() -> None:
    package = files("pipy_ai")
    assert (package / "py.typed").is_file()
    assert (package / "provider" / "smollm2.jinja").is_file()


def test_no_registry_host_and_no_lock_file_is_committed() -> None:
    hosts = re.compile(r"https?://[\w.-]*(pypi|pythonhosted|npmjs|debian)\.(org|com)", re.I)
    for path in tracked():
        assert path.name not in ("uv.lock", "poetry.lock")
        if path.is_file() and path.suffix in (".toml", ".txt", ".md", ".py", ".cfg", ""):
            assert not hosts.search(path.read_text(encoding="utf-8", errors="replace")), path


def test_only_one_file_imports_litellm() -> None:
    imports = re.compile(r"^\s*(?:import|from)\s+litellm|import_module\(\"litellm", re.M)
    found = [
        path.name
        for path in (ROOT / "src").rglob("*.py")
        if imports.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["litellm_transport.py"]
