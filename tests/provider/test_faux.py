"""Test the scripted provider."""

from __future__ import annotations

from pipy_ai import complete, faux


def test_scripts_can_be_nested() -> None:
    with faux.script("outer"):
        with faux.script("inner"):
            assert complete("faux/m", "q").text == "inner"
        assert complete("faux/m", "q").text == "outer"
