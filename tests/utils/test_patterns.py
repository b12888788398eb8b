"""Test that no regular expression takes more than quadratic time, by counting steps.

Texts of others are searched in a few KB only, so that quadratic time is a fraction of a second.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ..support.doc_pages import ROOT
from ..support.regex_steps import worst_growth

PACKAGE = ROOT / "src" / "pipy_ai"
FUNCTIONS = {"compile", "search", "match", "fullmatch", "sub", "split", "findall", "finditer"}
TABLES = ("error_rules", "failures", "error_body", "registry.price_rules")  # patterns as data


def _patterns() -> Iterator[tuple[str, str | bytes]]:
    """Return every pattern in the code with the place where it is."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not _is_pattern_call(node.func):
                continue
            if node.args and (pattern := _value(name, node.args[0])) is not None:
                yield f"{name}:{node.lineno}", pattern
    for table in TABLES:
        for variable, value in vars(importlib.import_module(f"pipy_ai.{table}")).items():
            for text in _texts(value):
                yield f"{table}.{variable}", text


def _is_pattern_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "NamePattern"
    return (
        isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "re"
        and function.attr in FUNCTIONS
    )


def _value(module: str, argument: ast.expr) -> str | bytes | None:
    """Return the pattern that an argument is, None if only the running code knows it."""
    code = compile(ast.Expression(argument), module, "eval")
    try:
        value = eval(code, dict(vars(importlib.import_module(module))))
    except (NameError, AttributeError):
        return None
    return value if isinstance(value, str | bytes) else None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and re.search(r"[*+]|\{\d*,", value):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, re.Pattern) and isinstance(value.pattern, str):
        yield value.pattern


def _measure() -> tuple[int, list[str]]:
    count, slow = 0, []
    places = {pattern: place for place, pattern in _patterns()}
    for pattern, place in places.items():
        try:
            growth, text = worst_growth(pattern)
        except re.error:  # a text that is no pattern
            continue
        count += 1
        if growth > 5:
            slow.append(f"{place}: {pattern!r} takes {growth:.1f} times the steps of half {text}")
    return count, slow


def _with_deep_stack(function: Callable[[], Any]) -> Any:
    """Call a function where recursion may be deep: each character of a text needs some frames."""
    result: list[Any] = []
    limit = sys.getrecursionlimit()
    threading.stack_size(128 << 20)
    thread = threading.Thread(target=lambda: result.append(function()))
    try:
        sys.setrecursionlimit(20_000)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(limit)
        threading.stack_size(0)
    return result[0]


def test_no_pattern_backtracks_more_than_quadratically() -> None:
    count, slow = _with_deep_stack(_measure)
    assert count > 80
    assert slow == []


@pytest.mark.parametrize(
    ("pattern", "is_slow"),
    [
        (r"(a+)+$", True),
        (r"(\w+\s?)*;", True),
        (r"(a|a)*b", True),
        (r"\s*\s*\s*x", True),
        (r"a+b", False),
        (r"(?>a+)+b", False),
        (r"[^<]*<", False),
        (r"x(?:ab|cd)*y", False),
    ],
)
def test_steps_tell_slow_patterns(pattern: str, is_slow: bool) -> None:
    growth, _ = _with_deep_stack(lambda: worst_growth(pattern))
    assert (growth > 5) is is_slow
