"""Markdown in blocks, and each block as rows of a terminal. Loads `rich`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich import markdown as rich_markdown
from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.theme import Theme

from .markdown import Row
from .terminal import safe

CODE = 40  # lines of a code block from which on its beginning is complete
STILL = 10  # lines at its end that are not
CONTEXT = 100  # lines before that tell how to colour what follows
COLOURS: dict[str, ColorSystem] = {"standard": ColorSystem.STANDARD, "256": ColorSystem.EIGHT_BIT,
           "truecolor": ColorSystem.TRUECOLOR, "windows": ColorSystem.WINDOWS}  # fmt: skip
THEME: Theme = Theme(
    {
        "markdown.code": "cyan",
        "markdown.item.bullet": "bold",
        "markdown.item.number": "bold",
        "markdown.link": "underline",
        "markdown.link_url": "cyan",
        "markdown.hr": "dim",
        "markdown.block_quote": "italic",
    }
)


@dataclass
class Block:
    """A part of the text that is printed by itself: a paragraph, an item of a list, some code."""

    source: str
    complete: bool = True
    continues: bool = False  # a list or some code: no empty line comes before it
    number: int | None = None  # of an item
    code: str | None = None
    before: str = ""  # code before this one
    language: str = ""


class Renderer:
    """Takes a text apart as it grows, and makes rows of its parts."""

    def __init__(self) -> None:
        self.rest: str = ""  # of the text: what to begin with the next time
        self._last = Block("")  # what it begins with
        self._parser, self._splitter = _parser(), _parser().disable("inline")
        self._console = Console(
            file=sys.stdout, force_terminal=True, emoji=False, highlight=False, theme=THEME
        )
        self._colours = COLOURS.get(self._console.color_system or "")

    def blocks(self, text: str, final: bool) -> list[Block]:
        """The blocks of `text`, which is `safe`; the last is not complete unless it is `final`."""
        lines = text.split("\n")
        found: list[tuple[int, Block]] = []  # with the lines where they begin
        opened = 0  # where the last code begins
        for token, items in _tops(self._splitter.parse(text)):
            begin, end = token.map or (0, 0)
            last = Block("") if found else self._last
            if items:
                found += _items(items, token, lines, last)
            elif token.type == "fence":
                opened = begin
                found += _code(token, "\n".join(lines[begin:end]), last)
            else:
                found.append((begin, Block("\n".join(lines[begin:end]))))
        self.rest, self._last = "", Block("")
        if found and not final:
            begin, last = found[-1]
            again = lines[opened : opened + 1] if last.code is not None and begin > opened else []
            self.rest = "\n".join([*again, *lines[begin:]])
            self._last, last.complete = last, False
        return [block for _, block in found]

    def rows(self, block: Block, width: int) -> list[Row]:
        """A block as rows of at most `width` columns."""
        shown: Any
        if block.code is not None:
            if not block.code and (block.before or not block.complete):
                return []
            shown = _syntax(block)
        else:
            shown = _Markdown("", hyperlinks=False)  # a link shows where it leads
            shown.parsed = self._parsed(block)
        options = self._console.options.update(width=width, height=None)
        lines = self._console.render_lines(shown, options, pad=False)
        rows = [self._row(line) for line in lines]
        if block.code is None:
            while rows and not rows[-1].width:
                rows.pop()
            while rows and not rows[0].width:
                rows.pop(0)
        return rows

    def _parsed(self, block: Block) -> list[Token]:
        tokens = self._parser.parse(block.source)
        for token in tokens:
            for child in token.children or ():
                child.content = safe(child.content)  # an entity may be any character
                if child.type == "softbreak":  # a line that the model ended ends
                    child.type = "hardbreak"
        if block.number is not None and tokens:
            tokens[0].attrs["start"] = block.number
        return tokens

    def _row(self, segments: list[Segment]) -> Row:
        parts: list[tuple[str, Style | None]] = []
        for text, style, control in reversed(segments):
            if not parts and not _seen(style):
                text = text.rstrip()  # what only fills the row
            if text and not control:
                parts.append((safe(text), style))
        parts.reverse()
        shown = [style.render(text, color_system=self._colours) if style else text
                 for text, style in parts]  # fmt: skip
        return Row("".join(shown), sum(cell_len(text) for text, _ in parts))


class _Code(rich_markdown.CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _syntax(Block("", code=str(self.text).rstrip("\n"), language=self.lexer_name))


class _Heading(rich_markdown.Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        self.text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield self.text


class _Markdown(rich_markdown.Markdown):
    elements: ClassVar = {
        **rich_markdown.Markdown.elements,
        "fence": _Code,
        "code_block": _Code,
        "heading_open": _Heading,
    }


def _parser() -> MarkdownIt:
    """CommonMark with tables, without what could hide something: HTML, images, references."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    return parser.disable(["image", "reference", "autolink"])


def _syntax(block: Block) -> Syntax:
    before = block.before.count("\n")
    return Syntax(
        block.before + (block.code or ""),
        block.language or "text",
        theme="ansi_dark",  # the terminal's own colours
        background_color="default",
        word_wrap=True,
        line_range=(before + 1, None) if before else None,
    )


def _tops(tokens: Iterable[Token]) -> Iterator[tuple[Token, list[Token]]]:
    """The outermost blocks, and of lists their items."""
    top: Token | None = None
    items: list[Token] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            if top is not None:
                yield top, items
            top, items = token, []
        elif token.level == 1 and token.type == "list_item_open":
            items.append(token)
    if top is not None:
        yield top, items


def _items(
    items: list[Token], whole: Token, lines: list[str], last: Block
) -> Iterator[tuple[int, Block]]:
    begins = [(item.map or [0, 0])[0] for item in items]
    ends = [*begins[1:], (whole.map or [0, 0])[1]]
    number = None
    if whole.type == "ordered_list_open":
        number = int(whole.attrs.get("start", 1)) if last.number is None else last.number
    for index, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        yield (
            begin,
            Block(
                "\n".join(lines[begin:end]),
                continues=index > 0 or last.continues,
                number=None if number is None else number + index,
            ),
        )


def _code(token: Token, source: str, last: Block) -> Iterator[tuple[int, Block]]:
    """Some code; when it is long, what is surely complete by itself."""
    begin = (token.map or [0, 0])[0]
    language = (token.info.split() or [""])[0]
    code = token.content.removesuffix("\n").split("\n")
    before, continues = last.before, last.continues
    if len(code) >= CODE:
        count = len(code) - STILL
        yield begin, Block("", True, continues, None, "\n".join(code[:count]), before, language)
        known = before.split("\n")[:-1] + code[:count]
        before, continues = "".join(f"{line}\n" for line in known[-CONTEXT:]), True
        begin, code = begin + 1 + count, code[count:]
    yield begin, Block(source, True, continues, None, "\n".join(code), before, language)


def _seen(style: Style | None) -> bool:
    """Whether a space of this style can be seen."""
    if not style:
        return False
    coloured = style.bgcolor is not None and not style.bgcolor.is_default
    return bool(coloured or style.underline or style.reverse)
