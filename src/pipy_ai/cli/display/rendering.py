"""Split Markdown into blocks and render them as terminal rows. Imports `rich`."""

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

from .row import Row
from .terminal import escape_controls

LONG_CODE_LINES = 40  # the beginning of a longer code block counts as complete
PENDING_CODE_LINES = 10  # the lines at its end that do not
HIGHLIGHT_CONTEXT_LINES = 100  # preceding lines that the highlighter needs to color the next
COLOR_SYSTEMS: dict[str, ColorSystem] = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
    "windows": ColorSystem.WINDOWS,
}
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
    """A part of the text that is printed by itself: a paragraph, a list item, a code block."""

    source: str
    complete: bool = True
    continues: bool = False  # part of the same list or code block: no empty line before it
    item_number: int | None = None  # the number of a list item
    code: str | None = None
    preceding_code: str = ""  # the part of the same code block before `code`
    language: str = ""


class Renderer:
    """Split a growing text into blocks and render them."""

    def __init__(self) -> None:
        self.unfinished_text: str = ""  # the next call's text must begin with it
        self._open_block = Block("")  # the block at the beginning of `unfinished_text`
        self._parser, self._splitter = _markdown_parser(), _markdown_parser().disable("inline")
        self._console = Console(
            file=sys.stdout, force_terminal=True, emoji=False, highlight=False, theme=THEME
        )
        self._color_system = COLOR_SYSTEMS.get(self._console.color_system or "")

    def split_blocks(self, text: str, final: bool) -> list[Block]:
        """Split text, its control characters escaped, into blocks.

        Unless `final`, the last block is incomplete and `unfinished_text` is set to its text.
        """
        lines = text.split("\n")
        located_blocks: list[tuple[int, Block]] = []  # each with the line where it begins
        fence_line = 0  # where the last code block begins
        for token, items in _top_level_blocks(self._splitter.parse(text)):
            start, end = token.map or (0, 0)
            last = Block("") if located_blocks else self._open_block
            if items:
                located_blocks += _item_blocks(items, token, lines, last)
            elif token.type == "fence":
                fence_line = start
                located_blocks += _code_blocks(token, "\n".join(lines[start:end]), last)
            else:
                located_blocks.append((start, Block("\n".join(lines[start:end]))))
        self.unfinished_text, self._open_block = "", Block("")
        if located_blocks and not final:
            start, last = located_blocks[-1]
            fence_lines = (
                lines[fence_line : fence_line + 1]
                if last.code is not None and start > fence_line
                else []
            )
            self.unfinished_text = "\n".join([*fence_lines, *lines[start:]])
            self._open_block, last.complete = last, False
        return [block for _, block in located_blocks]

    def render_rows(self, block: Block, width: int) -> list[Row]:
        """Render a block as rows of at most `width` columns."""
        renderable: Any
        if block.code is not None:
            if not block.code and (block.preceding_code or not block.complete):
                return []
            renderable = _highlighted(block)
        else:
            renderable = _Markdown("", hyperlinks=False)  # print the addresses of links
            renderable.parsed = self._parse_block(block)
        options = self._console.options.update(width=width, height=None)
        lines = self._console.render_lines(renderable, options, pad=False)
        rows = [self._to_row(line) for line in lines]
        if block.code is None:
            while rows and not rows[-1].width:
                rows.pop()
            while rows and not rows[0].width:
                rows.pop(0)
        return rows

    def _parse_block(self, block: Block) -> list[Token]:
        tokens = self._parser.parse(block.source)
        for token in tokens:
            for child in token.children or ():
                child.content = escape_controls(child.content)  # an entity can be any character
                if child.type == "softbreak":  # keep the model's line breaks
                    child.type = "hardbreak"
        if block.item_number is not None and tokens:
            tokens[0].attrs["start"] = block.item_number
        return tokens

    def _to_row(self, segments: list[Segment]) -> Row:
        parts: list[tuple[str, Style | None]] = []
        for text, style, control in reversed(segments):
            if not parts and not _is_visible(style):
                text = text.rstrip()  # padding
            if text and not control:
                parts.append((escape_controls(text), style))
        parts.reverse()
        rendered = [style.render(text, color_system=self._color_system) if style else text
                 for text, style in parts]  # fmt: skip
        return Row("".join(rendered), sum(cell_len(text) for text, _ in parts))


class _CodeBlock(rich_markdown.CodeBlock):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _highlighted(Block("", code=str(self.text).rstrip("\n"), language=self.lexer_name))


class _Heading(rich_markdown.Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        self.text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield self.text


class _Markdown(rich_markdown.Markdown):
    elements: ClassVar = {
        **rich_markdown.Markdown.elements,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
        "heading_open": _Heading,
    }


def _markdown_parser() -> MarkdownIt:
    """Return a CommonMark parser with tables; what can hide text (HTML, images) is disabled."""
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"])
    return parser.disable(["image", "reference", "autolink"])


def _highlighted(block: Block) -> Syntax:
    skipped_lines = block.preceding_code.count("\n")
    return Syntax(
        block.preceding_code + (block.code or ""),
        block.language or "text",
        theme="ansi_dark",  # the terminal's own colors
        background_color="default",
        word_wrap=True,
        line_range=(skipped_lines + 1, None) if skipped_lines else None,
    )


def _top_level_blocks(tokens: Iterable[Token]) -> Iterator[tuple[Token, list[Token]]]:
    """Yield the outermost blocks, with the items of lists."""
    current: Token | None = None
    items: list[Token] = []
    for token in tokens:
        if token.level == 0 and token.nesting >= 0:
            if current is not None:
                yield current, items
            current, items = token, []
        elif token.level == 1 and token.type == "list_item_open":
            items.append(token)
    if current is not None:
        yield current, items


def _item_blocks(
    items: list[Token], list_token: Token, lines: list[str], previous: Block
) -> Iterator[tuple[int, Block]]:
    starts = [(item.map or [0, 0])[0] for item in items]
    ends = [*starts[1:], (list_token.map or [0, 0])[1]]
    first_number = None
    if list_token.type == "ordered_list_open":
        first_number = (
            int(list_token.attrs.get("start", 1))
            if previous.item_number is None
            else previous.item_number
        )
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        yield (
            start,
            Block(
                "\n".join(lines[start:end]),
                continues=index > 0 or previous.continues,
                item_number=None if first_number is None else first_number + index,
            ),
        )


def _code_blocks(token: Token, source: str, previous: Block) -> Iterator[tuple[int, Block]]:
    """Yield a code block; of a long one, first the part that is surely complete."""
    start = (token.map or [0, 0])[0]
    language = (token.info.split() or [""])[0]
    code = token.content.removesuffix("\n").split("\n")
    preceding_code, continues = previous.preceding_code, previous.continues
    if len(code) >= LONG_CODE_LINES:
        count = len(code) - PENDING_CODE_LINES
        yield (
            start,
            Block("", True, continues, None, "\n".join(code[:count]), preceding_code, language),
        )
        seen_lines = preceding_code.split("\n")[:-1] + code[:count]
        preceding_code, continues = (
            "".join(f"{line}\n" for line in seen_lines[-HIGHLIGHT_CONTEXT_LINES:]),
            True,
        )
        start, code = start + 1 + count, code[count:]
    yield start, Block(source, True, continues, None, "\n".join(code), preceding_code, language)


def _is_visible(style: Style | None) -> bool:
    """Return whether a space in this style can be seen."""
    if not style:
        return False
    has_background = style.bgcolor is not None and not style.bgcolor.is_default
    return bool(has_background or style.underline or style.reverse)
