"""The pictures of the documentation are current, small and self-contained."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from .support.doc_pages import PAGES, ROOT

IMAGES = ROOT / "docs" / "img"


@pytest.mark.timeout(300)
def test_the_pictures_are_current() -> None:
    command = [sys.executable, str(ROOT / "build_pictures.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pictures_are_small_and_fetch_nothing() -> None:
    for path in IMAGES.iterdir():
        text = path.read_text(encoding="utf-8")
        assert len(text) < 12_000, path.name
        assert re.findall(r"https?://[^\"' )]+", text) == ["http://www.w3.org/2000/svg"], path.name
        assert "<title>" in text


def test_description_of_the_parts_of_a_delta_has_the_measured_figures() -> None:
    account = json.loads((ROOT / "benchmarks" / "account.json").read_text(encoding="utf-8"))
    described = []
    for name in ("burst", "paced"):
        parts, httpx = account[name]["parts"], account[name]["httpx"]
        figures = {**parts, "pipy-ai": sum(parts.values()), "raw httpx": httpx}
        described += [f"{part} {count / 1000:.1f}" for part, count in figures.items()]
        assert min(figures.values()) >= 0
    for page in (ROOT / "docs" / "wires.md", ROOT / "benchmarks" / "README.md"):
        text = page.read_text(encoding="utf-8")
        assert [figure for figure in described if figure not in text] == []


def test_every_picture_is_shown_in_both_themes() -> None:
    shown = {
        match
        for page in PAGES
        for match in re.findall(r"img/([\w-]+\.svg)", page.read_text(encoding="utf-8"))
    }
    assert shown == {path.name for path in IMAGES.iterdir()}
