"""Targets: text of models on a terminal, in a pipe and in Markdown."""

from __future__ import annotations

import random
import re
import unicodedata

from pipy_ai.cli.display.characters import StreamEscaper, escape_controls
from pipy_ai.cli.display.printer import escape_unprintable
from pipy_ai.utils.text import display_width, truncate

from .harness import target

# Written down once more, from Unicode's DerivedCoreProperties.txt, rather than imported: what the
# code under test has wrong must not be wrong here in the same way.
_DEFAULT_IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_FORBIDDEN = re.compile(
    "[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _DEFAULT_IGNORABLE) + "]"
)
_EMOJI = "[\xa9\xae\u203c-\u3299\U0001f000-\U0001faff]"
_FLAGS = re.compile(
    "\U0001f3f4\U000e0067\U000e0062(\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    "|\U000e0077\U000e006c\U000e0073)\U000e007f"
)
_LEGITIMATE = re.compile(
    f"{_EMOJI}[\ufe0e\ufe0f]?(\u200d{_EMOJI}[\ufe0e\ufe0f]?)*"
    "|[0-9#*]\ufe0f\u20e3"
    "|[\u0590-\u109f\u1700-\u1c4f\u1cd0-\u1cff\ua800-\uabff\ufb1d-\ufefc\U00010a00-\U00011fff]"
    "[\u034f\u200c\u200d]"
    "|[\u1820-\u18aa][\u180b-\u180d\u180f]"
)
_RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_PARTS: tuple[str, ...] = (
    "a", "b1", "Hello ", " ", "\n", "\t", "\r\n", "\r", "é", "漢字", "ש", "مي", "क्", "ᠠ", "😀",
    "👩", "❤", "🏳", "🏴", "👍🏽", "1", "#", "\u20e3", "\u200d", "\u200b", "\u200e", "\u200f",
    "\u200c", "\u061c", "\u034f", "\ufe0f", "\ufe0e", "\ufe00", "\U000e0101", "\u180b", "\u202e",
    "\u2066", "\x1b[2J", "\x1b]0;t\x07", "\x9b1m", "\x7f", "\xad", "\u2028", "\ufeff", "\u3164",
    "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f", "\U000e0067",
    "\U000e007f", "<U+", "\\x1b", "\u17b4", "\U0001d159",
)  # fmt: skip


def some_written_text(rng: random.Random, max_parts: int = 12) -> str:
    """Return text with characters that hide, command and join."""
    parts = rng.choices(_PARTS, k=rng.randint(0, max_parts))
    if rng.random() < 0.3:
        parts.insert(rng.randint(0, len(parts)), chr(rng.randrange(0x110000)))
    return "".join(parts)


@target
def terminal_text(rng: random.Random) -> None:
    """No control, direction override or needless invisible character gets to a terminal."""
    text = some_written_text(rng)
    shown = escape_controls(text)
    for char in shown:
        assert char in "\n\t" or unicodedata.category(char) not in ("Cc", "Zl", "Zp")
        assert not "\u202a" <= char <= "\u202e"
        assert not "\u2066" <= char <= "\u2069"
    for line in shown.split("\n"):
        rest = _LEGITIMATE.sub("", _FLAGS.sub("\U0001f3f4", line))
        if _RIGHT_TO_LEFT.search(line):
            rest = re.sub("[\u061c\u200e\u200f]", "", rest)
        assert not _FORBIDDEN.search(rest), (line, rest)
    assert not re.search("[\u061c\u034f\u200c\u200e\u200f\ufe0f]{2}|\u200d{2}", shown)


@target
def terminal_text_is_complete(rng: random.Random) -> None:
    """What is escaped can be read back: nothing is lost, and nothing else is changed."""
    text = some_written_text(rng).replace("<U+", "").replace("\\x", "")
    shown = escape_controls(text)
    restored = re.sub(
        r"\\x([0-9a-f]{2})|<U\+([0-9A-F]{4,6})>", lambda m: chr(int(m[1] or m[2], 16)), shown
    )
    assert restored == text.replace("\r\n", "\n")


@target
def terminal_text_in_pieces(rng: random.Random) -> None:
    """A text that arrives in pieces is shown like the whole."""
    text = some_written_text(rng)
    escaper, shown, rest = StreamEscaper(), "", text
    while rest:
        count = rng.randint(1, 6)
        shown += escaper.feed(rest[:count])
        rest = rest[count:]
    assert shown + escaper.feed("", final=True) == escape_controls(text)


@target
def terminal_tool_call(rng: random.Random) -> None:
    """The arguments of a call that is to be approved are one line without a hidden character."""
    text = some_written_text(rng)
    shown = escape_unprintable(text)
    assert shown.isprintable()
    assert not _FORBIDDEN.search(shown)


@target
def terminal_width(rng: random.Random) -> None:
    """A truncated text is no wider than it may be."""
    text = escape_controls(some_written_text(rng)).replace("\n", " ").replace("\t", " ")
    width = rng.randint(1, 40)
    shortened = truncate(text, width)
    assert display_width(shortened) <= width
    assert shortened == text or (shortened.endswith("…") and text.startswith(shortened[:-1]))
