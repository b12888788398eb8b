"""Code blocks of the documentation."""

from __future__ import annotations

import re

from .doc_pages import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
