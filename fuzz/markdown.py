"""Targets: Markdown on a terminal shows every visible character, however it arrives."""

from __future__ import annotations

import random
import re
from collections import Counter

from markdown_it import MarkdownIt

from pipy_ai.cli.display.characters import StreamEscaper, escape_controls
from pipy_ai.cli.display.code_blocks import extract_code_blocks
from pipy_ai.cli.display.rendering import Renderer

from .harness import target
from .terminal import some_written_text

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_MARKUP = frozenset("*~`>#|-:[]()\\")  # may be hidden where it is markup
_PIECES: tuple[str, ...] = (
    "# ", "## ", "> ", ">", "- ", "* ", "+ ", "1. ", "1986. ", "7) ", "007. ", "```", "```py\n",
    "```sh -x\n", "~~~", "~~~\n", "    ", "\t", "  ", " ", " ", "| a | b |\n|---|:-:|\n",
    "| x | `p|q` | z |\n", "|", "***", "**", "*", "_", "__", "~~", "~", "`", "``", "$", "$$", "\\",
    "\\(", "\\)", "\\[", "\\]", "[", "](", ")", "![", "<", ">", "<b>", "&amp;", "&nbsp;", "&#8203;",
    '[l](http://x.y/a_b "t")', "[^1]", "[^1]: note", "http://例え.jp/a*b*c", "---", "===", "=",
    "|---|---|", "a", "b1", "word", "é", "東京", "日本語の文", "👩\u200d👧", "שלום\u200f", "x" * 50,
    "/usr/" + "y" * 45, "2*3*4", "x**2", "a_1*b_2", "C:\\_x\\*.y", "def f(x):\n", "\n", "\n", "\n",
    "\n", "\n\n", "\r\n", "<!-- c -->", "<div>\n", "!", ".", ",", ":", "(", "{", "}", "'", '"', "@",
    "%", "^", "/", "\x1b[2J", "\u202e",
)  # fmt: skip
_RENDERER = Renderer()  # a new one takes a millisecond
_PARSER = MarkdownIt("commonmark", {"html": False, "maxNesting": 100}).disable("lheading")


def some_markdown(rng: random.Random) -> str:
    """Return fragments of Markdown, or odd characters."""
    if rng.random() < 0.1:
        return some_written_text(rng)
    return "".join(rng.choices(_PIECES, k=rng.randint(1, rng.choice((6, 12, 30)))))


def _rows(pieces: list[str], width: int) -> list[str]:
    """Return the rows that are printed for good, as `Page.paint` composes them."""
    renderer, escaper, pending = _RENDERER, StreamEscaper(), ""
    renderer.split_blocks("", final=True)  # forget the text before
    rows: list[str] = []
    for number, piece in enumerate(pieces, 1):
        final = number == len(pieces)
        pending += escaper.feed(piece, final)
        for block in renderer.split_blocks(pending, final):
            block_rows = [row.text for row in renderer.render_rows(block, width)]
            if block.complete:
                is_apart = rows and block_rows and not block.continues
                rows += ["", *block_rows] if is_apart else block_rows
        pending = renderer.unfinished_text
    return rows


def _visible(text: str) -> Counter[str]:
    return Counter(char for char in text if not char.isspace() and char not in _MARKUP)


@target
def markdown_is_complete(rng: random.Random) -> None:
    """Every visible character of a text is visible once it is rendered, at any width."""
    text, width = some_markdown(rng), rng.choice((4, 11, 20, 33, 80))
    source = escape_controls(text)
    shown = _STYLE.sub("", "\n".join(_rows([text], width)))
    lost = _visible(source) - _visible(shown)
    if lost:  # a known language of code is shown by its colors
        tokens = _PARSER.parse(source)  # and `___` is drawn as a line
        hidden = [token.info if token.type == "fence" else token.markup for token in tokens]
        hidden += re.findall(r"[`~]{3} *(\w+)", source)  # a fence directly after a table
        lost -= _visible("".join(hidden))
    assert not lost, (text, shown)


@target
def markdown_in_pieces(rng: random.Random) -> None:
    """A text that arrives in pieces looks like the whole."""
    text, width = some_markdown(rng), rng.choice((7, 20, 33, 80))
    cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(1, 5)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    assert _rows(pieces, width) == _rows([text], width)


@target
def markdown_code_blocks(rng: random.Random) -> None:
    """The code blocks of a text are parts of it."""
    text = some_markdown(rng)
    lines = Counter(re.sub(r"[\s>\0\ufffd]", "", line) for line in re.split(r"\r\n?|\n", text))
    for block in extract_code_blocks(text):
        assert not block or block.endswith("\n")
        for line in block.split("\n"):
            bare = re.sub(r"[\s>\0\ufffd]", "", line)
            assert not bare or any(bare in whole for whole in lines), (text, block)
