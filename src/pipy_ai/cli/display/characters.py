"""Which characters a terminal gets as they are: the one rule for everything that pipy prints.

Shown escaped are control characters, as `\\x1b`, and characters that are invisible or turn the
direction of text, as `<U+202E>`. Kept are those that writing needs, where it needs them:

- newlines and tabs;
- U+FE0E and U+FE0F after an emoji, and in a keycap; U+200D between two emoji;
- the tags of the flags of England, Scotland and Wales;
- joiners after a letter of a script that has them, from Hebrew to Mongolian;
- Mongolian variation selectors after a Mongolian letter;
- direction marks in a line with a letter that is written from right to left, but not between two
  letters of another script.

Two in a row are never kept, except U+FE0F and U+200D: a sequence of them could spell hidden text.
"""

from __future__ import annotations

import re
from functools import cache

CONTEXT_CHARS = 1000  # how much of a line decides whether its direction marks are shown

# The flags of England, Scotland and Wales: a black flag and letters that are invisible elsewhere.
_FLAGS = "|".join(
    "\U0001f3f4" + "".join(chr(0xE0000 + ord(letter)) for letter in region) + "\U000e007f"
    for region in ("gbeng", "gbsct", "gbwls")
)
_DIRECTION_MARKS = "\u061c\u200e\u200f"
_JOINERS = "\u034f\u200c\u200d"
_EMOJI_SELECTORS = "\ufe0e\ufe0f"
_MONGOLIAN_SELECTORS = "\u180b-\u180d\u180f"
_CONTEXTUAL = _DIRECTION_MARKS + _JOINERS + _EMOJI_SELECTORS + _MONGOLIAN_SELECTORS
# Never kept: controls except newline and tab, what ends a line on some terminals, and what Unicode
# calls default ignorable or leaves blank: it is invisible, and could carry hidden text.
_ESCAPED = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u115f\u1160\u17b4\u17b5\u180e\u200b\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb\U00013430-\U00013446\U00016fe4"
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_ESCAPABLE = f"\r\n|{_FLAGS}|[{_ESCAPED}{_CONTEXTUAL}]"
_UNDECIDED = f"[{_CONTEXTUAL}]?(?:\r|\U0001f3f4[\U000e0000-\U000e007e]*)\\Z|[{_CONTEXTUAL}]\\Z"
_UNDECIDED_CHARS = 8
_HIDDEN = f"[{_ESCAPED}{_CONTEXTUAL}]"
_EMOJI = (  # with symbols that may be drawn as one
    "[\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_JOINED_LETTER = (  # a letter or mark of Hebrew, Arabic, Devanagari, …, Mongolian, …
    "[\u0590-\u109f\u1700-\u18af\u1900-\u1aaf\u1b00-\u1c4f\u1cd0-\u1cff\ua800-\ua95f\ua980-\uab2f"
    "\uabc0-\uabff\ufb1d-\ufdff\ufe70-\ufefc\U00010a00-\U00011fff]"
)
_RIGHT_TO_LEFT = (
    "[\u0590-\u05ff\u0600-\u061b\u061d-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff"
    "\U0001e800-\U0001efff]"
)


# Compiled on first use: the patterns take 2 ms, and few commands print anything but ASCII.
_compiled = cache(re.compile)


def escape_controls(text: str, start: int = 0) -> str:
    """Return `text[start:]` as a terminal may get it. `\\r\\n` becomes a newline.

    Example:
        >>> escape_controls("\\x1b[2J pay\\u202eload \\u2764\\ufe0f") == (
        ...     r"\\x1b[2J pay<U+202E>load " + "\\u2764\\ufe0f"
        ... )
        True
    """
    if text.isascii() and all(map(str.isprintable, text.split("\n"))):
        return text[start:]
    escapable = _compiled(_ESCAPABLE)
    if escapable.search(text, start) is None:
        return text[start:]
    parts = []
    for match in escapable.finditer(text, start):
        parts += [text[start : match.start()], _escaped(match)]
        start = match.end()
    return "".join([*parts, text[start:]])


def _escaped(match: re.Match[str]) -> str:
    char, text, at = match[0], match.string, match.start()
    if len(char) > 1:  # a flag or the end of a line
        return "\n" if char == "\r\n" else char
    if _is_in_place(char, text, at):
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0xA0 else f"<U+{code:04X}>"


def _is_in_place(char: str, text: str, at: int) -> bool:
    """Return whether an invisible character belongs to the characters beside it."""
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if char in _EMOJI_SELECTORS:
        is_keycap = char == "\ufe0f" and after == "\u20e3" and before in "0123456789#*"
        return bool(before) and (is_keycap or _is_emoji(before))
    if char == "\u200d" and _is_emoji(after):
        base = text[at - 2 : at - 1] if before == "\ufe0f" else before
        return _is_emoji(base)
    if _compiled(_HIDDEN).fullmatch(before):
        return False
    if char in _JOINERS:
        return _compiled(_JOINED_LETTER).fullmatch(before) is not None
    if char in _DIRECTION_MARKS:
        if (
            before.isalnum()
            and after.isalnum()
            and not _compiled(_RIGHT_TO_LEFT).search(before + after)
        ):
            return False
        line = text[max(at - CONTEXT_CHARS, 0) : at].rpartition("\n")[2] + after
        return _compiled(_RIGHT_TO_LEFT).search(line) is not None
    return "\u1820" <= before <= "\u18aa" and char in "\u180b\u180c\u180d\u180f"


def _is_emoji(char: str) -> bool:
    return _compiled(_EMOJI).fullmatch(char) is not None


class StreamEscaper:
    """Escape a text that arrives in pieces, as `escape_controls` would escape the whole of it."""

    def __init__(self) -> None:
        self._line = ""  # the end of what was returned, for the context
        self._held = ""  # its meaning depends on what follows

    def feed(self, text: str, final: bool = False) -> str:
        """Return what can be shown; with `final`, everything."""
        text = self._held + text
        undecided = None
        if not final and not (text.isascii() and text[-1:] != "\r"):
            undecided = _compiled(_UNDECIDED).search(text, max(0, len(text) - _UNDECIDED_CHARS))
        self._held = "" if undecided is None else undecided[0]
        text = text[: len(text) - len(self._held)]
        escaped = escape_controls(self._line + text, len(self._line))
        self._line = (self._line + text).rpartition("\n")[2][-CONTEXT_CHARS:]
        return escaped
