"""Test the check of the documentation's site."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from .support.doc_pages import ROOT

PAGE = """<!doctype html><meta name="viewport" content="width=device-width">
<title>A page</title><link rel="icon" href="data:,">{}"""


@pytest.fixture
def check_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("check_site", ROOT / "check_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SITE", tmp_path)
    return module


def test_broken_links_and_anchors_are_found(check_site: Any, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "index.html").write_text("")
    base = "http://127.0.0.1:1/"
    links = dict.fromkeys([base + "a/", base + "a/#here", base + "a/#gone", base + "b/"], "/")
    links |= {"https://example.com/": "/"}
    problems = [text for _, text in check_site.link_problems(links, {base + "a/": {"here"}}, base)]
    assert len(problems) == 2
    assert "a/#gone: there is no such anchor" in problems[0]
    assert "b/ is broken" in problems[1]


def test_without_chromium_it_says_so(
    check_site: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_site, "NAMES", ("no-such-browser",))
    monkeypatch.setattr(sys, "argv", ["check_site.py"])
    assert check_site.main() == 0
    assert "skipped, Chromium is not installed" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
def test_faults_of_pages_are_found(check_site: Any, tmp_path: Path) -> None:
    body = (
        '<main><p style="width: 600px">wide</p><img src="gone.png">'
        '<pre><code><span class="gp">$ </span>ls</code></pre>'
        "<script>throw new Error('broken script')</script></main>"
    )
    for name, text in {"bad": body, "good": "<main>Hello</main>"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(PAGE.format(text))
    with check_site.served(tmp_path) as base:
        browser = check_site.Browser(shutil.which("chromium"), str(tmp_path / "profile"))
        try:
            assert check_site.check_pages(browser, base, "good", None) == []
            problems = "\n".join(check_site.check_pages(browser, base, "bad", None))
        finally:
            browser.close()
    for fault in (
        "scrolls sideways",
        "gone.png is missing",
        "copies prompts",
        "broken script",
        "without JavaScript: ",
    ):
        assert fault in problems, problems
