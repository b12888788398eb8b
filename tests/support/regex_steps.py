"""Count the steps of Python's backtracking on texts that are made to fail late.

`worst_growth` is how many times more steps a pattern needs when its worst text doubles: about 2 if
it is linear, 4 if it is quadratic, 8 and more if an attacker can freeze the process with a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from re import _compiler as compiler  # type: ignore[attr-defined]
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_STEPS = 40_000
LENGTH = 16  # repetitions of the shorter text
_SINGLE = {op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.RANGE}
_REPEATS = {op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT}


class TooManySteps(Exception):
    """The text needs more than `MAX_STEPS`."""


class _Counter:
    """Searches as Python does, from every position, and counts comparisons."""

    def __init__(self, tree: Any, text: Any) -> None:
        self._tree, self._text, self.steps = tree, text, 0
        self._matchers: dict[int, Any] = {}

    def search(self) -> int:
        """Return the number of steps until a match or the failure at the end."""
        for start in range(len(self._text) + 1):
            if self._match(list(self._tree), 0, start, lambda end: True):
                break
        return self.steps

    def _match(self, nodes: list[Any], at: int, pos: int, then: Callable[[int], bool]) -> bool:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise TooManySteps
        if at == len(nodes):
            return then(pos)
        kind, value = nodes[at]

        def rest(end: int) -> bool:
            return self._match(nodes, at + 1, end, then)

        if kind in _SINGLE or kind in (op.AT, op.ASSERT, op.ASSERT_NOT, op.GROUPREF):
            end = self._simple(nodes[at], pos)
            return end >= 0 and rest(end)
        if kind is op.SUBPATTERN:
            return self._match(list(value[3]), 0, pos, rest)
        if kind is op.BRANCH:
            return any(self._match(list(branch), 0, pos, rest) for branch in value[1])
        if kind is op.ATOMIC_GROUP:
            end = self._first_end(list(value), pos)
            return end >= 0 and rest(end)
        if kind in _REPEATS:
            low, high, body = value
            return self._repeat(kind, list(body), low, high, pos, rest)
        raise NotImplementedError(kind)

    def _simple(self, node: Any, pos: int) -> int:
        matcher = self._matchers.get(id(node))
        if matcher is None:
            piece = parser.SubPattern(self._tree.state, [node])
            try:
                matcher = compiler.compile(piece, self._tree.state.flags)
            except Exception:  # a reference to a group matches nothing alone
                matcher = re.compile("" if isinstance(self._text, str) else b"")
            self._matchers[id(node)] = matcher
        match = matcher.match(self._text, pos)
        return match.end() if match else -1

    def _first_end(self, nodes: list[Any], pos: int) -> int:
        """Return where the first match of the nodes ends; -1 if there is none."""
        ends: list[int] = []

        def keep(end: int) -> bool:
            ends.append(end)
            return True

        return ends[0] if self._match(nodes, 0, pos, keep) else -1

    def _repeat(
        self, kind: Any, body: list[Any], low: int, high: Any, pos: int, rest: Callable[[int], bool]
    ) -> bool:
        def more(count: int, start: int) -> bool:
            def after(end: int) -> bool:
                return end != start and more(count + 1, end)

            can_stop = count >= low
            if kind is op.MIN_REPEAT and can_stop and rest(start):
                return True
            if (high is op.MAXREPEAT or count < high) and self._match(body, 0, start, after):
                return True
            return kind is not op.MIN_REPEAT and can_stop and rest(start)

        if kind is not op.POSSESSIVE_REPEAT:
            return more(0, pos)
        count = 0
        while high is op.MAXREPEAT or count < high:
            end = self._first_end(body, pos)
            if end <= pos:
                break
            pos, count = end, count + 1
        return count >= low and rest(pos)


def _sample(nodes: Any, choice: int) -> str:
    """Return a text that the nodes match, roughly: `choice` selects among alternatives."""
    text = ""
    for kind, value in nodes:
        if kind is op.LITERAL:
            text += chr(value)
        elif kind in (op.NOT_LITERAL, op.ANY):
            text += "a" if value != ord("a") else "b"
        elif kind is op.IN:
            text += _sample_of_set(value, choice)
        elif kind is op.SUBPATTERN:
            text += _sample(value[3], choice)
        elif kind is op.ATOMIC_GROUP:
            text += _sample(value, choice)
        elif kind is op.BRANCH:
            text += _sample(value[1][choice % len(value[1])], choice)
        elif kind in _REPEATS:
            text += _sample(value[2], choice) * max(1, value[0])
    return text


def _sample_of_set(items: Any, choice: int) -> str:
    negated = items[0][0] is op.NEGATE
    if negated:
        taken = {chr(value) for kind, value in items[1:] if kind is op.LITERAL}
        return next(char for char in "a1 .\nb" if char not in taken)
    kind, value = items[choice % len(items)]
    if kind is op.LITERAL:
        return chr(value)
    if kind is op.RANGE:
        return chr(value[0])
    by_category = {op.CATEGORY_DIGIT: "1", op.CATEGORY_SPACE: " ", op.CATEGORY_NOT_SPACE: "a"}
    return by_category.get(value, "a")


def _texts(nodes: Any, prefix: str, choice: int) -> Iterator[tuple[str, str]]:
    """Return, for each unbounded repeat, what precedes it and what it repeats."""
    for kind, value in nodes:
        if kind in _REPEATS:
            if value[1] is op.MAXREPEAT or value[1] > 20:
                yield prefix, _sample(value[2], choice) or "a"
            yield from _texts(value[2], prefix, choice)
        elif kind is op.SUBPATTERN:
            yield from _texts(value[3], prefix, choice)
        elif kind is op.ATOMIC_GROUP:
            yield from _texts(value, prefix, choice)
        elif kind is op.BRANCH:
            for branch in value[1]:
                yield from _texts(branch, prefix, choice)
        prefix += _sample([(kind, value)], choice)


def worst_growth(pattern: str | bytes, flags: int = 0) -> tuple[float, str]:
    """Return the growth of the worst text of a pattern, and its repeated part."""
    tree = parser.parse(pattern, flags)
    worst = (0.0, "")
    pumps = {text for choice in range(2) for text in _texts(tree, "", choice)}
    for prefix, pump in sorted(pumps):
        for end in ("", "\x00"):
            growth = _growth(tree, pattern, prefix, pump, end)
            worst = max(worst, (growth, f"{prefix!r} + {pump!r} * n + {end!r}"))
    return worst


def _growth(tree: Any, pattern: str | bytes, prefix: str, pump: str, end: str) -> float:
    steps = []
    for length in (LENGTH, 2 * LENGTH):
        text: Any = prefix + pump * length + end
        if isinstance(pattern, bytes):
            text = text.encode("latin-1", "replace")
        try:
            steps.append(_Counter(tree, text).search())
        except TooManySteps:
            return float("inf")
    return steps[1] / steps[0] if steps[1] > 20 * LENGTH else 0.0
