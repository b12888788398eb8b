"""YAML that others wrote: errors in words, and no bombs."""

from __future__ import annotations

import pytest

from pipy_ai.utils.yaml_text import parse_yaml


def test_plain_data() -> None:
    assert parse_yaml("a: 1\nb: [true, null]\n") == {"a": 1, "b": [True, None]}
    assert parse_yaml("") is None
    assert parse_yaml("a: &x {k: 1}\nb: {<<: *x}\n") == {"a": {"k": 1}, "b": {"k": 1}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: b\n c: [", "line 2"),
        ("when: 2001-99-99", "month must be in 1..12"),
        ("!!bool x", "tag"),
        ("!!float x", "could not convert"),
        ("!!float ''", "tag"),
        ("!!timestamp x", "tag"),
        ("!!python/object:os.system x", "line 1"),
        ("a: &x {b: *x}", "line 1: an alias contains itself"),
        ("&x [*x]", "contains itself"),
        ("[" * 1200, "nested too deeply"),
    ],
)
def test_malformed_text(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("[", r"\[")):
        parse_yaml(text)


@pytest.mark.parametrize("entry", ["[{}]", "{{<<: [{}]}}"])
def test_alias_bomb_is_refused(entry: str) -> None:
    lines = ["a0: &a0 {k: 1}"]
    for level in range(1, 30):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} " + entry.format(aliases))
    with pytest.raises(ValueError, match="more than 100,000 values"):
        parse_yaml("\n".join(lines))
