"""Random values that programs get wrong: numbers, text, JSON, and bytes in pieces."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

ODD_TEXTS = (
    "", " ", "\n", "\r\n", "\t", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u200b", "\u202e",
    "\ufeff", "\ufffd", "\ud83d", "\ude00", "\ud83d\ude00", "😀", "é", "e\u0301", "\U000e0041",
    "\ufe0f", "null", "true", "NaN", "-Infinity", "0", "-1", "1e999", "٣", "²", "{}", "[]", "{",
    "}", '"', "\\", "\\u", "\\ud83d", "'", "`", "<html>", "data:", "data: x", "event: ping",
    "[DONE]", "a" * 300,
)  # fmt: skip

ODD_NUMBERS = (
    0, 1, -1, 2, 3, 0.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**15,
    10**16, 10**400, -(10**400), 429, 500, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip


def some_text(rng: random.Random, max_parts: int = 4) -> str:
    """Return text in which odd pieces stand between ordinary ones; it may hold lone surrogates."""
    parts = []
    for _ in range(rng.randint(0, max_parts)):
        kind = rng.random()
        if kind < 0.4:
            parts.append(rng.choice(("Hello", "wörld", "42", "a b", "日本", "x")))
        elif kind < 0.9:
            parts.append(rng.choice(ODD_TEXTS))
        else:
            parts.append(chr(rng.randrange(0x110000)))
    return "".join(parts)


def some_json(rng: random.Random, depth: int = 3) -> Any:
    """Return a JSON value of any type, with NaN, infinities and huge numbers."""
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind <= 3:
        return rng.choice(ODD_NUMBERS)
    if kind <= 5:
        return some_text(rng)
    if kind == 6:
        return [some_json(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    return {some_text(rng, 2): some_json(rng, depth - 1) for _ in range(rng.randint(0, 3))}


def dump_json(rng: random.Random, value: Any) -> str:
    """Return JSON in one of its spellings. Python's NaN and lone surrogates stay what they are."""
    separators = rng.choice(((",", ":"), (", ", ": "), (" , ", " : ")))
    return json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=separators)


def changed(
    rng: random.Random,
    value: Any,
    changes: int = 1,
    make: Callable[[random.Random], Any] = some_json,
) -> Any:
    """Return a copy of a JSON value in which some parts, at any depth, are replaced or removed."""
    root = [copy.deepcopy(value)]
    for _ in range(changes):
        holder: Any = root
        key: Any = 0
        while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.85:
            holder = holder[key]
            key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        kind = rng.random()
        if kind < 0.8:
            holder[key] = make(rng)
        elif kind < 0.9 and isinstance(holder, dict):
            del holder[key]
        else:
            holder[key] = [holder[key]] if kind < 0.95 else {"text": holder[key]}
    return root[0]


def pieces(rng: random.Random, data: bytes, max_cuts: int = 6) -> list[bytes]:
    """Return bytes cut at random places."""
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.randint(0, max_cuts)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
