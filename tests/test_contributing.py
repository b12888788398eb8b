"""CONTRIBUTING.md names files that exist, and its map covers the package."""

from __future__ import annotations

import re

from .support.doc_pages import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "pipy_ai"
EXAMPLES = {"docs/**/*.md", "tests/test_x.py"}
ENTRY_POINTS = {"__init__.py", "__main__.py", "_version.py"}


def named_paths(text: str) -> set[str]:
    code = {part for span in re.findall(r"`([^`\n]+)`", text) for part in span.split()}
    code |= {part for part in re.findall(r"\S+", text) if part.startswith(("tests/", ".ci/"))}
    return {
        part.rstrip(",.;:")
        for part in code
        if re.fullmatch(r"[\w./*-]+", part)
        and (part.startswith(("src/", "tests/", "docs/")) or part.endswith((".py", ".toml", "/")))
    }


def test_every_path_exists() -> None:
    paths = named_paths(TEXT) - EXAMPLES
    assert len(paths) > 80
    missing = [
        path for path in paths if not (ROOT / path).exists() and not (PACKAGE / path).exists()
    ]
    assert not missing


def test_the_map_covers_every_module() -> None:
    table = TEXT.partition("## Map of the package")[2].partition("\n## ")[0]
    paths = named_paths(table)
    unnamed = []
    for file in PACKAGE.rglob("*.py"):
        path = file.relative_to(PACKAGE)
        parents = {f"{parent}/" for parent in path.parents}
        if path.name not in ENTRY_POINTS and str(path) not in paths and not parents & paths:
            unnamed.append(str(path))
    assert not unnamed
